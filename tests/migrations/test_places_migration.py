"""A database that counted before operating systems, regions and cities did: all its days add up by them too."""

from __future__ import annotations

import datetime as dt

import pytest

from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Storage
from migrations.runner import connect_to_migrate, discover, ensure_roles, prepare_timescale

pytestmark = pytest.mark.anyio

DAYS = [dt.date(2026, 1, 30), dt.date(2026, 1, 31), dt.date(2026, 2, 1)]


async def test_what_was_counted_before_is_unknown_by_the_new_dimensions_and_adds_up(
    empty_database: DatabaseSettings, storage: Storage
) -> None:
    before = [migration for migration in discover(storage) if migration.version < "0029"]
    (places,) = (migration for migration in discover(storage) if migration.version == "0029")
    async with connect_to_migrate(empty_database) as conn:
        await ensure_roles(conn)
        if storage is Storage.TIMESCALE:
            await prepare_timescale(conn)
        await conn.execute(f"set role {Role.OWNER.value}; create schema migrations")
        for migration in before:
            async with conn.transaction():
                await conn.execute(migration.sql)
        await conn.execute("reset role")
        await conn.execute("select ops.ensure_partitions($1::date[])", DAYS)
        await conn.execute(
            """insert into app.metrics_daily (tenant_no, podcast_no, episode_no, day, dimension, key, downloads,
                downloads_strict, quarters, quarters_strict)
            select 1, 1, e, d, x.dimension, x.key, 3, 2, array_fill(3, array[1]) || array_fill(0, array[95]),
                array_fill(2, array[1]) || array_fill(0, array[95])
            from unnest($1::date[]) d, generate_series(1, 2) e,
                (values ('total', ''), ('app', 'A')) x(dimension, key)""",
            DAYS,
        )
        await conn.execute("delete from ops.sum_marks")
        async with conn.transaction():
            await conn.execute(f"set local role {Role.OWNER.value}")
            await conn.execute(places.sql)
        rows = await conn.fetch(
            "select dimension, key, count(*), sum(downloads), sum(quarters[1]), sum(downloads_strict)"
            " from app.metrics_daily group by 1, 2"
        )
        assert {row["dimension"]: tuple(row)[1:] for row in rows} == {
            "total": ("", 6, 18, 18, 12),
            "app": ("A", 6, 18, 18, 12),
            **dict.fromkeys(("os", "region", "city"), ("", 6, 18, 18, 12)),
        }
        # Marks are left for the sums, which follow.
        await conn.execute(
            "select app.sum_up(array_agg(podcast_no), array_agg(episode_no), array_agg(day)) from ops.sum_marks"
        )
        for table, days in (("app.podcast_daily", 3), ("app.podcast_months", 2)):
            rows = await conn.fetch(f"select dimension, count(*) from {table} where dimension <> 'episode' group by 1")
            assert {row[0]: row[1] for row in rows} == dict.fromkeys(("total", "app", "os", "region", "city"), days)
        assert await conn.fetchval("select relforcerowsecurity from pg_class where oid = 'app.metrics_daily'::regclass")
