"""What placements delivered is what the quarter hours say in which they were live, whatever happened in which order."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.ids import new_id
from analytics_core.settings import DatabaseSettings
from ingest.rollups import refresh_rollups
from tests.factories import MadePodcast
from tests.ledgers import Ledger
from tests.postgres import operator_url
from tests.sponsorships import sell

pytestmark = pytest.mark.anyio

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Key: TypeAlias = tuple[UUID, dt.date]

START = dt.date(2026, 11, 1)
QUARTER = dt.timedelta(minutes=15)
DAYS = 4

_PLACE = """
insert into app.placements (tenant_id, placement_id, flight_id, campaign_id, sponsor_id, podcast_id, episode_id,
    tenant_no, podcast_no, episode_no, position, delivery, live_from, live_until, created_at)
select e.tenant_id, $1, f.flight_id, f.campaign_id, f.sponsor_id, e.podcast_id, e.episode_id, e.tenant_no, e.podcast_no,
    e.episode_no, 'mid', 'dynamic', $3, $4, now()
from app.episodes e, app.flights f where e.episode_no = $2 and f.makegood_of is null"""

_ROLL = """
insert into app.metrics_daily (tenant_no, podcast_no, episode_no, day, dimension, key, downloads, downloads_strict,
    quarters, quarters_strict)
select tenant_no, podcast_no, episode_no, $2, $3, '', $4, $5, $6, $7 from app.episodes where episode_no = $1
on conflict (episode_no, day, dimension, key) do update set downloads = excluded.downloads,
    downloads_strict = excluded.downloads_strict, quarters = excluded.quarters,
    quarters_strict = excluded.quarters_strict"""


class Roll(NamedTuple):
    """An episode's day has other downloads, at these quarter hours; none takes the row away."""

    episode: int
    day: int
    quarters: dict[int, int]


class Place(NamedTuple):
    """A placement is made."""

    episode: int
    first: int
    length: int


class Move(NamedTuple):
    """A placement is live at another time, or in another episode."""

    number: int
    episode: int
    first: int
    length: int


class Mark(NamedTuple):
    """A placement was missed after all, or was not."""

    number: int
    status: str


class Remove(NamedTuple):
    number: int


class Refresh(NamedTuple):
    limit: int


Step = Roll | Place | Move | Mark | Remove | Refresh

_EPISODE = st.integers(0, 1)
_FIRST = st.integers(0, DAYS * 96 - 1)
_LENGTH = st.sampled_from([1, 2, 95, 96, 97, 200, 5000])
_STEPS = st.lists(
    st.one_of(
        st.builds(
            Roll, _EPISODE, st.integers(0, DAYS - 1), st.dictionaries(st.integers(0, 95), st.integers(1, 9), max_size=6)
        ),
        st.builds(Place, _EPISODE, _FIRST, _LENGTH),
        st.builds(Move, st.integers(0, 3), _EPISODE, _FIRST, _LENGTH),
        st.builds(Mark, st.integers(0, 3), st.sampled_from(["live", "missed", "pulled"])),
        st.builds(Remove, st.integers(0, 3)),
        st.builds(Refresh, st.integers(1, 2)),
    ),
    max_size=14,
)


def live(first: int, length: int) -> tuple[dt.datetime, dt.datetime]:
    begins = dt.datetime.combine(START, dt.time(), dt.UTC) + first * QUARTER
    return begins, begins + length * QUARTER


class World:
    """Two episodes, and whoever changes placements, figures and rollups by hand."""

    def __init__(self, ledger: Ledger, podcast: MadePodcast, operator: _Connection) -> None:
        self.ingest = ledger.conn
        self.operator = operator
        self.episodes = [podcast.episodes["a"], podcast.episodes["b"]]
        self.placements: list[UUID] = []

    async def reset(self) -> None:
        await self.operator.execute("truncate app.placements, app.metrics_daily, ops.placement_marks cascade")
        self.placements = []

    async def roll(self, step: Roll, conn: _Connection | Any = None) -> None:
        quarters = [step.quarters.get(place, 0) for place in range(96)]
        strict = [count // 2 for count in quarters]
        day = START + dt.timedelta(days=step.day)
        episode_no = self.episodes[step.episode]
        if not step.quarters:
            await (conn or self.ingest).execute(
                "delete from app.metrics_daily where episode_no = $1 and day = $2", episode_no, day
            )
            return
        for dimension in ("total", "app"):
            await (conn or self.ingest).execute(
                _ROLL, episode_no, day, dimension, sum(quarters), sum(strict), quarters, strict
            )

    async def place(self, step: Place, conn: _Connection | None = None) -> None:
        placement_id = new_id()
        self.placements.append(placement_id)
        await (conn or self.operator).execute(
            _PLACE, placement_id, self.episodes[step.episode], *live(step.first, step.length)
        )

    async def take(self, step: Step) -> None:
        if isinstance(step, Roll):
            await self.roll(step)
        elif isinstance(step, Place):
            await self.place(step)
        elif isinstance(step, Refresh):
            await refresh_rollups(self.ingest, limit=step.limit)
        elif step.number < len(self.placements):
            placement_id = self.placements[step.number]
            if isinstance(step, Remove):
                await self.operator.execute("delete from app.placements where placement_id = $1", placement_id)
            elif isinstance(step, Mark):
                await self.operator.execute(
                    "update app.placements set status = $2 where placement_id = $1", placement_id, step.status
                )
            else:
                await self.operator.execute(
                    "update app.placements p set live_from = $2, live_until = $3, episode_no = e.episode_no,"
                    " episode_id = e.episode_id from app.episodes e where placement_id = $1 and e.episode_no = $4",
                    placement_id,
                    *live(step.first, step.length),
                    self.episodes[step.episode],
                )

    async def refresh(self) -> None:
        while await refresh_rollups(self.ingest):
            continue

    async def stored(self) -> dict[Key, tuple[int, int]]:
        rows = await self.operator.fetch(
            "select placement_id, day, downloads, downloads_strict from app.placement_daily"
        )
        return {(UUID(int=row[0].int), row[1]): (row[2], row[3]) for row in rows}

    async def expected(self) -> dict[Key, tuple[int, int]]:
        """Count by brute force, quarter hour by quarter hour."""
        placements = await self.operator.fetch("select * from app.placements where status <> 'missed'")
        figures = await self.operator.fetch("select * from app.metrics_daily where dimension = 'total'")
        found: dict[Key, tuple[int, int]] = {}
        for placement in placements:
            for row in figures:
                if row["episode_no"] != placement["episode_no"]:
                    continue
                begins = dt.datetime.combine(row["day"], dt.time(), dt.UTC)
                at = [
                    place
                    for place in range(96)
                    if placement["live_from"] <= begins + place * QUARTER < placement["live_until"]
                ]
                downloads = sum(row["quarters"][place] for place in at)
                if downloads:
                    strict = sum(row["quarters_strict"][place] for place in at)
                    found[UUID(int=placement["placement_id"].int), row["day"]] = (downloads, strict)
        return found


@pytest.fixture
async def world(ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings) -> AsyncIterator[World]:
    await sell(database, podcast, in_slot=False)
    operator = await asyncpg.connect(operator_url(database))
    yield World(ledger, podcast, operator)
    await operator.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_any_history_is_what_brute_force_says(world: World, steps: list[Step]) -> None:
    await world.reset()
    for step in steps:
        await world.take(step)
    await world.refresh()
    assert await world.stored() == await world.expected()


@pytest.mark.parametrize("is_placed_first", [True, False])
async def test_what_is_placed_while_figures_are_made_is_not_lost(
    world: World, database: DatabaseSettings, is_placed_first: bool
) -> None:
    """Neither transaction sees the other one's rows, whichever is committed first."""
    other = await asyncpg.connect(operator_url(database))
    await world.reset()
    made, rolled = world.operator.transaction(), other.transaction()
    await made.start()
    await rolled.start()
    await world.place(Place(0, 0, 96))
    await other.execute(
        "select pg_advisory_xact_lock(hashtext('castledger.sums'), podcast_no) from app.episodes where episode_no = $1",
        world.episodes[0],
    )
    await world.roll(Roll(0, 0, {3: 5}), other)
    await other.execute(
        "select app.sum_up(array_agg(podcast_no), array_agg(episode_no), array_agg(day)) from ops.sum_marks"
    )
    await other.execute("delete from ops.sum_marks")
    for transaction in (made, rolled) if is_placed_first else (rolled, made):
        # Whoever sums up holds the podcast: nothing of it is delivered at the same time.
        await asyncio.wait_for(refresh_rollups(world.ingest), 10)
        await transaction.commit()
    await other.close()
    await world.refresh()
    assert list((await world.stored()).values()) == [(5, 2)]
    assert await world.stored() == await world.expected()
