"""The embedded PostgreSQL: what it makes, what it leaves alone, and how it comes back after a crash."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from analytics_core.errors import ConfigError, Conflict
from castledger_server.accounts import choose_account, first_unreachable, run_as
from castledger_server.data_dir import FolderLock, claim_data_dir, is_claimed
from castledger_server.embedded import EmbeddedPostgres
from castledger_server.postgres_config import shared_buffers_mb
from castledger_server.postgres_programs import Programs, choose_programs, find_programs
from castledger_server.processes import is_running, memory_bytes

_DEADLINE_S = 60.0
_FOUND = find_programs()
_MAJORS = sorted({programs.major for programs in _FOUND})

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data folder with an empty database, to be copied: making one takes seconds."""
    path = Path(tempfile.mkdtemp(prefix="castledger-test-"))
    path.chmod(0o755)
    postgres = EmbeddedPostgres(path / "data")
    postgres.prepare()
    postgres.release()
    yield path / "data"
    shutil.rmtree(path)


@pytest.fixture
def data_dir(folder: Path, made: Path) -> Path:
    """A data folder of its own with an empty database."""
    subprocess.run(["cp", "-a", made, folder / "data"], check=True)
    return folder / "data"


def _query(url: str, statement: str, *arguments: object) -> Any:
    async def ask() -> Any:
        conn = await asyncpg.connect(url)
        try:
            return await conn.fetchval(statement, *arguments)
        finally:
            await conn.close()

    return asyncio.run(ask())


def _until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def _server_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])


def _permissions(*places: Path) -> dict[Path, tuple[int, int, int]]:
    seen = {}
    for place in places:
        for path in (place, *place.parents):
            found = path.stat()
            seen[path] = (found.st_mode, found.st_uid, found.st_gid)
    return seen


@pytest.mark.parametrize("major", _MAJORS)
def test_a_new_database_is_made_and_answers_a_login_without_privileges(folder: Path, major: int) -> None:
    programs = choose_programs(_FOUND, made_with=major, database=folder)
    postgres = EmbeddedPostgres(folder / "data", bin_dir=programs.bin_dir)
    url = postgres.start()
    try:
        assert _query(url, "select current_setting('server_version_num')::int / 10000") == major
        assert not _query(url, "select rolsuper or rolbypassrls from pg_roles where rolname = 'castledger'")
        # Roles for services, and databases in which backups are verified.
        assert _query(url, "select rolcreaterole and rolcreatedb from pg_roles where rolname = 'castledger'")
        assert _query(url, "select datdba::regrole::text from pg_database where datname = current_database()") == (
            "castledger"
        )
        assert _query(url, "select lower('ÄÖÜ')") == "äöü"
        for name, value in (("fsync", "on"), ("listen_addresses", ""), ("jit", "off"), ("data_checksums", "on")):
            assert _query(url, f"show {name}") == value
    finally:
        postgres.stop()
    assert not (folder / "data" / "postgres" / "data" / "postmaster.pid").exists()


def test_what_was_committed_is_there_after_a_restart(data_dir: Path) -> None:
    for expected in (1, 2):
        postgres = EmbeddedPostgres(data_dir)
        url = postgres.start()
        try:
            _query(url, "create table if not exists kept (at timestamptz)")
            _query(url, "insert into kept values (now())")
            assert _query(url, "select count(*) from kept") == expected
        finally:
            postgres.stop()


def test_only_the_login_with_its_password_gets_in(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    url = postgres.start()
    try:
        password = urlsplit(url).password
        assert password
        for wrong in (url.replace(password, "guessed"), url.replace("castledger:", "postgres:", 1)):
            with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
                _query(wrong, "select 1")
    finally:
        postgres.stop()


def test_secrets_and_data_are_closed_to_others(data_dir: Path) -> None:
    home = data_dir / "postgres"
    assert (home / "password").stat().st_mode & 0o777 == 0o600
    for name in ("data", "socket"):
        assert (home / name).stat().st_mode & 0o777 == 0o700
    assert home.stat().st_mode & 0o007 == 0


def test_nobodys_permissions_change_outside_the_data_folder(folder: Path) -> None:
    outside = folder / "between"
    outside.mkdir(mode=0o711)
    (outside / "neighbour").mkdir(mode=0o700)
    places = (outside, outside / "neighbour", *(programs.bin_dir for programs in _FOUND))
    before = _permissions(*places)
    postgres = EmbeddedPostgres(outside / "data")
    postgres.start()
    postgres.stop()
    assert _permissions(*places) == before


@needs_root
def test_a_data_folder_out_of_reach_is_named_with_the_remedy_and_left_alone(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    before = _permissions(closed)
    with pytest.raises(ConfigError, match="chmod o\\+x") as caught:
        EmbeddedPostgres(closed / "data").start()
    assert str(closed) in str(caught.value)
    assert _permissions(closed) == before


@needs_root
def test_somebody_elses_folder_is_not_opened(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    (private / "diary").write_text("…")
    with pytest.raises(ConfigError, match="out of its reach"):
        EmbeddedPostgres(private).start()
    assert private.stat().st_mode & 0o777 == 0o700


@needs_root
def test_programs_out_of_reach_are_copied(folder: Path) -> None:
    wheels = [programs for programs in _FOUND if programs.bin_dir.parent.name == "pginstall"]
    if not wheels:
        pytest.skip("the wheel with the programs is not installed")
    package = wheels[0].bin_dir.parents[1]
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for part in (package, package.with_name(f"{package.name}.libs")):
        subprocess.run(["cp", "-a", part, closed], check=True)
    before = _permissions(closed / package.name / "pginstall" / "bin")
    postgres = EmbeddedPostgres(folder / "data", bin_dir=closed / package.name / "pginstall" / "bin")
    url = postgres.start()
    try:
        assert _query(url, "select 1") == 1
        assert str(folder / "data" / "postgres" / "programs") in postgres.command()[0]
    finally:
        postgres.stop()
    assert _permissions(closed / package.name / "pginstall" / "bin") == before
    # Without the wheel the copy goes on serving.
    assert postgres.version in {
        programs.version for programs in find_programs(copied=folder / "data/postgres/programs")
    }


def _hold(data_dir: Path) -> subprocess.Popen[str]:
    """Run the database in a process of its own until that is told, or made, to end."""
    program = f"""
import time
from pathlib import Path
from castledger_server.embedded import EmbeddedPostgres
print(EmbeddedPostgres(Path({str(data_dir)!r})).start(), flush=True)
time.sleep(1000)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True)


def test_everything_killed_comes_back_with_what_was_committed(data_dir: Path) -> None:
    with _hold(data_dir) as holder:
        assert holder.stdout is not None
        url = holder.stdout.readline().strip()
        _query(url, "create table kept (n int)")
        _query(url, "insert into kept select generate_series(1, 1000)")
        server = _server_pid(data_dir)
        os.kill(server, signal.SIGKILL)
        holder.kill()
    _until(lambda: not is_running(server))
    assert (data_dir / "postgres" / "data" / "postmaster.pid").exists()
    postgres = EmbeddedPostgres(data_dir)
    url = postgres.start()
    try:
        assert _query(url, "select count(*) from kept") == 1000
    finally:
        postgres.stop()


def test_the_server_ends_when_its_supervisor_is_killed(data_dir: Path) -> None:
    with _hold(data_dir) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().startswith("postgresql://")
        server = _server_pid(data_dir)
        holder.kill()
    _until(lambda: not is_running(server))


def test_a_server_that_outlived_its_supervisor_is_stopped(data_dir: Path) -> None:
    first = EmbeddedPostgres(data_dir)
    first.prepare()
    with subprocess.Popen(
        first.command(), env=first.environment(), stderr=subprocess.DEVNULL, **run_as(first.account)
    ) as orphan:
        _until(lambda: first.is_ready(orphan.pid))
        first.release()
        said: list[str] = []
        second = EmbeddedPostgres(data_dir, say=said.append)
        url = second.start()
        try:
            assert _query(url, "select 1") == 1
            assert orphan.wait(_DEADLINE_S) == 0
            assert _server_pid(data_dir) != orphan.pid
        finally:
            second.stop()
    assert any(str(orphan.pid) in line for line in said)


def test_a_second_start_is_refused_while_the_first_runs(data_dir: Path) -> None:
    first = EmbeddedPostgres(data_dir)
    url = first.start()
    try:
        server = _server_pid(data_dir)
        with pytest.raises(Conflict, match=f"in use by process {os.getpid()}"):
            EmbeddedPostgres(data_dir).start()
        assert _server_pid(data_dir) == server
        assert _query(url, "select 1") == 1
    finally:
        first.stop()
    again = EmbeddedPostgres(data_dir)
    again.start()
    again.stop()


def test_a_process_id_that_belongs_to_somebody_else_by_now_stops_nothing(data_dir: Path) -> None:
    pid_file = data_dir / "postgres" / "data" / "postmaster.pid"
    account = choose_account(pid_file.parent)
    with subprocess.Popen(["sleep", "1000"], **run_as(account)) as stranger:
        try:
            pid_file.write_text(f"{stranger.pid}\n{pid_file.parent}\n1700000000\n5432\n\n\n\nready\n")
            postgres = EmbeddedPostgres(data_dir)
            url = postgres.start()
            try:
                assert _query(url, "select 1") == 1
                assert stranger.poll() is None
            finally:
                postgres.stop()
        finally:
            stranger.kill()


def test_a_making_that_was_cut_off_begins_anew(folder: Path) -> None:
    home = folder / "data" / "postgres"
    claim_data_dir(folder / "data")
    (home / "new" / "base").mkdir(parents=True)
    (home / "new" / "PG_VERSION").write_text("9")
    postgres = EmbeddedPostgres(folder / "data")
    url = postgres.start()
    try:
        assert _query(url, "select 1") == 1
        assert not (home / "new").exists()
    finally:
        postgres.stop()


def test_a_path_too_long_for_a_socket_gets_a_short_one_of_its_own(folder: Path, made: Path) -> None:
    data_dir = folder / ("long" * 20) / ("longer" * 10)
    data_dir.parent.mkdir()
    subprocess.run(["cp", "-a", made, data_dir], check=True)
    places = []
    # The second time, somebody else has taken the name.
    for squatted in (False, True):
        postgres = EmbeddedPostgres(data_dir)
        url = postgres.start()
        try:
            assert _query(url, "select 1") == 1
            place = Path(parse_qs(urlsplit(url).query)["host"][0])
            assert place.stat().st_mode & 0o777 == 0o700
            assert not place.is_relative_to(data_dir)
        finally:
            postgres.stop()
        assert not place.exists()
        places.append(place)
        if not squatted:
            place.symlink_to(folder)
    places[0].unlink()
    assert places[0] != places[1]


def test_a_lost_password_is_replaced(data_dir: Path) -> None:
    password = data_dir / "postgres" / "password"
    lost = password.read_text()
    password.unlink()
    postgres = EmbeddedPostgres(data_dir)
    url = postgres.start()
    try:
        assert _query(url, "select 1") == 1
        with pytest.raises(asyncpg.InvalidPasswordError):
            _query(url.replace(password.read_text().strip(), lost), "select 1")
    finally:
        postgres.stop()


def test_an_operators_own_settings_win(data_dir: Path) -> None:
    (data_dir / "postgres" / "local.conf").write_text("work_mem = '3MB'\n")
    postgres = EmbeddedPostgres(data_dir)
    url = postgres.start()
    try:
        assert _query(url, "show work_mem") == "3MB"
        assert _query(url, "show shared_buffers") == f"{shared_buffers_mb(memory_bytes())}MB"
    finally:
        postgres.stop()


def test_a_container_has_what_it_is_allowed(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    machine = memory_bytes([])
    for text, expected in (("268435456\n", 2**28), ("max\n", machine), (f"{2**63 - 4096}\n", machine)):
        limit.write_text(text)
        assert memory_bytes([tmp_path / "none", limit]) == expected


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    (data_dir / "postgres" / "local.conf").write_text("shared_buffers = 'a lot'\n")
    with pytest.raises(Exception, match="shared_buffers"):
        EmbeddedPostgres(data_dir).start()


def test_a_database_of_another_version_is_named_with_the_remedy_and_left_alone(data_dir: Path) -> None:
    version = data_dir / "postgres" / "data" / "PG_VERSION"
    version.write_text("14\n")
    with pytest.raises(ConfigError, match=r"made by PostgreSQL 14 .* install PostgreSQL 14 .*--postgres-bin"):
        EmbeddedPostgres(data_dir).start()
    assert version.read_text() == "14\n"


def test_programs_are_chosen_by_the_version_that_made_the_database(tmp_path: Path) -> None:
    found = [Programs(tmp_path / "new", "18.6", 18), Programs(tmp_path / "old", "15.18", 15)]
    assert choose_programs(found, made_with=None, database=tmp_path).major == 18
    assert choose_programs(found, made_with=15, database=tmp_path).major == 15
    with pytest.raises(ConfigError, match="no PostgreSQL 15 or newer is here"):
        choose_programs([], made_with=None, database=tmp_path)


def test_a_folder_without_programs_is_refused(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--postgres-bin: {tmp_path}"):
        EmbeddedPostgres(data_dir, bin_dir=tmp_path).start()


@needs_root
def test_root_without_an_account_for_the_database_is_told_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="useradd --system castledger"):
        choose_account(tmp_path / "absent", candidates=("no-such-account-1",))
    assert choose_account(tmp_path / "absent", candidates=("root", "nobody")).name == "nobody"  # type: ignore[union-attr]  # None would fail the test as well


def test_the_first_closed_folder_on_a_way_is_found(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    account = choose_account(folder / "absent")
    assert first_unreachable(account, folder / "a" / "b") is None
    if account is not None:
        (folder / "a").chmod(0o700)
        assert first_unreachable(account, folder / "a" / "b") == folder / "a"


def test_only_an_empty_or_new_folder_becomes_ours(folder: Path) -> None:
    (folder / "theirs").mkdir()
    (folder / "theirs" / "file").touch()
    (folder / "empty").mkdir()
    for name, ours in (("theirs", False), ("empty", True), ("new", True)):
        claim_data_dir(folder / name)
        assert is_claimed(folder / name) is ours
    with pytest.raises(ConfigError, match="cannot be used"):
        claim_data_dir(folder / "theirs" / "file")


def test_a_lock_has_one_holder_and_is_free_once_that_ended(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from castledger_server.data_dir import FolderLock
FolderLock(Path({str(tmp_path / "lock")!r}), what="it").acquire()
print("held", flush=True)
time.sleep(1000)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    lock = FolderLock(tmp_path / "lock", what="the folder")
    with subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match=f"the folder is in use by process {holder.pid}"):
            lock.acquire()
        holder.kill()
    lock.acquire()
    lock.release()
