"""Retention: what goes, what stays, and that nothing is made anew from what is gone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pytest

from analytics_core.db.links import Click, add_clicks, add_link, get_link, list_links
from analytics_core.db.pool import connect, open_pool, tenant_transaction
from analytics_core.db.retention import (
    TenantDay,
    drop_clicks,
    drop_day,
    drop_tenant_downloads,
    list_tenant_hit_days,
    set_retention,
)
from analytics_core.hits import HitFlag
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.retention import KEEP_DOWNLOADS, drop_old
from ingest.rollups import refresh_listeners
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio

ONE_DAY = dt.timedelta(days=1)
FINAL_AT = dt.datetime(2026, 12, 10, tzinfo=dt.UTC)
GONE = FINAL_AT + KEEP_DOWNLOADS + ONE_DAY
"""When downloads may go that were final at ``FINAL_AT``."""
MONTHS_LATER = dt.datetime(2029, 1, 1, tzinfo=dt.UTC)
"""When hits may go as well."""


@pytest.fixture
async def other(database: DatabaseSettings) -> MadePodcast:
    """A podcast of another tenant."""
    tenant = await make_tenant(database, "two")
    return await make_podcast(database, tenant, make_episode("x", "https://x.example.net/x.mp3"))


async def land(ledger: Ledger, *targets: str, at: dt.datetime | None = None, address: str = "192.0.2.1") -> None:
    """Land a hit for each target, and have everything made of it that is made of hits."""
    write_segment(ledger.folder, [make_hit(at or minute(0), target, address=address) for target in targets])
    await ledger.ship_all()
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue


async def date_segments(ledger: Ledger) -> None:
    """Have segments have been finished when their hits landed, by the clock of the test and not by the database's."""
    await ledger.conn.execute("update ops.segments set finished_at = $1 where finished_at is not null", NOW)


async def finalise(ledger: Ledger, *, at: dt.datetime = FINAL_AT) -> None:
    await ledger.conn.execute("update ops.days set final_at = $1 where final_at is null", at)


async def run(ledger: Ledger, now: dt.datetime) -> Mapping[str, int]:
    return {what: count for what, count in (await drop_old(ledger.conn, now=now, hits_months=25)).items() if count}


async def state(ledger: Ledger) -> list[tuple[object, ...]]:
    """All that is made of downloads."""
    rows = [
        *await ledger.conn.fetch(
            "select episode_no, day, dimension, key, downloads, quarters from app.metrics_daily order by 1, 2, 3, 4"
        ),
        *await ledger.conn.fetch(
            "select podcast_no, month, dimension, key, running from app.podcast_months order by 1, 2, 3, 4"
        ),
        *await ledger.conn.fetch(
            "select podcast_no, episode_no, month, days, former, listeners from app.listener_months order by 1, 2, 3"
        ),
    ]
    return [tuple(row) for row in rows]


async def shorten(database: DatabaseSettings, slug: str, days: int | None) -> bool:
    auth = await connect(database, Role.AUTH, application_name="test")
    try:
        return await set_retention(auth, slug, days) is not None
    finally:
        await auth.close()


@pytest.mark.usefixtures("podcast")
async def test_downloads_go_ninety_days_after_their_day_is_final_and_what_was_made_of_them_stays(
    ledger: Ledger,
) -> None:
    await land(ledger, "cdn.example.com/a.mp3", "cdn.example.com/b.mp3")
    before = await state(ledger)
    assert len(before) > 10
    assert await run(ledger, GONE) == {}
    await finalise(ledger)
    assert await run(ledger, FINAL_AT + KEEP_DOWNLOADS) == {}
    assert await run(ledger, GONE) == {"days of downloads": 1}
    assert await ledger.count("ts.downloads") == 0
    assert await ledger.count("ts.listener_events") == 2
    assert await state(ledger) == before
    day = await ledger.conn.fetchrow("select generation, downloads_dropped_at, hits_dropped_at from ops.days")
    assert day is not None
    assert tuple(day) == (1, GONE, None)
    assert await run(ledger, GONE) == {}
    assert await run(ledger, MONTHS_LATER) == {"days of hits": 1}
    assert await ledger.count("ts.listener_events") == 0
    assert await state(ledger) == before


@pytest.mark.usefixtures("podcast")
async def test_hits_that_a_policy_has_dropped_are_noted_as_gone(ledger: Ledger) -> None:
    await land(ledger, "cdn.example.com/a.mp3")
    await land(ledger, "cdn.example.com/a.mp3", at=NOW - ONE_DAY)
    await finalise(ledger)
    assert await ledger.conn.fetchval("select ops.drop_day('listener_events', $1)", DAY)
    later = dt.datetime(2028, 12, 3, tzinfo=dt.UTC)
    noted = "select day from ops.days where hits_dropped_at is not null order by day"
    # A day that has no place among the hits yet may get one: only from when hits are not kept any more have they gone.
    await drop_old(ledger.conn, now=later - 2 * ONE_DAY, hits_months=25)
    assert await ledger.conn.fetch(noted) == []
    await drop_old(ledger.conn, now=later, hits_months=25)
    assert [row["day"] for row in await ledger.conn.fetch(noted)] == [DAY - ONE_DAY, DAY]
    assert await ledger.count("ts.listener_events") == 0


async def test_a_day_stays_until_it_is_final_for_every_tenant(
    ledger: Ledger, podcast: MadePodcast, other: MadePodcast
) -> None:
    await land(ledger, "cdn.example.com/a.mp3", "x.example.net/x.mp3")
    await finalise(ledger)
    await ledger.conn.execute("update ops.days set final_at = null where tenant_no = $1", int(other.tenant.tenant_no))
    assert await run(ledger, MONTHS_LATER) == {}
    assert await ledger.conn.fetchval("select ops.drop_day('listener_events', $1)", DAY) is False
    assert await ledger.count("ts.listener_events") == 2
    await finalise(ledger, at=MONTHS_LATER)
    assert await run(ledger, MONTHS_LATER) == {"days of hits": 1}
    assert await ledger.count("ts.downloads") == 2
    assert await run(ledger, MONTHS_LATER + KEEP_DOWNLOADS + ONE_DAY) == {"days of downloads": 1}


@pytest.mark.usefixtures("podcast")
async def test_downloads_stay_until_all_days_of_their_month_are_final(ledger: Ledger) -> None:
    await land(ledger, "cdn.example.com/a.mp3", at=NOW - ONE_DAY)
    await finalise(ledger)
    await land(ledger, "cdn.example.com/a.mp3")
    assert await run(ledger, GONE) == {}
    await finalise(ledger, at=GONE)
    assert await run(ledger, GONE) == {"days of downloads": 1}
    assert [row[0] for row in await ledger.downloads()] == [DAY]


@pytest.mark.parametrize(
    "mark",
    [
        "insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)"
        " select tenant_no, podcast_no, episode_no, day from ts.downloads",
        "insert into ops.listener_marks (tenant_no, podcast_no, month)"
        " select tenant_no, podcast_no, date_trunc('month', day::timestamp)::date from ts.downloads",
    ],
    ids=["rollups", "listeners"],
)
@pytest.mark.usefixtures("podcast")
async def test_downloads_stay_while_something_is_still_to_be_made_of_them(ledger: Ledger, mark: str) -> None:
    await land(ledger, "cdn.example.com/a.mp3")
    await finalise(ledger)
    await ledger.conn.execute(mark)
    assert await run(ledger, GONE) == {}
    assert await drop_day(ledger.conn, "downloads", DAY, before=GONE, now=GONE) is False
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue
    assert await run(ledger, GONE) == {"days of downloads": 1}


async def test_a_mark_on_a_day_without_downloads_changes_no_rollup(ledger: Ledger, podcast: MadePodcast) -> None:
    await land(ledger, "cdn.example.com/a.mp3", "cdn.example.com/b.mp3")
    await land(ledger, "cdn.example.com/a.mp3", at=NOW - ONE_DAY)
    await finalise(ledger)
    await run(ledger, GONE)
    before = await state(ledger)
    # A day that has its downloads still is counted anew, and they are taken away by hand.
    await land(ledger, "cdn.example.com/a.mp3", at=NOW + ONE_DAY)
    await ledger.conn.execute("delete from ts.downloads")
    await ledger.conn.execute(
        "insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)"
        " select $1, $2, e, d from unnest($3::integer[]) as e, unnest($4::date[]) as d",
        int(podcast.tenant.tenant_no),
        podcast.podcast_no,
        list(podcast.episodes.values()),
        [DAY - ONE_DAY, DAY, DAY + ONE_DAY],
    )
    assert await ledger.refresh() == 6
    after = await ledger.conn.fetch("select day, sum(downloads) from app.podcast_daily where key = '' group by 1")
    assert await ledger.count("ops.dirty_marks") == 0
    assert {row["day"] for row in after} == {DAY - ONE_DAY, DAY}
    assert await state(ledger) == before


async def test_a_mark_of_the_next_owner_changes_no_rollup_of_the_one_before(
    ledger: Ledger, podcast: MadePodcast, other: MadePodcast
) -> None:
    await land(ledger, "cdn.example.com/a.mp3")
    await finalise(ledger)
    await run(ledger, GONE)
    before = await state(ledger)
    await ledger.conn.execute(
        "insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day) values ($1, $2, $3, $4)",
        int(other.tenant.tenant_no),
        podcast.podcast_no,
        podcast.episodes["a"],
        DAY,
    )
    await ledger.refresh()
    assert await state(ledger) == before


@pytest.mark.usefixtures("podcast")
async def test_late_hits_of_a_dropped_day_count_nowhere_and_go_again(ledger: Ledger) -> None:
    await land(ledger, "cdn.example.com/a.mp3")
    await finalise(ledger)
    assert await run(ledger, MONTHS_LATER) == {"days of hits": 1, "days of downloads": 1}
    before = await state(ledger)
    await land(ledger, "cdn.example.com/a.mp3", address="192.0.3.1")
    flags = await ledger.conn.fetch("select flags from ts.listener_events")
    assert [bool(row["flags"] & int(HitFlag.LATE)) for row in flags] == [True]
    assert await ledger.count("ts.downloads") == 0
    assert await state(ledger) == before
    assert (await run(ledger, MONTHS_LATER))["days of hits"] == 1
    assert await ledger.count("ts.listener_events") == 0


async def test_first_hits_of_a_tenant_on_a_day_that_others_dropped_are_counted(
    ledger: Ledger, podcast: MadePodcast, other: MadePodcast
) -> None:
    await land(ledger, "cdn.example.com/a.mp3")
    await finalise(ledger)
    assert await run(ledger, GONE) == {"days of downloads": 1}
    await land(ledger, "x.example.net/x.mp3")
    totals = await ledger.conn.fetch(
        "select episode_no, downloads from app.metrics_daily where dimension = 'total' order by 1"
    )
    assert [tuple(row) for row in totals] == [(podcast.episodes["a"], 1), (other.episodes["x"], 1)]
    assert await run(ledger, GONE) == {}


@pytest.mark.usefixtures("podcast")
async def test_a_day_that_somebody_reads_is_left_for_the_next_run(ledger: Ledger, database: DatabaseSettings) -> None:
    await land(ledger, "cdn.example.com/a.mp3")
    await finalise(ledger)
    reader = await connect(database, Role.INGEST, application_name="reader")
    async with reader.transaction():
        await reader.fetch("select from ts.downloads")
        assert await run(ledger, GONE) == {}
    await reader.close()
    assert await ledger.count("ts.downloads") == 1
    assert await run(ledger, GONE) == {"days of downloads": 1}


@pytest.mark.usefixtures("podcast")
async def test_a_day_without_downloads_cannot_be_opened_again(ledger: Ledger) -> None:
    await land(ledger, "cdn.example.com/a.mp3")
    await finalise(ledger)
    await run(ledger, GONE)
    with pytest.raises(Exception, match="days_settled"):
        await ledger.conn.execute("update ops.days set final_at = null")


async def test_a_tenants_shorter_time_takes_its_rows_alone(
    ledger: Ledger, podcast: MadePodcast, other: MadePodcast, database: DatabaseSettings
) -> None:
    await land(ledger, "cdn.example.com/a.mp3", "x.example.net/x.mp3")
    before = await state(ledger)
    assert await shorten(database, "one", 30)
    assert not await shorten(database, "nobody", 30)
    assert await run(ledger, NOW + dt.timedelta(days=31)) == {}
    await finalise(ledger)
    assert await run(ledger, NOW + dt.timedelta(days=30)) == {}
    assert await run(ledger, NOW + dt.timedelta(days=31)) == {"hits": 1}
    # The month's last day is as old only then.
    assert await run(ledger, dt.datetime(2026, 12, 30, tzinfo=dt.UTC)) == {}
    assert await run(ledger, dt.datetime(2026, 12, 31, tzinfo=dt.UTC)) == {"downloads": 1}
    assert [row[1] for row in await ledger.downloads()] == [other.episodes["x"]]
    kept = await ledger.conn.fetch("select tenant_no from ts.listener_events")
    assert [row["tenant_no"] for row in kept] == [int(other.tenant.tenant_no)]
    assert await state(ledger) == before
    await ledger.conn.execute(
        "insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day) values ($1, $2, $3, $4)",
        int(podcast.tenant.tenant_no),
        podcast.podcast_no,
        podcast.episodes["a"],
        DAY,
    )
    await ledger.refresh()
    assert await state(ledger) == before
    # What lands late goes as well.
    await land(ledger, "cdn.example.com/a.mp3", address="192.0.3.1")
    assert await ledger.count("ts.listener_events") == 2
    assert await run(ledger, dt.datetime(2026, 12, 31, tzinfo=dt.UTC)) == {"hits": 1}
    assert await shorten(database, "one", None)


async def test_hits_that_went_before_a_crash_are_not_missed_by_the_next_run(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await land(ledger, "cdn.example.com/a.mp3")
    await finalise(ledger)
    await shorten(database, "one", 30)
    later = NOW + dt.timedelta(days=31)
    # As far as a run comes that ends between its steps.
    assert await ledger.conn.fetchval("select ops.delete_hits($1, $2)", int(podcast.tenant.tenant_no), DAY) == 1
    waiting = await list_tenant_hit_days(ledger.conn, today=later.date(), limit=10)
    assert waiting == [TenantDay(int(podcast.tenant.tenant_no), DAY)]
    assert await run(ledger, later) == {}
    assert await list_tenant_hit_days(ledger.conn, today=later.date(), limit=10) == []


async def test_hits_and_downloads_of_days_that_are_not_final_are_refused(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await land(ledger, "cdn.example.com/a.mp3")
    await shorten(database, "one", 30)
    which = TenantDay(int(podcast.tenant.tenant_no), DAY)
    assert await ledger.conn.fetchval("select ops.delete_hits($1, $2)", which.tenant_no, DAY) == 0
    assert await drop_tenant_downloads(ledger.conn, which, today=MONTHS_LATER.date(), now=MONTHS_LATER) == 0
    assert (await ledger.count("ts.listener_events"), await ledger.count("ts.downloads")) == (1, 1)


@pytest.mark.usefixtures("podcast")
async def test_segments_are_known_a_year_longer_than_their_hits_are_kept(ledger: Ledger) -> None:
    await land(ledger, "cdn.example.com/a.mp3")
    write_segment(ledger.folder, [])
    write_segment(ledger.folder, [make_hit(minute(1))], sealed=False)
    await ledger.ship_all()
    await date_segments(ledger)
    await ledger.conn.execute("update ops.segments set finished_at = null where first_hit_at = $1", minute(1))
    year = dt.timedelta(days=366)
    assert await ledger.count("ops.segments") == 3
    # As long as a hit is there it can be looked up.
    assert await run(ledger, MONTHS_LATER + year) == {"segments": 1}
    await finalise(ledger)
    assert await run(ledger, MONTHS_LATER) == {"days of hits": 1}
    assert await run(ledger, MONTHS_LATER) == {}
    assert await run(ledger, MONTHS_LATER + year) == {"segments": 1}
    # What is not finished may be added to.
    assert await ledger.count("ops.segments") == 1


@pytest.mark.usefixtures("podcast")
async def test_a_segment_stays_while_a_hit_of_it_is_kept_elsewhere(ledger: Ledger) -> None:
    write_segment(ledger.folder, [make_hit(minute(1), "new.example.org/x.mp3")])
    await ledger.ship_all()
    await date_segments(ledger)
    later = MONTHS_LATER + dt.timedelta(days=366)
    assert await run(ledger, later) == {}
    await ledger.conn.execute("delete from ops.pending_hits")
    assert await run(ledger, later) == {"segments": 1}


async def test_clicks_go_with_hits_and_stay_counted_with_their_link(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    async with tenant_transaction(pool, podcast.tenant) as conn:
        link_id = await add_link(
            conn, podcast.tenant, slug="offer", url="https://shop.example.com/", utm={}, click_id=False, now=NOW
        )
        link_no = await conn.fetchval("select link_no from app.links")
    tenant_no = int(podcast.tenant.tenant_no)
    for ordinal, (at, is_bot) in enumerate([(NOW, False), (NOW, True), (NOW + ONE_DAY, False)]):
        await add_clicks(ledger.conn, [Click(tenant_no, link_no, at, 1, ordinal, is_bot, None)])

    async def counts() -> tuple[int, int]:
        async with tenant_transaction(pool, podcast.tenant) as conn:
            link = await get_link(conn, link_id)
            assert link is not None
            assert await list_links(conn, after=None, limit=5) == [link]
            return link.clicks, link.bots

    assert await run(ledger, dt.datetime(2028, 12, 2, tzinfo=dt.UTC)) == {}
    assert await run(ledger, dt.datetime(2028, 12, 3, tzinfo=dt.UTC)) == {"clicks": 2}
    assert await ledger.count("app.clicks") == 1
    assert await counts() == (2, 1)
    # Where all are gone by a shorter time.
    await shorten(database, "one", 30)
    assert await drop_clicks(ledger.conn, before=DAY, today=DAY + 32 * ONE_DAY, limit=1) == 1
    assert await drop_clicks(ledger.conn, before=DAY, today=DAY + 32 * ONE_DAY, limit=1) == 0
    assert await counts() == (2, 1)
    await pool.close()
