"""Every query is one that the migrated database understands."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterator

import asyncpg
import pytest

import analytics_core.db
from analytics_core.settings import DatabaseSettings

pytestmark = pytest.mark.anyio


def queries() -> Iterator[tuple[str, str]]:
    """List the queries of all storage modules by module and constant, those first that make a temporary table."""
    found = []
    for module in pkgutil.iter_modules(analytics_core.db.__path__, "analytics_core.db."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, str) and value.startswith("/* "):
                found.append((f"{module.name}.{name}", value))
    return iter(sorted(found, key=lambda query: "create temporary" not in query[1]))


async def test_every_query_can_be_prepared(database: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(database.url))
    faults = {}
    prepared = 0
    try:
        for name, query in queries():
            try:
                if "create temporary" in query:
                    await conn.execute(query)
                else:
                    await conn.prepare(query)
            except asyncpg.PostgresError as error:
                faults[name] = str(error)
            prepared += 1
    finally:
        await conn.close()
    assert faults == {}
    assert prepared > 40


def test_every_query_begins_with_a_name_of_its_own() -> None:
    names = Counter(query[3 : query.index(" */")] for _, query in queries())
    assert [name for name, number in names.items() if number > 1] == []
    assert all(name.count(".") == 1 and name == name.lower() for name in names)
