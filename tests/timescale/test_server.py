"""What only a TimescaleDB server shows: ingest's own writes, COPY included, into days that are compressed."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from analytics_core.db.pool import connect, open_pool
from analytics_core.db.restating import RestatedDay
from analytics_core.db.retention import set_hits_policy
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import Evidence
from ingest.restatements import restate
from tests.factories import make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.integration.ingest.erasing import Eraser
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("timescale")]


@pytest.fixture
async def ledger(timescale: None, database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Ledger]:
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=3)
    conn = await connect(database, Role.INGEST, application_name="test")
    yield Ledger(pool, conn, tmp_path / "spool")
    await conn.close()
    await pool.close()


@pytest.fixture
async def eraser(timescale: None, database: DatabaseSettings) -> AsyncIterator[Eraser]:
    api = await open_pool(database, Role.API, application_name="test", max_size=2)
    ingest = await open_pool(database, Role.INGEST, application_name="test", max_size=3)
    yield Eraser(api, ingest)
    api.terminate()
    ingest.terminate()


async def _compress(database: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(database.url))
    try:
        await conn.execute("set role castledger_owner")
        for table in ("ts.listener_events", "ts.downloads"):
            await conn.execute(f"select public.compress_chunk(c) from public.show_chunks('{table}') c")
        loose = await conn.fetchval("select count(*) from timescaledb_information.chunks where not is_compressed")
        assert loose == 0
    finally:
        await conn.close()


async def test_late_hits_land_in_compressed_days(ledger: Ledger, database: DatabaseSettings) -> None:
    tenant = await make_tenant(database)
    podcast = await make_podcast(database, tenant, make_episode("a"), make_episode("b"))
    a = podcast.episodes["a"]
    addresses = [f"192.0.{2 + number // 250}.{1 + number % 250}" for number in range(1500)]
    probes = [make_hit(minute(10), address=address, byte_range="bytes=0-1") for address in addresses]
    write_segment(ledger.folder, probes)
    assert await ledger.ship_all() == 1500
    await ledger.refresh()
    await _compress(database)

    # A better hit of everybody, an earlier one of some, and listeners who were not there before.
    late = [make_hit(minute(20), address=address) for address in addresses]
    late += [make_hit(minute(5), address=address) for address in addresses[:100]]
    late += [make_hit(minute(6), "cdn.example.com/b.mp3", address="198.51.100.1")]
    write_segment(ledger.folder, late)
    assert await ledger.ship_all() == len(late)
    assert await ledger.count("ts.listener_events") == 1500 + len(late)
    downloads = await ledger.downloads()
    assert len(downloads) == 1501
    assert {row[6] for row in downloads} == {Evidence.FULL}
    assert Counter(row[3] for row in downloads if row[1] == a) == {minute(5): 100, minute(20): 1400}

    # Rollups of the day are made anew from compressed and new rows alike, and again once all is compressed.
    await ledger.refresh()
    total = "select downloads from app.metrics_daily where episode_no = $1 and day = $2 and dimension = 'total'"
    assert await ledger.conn.fetchval(total, a, DAY) == 1500
    await _compress(database)
    assert await ledger.downloads() == downloads


async def test_more_downloads_than_timescale_allows_by_itself(ledger: Ledger, database: DatabaseSettings) -> None:
    tenant = await make_tenant(database)
    podcast = await make_podcast(database, tenant, make_episode("a"))
    await ledger.conn.execute("select ops.ensure_partitions(array[$1::date])", DAY)
    load = """insert into ts.downloads select $1, $2, md5(n::text)::uuid, $3, 1, n, $4, $5, 1, 0, 0, 0, {}, 1
        from generate_series(1, 110000) n on conflict (day, episode_no, listener_key)
        do update set evidence = excluded.evidence"""
    arguments = (DAY, podcast.episodes["a"], minute(1), int(tenant.tenant_no), podcast.podcast_no)
    await ledger.conn.execute(load.format(1), *arguments)
    await _compress(database)
    await ledger.conn.execute(load.format(3), *arguments)
    assert await ledger.conn.fetchval("select count(*) from ts.downloads where evidence = 3") == 110_000


async def test_listeners_and_podcasts_are_erased_from_compressed_days(
    ledger: Ledger, eraser: Eraser, database: DatabaseSettings
) -> None:
    tenant = await make_tenant(database)
    podcast = await make_podcast(database, tenant, make_episode("a"), make_episode("b"))
    other = await make_podcast(database, tenant, make_episode("n", "https://n.example.net/n.mp3"))
    targets = ("cdn.example.com/a.mp3", "cdn.example.com/b.mp3", "n.example.net/n.mp3")
    addresses = [f"192.0.{2 + number // 250}.{1 + number % 250}" for number in range(1500)]
    for day in (NOW, NOW - dt.timedelta(days=1)):
        hits = [make_hit(day, target, address=address) for target in targets for address in addresses]
        write_segment(ledger.folder, hits)
    await ledger.ship_all()
    await ledger.refresh()
    await _compress(database)
    # One of the listeners, of all podcasts and both days.
    row = await ledger.conn.fetchrow("select listener_key from ts.downloads limit 1")
    assert row is not None
    record = await eraser.erase_listener(tenant, UUID(int=row["listener_key"].int), DAY.replace(day=1), now=NOW)
    assert (record.removed["hits"], record.removed["downloads"]) == (6, 6)
    assert set((record.remaining or {}).values()) == {0}
    assert await ledger.count("ts.listener_events") == 6 * 1499
    await ledger.refresh()
    await _compress(database)

    record = await eraser.erase_podcast(podcast, now=NOW)
    assert (record.removed["hits"], record.removed["downloads"]) == (4 * 1499, 4 * 1499)
    assert set((record.remaining or {}).values()) == {0}
    for table in ("ts.listener_events", "ts.downloads"):
        left = await ledger.conn.fetch(f"select podcast_no, count(*) from {table} group by 1")
        assert [tuple(row) for row in left] == [(other.podcast_no, 2 * 1499)]
    assert await ledger.refresh() == 0
    total = "select sum(downloads) from app.metrics_daily where dimension = 'total'"
    assert await ledger.conn.fetchval(total) == 2 * 1499


async def test_the_policy_on_hits_keeps_them_as_long_as_is_set(ledger: Ledger, database: DatabaseSettings) -> None:
    """Hits of 30 months ago are kept when 36 are set, and go when 25 are."""
    owner = await asyncpg.connect(str(database.url))
    await owner.execute("set role castledger_owner")
    policy = "select job_id, config ->> 'drop_after' as after from timescaledb_information.jobs where proc_name ="
    try:
        await owner.execute(
            "insert into ts.listener_events select now() - m * interval '1 month', 0, 0, gen_random_uuid(), 1, m, 1, 1,"
            " 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1 from unnest(array[2, 30]) m"
        )
        for months, hits in ((36, 2), (25, 1)):
            assert await set_hits_policy(ledger.conn, months=months) is True
            assert await set_hits_policy(ledger.conn, months=months) is False
            [job] = await owner.fetch(f"{policy} 'policy_retention'")
            assert job["after"] == {36: "3 years 7 days", 25: "2 years 1 mon 7 days"}[months]
            await owner.execute(f"call public.run_job({job['job_id']})")
            assert await ledger.count("ts.listener_events") == hits
    finally:
        await owner.close()


async def test_a_compressed_day_is_restated(ledger: Ledger, database: DatabaseSettings) -> None:
    tenant = await make_tenant(database)
    await make_podcast(database, tenant, make_episode("a"), make_episode("b"))
    addresses = [f"192.0.2.{number}" for number in range(1, 201)]
    write_segment(
        ledger.folder, [make_hit(minute(10), address=address, byte_range="bytes=0-1") for address in addresses]
    )
    await ledger.ship_all()
    await ledger.conn.execute("update ops.days set final_at = now()")
    # Late: a better hit of some, and listeners who were not there before.
    write_segment(ledger.folder, [make_hit(minute(20), address=address) for address in addresses[:50]])
    write_segment(ledger.folder, [make_hit(minute(5), "cdn.example.com/b.mp3", address=a) for a in addresses[:10]])
    await ledger.ship_all()
    await _compress(database)
    (told,) = await restate(
        ledger.conn, int(tenant.tenant_no), [DAY], reason="test", origin="command", clock=ledger.clock
    )
    assert told.outcome == RestatedDay(DAY, 60, 200, 210, 0, 60)
    downloads = await ledger.downloads()
    assert Counter(row[6] for row in downloads) == {Evidence.FULL: 60, Evidence.PROBE: 150}
    assert await ledger.count("ts.listener_events where flags & 16 <> 0") == 0
    await _compress(database)
    assert await ledger.downloads() == downloads
    assert await ledger.count("ts.listener_events") == 260
    again = await restate(
        ledger.conn, int(tenant.tenant_no), [DAY], reason="test", origin="command", clock=ledger.clock
    )
    assert again == []
