"""Whatever somebody changed in our schema is named."""

from __future__ import annotations

import asyncpg
import pytest

from analytics_core.settings import DatabaseSettings
from migrations.runner import MigrationError, read_differences, verify

pytestmark = pytest.mark.anyio


async def run(database: DatabaseSettings, *statements: str) -> None:
    conn = await asyncpg.connect(str(database.url))
    await conn.execute("set role castledger_owner")
    for statement in statements:
        await conn.execute(statement)
    await conn.close()


async def test_a_migrated_database_is_what_its_schema_file_says(database: DatabaseSettings) -> None:
    await run(database, "select ops.ensure_partitions(array['2026-10-31']::date[])")
    assert await read_differences(database) == []
    await verify(database)


async def test_a_database_without_a_schema_has_no_differences(empty_database: DatabaseSettings) -> None:
    assert await read_differences(empty_database) == []


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("drop table app.api_keys cascade", "table app.api_keys: missing"),
        ("alter table app.podcasts drop column feed_etag", "column app.podcasts.feed_etag: missing"),
        (
            "alter table app.podcasts alter column feed_failures type bigint",
            "column app.podcasts.feed_failures: is bigint, not integer",
        ),
        (
            "alter table app.episodes drop constraint episodes_tenant_id_podcast_id_guid_key",
            "constraint unique on app.episodes: is 1, not 2",
        ),
        (
            "alter table app.episodes drop constraint episodes_duration_s_check",
            "constraint check on app.episodes: missing",
        ),
        ("drop index app.podcasts_due", "index app.podcasts_due: missing"),
        ("drop view api.cutoff", "view api.cutoff: missing"),
        ("drop function ops.ensure_partitions", "function ops.ensure_partitions: missing"),
        ("drop policy ingest on app.episodes", "policy ingest on app.episodes: missing"),
        ("alter table app.tenants no force row level security", "row security app.tenants: missing"),
        (
            "revoke insert on app.podcasts from castledger_api",
            "privilege castledger_api may insert app.podcasts: missing",
        ),
        (
            "revoke update (name) on app.api_keys from castledger_api",
            "privilege castledger_api may update app.api_keys.name: missing",
        ),
    ],
)
async def test_what_is_gone_or_changed_is_a_fault(database: DatabaseSettings, statement: str, named: str) -> None:
    await run(database, statement)
    assert named in [str(found) for found in await read_differences(database)]
    with pytest.raises(MigrationError, match=named.partition(":")[0]):
        await verify(database)


async def test_what_somebody_added_is_named_and_no_fault(database: DatabaseSettings) -> None:
    await run(database, "create index mine on app.episodes (title)", "alter table app.episodes add column x text")
    assert [str(found) for found in await read_differences(database)] == [
        "column app.episodes.x: extra",
        "index app.mine: extra",
    ]
    await verify(database)
