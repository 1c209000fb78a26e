"""``castledger backup`` and ``restore``: all rows of all tenants, there and back, or a reason why not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from analytics_core.api_keys import hash_key
from analytics_core.db.pool import connect, open_pool
from analytics_core.db.tenants import ensure_owner_key
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Secret, Storage
from castledger_server.backup import SCRATCH
from castledger_server.backup_cli import UNVERIFIED
from castledger_server.backup_files import Manifest, manifest_path, read_manifest
from castledger_server.cli import main
from castledger_server.embedded import EmbeddedPostgres
from castledger_server.postgres_clients import choose_clients, find_clients
from migrations.runner import verify
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import Ledger, minute
from tests.postgres import GivenServer, Server
from tests.timescale.answers import ask_everything, fill

_DEADLINE_S = 60.0


def _name(database: DatabaseSettings) -> str:
    return urlsplit(str(database.url)).path.strip("/")


async def _admin(postgres: Server, *statements: str, database: str = "postgres") -> None:
    conn = await asyncpg.connect(postgres.url(database, user="postgres"))
    for statement in statements:
        await conn.execute(statement)
    await conn.close()


@pytest.fixture
def source(database: DatabaseSettings, postgres: Server, storage: Storage) -> DatabaseSettings:
    """The database to back up; on TimescaleDB by a superuser, who alone may restore it."""
    if storage is Storage.NATIVE:
        return database
    return DatabaseSettings(url=Secret(postgres.url(_name(database), user="postgres")), storage=storage)


@pytest.fixture
def target(empty_database: DatabaseSettings, postgres: Server, storage: Storage) -> DatabaseSettings:
    """An empty database to restore into."""
    if storage is Storage.NATIVE:
        return empty_database
    return DatabaseSettings(url=Secret(postgres.url(_name(empty_database), user="postgres")), storage=storage)


class _Said(NamedTuple):
    code: int
    out: str
    err: str


class _Command:
    """The command, called as from a shell with the source's address in its environment."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> _Said:
        code = main([str(argument) for argument in arguments])
        said = self._capsys.readouterr()
        return _Said(code, said.out, said.err)


@pytest.fixture
def castledger(
    source: DatabaseSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> _Command:
    monkeypatch.setenv("DATABASE_URL", str(source.url))
    monkeypatch.setenv("CASTLEDGER_DATA_DIR", str(tmp_path / "data"))
    return _Command(capsys)


class _Ledger(NamedTuple):
    """What is in a database to be backed up."""

    key: str
    landed: MadePodcast
    filled: list[MadePodcast]


async def _ship(database: DatabaseSettings, folder: Path, number: int) -> list[tuple[int, ...]]:
    """Land twenty hits of twenty listeners, of which each has a number of its own; return all hits that there are."""
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=3)
    conn = await connect(database, Role.INGEST, application_name="test")
    try:
        ledger = Ledger(pool, conn, folder)
        write_segment(folder, [make_hit(minute(n), address=f"192.0.{number}.{n + 1}") for n in range(20)])
        assert await ledger.ship_all() == 20
        await ledger.refresh()
        return await ledger.hits()
    finally:
        await conn.close()
        await pool.close()


async def _make(database: DatabaseSettings, folder: Path) -> _Ledger:
    filled = [await fill(database, slug) for slug in ("one", "two")]
    landed = await make_podcast(database, await make_tenant(database, "three"), make_episode("a"))
    await _ship(database, folder, 1)
    conn = await connect(database, Role.AUTH, application_name="test")
    key = await ensure_owner_key(conn, None)
    await conn.close()
    return _Ledger(key, landed, filled)


@pytest.fixture
def ledger(source: DatabaseSettings, tmp_path: Path) -> _Ledger:
    """Three tenants and the installation's own, with hits, downloads, rollups, keys and secrets."""
    return asyncio.run(_make(source, tmp_path / "spool"))


async def _fetch(url: str, statement: str, *arguments: Any) -> list[Any]:
    conn = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await conn.fetch(statement, *arguments)]
    finally:
        await conn.close()


def _scratch_databases(postgres: Server) -> list[Any]:
    found = _fetch(postgres.url("postgres"), "select datname from pg_database where starts_with(datname, $1)", SCRATCH)
    return asyncio.run(found)


def _fake_programs(folder: Path, real: Path, *, pg_dump: str = "", pg_restore: str = "") -> Path:
    """Make a folder of programs of which one does something else, in the shell's words, with REAL before it."""
    folder.mkdir()
    for name, script in (("pg_dump", pg_dump), ("pg_restore", pg_restore)):
        path = folder / name
        path.write_text(f'#!/bin/sh\nREAL={real}\n{script or f"exec $REAL/{name}"} "$@"\n')
        path.chmod(0o755)
    return folder


def _clients(postgres: Server) -> Path:
    """Find the programs that fit the server."""
    (row,) = asyncio.run(
        _fetch(postgres.url("postgres"), "select current_setting('server_version_num')::integer / 10000")
    )
    return choose_clients(find_clients(), server_major=row[0]).bin_dir


@pytest.mark.parametrize("secrets", [False, True], ids=["without secrets", "with secrets"])
def test_a_restored_ledger_answers_as_its_source_and_goes_on(
    secrets: bool,
    source: DatabaseSettings,
    target: DatabaseSettings,
    ledger: _Ledger,
    postgres: Server,
    castledger: _Command,
    tmp_path: Path,
) -> None:
    out = tmp_path / "ledger.dump"
    said = castledger("backup", "--out", out, *(["--with-secrets"] if secrets else []))
    assert said.code == 0, said.err
    assert "verified: restored and compared" in said.out
    assert _scratch_databases(postgres) == []
    assert sorted(path.name for path in tmp_path.glob("*ledger*")) == ["ledger.dump", "ledger.dump.json"]
    for path in (out, manifest_path(out)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    manifest = read_manifest(out)
    rows = {table.name: table.rows for table in manifest.tables}
    assert (rows["ts.listener_events"], rows["app.tenants"]) == (6020, 4)
    assert manifest.verified
    assert manifest.left_out == ([] if secrets else ["app.api_keys", "app.sessions", "ops.listener_secrets"])

    said = castledger("restore", out, "--into", target.url)
    assert said.code == 0, said.err
    assert said.out.startswith(f"restored and compared: {sum(rows.values())} rows of {len(rows)} tables")
    assert asyncio.run(verify(target)).pending == ()
    for made in ledger.filled:
        assert asyncio.run(ask_everything(target, made)) == asyncio.run(ask_everything(source, made))

    # Who had a key has it still, or not; either way the owner gets one.
    keys = asyncio.run(_fetch(str(_as_super(postgres, target)), "select key_hash from app.api_keys"))
    assert keys == ([(hash_key(ledger.key),)] if secrets else [])
    days = asyncio.run(_fetch(str(target.url), "select distinct day, rekeyed from ops.days order by 1"))
    assert {rekeyed for day, rekeyed in days if day.month == 11} == {not secrets}

    # The same listeners once more, and the same hits: numbers go on where they stopped.
    before = asyncio.run(_fetch(str(target.url), "select segment_no, ordinal from ts.listener_events"))
    hits = asyncio.run(_ship(target, tmp_path / "spool", 1))
    assert len(hits) == 6040
    fresh = {row[0] for row in hits} - {row[0] for row in before}
    assert len(fresh) == 1
    assert min(fresh) > max(row[0] for row in before)
    listeners = "select count(distinct listener_key) from ts.downloads where episode_no = $1"
    (number,) = asyncio.run(_fetch(str(target.url), listeners, ledger.landed.episodes["a"]))
    assert number == ((20,) if secrets else (40,))
    again = asyncio.run(make_tenant(target, "four"))
    assert int(again.tenant_no) > int(ledger.landed.tenant.tenant_no)


def _as_super(postgres: Server, database: DatabaseSettings) -> str:
    return postgres.url(_name(database), user="postgres")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("drop policy dump on app.links", "app.links: row security hides rows"),
        ("alter policy dump on app.links using (slug <> 'x')", "app.links: row security hides rows"),
        (
            "create policy narrow on app.tenants as restrictive for select using (slug <> 'x')",
            "app.tenants: row security hides rows",
        ),
        ("revoke select on ops.agents from castledger_dump", "ops.agents: the role may not read it"),
        (
            "create table app.new (a integer); alter table app.new enable row level security",
            "app.new: row security hides rows",
        ),
    ],
)
def test_a_backup_that_would_leave_rows_out_is_not_made(
    statement: str, named: str, source: DatabaseSettings, castledger: _Command, tmp_path: Path
) -> None:
    async def change() -> None:
        conn = await connect(source, Role.OWNER, application_name="test")
        await conn.execute(statement)
        await conn.close()

    asyncio.run(change())
    said = castledger("backup", "--out", tmp_path / "x.dump")
    assert said.code == 1
    assert "would leave rows out" in said.err
    assert named in said.err
    assert list(tmp_path.glob("*x.dump*")) == []


@pytest.mark.parametrize(
    ("pg_restore", "complaint"),
    [
        ("echo it is broken >&2; exit 1;", "pg_restore failed: it is broken"),
        ("exec $REAL/pg_restore --schema-only", "app.tenants: 4 rows became 0"),
    ],
    ids=["fails", "loses rows"],
)
@pytest.mark.usefixtures("ledger", "native")
def test_a_backup_that_cannot_be_restored_is_not_kept(
    pg_restore: str, complaint: str, postgres: Server, castledger: _Command, tmp_path: Path
) -> None:
    programs = _fake_programs(tmp_path / "programs", _clients(postgres), pg_restore=pg_restore)
    said = castledger("backup", "--out", tmp_path / "x.dump", "--postgres-bin", programs)
    assert said.code == 1
    assert complaint in said.err
    assert list(tmp_path.glob("*x.dump*")) == []
    assert _scratch_databases(postgres) == []


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_a_backup_finds_nothing_of_it(
    by: signal.Signals, source: DatabaseSettings, postgres: Server, tmp_path: Path
) -> None:
    programs = _fake_programs(tmp_path / "programs", _clients(postgres), pg_restore="exec sleep 600; :")
    command = [sys.executable, "-m", "castledger_server", "backup", "--out", str(tmp_path / "x.dump")]
    process = subprocess.Popen(
        [*command, "--postgres-bin", str(programs)],
        env={**os.environ, "DATABASE_URL": str(source.url)},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + _DEADLINE_S
    while not _scratch_databases(postgres):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(by)
    _, errors = process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == 130, errors
    assert errors == b""
    assert _scratch_databases(postgres) == []
    assert list(tmp_path.glob("*x.dump*")) == []


def test_a_login_that_may_not_create_databases_is_told_what_was_not_verified(
    source: DatabaseSettings, postgres: Server, castledger: _Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asyncio.run(
        _admin(
            postgres,
            f"create role backer login nosuperuser password '{GivenServer.password}'",
            f"grant {Role.DUMP.value} to backer",
        )
    )
    monkeypatch.setenv("DATABASE_URL", postgres.url(_name(source), user="backer"))
    try:
        said = castledger("backup", "--out", tmp_path / "x.dump")
    finally:
        asyncio.run(_admin(postgres, "drop role backer"))
    assert said.code == UNVERIFIED, said.err
    assert "written, but not verified: the login" in said.err
    assert "castledger restore FILE --into URL" in said.err
    assert not read_manifest(tmp_path / "x.dump").verified


@pytest.fixture
def dump(castledger: _Command, tmp_path: Path) -> Path:
    """A backup of an empty ledger, not verified."""
    path = tmp_path / "x.dump"
    said = castledger("backup", "--out", path, "--no-verify")
    assert (said.code, said.out.splitlines()[-1]) == (0, "not verified, as asked")
    return path


def _change(dump: Path, **fields: object) -> None:
    manifest = json.loads(manifest_path(dump).read_bytes())
    manifest_path(dump).write_text(json.dumps(manifest | fields))


def _flip(dump: Path) -> None:
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)


def _cut(dump: Path) -> None:
    dump.write_bytes(dump.read_bytes()[:-1])


def _newer(dump: Path) -> None:
    _change(dump, migrations=[*read_manifest(dump).migrations, "9999"])


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_flip, "is damaged: its SHA-256 is"),
        (_cut, "and its manifest says"),
        (Path.unlink, "there is no file"),
        (lambda dump: manifest_path(dump).unlink(), "its manifest"),
        (lambda dump: manifest_path(dump).write_text("{}"), "its format is 0"),
        (lambda dump: manifest_path(dump).write_text("x"), "is no manifest of a backup"),
        (lambda dump: _change(dump, bytes="many"), "`$.bytes`"),
        (lambda dump: _change(dump, storage="tape"), "names the storage 'tape'"),
        (lambda dump: _change(dump, format=2), "reads format 1"),
        (lambda dump: _change(dump, postgres_major=99, postgres="99.1"), "the backup is of PostgreSQL 99.1"),
        (_newer, "migrations that this version does not have (9999)"),
    ],
)
def test_what_cannot_be_restored_is_refused_and_nothing_is_touched(
    damage: Any, complaint: str, dump: Path, target: DatabaseSettings, castledger: _Command
) -> None:
    damage(dump)
    said = castledger("restore", dump, "--into", target.url)
    assert said.code in (1, 2)
    assert complaint in said.err
    assert asyncio.run(_fetch(str(target.url), "select from pg_namespace where nspname = 'app'")) == []


def test_a_database_that_is_not_empty_is_refused(
    dump: Path, source: DatabaseSettings, target: DatabaseSettings, castledger: _Command
) -> None:
    said = castledger("restore", dump)
    assert said.code == 2
    assert f"the database {_name(source)} is not empty (there is " in said.err
    asyncio.run(_fetch(str(target.url), "create table public.mine (a integer)"))
    assert "not empty (there is public.mine)" in castledger("restore", dump, "--into", target.url).err
    nowhere = str(target.url).replace(_name(target), "nowhere_at_all")
    said = castledger("restore", dump, "--into", nowhere)
    assert (said.code, said.err) == (1, 'castledger: the database refuses: database "nowhere_at_all" does not exist\n')


@pytest.mark.usefixtures("native")
def test_a_restore_that_fails_leaves_the_database_empty(
    dump: Path, target: DatabaseSettings, postgres: Server, castledger: _Command, tmp_path: Path
) -> None:
    # A truncated dump whose manifest was made to fit: pg_restore comes far before it notices.
    content = dump.read_bytes()
    dump.write_bytes(content[: len(content) - 100])
    done = subprocess.run(["sha256sum", str(dump)], capture_output=True, text=True, check=True)
    _change(dump, bytes=len(content) - 100, sha256=done.stdout.split()[0])
    said = castledger("restore", dump, "--into", target.url)
    assert said.code == 1
    assert "pg_restore failed" in said.err
    assert asyncio.run(_fetch(str(target.url), "select from pg_namespace where nspname = 'app'")) == []


def test_a_backup_never_writes_over_a_file(castledger: _Command, tmp_path: Path) -> None:
    out = tmp_path / "x.dump"
    for there in (out, manifest_path(out)):
        there.write_text("mine")
        said = castledger("backup", "--out", out)
        assert said.code == 2
        assert f"--out: {there} is there already" in said.err
        assert there.read_text() == "mine"
        there.unlink()
    said = castledger("backup", "--out", tmp_path / "nowhere" / "x.dump")
    assert (said.code, said.err) == (2, f"castledger: --out: {tmp_path / 'nowhere'} is no folder\n")


def test_programs_that_are_too_old_are_named(castledger: _Command, postgres: Server, tmp_path: Path) -> None:
    old = _fake_programs(tmp_path / "old", tmp_path, pg_dump="echo 'pg_dump (PostgreSQL) 14.1'; exit;")
    said = castledger("backup", "--out", tmp_path / "x.dump", "--postgres-bin", old)
    assert said.code == 2
    assert "needs pg_dump and pg_restore of version" in said.err
    assert f"here are 14.1 in {old}" in said.err
    said = castledger("backup", "--out", tmp_path / "x.dump", "--postgres-bin", tmp_path)
    assert said.err == f"castledger: --postgres-bin: {tmp_path} holds no working pg_dump and pg_restore\n"


@pytest.mark.usefixtures("native")
def test_the_embedded_database_is_backed_up_and_restored(
    dump: Path, folder: Path, castledger: _Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    said = castledger("restore", dump, "--data-dir", folder / "ledger")
    assert said.code == 0, said.err
    postgres = EmbeddedPostgres(folder / "ledger")
    url = postgres.start()
    try:
        assert asyncio.run(verify(DatabaseSettings(url=Secret(url)))).storage is Storage.NATIVE
        # Its login may make a scratch database.
        monkeypatch.setenv("DATABASE_URL", url)
        said = castledger("backup", "--out", dump.with_name("again.dump"))
        assert said.code == 0, said.err
    finally:
        postgres.stop()
    assert _counts(read_manifest(dump.with_name("again.dump"))) == _counts(read_manifest(dump))


def _counts(manifest: Manifest) -> Sequence[object]:
    return [msgspec.to_builtins(table) for table in manifest.tables]


@pytest.fixture
def compressed(source: DatabaseSettings, ledger: _Ledger, timescale: None) -> None:
    """Half of the days compressed, as a policy does it."""

    async def compress() -> None:
        conn = await connect(source, Role.OWNER, application_name="test")
        for table in ("ts.listener_events", "ts.downloads"):
            chunks = f"select c from public.show_chunks('{table}') c limit 3"
            await conn.execute(f"select public.compress_chunk(c) from ({chunks}) days")
        await conn.close()

    asyncio.run(compress())


@pytest.mark.usefixtures("compressed")
def test_compressed_days_and_policies_come_back(
    source: DatabaseSettings, target: DatabaseSettings, ledger: _Ledger, castledger: _Command, tmp_path: Path
) -> None:
    said = castledger("backup", "--out", tmp_path / "x.dump")
    assert said.code == 0, said.err
    assert castledger("restore", tmp_path / "x.dump", "--into", target.url).code == 0
    asked = (
        "select hypertable_name, range_start, is_compressed from timescaledb_information.chunks order by 1, 2",
        "select hypertable_name, proc_name, config - 'hypertable_id' from timescaledb_information.jobs"
        " where hypertable_name is not null order by 1, 2",
    )
    for question in asked:
        rows = asyncio.run(_fetch(str(source.url), question))
        assert len(rows) >= 3
        assert asyncio.run(_fetch(str(target.url), question)) == rows
    for made in ledger.filled:
        assert asyncio.run(ask_everything(target, made)) == asyncio.run(ask_everything(source, made))


@pytest.mark.usefixtures("timescale")
def test_timescale_needs_a_superuser_and_its_own_version(
    dump: Path,
    database: DatabaseSettings,
    empty_database: DatabaseSettings,
    target: DatabaseSettings,
    castledger: _Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = castledger("restore", dump, "--into", empty_database.url)
    assert said.code == 1
    assert "only a superuser may write" in said.err
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    said = castledger("backup", "--out", dump.with_name("y.dump"))
    assert said.code == UNVERIFIED
    assert "the login is no superuser" in said.err
    _change(dump, timescale="1.0.0")
    said = castledger("restore", dump, "--into", target.url)
    assert said.code == 1
    assert "the backup is of TimescaleDB 1.0.0, and this server has " in said.err
