"""Whatever a tenant has is exported, or left out for a reason."""

from __future__ import annotations

from collections import defaultdict

import asyncpg
import pytest

from analytics_core.archives.tables import LEFT_OUT, TABLES
from analytics_core.settings import DatabaseSettings

pytestmark = pytest.mark.anyio

_COLUMNS = """
select n.nspname || '.' || c.relname as name, a.attname as column
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
where n.nspname in ('app', 'ops', 'ts') and c.relkind in ('r', 'p') and not c.relispartition
    and a.attnum > 0 and not a.attisdropped
"""


async def columns_of_tables(database: DatabaseSettings, *statements: str) -> dict[str, set[str]]:
    conn = await asyncpg.connect(str(database.url))
    await conn.execute("set role castledger_owner")
    for statement in statements:
        await conn.execute(statement)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row in await conn.fetch(_COLUMNS):
        found[row["name"]].add(row["column"])
    await conn.close()
    return found


def missing(columns: dict[str, set[str]]) -> set[str]:
    """Name the tables with rows of tenants of which nobody has decided whether they are exported."""
    exported = {table.source for table in TABLES}
    return {
        name
        for name, names in columns.items()
        if any("tenant_id" in column or "tenant_no" in column for column in names)
        and name not in exported
        and name not in LEFT_OUT
    }


async def test_every_table_of_tenants_is_exported_or_left_out_with_a_reason(database: DatabaseSettings) -> None:
    columns = await columns_of_tables(database)
    assert missing(columns) == set(), "add it to analytics_core/archives/tables.py: TABLES or LEFT_OUT"
    assert {table.source for table in TABLES} | LEFT_OUT.keys() <= columns.keys()
    assert all(LEFT_OUT.values())


async def test_a_new_table_of_tenants_is_noticed(database: DatabaseSettings) -> None:
    columns = await columns_of_tables(database, "create table app.prizes (tenant_id uuid, title text)")
    assert missing(columns) == {"app.prizes"}


async def test_every_column_of_an_exported_table_is_accounted_for(database: DatabaseSettings) -> None:
    columns = await columns_of_tables(database)
    for table in TABLES:
        stored = {column.name for column in table.columns if column.is_stored}
        assert not stored & (table.numbers.keys() | table.not_kept.keys())
        assert stored | table.numbers.keys() | table.not_kept.keys() == columns[table.source], table.name
        assert {column.name for column in table.columns if not column.is_stored} <= set(table.numbers.values())
        assert set(table.numbers.values()) <= set(table.names)
