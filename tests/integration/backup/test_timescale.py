"""Backups of TimescaleDB: compressed days, policies, and whose login it takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from analytics_core.db.pool import connect
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.backup_cli import UNVERIFIED
from tests.integration.backup.command import Command, MadeLedger, change_manifest, fetch
from tests.timescale.answers import ask_everything

_CHUNKS = "select hypertable_name, range_start from timescaledb_information.chunks"
_POLICIES = (
    "select hypertable_name, proc_name, config - 'hypertable_id' from timescaledb_information.jobs"
    " where hypertable_name is not null"
)


@pytest.fixture
def compressed(source: DatabaseSettings, ledger: MadeLedger, timescale: None) -> None:
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
    source: DatabaseSettings, target: DatabaseSettings, ledger: MadeLedger, castledger: Command, tmp_path: Path
) -> None:
    compressed = set(asyncio.run(fetch(str(source.url), f"{_CHUNKS} where is_compressed")))
    assert len(compressed) >= 6
    said = castledger("backup", "--out", tmp_path / "x.dump")
    assert said.code == 0, said.err
    assert castledger("restore", tmp_path / "x.dump", "--into", target.url).code == 0
    for question in (_CHUNKS, _POLICIES):
        rows = asyncio.run(fetch(str(source.url), question))
        assert len(rows) >= 3
        assert sorted(asyncio.run(fetch(str(target.url), question)), key=str) == sorted(rows, key=str)
    # More of them may be by now: the policies are at work there too.
    assert set(asyncio.run(fetch(str(target.url), f"{_CHUNKS} where is_compressed"))) >= compressed
    for made in ledger.filled:
        assert asyncio.run(ask_everything(target, made)) == asyncio.run(ask_everything(source, made))


@pytest.mark.usefixtures("timescale")
def test_timescale_needs_a_superuser_and_its_own_version(
    dump: Path,
    database: DatabaseSettings,
    empty_database: DatabaseSettings,
    target: DatabaseSettings,
    castledger: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = castledger("restore", dump, "--into", empty_database.url)
    assert said.code == 1
    assert "only a superuser may write" in said.err
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    said = castledger("backup", "--out", dump.with_name("y.dump"))
    assert said.code == UNVERIFIED
    assert "the login is no superuser" in said.err
    change_manifest(dump, timescale="1.0.0")
    said = castledger("restore", dump, "--into", target.url)
    assert said.code == 1
    assert "the backup is of TimescaleDB 1.0.0, and this server has " in said.err
