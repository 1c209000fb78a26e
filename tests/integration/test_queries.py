"""Every query is one that the migrated database understands."""

from __future__ import annotations

from collections import Counter

import asyncpg
import pytest

from analytics_core.settings import DatabaseSettings
from tests.queries import prepare_all, queries

pytestmark = pytest.mark.anyio


async def test_every_query_can_be_prepared(database: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(database.url))
    try:
        assert await prepare_all(conn) == {}
    finally:
        await conn.close()
    assert len(queries()) > 40


def test_every_query_begins_with_a_name_of_its_own() -> None:
    names = Counter(query[3 : query.index(" */")] for _, query in queries())
    assert [name for name, number in names.items() if number > 1] == []
    assert all(name.count(".") == 1 and name == name.lower() for name in names)
