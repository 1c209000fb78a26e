"""The Timescale branch on TimescaleDB's own code: its migrations, every query, policies, compressed chunks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import pytest

from analytics_core.db.pool import connect
from analytics_core.hits import HitKind
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Storage
from migrations.runner import verify
from tests.queries import prepare_all, queries
from tests.timescale.answers import FIRST, LOAD_HITS, ask_everything, fill

pytestmark = pytest.mark.anyio


async def test_the_migrations_make_the_schema_that_the_file_says(webassembly: DatabaseSettings) -> None:
    status = await verify(webassembly)
    assert status.storage is Storage.TIMESCALE
    assert status.pending == ()


async def test_it_understands_every_query(webassembly: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(webassembly.url))
    try:
        assert await prepare_all(conn) == {}
    finally:
        await conn.close()
    assert len(queries()) > 40


async def test_the_same_rows_give_the_same_answers(webassembly: DatabaseSettings, database: DatabaseSettings) -> None:
    theirs = await ask_everything(webassembly, await fill(webassembly, "same"))
    ours = await ask_everything(database, await fill(database, "same"))
    assert len(ours["podcast UTC hour"]) > 1000
    assert theirs == ours


async def _chunks(conn: asyncpg.Connection[asyncpg.Record], table: str) -> Sequence[asyncpg.Record]:
    return await conn.fetch(
        "select format('%I.%I', chunk_schema, chunk_name) as name, is_compressed, range_end - range_start as width "
        "from timescaledb_information.chunks where hypertable_name = $1 order by range_start",
        table,
    )


async def test_policies_are_those_of_the_branch(webassembly: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(webassembly.url))
    try:
        jobs = await conn.fetch(
            "select hypertable_name, proc_name from timescaledb_information.jobs where hypertable_schema = 'ts'"
        )
        policies = sorted((row["hypertable_name"], row["proc_name"]) for row in jobs)
    finally:
        await conn.close()
    # Downloads are dropped by our own job, which knows what is final.
    assert policies == [
        ("attribution_events", "policy_compression"),
        ("downloads", "policy_compression"),
        ("listener_events", "policy_compression"),
        ("listener_events", "policy_retention"),
    ]


async def test_late_hits_land_in_compressed_chunks_and_answers_stay_the_same(webassembly: DatabaseSettings) -> None:
    made = await fill(webassembly, "compressed")
    before = await ask_everything(webassembly, made)
    conn = await asyncpg.connect(str(webassembly.url))
    try:
        for table in ("listener_events", "downloads"):
            chunks = await _chunks(conn, table)
            assert len(chunks) >= 6
            assert {chunk["width"] for chunk in chunks} == {dt.timedelta(days=1)}
            for chunk in chunks:
                await conn.execute("select public.compress_chunk($1::text::regclass)", chunk["name"])
            assert {chunk["is_compressed"] for chunk in await _chunks(conn, table)} == {True}
    finally:
        await conn.close()
    assert await ask_everything(webassembly, made) == before

    conn = await connect(webassembly, Role.INGEST, application_name="late")
    number = made.episodes["compressed-0"]
    count = "select count(*) from ts.downloads where day = $1 and episode_no = $2"
    texts = dict(queries())
    try:
        old = await conn.fetchval(count, FIRST, number)
        hits = await conn.fetchval("select count(*) from ts.listener_events")
        async with conn.transaction():
            await conn.execute(
                LOAD_HITS, int(made.tenant.tenant_no), made.podcast_no, 99, [number], 5, int(HitKind.REQUEST)
            )
            await conn.execute(texts["analytics_core.db.hits._STAGE"])
            # A better hit of a listener that is there, and the first of one that is not.
            await conn.execute(
                """insert into pg_temp.staged_downloads
                select d.day, d.episode_no, l.listener_key, d.occurred_at, 99, d.ordinal, d.tenant_no, d.podcast_no,
                    d.agent_no, d.referrer_no, d.feed_app_no, d.country, 3, d.source, d.place_no
                from (select * from ts.downloads where day = $1 and episode_no = $2 and evidence < 3 limit 1) d
                cross join lateral (values (d.listener_key), ($3::uuid)) l(listener_key)""",
                FIRST,
                number,
                UUID(int=1),
            )
            await conn.execute(texts["analytics_core.db.hits._UPSERT"], FIRST, FIRST)
        assert await conn.fetchval("select count(*) from ts.listener_events") == hits + 5
        assert await conn.fetchval(count, FIRST, number) == old + 1
        changed = "select count(*) from ts.downloads where segment_no = 99 and day = $1"
        assert await conn.fetchval(changed, FIRST) == 2
    finally:
        await conn.close()


async def test_a_day_that_is_dropped_is_gone_whole(webassembly: DatabaseSettings) -> None:
    await fill(webassembly, "dropped")
    conn = await asyncpg.connect(str(webassembly.url))
    try:
        await conn.execute("set role castledger_owner")
        before = len(await _chunks(conn, "downloads"))
        await conn.execute("select public.drop_chunks('ts.downloads', older_than => $1::date)", dt.date(2026, 10, 30))
        assert len(await _chunks(conn, "downloads")) == before - 1
        assert await conn.fetchval("select min(day) from ts.downloads") == dt.date(2026, 10, 30)
    finally:
        await conn.close()


async def test_days_that_are_final_are_dropped_one_by_one(webassembly: DatabaseSettings) -> None:
    first, second = dt.date(2021, 3, 1), dt.date(2021, 3, 2)
    conn = await asyncpg.connect(str(webassembly.url))
    try:
        await conn.execute(
            "insert into ts.downloads select d, 1, gen_random_uuid(), d::timestamp at time zone 'UTC', 1, 1, 77, 1,"
            " 0, 0, 0, 0, 1, 1 from unnest($1::date[]) as d",
            [first, second],
        )
        await conn.execute(
            "insert into ts.listener_events select d::timestamp at time zone 'UTC', 0, 0, gen_random_uuid(), 1, 1, t,"
            " 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1 from unnest($1::date[]) as d, unnest(array[77, 78]) as t",
            [first, second],
        )
        await conn.execute(
            "insert into ops.days (tenant_no, day, final_at) values (77, $1, now()), (77, $2, null)", first, second
        )
        await conn.execute("set role castledger_ingest")
        for series in ("listener_events", "downloads"):
            kept = "select count(*) from ops.list_kept_days($1) as k(day) where day in ($2, $3)"
            assert await conn.fetchval(kept, series, first, second) == 2
            if series == "listener_events":
                # One tenant's alone, of a final day alone.
                assert [await conn.fetchval("select ops.delete_hits(77, $1)", day) for day in (first, second)] == [1, 0]
            dropped = [await conn.fetchval("select ops.drop_day($1, $2)", series, day) for day in (first, second)]
            assert dropped == [True, False]
            assert await conn.fetchval("select ops.drop_day($1, $2)", series, first) is False
            assert await conn.fetchval(kept, series, first, second) == 1
        await conn.execute("reset role")
        left = await conn.fetchval("select count(*) from ts.listener_events where occurred_at < '2022-01-01'")
        assert left == 2
    finally:
        await conn.close()
