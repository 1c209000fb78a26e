"""Reach: what is counted is what a count by hand finds, again and again, while the downloads are there."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.clock import FixedClock
from analytics_core.db.pool import connect, open_pool, tenant_transaction
from analytics_core.db.sponsors import SponsorFields, add_sponsor
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.reach import count_due_reach
from ingest.rollups import refresh_rollups
from tests.campaigns import MadeCampaign, make_campaign, make_flight, make_placement
from tests.factories import MadePodcast, make_episode, make_podcast, make_tenant
from tests.postgres import operator_url

pytestmark = pytest.mark.anyio

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

START = dt.datetime(2026, 10, 30, tzinfo=dt.UTC)
QUARTER = dt.timedelta(minutes=15)
NOW = dt.datetime(2026, 11, 5, tzinfo=dt.UTC)
FINAL_AFTER = 7


class Placed(NamedTuple):
    """A placement of the model: in which flight and episode, from and for how many quarter hours, heard or not."""

    flight: int
    episode: int
    start: int
    length: int
    is_missed: bool


class Heard(NamedTuple):
    """A download of the model: of which episode, by whom, how many minutes after the start."""

    episode: int
    listener: int
    minute: int


class World(NamedTuple):
    """Three campaigns of two sponsors, with a flight each and one more."""

    operator: _Connection
    ingest: _Connection
    clock: FixedClock
    podcast: MadePodcast
    campaigns: Sequence[MadeCampaign]
    flights: Sequence[tuple[MadeCampaign, UUID]]

    async def refresh(self) -> int:
        return await count_due_reach(self.ingest, clock=self.clock, final_after_days=FINAL_AFTER)


_PLACED = st.lists(
    st.builds(Placed, st.integers(0, 3), st.integers(0, 2), st.integers(-50, 400), st.integers(1, 300), st.booleans()),
    max_size=6,
)
# A listener has an episode once a day.
_HEARD = st.lists(
    st.builds(Heard, st.integers(0, 2), st.integers(0, 4), st.integers(0, 5 * 24 * 60)),
    max_size=40,
    unique_by=lambda one: (one.episode, one.listener, one.minute // 1440),
)


@pytest.fixture
async def world(database: DatabaseSettings) -> AsyncIterator[World]:
    tenant = await make_tenant(database)
    podcast = await make_podcast(database, tenant, *(make_episode(name) for name in "abc"))
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    async with tenant_transaction(pool, tenant) as conn:
        sponsors = [await add_sponsor(conn, tenant, SponsorFields(name=f"S{n}"), now=NOW) for n in range(2)]
    await pool.close()
    operator = await asyncpg.connect(operator_url(database))
    ingest = await connect(database, Role.INGEST, application_name="test")
    campaigns = [await make_campaign(operator, tenant, sponsors[number].sponsor_id) for number in (0, 0, 1)]
    flights = [
        (campaigns[number], await make_flight(operator, campaigns[number], name=f"F{place}"))
        for place, number in enumerate((0, 0, 1, 2))
    ]
    days = [(START + day * dt.timedelta(days=1)).date() for day in range(40)]
    await ingest.execute("select ops.ensure_partitions($1)", days)
    yield World(operator, ingest, FixedClock(NOW), podcast, campaigns, flights)
    await ingest.close()
    await operator.close()


async def build(world: World, placed: Sequence[Placed], heard: Sequence[Heard]) -> None:
    """Make what the model has, in place of what there was; what is counted already stays."""
    names = sorted(world.podcast.episodes)
    await world.operator.execute("truncate app.placement_daily, app.placements")
    await world.operator.execute("delete from ts.downloads")
    rows = await world.operator.fetch("select episode_no, episode_id from app.episodes")
    ids = {row["episode_no"]: row["episode_id"] for row in rows}
    for one in placed:
        campaign, flight_id = world.flights[one.flight]
        live_from = START + one.start * QUARTER
        await make_placement(
            world.operator,
            campaign,
            flight_id,
            ids[world.podcast.episodes[names[one.episode]]],
            live_from=live_from,
            live_until=live_from + one.length * QUARTER,
            status="missed" if one.is_missed else "live",
        )
    await world.operator.executemany(
        """insert into ts.downloads (day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no,
            podcast_no, agent_no, referrer_no, feed_app_no, country, evidence, source)
        values ($1, $2, $3, $4, 1, $5, $6, $7, 0, 0, 0, 0, 2, 1)""",
        [
            (
                (at := START + one.minute * dt.timedelta(minutes=1)).date(),
                world.podcast.episodes[names[one.episode]],
                UUID(int=one.listener),
                at,
                place,
                int(world.podcast.tenant.tenant_no),
                world.podcast.podcast_no,
            )
            for place, one in enumerate(heard)
        ],
    )
    await world.ingest.execute(
        """insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)
        select tenant_no, podcast_no, episode_no, $1::date + n from app.episodes, generate_series(0, 5) n""",
        START.date(),
    )
    while await refresh_rollups(world.ingest):
        continue


Figures: TypeAlias = dict[tuple[str, UUID, dt.date], tuple[int, int]]


def by_hand(world: World, placed: Sequence[Placed], heard: Sequence[Heard]) -> Figures:
    """Count listeners and impressions one by one."""
    listeners: defaultdict[tuple[str, UUID, dt.date], set[int]] = defaultdict(set)
    impressions: Counter[tuple[str, UUID, dt.date]] = Counter()
    for download in heard:
        at = START + download.minute * dt.timedelta(minutes=1)
        for one in placed:
            live_from = START + one.start * QUARTER
            is_live = live_from <= at < live_from + one.length * QUARTER
            if one.is_missed or one.episode != download.episode or not is_live:
                continue
            campaign, flight_id = world.flights[one.flight]
            for level, subject in (
                ("flight", flight_id),
                ("campaign", campaign.campaign_id),
                ("sponsor", campaign.sponsor_id),
            ):
                key = (level, subject, at.date().replace(day=1))
                listeners[key].add(download.listener)
                impressions[key] += 1
    return {key: (len(keys), impressions[key]) for key, keys in listeners.items()}


async def counted(world: World) -> Figures:
    rows = await world.operator.fetch("select level, subject_id, month, reach, impressions from app.reach_months")
    return {
        (row["level"], row["subject_id"], row["month"]): (row["reach"], row["impressions"])
        for row in rows
        # A month in which there is nothing any more is known as such.
        if row["impressions"]
    }


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories=st.lists(st.tuples(_PLACED, _HEARD), min_size=1, max_size=3))
async def test_it_is_what_a_count_by_hand_finds_whatever_changed(
    world: World, histories: list[tuple[list[Placed], list[Heard]]]
) -> None:
    await world.operator.execute("truncate app.reach_months")
    for placed, heard in histories:
        await build(world, placed, heard)
        world.clock.advance(dt.timedelta(hours=2))
        # What has as many impressions as before, by another way, is found when its month is final: have more than any.
        await world.operator.execute("update app.reach_months set impressions = impressions + 1000")
        await world.refresh()
        assert await counted(world) == by_hand(world, placed, heard)
        assert await world.refresh() == 0


PLACED = [Placed(0, 0, 0, 400, False), Placed(2, 0, 0, 400, False)]
HEARD = [Heard(0, 1, 60), Heard(0, 2, 60), Heard(0, 1, 1500)]


async def test_the_more_there_is_to_count_the_more_seldom_a_month_is_counted(world: World) -> None:
    await build(world, PLACED, HEARD[:2])
    assert await world.refresh() == 1
    await build(world, PLACED, HEARD)
    world.clock.advance(dt.timedelta(seconds=1))
    assert await world.refresh() == 1
    # As if half a million and two millions had been counted.
    for many, wait in ((500_000, dt.timedelta(minutes=30)), (2_000_000, dt.timedelta(hours=1))):
        await world.operator.execute("update app.reach_months set impressions = $1", many)
        world.clock.advance(wait - dt.timedelta(seconds=1))
        assert await world.refresh() == 0
        world.clock.advance(dt.timedelta(seconds=1))
        assert await world.refresh() == 1
    assert await counted(world) == by_hand(world, PLACED, HEARD)


async def is_final(world: World) -> set[bool]:
    return {row["is_final"] for row in await world.operator.fetch("select is_final from app.reach_months")}


async def add_day(world: World, day: dt.date, *, final_at: dt.datetime | None = NOW, dropped: bool = False) -> None:
    await world.operator.execute(
        """insert into ops.days (tenant_no, day, final_at, downloads_dropped_at) values ($1, $2, $3, $4)
        on conflict (tenant_no, day) do update
            set final_at = excluded.final_at, downloads_dropped_at = excluded.downloads_dropped_at""",
        int(world.podcast.tenant.tenant_no),
        day,
        final_at,
        final_at if dropped else None,
    )


async def test_it_is_final_once_all_days_of_its_month_are(world: World) -> None:
    await build(world, PLACED, HEARD)
    last = dt.date(2026, 10, 31)
    await add_day(world, last, final_at=None)
    assert await world.refresh() == 1
    world.clock.advance(dt.timedelta(days=4))
    assert (await world.refresh(), await is_final(world)) == (0, {False})
    await add_day(world, last)
    assert (await world.refresh(), await is_final(world)) == (1, {True})
    assert await world.refresh() == 0
    # A restatement takes something away.
    world.clock.advance(dt.timedelta(hours=1))
    await build(world, PLACED, HEARD[:1])
    assert (await world.refresh(), await is_final(world)) == (1, {True})
    assert await counted(world) == by_hand(world, PLACED, HEARD[:1])


async def test_what_lost_its_downloads_stays_as_it_was_counted(world: World) -> None:
    await build(world, PLACED, HEARD)
    assert await world.refresh() == 1
    whole = await counted(world)
    await add_day(world, START.date(), dropped=True)
    await world.operator.execute("delete from ts.downloads where day = $1", START.date())
    await world.operator.execute("update app.placement_daily set downloads = downloads + 1")
    world.clock.advance(dt.timedelta(days=30))
    assert await world.refresh() == 0
    assert await counted(world) == whole


async def test_a_month_without_its_downloads_is_never_counted(world: World) -> None:
    await build(world, PLACED, HEARD)
    await add_day(world, START.date(), dropped=True)
    assert await world.refresh() == 0
    assert await counted(world) == {}


async def test_downloads_that_went_before_anybody_was_placed_do_not_matter(world: World) -> None:
    await build(world, PLACED, HEARD)
    await add_day(world, dt.date(2026, 10, 3), dropped=True)
    assert await world.refresh() == 1
    assert await counted(world) == by_hand(world, PLACED, HEARD)
