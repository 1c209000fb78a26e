"""Each branch's schema file says what its migrations do."""

from __future__ import annotations

import re
import subprocess
from importlib import resources

import asyncpg
import pytest

from analytics_core.settings import DatabaseSettings
from tests.postgres import TestServer

pytestmark = pytest.mark.anyio


def _dump(server: TestServer, settings: DatabaseSettings) -> list[str]:
    """Dump the structure without what differs from run to run; partitions are made on demand and left out."""
    command = [
        str(server.binaries / "pg_dump"),
        "--schema-only",
        "--exclude-schema=migrations",
        "--exclude-table=ts.*_2*",
        f"--dbname={settings.url}",
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [
        line for line in text.splitlines() if line and not re.match(r"\\(un)?restrict |--|SET |SELECT pg_catalog", line)
    ]


async def test_the_native_schema_file_equals_its_migrations(
    postgres: TestServer, database: DatabaseSettings, empty_database: DatabaseSettings
) -> None:
    conn = await asyncpg.connect(str(empty_database.url))
    name = await conn.fetchval("select current_database()")
    await conn.execute(f"grant create on database {name} to castledger_owner; set role castledger_owner")
    await conn.execute(resources.files("migrations").joinpath("schema_native.sql").read_text())
    await conn.close()
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
