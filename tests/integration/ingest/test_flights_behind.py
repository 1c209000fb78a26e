"""Flights that are behind: counted as each by itself says that it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, TypeAlias

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.deliveries import count_flights_behind, read_flight_delivery
from analytics_core.db.pool import connect, open_pool, tenant_transaction
from analytics_core.db.sponsors import SponsorFields, add_sponsor
from analytics_core.pacing import PaceState, Phase
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.campaigns import MadeCampaign, deliver, make_campaign, make_flight, make_placement
from tests.factories import make_episode, make_podcast, make_tenant
from tests.postgres import operator_url

pytestmark = pytest.mark.anyio

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

NOW = dt.datetime(2026, 11, 10, tzinfo=dt.UTC)
QUARTER = dt.timedelta(minutes=15)


class Flown(NamedTuple):
    """A flight of the model: from and for how many quarter hours, booked, delivered, cancelled or not."""

    start: int
    length: int
    booked: int | None
    delivered: int
    is_cancelled: bool


class World(NamedTuple):
    """An active campaign."""

    operator: _Connection
    ingest: _Connection
    campaign: MadeCampaign
    episode_id: str


@pytest.fixture
async def world(database: DatabaseSettings) -> AsyncIterator[World]:
    tenant = await make_tenant(database)
    await make_podcast(database, tenant, make_episode("a"))
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    async with tenant_transaction(pool, tenant) as conn:
        sponsor = await add_sponsor(conn, tenant, SponsorFields(name="Acme"), now=NOW)
    await pool.close()
    operator = await asyncpg.connect(operator_url(database))
    ingest = await connect(database, Role.INGEST, application_name="test")
    campaign = await make_campaign(operator, tenant, sponsor.sponsor_id)
    yield World(operator, ingest, campaign, str(await operator.fetchval("select episode_id from app.episodes")))
    await ingest.close()
    await operator.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flown=st.lists(
        st.builds(
            Flown,
            st.integers(-4_000, 200),
            st.integers(1, 2_000),
            st.none() | st.integers(1, 1_000),
            st.integers(0, 1_000),
            st.booleans(),
        ),
        max_size=5,
    ),
    status=st.sampled_from(["draft", "active", "paused", "completed", "cancelled"]),
)
async def test_they_are_those_that_say_so_themselves(world: World, flown: Sequence[Flown], status: str) -> None:
    await world.operator.execute("truncate app.placement_daily, app.placements, app.flights cascade")
    await world.operator.execute("update app.campaigns set status = $1", status)
    behind = 0
    for one in flown:
        start = NOW + one.start * QUARTER
        flight_id = await make_flight(
            world.operator,
            world.campaign,
            starts_at=start,
            ends_at=start + one.length * QUARTER,
            booked_impressions=one.booked,
            status="cancelled" if one.is_cancelled else "active",
        )
        if one.delivered:
            placement = await make_placement(world.operator, world.campaign, flight_id, world.episode_id)
            await deliver(world.operator, placement, "2026-11-01", one.delivered)
        found = (
            await read_flight_delivery(world.operator, world.campaign.tenant.tenant_id, flight_id, now=NOW)
        ).delivery
        is_open = found.phase in (Phase.RUNNING, Phase.MEASURING) and status != "draft"
        behind += is_open and found.pace is not None and found.pace.state is PaceState.UNDER
    assert await count_flights_behind(world.ingest, now=NOW) == behind
