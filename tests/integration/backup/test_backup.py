"""``castledger backup``: all rows, proven to be there, or no file at all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analytics_core.db.pool import connect
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.backup_cli import UNVERIFIED
from castledger_server.backup_files import manifest_path, read_manifest
from tests.integration.backup.command import (
    Command,
    fake_programs,
    find_bin_dir,
    name_of,
    run_as_superuser,
    scratch_databases,
)
from tests.postgres import GivenServer, Server

_DEADLINE_S = 60.0


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
    statement: str, named: str, source: DatabaseSettings, castledger: Command, tmp_path: Path
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
    pg_restore: str, complaint: str, source: DatabaseSettings, postgres: Server, castledger: Command, tmp_path: Path
) -> None:
    programs = fake_programs(tmp_path / "programs", find_bin_dir(postgres), pg_restore=pg_restore)
    said = castledger("backup", "--out", tmp_path / "x.dump", "--postgres-bin", programs)
    assert said.code == 1
    assert complaint in said.err
    assert list(tmp_path.glob("*x.dump*")) == []
    assert scratch_databases(postgres, source) == []


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_a_backup_finds_nothing_of_it(
    by: signal.Signals, source: DatabaseSettings, postgres: Server, tmp_path: Path
) -> None:
    programs = fake_programs(tmp_path / "programs", find_bin_dir(postgres), pg_restore="exec sleep 600; :")
    command = [sys.executable, "-m", "castledger_server", "backup", "--out", str(tmp_path / "x.dump")]
    process = subprocess.Popen(
        [*command, "--postgres-bin", str(programs)],
        env={**os.environ, "DATABASE_URL": str(source.url)},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + _DEADLINE_S
    while not scratch_databases(postgres, source):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(by)
    _, errors = process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == 130, errors
    assert errors == b""
    assert scratch_databases(postgres, source) == []
    assert list(tmp_path.glob("*x.dump*")) == []


def test_a_login_that_may_not_create_databases_is_told_what_was_not_verified(
    source: DatabaseSettings, postgres: Server, castledger: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    login = f"backer_{os.getpid()}"
    asyncio.run(
        run_as_superuser(
            postgres,
            f"create role {login} login nosuperuser password '{GivenServer.password}'",
            f"grant {Role.DUMP.value} to {login}",
        )
    )
    monkeypatch.setenv("DATABASE_URL", postgres.url(name_of(source), user=login))
    try:
        said = castledger("backup", "--out", tmp_path / "x.dump")
    finally:
        asyncio.run(run_as_superuser(postgres, f"drop role {login}"))
    assert said.code == UNVERIFIED, said.err
    assert "written, but not verified: the login" in said.err
    assert "castledger restore FILE --into URL" in said.err
    assert not read_manifest(tmp_path / "x.dump").verified


def test_a_backup_never_writes_over_a_file(castledger: Command, tmp_path: Path) -> None:
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


def test_programs_that_are_too_old_are_named(castledger: Command, postgres: Server, tmp_path: Path) -> None:
    old = fake_programs(tmp_path / "old", tmp_path, pg_dump="echo 'pg_dump (PostgreSQL) 14.1'; exit;")
    said = castledger("backup", "--out", tmp_path / "x.dump", "--postgres-bin", old)
    assert said.code == 2
    assert "needs pg_dump and pg_restore of version" in said.err
    assert f"here are 14.1 in {old}" in said.err
    said = castledger("backup", "--out", tmp_path / "x.dump", "--postgres-bin", tmp_path)
    assert said.err == f"castledger: --postgres-bin: {tmp_path} holds no working pg_dump and pg_restore\n"


def test_what_lands_meanwhile_is_in_the_next_backup(
    source: DatabaseSettings, postgres: Server, castledger: Command, tmp_path: Path
) -> None:
    real = find_bin_dir(postgres)
    late = "set role castledger_ingest; insert into ops.terms (kind, term) values ('referrer', 'late.example')"
    programs = fake_programs(
        tmp_path / "programs",
        real,
        pg_dump=f'[ "$1" = --version ] || $REAL/psql -qc "{late}" "$DATABASE_URL"\nexec $REAL/pg_dump',
    )
    for name, rows in (("first.dump", 0), ("second.dump", 1)):
        said = castledger("backup", "--out", tmp_path / name, "--postgres-bin", programs)
        programs = real
        # Verified, so that pg_dump saw what had been counted, and not what landed since.
        assert said.code == 0, said.err
        assert {table.name: table.rows for table in read_manifest(tmp_path / name).tables}["ops.terms"] == rows
