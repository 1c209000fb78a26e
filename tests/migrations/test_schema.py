"""Each branch's schema file says what its migrations do."""

from __future__ import annotations

import asyncio
import re
import subprocess
from importlib import resources

import asyncpg
import pytest

from analytics_core.settings import DatabaseSettings, Storage
from tests.postgres import Server

pytestmark = pytest.mark.anyio


def _dump(server: Server, settings: DatabaseSettings) -> list[str]:
    """Dump the structure without what differs from run to run; partitions are made on demand and left out."""
    command = [
        str(server.binaries / "pg_dump"),
        "--schema-only",
        "--exclude-schema=migrations",
        "--exclude-table=ts.*_2*",
        "--exclude-schema=_timescaledb*",
        f"--dbname={settings.url}",
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # Of no meaning: what guards the dump itself, comments, and PostgreSQL's own marks on altered columns.
    passing = re.compile(r"\\(un)?restrict |--|SET |SELECT pg_catalog|ALTER TABLE .* SET \(pg_attver=\d+\);$")
    return [line for line in text.splitlines() if line and not passing.match(line)]


_HYPERTABLES = """
select h.hypertable_name, d.column_name, d.time_interval::text, h.compression_enabled::text
from timescaledb_information.hypertables h join timescaledb_information.dimensions d using (hypertable_name)
union all
select hypertable_name, proc_name, schedule_interval::text, (config - 'hypertable_id')::text
from timescaledb_information.jobs where hypertable_name is not null
union all
select hypertable::text, segmentby, orderby, null from timescaledb_information.hypertable_columnstore_settings
order by 1, 2, 3"""


async def test_the_schema_file_equals_its_migrations(
    postgres: Server, database: DatabaseSettings, empty_database: DatabaseSettings
) -> None:
    by_file, by_migrations = [await asyncpg.connect(str(each.url)) for each in (empty_database, database)]
    try:
        if database.storage is Storage.TIMESCALE:
            await by_file.execute("create extension timescaledb with schema public")
        name = await by_file.fetchval("select current_database()")
        await by_file.execute(f"grant create on database {name} to castledger_owner; set role castledger_owner")
        schema = resources.files("migrations").joinpath(f"schema_{database.storage.value}.sql")
        await by_file.execute(schema.read_text())
        if database.storage is Storage.TIMESCALE:
            wanted = await by_migrations.fetch(_HYPERTABLES)
            assert len(wanted) >= 7
            assert await by_file.fetch(_HYPERTABLES) == wanted
    finally:
        await by_file.close()
        await by_migrations.close()
    from_migrations = _dump(postgres, database)
    assert len(from_migrations) > 100
    assert _dump(postgres, empty_database) == from_migrations


async def test_row_security_is_forced_on_every_table_of_tenants(database: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(database.url))
    loose = await conn.fetch(
        """select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'app' and c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)"""
    )
    granted = await conn.fetch(
        """select table_schema, table_name from information_schema.role_table_grants
        where grantee = 'castledger_api' and table_schema not in ('app', 'api', 'migrations')"""
    )
    await conn.close()
    assert loose == []
    assert granted == []


@pytest.mark.usefixtures("native")
async def test_partitions_are_made_on_demand_and_once(database: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(database.url))
    await conn.execute("set role castledger_ingest")
    for _ in range(2):
        await conn.execute("select ops.ensure_partitions(array['2026-10-31', '2026-11-01', '2026-11-01']::date[])")
    partitions = await conn.fetch("select inhrelid::regclass::text as name from pg_inherits order by 1")
    await conn.close()
    names = [row["name"] for row in partitions if "pkey" not in row["name"] and "idx" not in row["name"]]
    assert names == [
        "ts.downloads_20261031",
        "ts.downloads_20261101",
        "ts.listener_events_20261031",
        "ts.listener_events_20261101",
    ]


@pytest.mark.usefixtures("native")
async def test_who_waits_for_another_who_makes_partitions_finds_them(database: DatabaseSettings) -> None:
    first, second, observer = [await asyncpg.connect(str(database.url)) for _ in range(3)]
    for conn in (first, second):
        await conn.execute("set role castledger_ingest")
    for function in ("ops.ensure_partitions", "ops.ensure_event_partitions"):
        statement = f"select {function}(array['2026-10-31']::date[])"
        transaction = first.transaction()
        await transaction.start()
        await first.execute(statement)
        waiting = asyncio.create_task(second.execute(statement))
        while not await observer.fetchval(
            "select exists (select from pg_locks where not granted and pid = $1)", second.get_server_pid()
        ):
            assert not waiting.done()
            await asyncio.sleep(0.01)
        await transaction.commit()
        await waiting
    for conn in (first, second, observer):
        await conn.close()
