"""Restatements: late hits of final days taken in, whole days at a time, recorded, and never where something is gone."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import pytest

from analytics_core.db.erasure import erase_tenant
from analytics_core.db.pool import Connection, connect, open_pool, tenant_transaction
from analytics_core.db.restatements import RestatementRow, StoredRestatement, find_restatement, list_restatements
from analytics_core.db.restating import (
    LateHits,
    NotRestated,
    RestatedDay,
    find_late_hits,
    list_due_days,
    list_final_days,
    rebuild_day,
)
from analytics_core.db.retention import TenantDay, drop_tenant_hits, set_retention
from analytics_core.hits import HitFlag
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.pending import rejudge_pending
from ingest.restatements import WAITED_REASON, DayOutcome, restate, restate_due
from ingest.retention import KEEP_DOWNLOADS, drop_old
from ingest.rollups import refresh_listeners
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio

ONE_DAY: Final = dt.timedelta(days=1)
FINAL_AT: Final = dt.datetime(2026, 12, 10, tzinfo=dt.UTC)
GONE: Final = FINAL_AT + KEEP_DOWNLOADS + ONE_DAY
NOTHING: Final = {"days": 0, "hits": 0, "refused": 0}


async def land(ledger: Ledger, *hits: tuple[str, int], at: dt.datetime | None = None, byte_range: str = "") -> None:
    """Land a hit of each episode and listener, and have everything made of it."""
    write_segment(
        ledger.folder,
        [
            make_hit(
                at or minute(10), f"cdn.example.com/{name}.mp3", address=f"192.0.2.{listener}", byte_range=byte_range
            )
            for name, listener in hits
        ],
    )
    await ledger.ship_all()
    await settle(ledger)


async def settle(ledger: Ledger) -> None:
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue


async def finalise(ledger: Ledger) -> None:
    await ledger.conn.execute("update ops.days set final_at = $1 where final_at is null", FINAL_AT)


async def by_hand(ledger: Ledger, podcast: MadePodcast, *days: dt.date, dry_run: bool = False) -> list[DayOutcome]:
    return await restate(
        ledger.conn,
        int(podcast.tenant.tenant_no),
        days or [DAY],
        reason="a tracker was away",
        origin="command",
        clock=ledger.clock,
        dry_run=dry_run,
    )


async def totals(ledger: Ledger) -> dict[dt.date, tuple[int, int]]:
    rows = await ledger.conn.fetch(
        "select day, sum(downloads) as n, sum(downloads_strict) as strict from app.podcast_daily"
        " where dimension = 'total' group by day"
    )
    return {row["day"]: (row["n"], row["strict"]) for row in rows}


async def listeners(ledger: Ledger, podcast: MadePodcast) -> int:
    """How many distinct listeners the month has, as it was counted."""
    found: int = await ledger.conn.fetchval(
        "select coalesce(sum(n), 0) from app.listener_months, unnest(former, listeners) as c(former, n)"
        " where podcast_no = $1 and episode_no = 0 and month = $2 and c.former = 0",
        podcast.podcast_no,
        DAY.replace(day=1),
    )
    return found


async def everything(ledger: Ledger) -> list[tuple[object, ...]]:
    """All that a restatement may change, but for when."""
    queries = (
        "select segment_no, ordinal, flags from ts.listener_events order by 1, 2",
        "select tenant_no, day, generation, final_at, hits_incomplete from ops.days order by 1, 2",
        "select tenant_no, episode_no, day from ops.dirty_marks order by 1, 2, 3",
        "select restatement_id, state from app.restatements order by 1",
        "select restatement_id, day, hits from app.restatement_days order by 1, 2",
    )
    return [*await ledger.downloads(), *[tuple(row) for query in queries for row in await ledger.conn.fetch(query)]]


async def records(database: DatabaseSettings, podcast: MadePodcast) -> list[StoredRestatement]:
    """What the tenant sees of its restatements, newest first."""
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, podcast.tenant, readonly=True) as conn:
            rows: list[RestatementRow] = []
            while page := await list_restatements(
                conn, after=(rows[-1].started_at, rows[-1].restatement_id) if rows else None, limit=1
            ):
                rows += page
            found = [await find_restatement(conn, row.restatement_id) for row in rows]
    finally:
        await pool.close()
    stored = [one for one in found if one is not None]
    assert [one.row for one in stored] == rows
    return stored


@pytest.fixture
async def second(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """Another ingest."""
    conn = await connect(database, Role.INGEST, application_name="second")
    yield conn
    conn.terminate()


async def test_hits_that_had_waited_for_their_episode_are_taken_in_by_themselves(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await land(ledger, ("a", 1), ("new", 1), ("new", 2), ("new", 2))
    await finalise(ledger)
    # Late by themselves: nobody but an operator takes these in.
    await land(ledger, ("a", 7))
    made = await make_podcast(database, podcast.tenant, make_episode("new"))
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 3
    await settle(ledger)
    assert await totals(ledger) == {DAY: (1, 1)}
    assert await list_due_days(ledger.conn, limit=9) == [(podcast.tenant.tenant_no, DAY)]
    assert await restate_due(ledger.conn, clock=ledger.clock) == {"days": 1, "hits": 3, "refused": 0}
    await settle(ledger)
    assert await totals(ledger) == {DAY: (3, 3)}
    assert [row[1] for row in await ledger.downloads()].count(made.episodes["new"]) == 2
    assert (await listeners(ledger, podcast), await listeners(ledger, made)) == (1, 2)
    flags = await ledger.conn.fetch("select flags, count(*) from ts.listener_events group by 1 order by 1")
    assert [tuple(row) for row in flags] == [(0, 1), (HitFlag.LATE, 1), (HitFlag.WAITED | HitFlag.RESTATED, 3)]
    (record,) = await records(database, podcast)
    assert record == StoredRestatement(
        RestatementRow(
            restatement_id=record.row.restatement_id,
            first_day=DAY,
            last_day=DAY,
            reason=WAITED_REASON,
            origin="job",
            key_id=None,
            state="done",
            started_at=NOW,
            finished_at=NOW,
            days=1,
            hits=3,
            downloads_before=1,
            downloads_after=3,
            strict_before=1,
            strict_after=3,
            rules=None,
        ),
        [RestatedDay(DAY, 3, 1, 3, 1, 3)],
    )
    before = await everything(ledger)
    assert await restate_due(ledger.conn, clock=ledger.clock) == NOTHING
    assert await everything(ledger) == before


async def test_late_hits_are_taken_in_by_hand_once(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await land(ledger, ("a", 1), ("a", 2), ("b", 1), byte_range="bytes=0-1")
    await land(ledger, ("b", 9), at=NOW - ONE_DAY)
    await finalise(ledger)
    # A better hit of one who has a download, a repeat, a new listener, a bot; and one of the day before.
    await land(ledger, ("a", 1), ("b", 3))
    await land(ledger, ("a", 2), byte_range="bytes=0-1", at=minute(50))
    await land(ledger, ("b", 8), at=NOW - ONE_DAY)
    write_segment(ledger.folder, [make_hit(minute(1), "cdn.example.com/a.mp3", agent=b"Googlebot/2.1")])
    await ledger.ship_all()
    assert await totals(ledger) == {DAY - ONE_DAY: (1, 1), DAY: (3, 0)}
    assert await find_late_hits(ledger.conn, DAY) == [LateHits(int(podcast.tenant.tenant_no), 4)]
    assert await list_final_days(ledger.conn, first=DAY - ONE_DAY, until=DAY) == [DAY - ONE_DAY]
    outcome = await by_hand(ledger, podcast, DAY)
    assert outcome == [DayOutcome(DAY, RestatedDay(DAY, 4, 3, 4, 0, 2))]
    assert await find_late_hits(ledger.conn, DAY) == []
    await settle(ledger)
    assert await totals(ledger) == {DAY - ONE_DAY: (1, 1), DAY: (4, 2)}
    assert await listeners(ledger, podcast) == 4
    (generation,) = await ledger.conn.fetch("select generation from ops.days where day = $1", DAY)
    assert generation["generation"] == 1
    before = await everything(ledger)
    assert await by_hand(ledger, podcast, DAY) == []
    assert await everything(ledger) == before
    assert [one.row.reason for one in await records(database, podcast)] == ["a tracker was away"]
    # The rows are what they would be had everything come in time.
    assert await by_hand(ledger, podcast, DAY - ONE_DAY, DAY) == [
        DayOutcome(DAY - ONE_DAY, RestatedDay(DAY - ONE_DAY, 1, 1, 2, 1, 2))
    ]
    late = await ledger.downloads()
    await ledger.conn.execute("delete from ts.downloads")
    await ledger.conn.execute(
        """insert into ts.downloads select distinct on (1, episode_no, listener_key)
            (occurred_at at time zone 'UTC')::date, episode_no, listener_key, occurred_at, segment_no, ordinal,
            tenant_no, podcast_no, agent_no, referrer_no, feed_app_no, country, evidence, source
        from ts.listener_events where verdict = 0
        order by 1, episode_no, listener_key, evidence desc, occurred_at, segment_no, ordinal"""
    )
    assert await ledger.downloads() == late


async def test_a_dry_run_tells_and_changes_nothing(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await land(ledger, ("a", 1))
    await finalise(ledger)
    await land(ledger, ("a", 2))
    before = await everything(ledger)
    told = await by_hand(ledger, podcast, dry_run=True)
    assert told == [DayOutcome(DAY, RestatedDay(DAY, 1, 1, 2, 1, 2))]
    assert await everything(ledger) == before
    assert await records(database, podcast) == []
    assert await by_hand(ledger, podcast) == told


async def test_another_tenants_day_is_not_touched(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    tenant = await make_tenant(database, "two")
    other = await make_podcast(database, tenant, make_episode("x", "https://x.example.net/x.mp3"))
    await land(ledger, ("a", 1))
    write_segment(ledger.folder, [make_hit(minute(0), "x.example.net/x.mp3")])
    await ledger.ship_all()
    await finalise(ledger)
    await land(ledger, ("a", 2))
    write_segment(ledger.folder, [make_hit(minute(0), "x.example.net/x.mp3", address="192.0.2.2")])
    await ledger.ship_all()
    of_other = [row for row in await ledger.downloads() if row[1] == other.episodes["x"]]
    assert len(await by_hand(ledger, podcast)) == 1
    assert [row for row in await ledger.downloads() if row[1] == other.episodes["x"]] == of_other
    assert await find_late_hits(ledger.conn, DAY) == [LateHits(int(tenant.tenant_no), 1)]
    assert await find_late_hits(ledger.conn, DAY, tenant_no=int(podcast.tenant.tenant_no)) == []
    assert await records(database, other) == []


async def test_a_day_is_never_made_anew_from_what_is_gone(ledger: Ledger, podcast: MadePodcast) -> None:
    await land(ledger, ("a", 1))
    assert await by_hand(ledger, podcast) == [DayOutcome(DAY, NotRestated.NOT_FINAL)]
    await finalise(ledger)
    await drop_old(ledger.conn, now=GONE, hits_months=25)
    await land(ledger, ("a", 2))
    await ledger.conn.execute("update ops.days set restatement_due = true")
    before = await everything(ledger)
    assert await restate_due(ledger.conn, clock=ledger.clock) == {"days": 0, "hits": 0, "refused": 1}
    assert await by_hand(ledger, podcast) == [DayOutcome(DAY, NotRestated.DOWNLOADS_GONE)]
    # Nor by who goes past all that.
    assert (
        await ledger.conn.fetchval("select ops.take_in_late_hits($1, $2, 0)", int(podcast.tenant.tenant_no), DAY) == 0
    )
    assert await everything(ledger) == before
    assert await list_due_days(ledger.conn, limit=9) == []


async def test_a_day_whose_hits_went_is_refused_while_its_downloads_are_there(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await land(ledger, ("a", 1))
    await finalise(ledger)
    auth = await connect(database, Role.AUTH, application_name="test")
    await set_retention(auth, "one", 30)
    await auth.close()
    await drop_tenant_hits(ledger.conn, TenantDay(int(podcast.tenant.tenant_no), DAY), now=GONE)
    await land(ledger, ("a", 2))
    # The day has hits again, not all that it had: its downloads made anew would be one instead of two.
    assert await ledger.conn.fetchval("select hits_dropped_at from ops.days") is None
    before = await everything(ledger)
    assert await by_hand(ledger, podcast) == [DayOutcome(DAY, NotRestated.HITS_GONE)]
    assert await everything(ledger) == before


async def test_hits_that_are_going_are_gone_for_a_restatement(
    ledger: Ledger, podcast: MadePodcast, second: Connection
) -> None:
    """Hits of a day go in two steps; between them it looks as if it had none but those that landed since."""
    await land(ledger, ("a", 1))
    await finalise(ledger)
    which = TenantDay(int(podcast.tenant.tenant_no), DAY)
    reader = second.transaction()
    await reader.start()
    await second.execute("select pg_advisory_xact_lock_shared(hashtext('castledger.finality'))")
    await ledger.conn.execute("set lock_timeout = '200ms'")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await drop_tenant_hits(ledger.conn, which, now=GONE)
    await reader.rollback()
    assert await ledger.count("ts.listener_events") == 0
    await land(ledger, ("a", 2))
    assert await by_hand(ledger, podcast) == [DayOutcome(DAY, NotRestated.HITS_GONE)]


async def test_a_day_is_refused_once_its_months_listeners_cannot_be_counted(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    await land(ledger, ("a", 1))
    await land(ledger, ("a", 1), at=NOW + ONE_DAY)
    await ledger.conn.execute("update ops.days set final_at = $1 where day = $2", FINAL_AT, DAY)
    await ledger.conn.execute("update ops.days set final_at = $1 where day > $2", GONE, DAY)
    await drop_old(ledger.conn, now=GONE, hits_months=25)
    await land(ledger, ("a", 2), at=NOW + ONE_DAY)
    outcomes = await by_hand(ledger, podcast, DAY, DAY + ONE_DAY)
    assert [outcome for _, outcome in outcomes] == [NotRestated.DOWNLOADS_GONE, NotRestated.MONTH_GONE]


async def test_records_go_with_their_tenant(ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings) -> None:
    await land(ledger, ("a", 1))
    await finalise(ledger)
    await land(ledger, ("a", 2))
    assert len(await by_hand(ledger, podcast)) == 1
    assert (await ledger.count("app.restatements"), await ledger.count("app.restatement_days")) == (1, 1)
    pool = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    async with tenant_transaction(pool, podcast.tenant) as conn:
        await erase_tenant(conn, podcast.tenant)
    await pool.close()
    assert (await ledger.count("app.restatements"), await ledger.count("app.restatement_days")) == (0, 0)
    assert await by_hand(ledger, podcast) == []


async def test_what_is_killed_in_the_middle_of_a_day_leaves_it_as_it_was(
    ledger: Ledger, podcast: MadePodcast, second: Connection
) -> None:
    await land(ledger, ("a", 1))
    await finalise(ledger)
    await land(ledger, ("a", 2), ("b", 1))
    before = await everything(ledger)
    transaction = second.transaction(isolation="read_committed")
    await transaction.start()
    assert await rebuild_day(second, int(podcast.tenant.tenant_no), DAY) == RestatedDay(DAY, 2, 1, 3, 1, 3)
    assert await second.fetchval("select count(*) from ts.downloads") == 3
    second.terminate()
    assert await everything(ledger) == before
    assert await by_hand(ledger, podcast) == [DayOutcome(DAY, RestatedDay(DAY, 2, 1, 3, 1, 3))]


async def test_what_is_killed_between_days_is_recorded_and_done_by_the_next_run(
    ledger: Ledger, podcast: MadePodcast, second: Connection, database: DatabaseSettings
) -> None:
    days = [DAY - ONE_DAY, DAY]
    for day in (1, 0):
        await land(ledger, ("a", 1), at=NOW - day * ONE_DAY)
    await finalise(ledger)
    for day in (1, 0):
        await land(ledger, ("a", 2), at=NOW - day * ONE_DAY)
    with pytest.raises(asyncpg.InterfaceError):
        await restate(
            second,
            int(podcast.tenant.tenant_no),
            days,
            reason="first",
            origin="command",
            clock=ledger.clock,
            tell=lambda _: second.terminate(),
        )
    (first,) = await records(database, podcast)
    assert (first.row.state, [day.day for day in first.days]) == ("running", days[:1])
    assert await by_hand(ledger, podcast, *days) == [DayOutcome(DAY, RestatedDay(DAY, 1, 1, 2, 1, 2))]
    rows = [one.row for one in await records(database, podcast)]
    assert sorted((row.state, row.reason, row.days) for row in rows) == [
        ("done", "a tracker was away", 1),
        ("stopped", "first", 1),
    ]


async def test_hits_that_land_meanwhile_are_late_and_wait_for_the_next_restatement(
    ledger: Ledger, podcast: MadePodcast, second: Connection
) -> None:
    await land(ledger, ("a", 1))
    await finalise(ledger)
    await land(ledger, ("a", 2))
    transaction = second.transaction(isolation="read_committed")
    await transaction.start()
    assert await rebuild_day(second, int(podcast.tenant.tenant_no), DAY) is not None
    await land(ledger, ("a", 3))
    await transaction.commit()
    assert await ledger.count("ts.downloads") == 2
    assert await by_hand(ledger, podcast) == [DayOutcome(DAY, RestatedDay(DAY, 1, 2, 3, 2, 3))]


async def test_two_at_once_take_hits_in_once(ledger: Ledger, podcast: MadePodcast, second: Connection) -> None:
    await land(ledger, ("a", 1))
    await finalise(ledger)
    await land(ledger, ("a", 2))
    transaction = second.transaction(isolation="read_committed")
    await transaction.start()
    assert await rebuild_day(second, int(podcast.tenant.tenant_no), DAY) is not None
    await ledger.conn.execute("set lock_timeout = '200ms'")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await by_hand(ledger, podcast)
    await transaction.commit()
    assert await by_hand(ledger, podcast) == []
