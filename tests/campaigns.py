"""Orders, campaigns, flights and what they delivered, written by hand: real rows in one call each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import msgspec

from analytics_core.attribution.parameters import Model
from analytics_core.attribution.summaries import Tally
from analytics_core.db.pool import Tenant

__all__ = ("MadeCampaign", "deliver", "make_campaign", "make_flight", "make_placement", "make_run")

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_MADE_AT = dt.datetime(2026, 10, 1, tzinfo=dt.UTC)


class MadeCampaign(NamedTuple):
    """A stored campaign and its insertion order."""

    tenant: Tenant
    sponsor_id: UUID
    insertion_order_id: UUID
    campaign_id: UUID
    currency: str


async def _insert(conn: _Connection, table: str, **values: Any) -> None:
    names = ", ".join(values)
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    await conn.execute(f"insert into app.{table} ({names}) values ({places})", *values.values())


async def make_campaign(
    conn: _Connection,
    tenant: Tenant,
    sponsor_id: UUID | str,
    *,
    order_id: UUID | None = None,
    currency: str = "EUR",
    **given: Any,
) -> MadeCampaign:
    """Store a campaign, in an insertion order of its own unless one is given."""
    sponsor = UUID(str(sponsor_id))
    if order_id is None:
        order_id = uuid4()
        await _insert(
            conn,
            "insertion_orders",
            tenant_id=tenant.tenant_id,
            insertion_order_id=order_id,
            sponsor_id=sponsor,
            number=await conn.fetchval("select 1 + count(*) from app.insertion_orders"),
            name="Autumn",
            currency=currency,
            status="open",
            created_at=_MADE_AT,
        )
    made = MadeCampaign(tenant, sponsor, order_id, uuid4(), currency)
    values = {
        "name": "Autumn",
        "status": "active",
        "starts_on": dt.date(2026, 11, 1),
        "ends_on": dt.date(2026, 11, 30),
        "pricing": "cpm",
        "budget_amount": 1_000_000,
        "model": "last",
        "window_days": 30,
        "created_at": _MADE_AT,
    }
    await _insert(
        conn,
        "campaigns",
        tenant_id=tenant.tenant_id,
        campaign_id=made.campaign_id,
        sponsor_id=sponsor,
        insertion_order_id=order_id,
        currency=currency,
        **(values | given),
    )
    return made


async def make_flight(conn: _Connection, campaign: MadeCampaign, **given: Any) -> UUID:
    """Store a flight: the first 20 days of November, 1,000 impressions at 25.00 a thousand."""
    flight_id = uuid4()
    values = {
        "name": "Flight",
        "status": "active",
        "starts_at": dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
        "ends_at": dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
        "booked_impressions": 1_000,
        "price_amount": 2_500,
        "created_at": _MADE_AT,
    }
    await _insert(
        conn,
        "flights",
        tenant_id=campaign.tenant.tenant_id,
        flight_id=flight_id,
        campaign_id=campaign.campaign_id,
        sponsor_id=campaign.sponsor_id,
        currency=campaign.currency,
        **(values | given),
    )
    return flight_id


async def make_placement(
    conn: _Connection, campaign: MadeCampaign, flight_id: UUID, episode_id: UUID | str, **given: Any
) -> UUID:
    """Store a placement in an episode, live from the flight's start until its measurement ends."""
    placement_id = uuid4()
    row = await conn.fetchrow(
        """select e.podcast_id, e.tenant_no, e.podcast_no, e.episode_no, f.starts_at,
            f.ends_at + f.measurement_days * interval '1 day' as ends_at
        from app.episodes e, app.flights f where e.episode_id = $1 and f.flight_id = $2""",
        UUID(str(episode_id)),
        flight_id,
    )
    assert row is not None
    values = {
        "position": "mid",
        "delivery": "baked_in",
        "status": "live",
        "live_from": row["starts_at"],
        "live_until": row["ends_at"],
        "created_at": _MADE_AT,
    }
    await _insert(
        conn,
        "placements",
        tenant_id=campaign.tenant.tenant_id,
        placement_id=placement_id,
        flight_id=flight_id,
        campaign_id=campaign.campaign_id,
        sponsor_id=campaign.sponsor_id,
        podcast_id=row["podcast_id"],
        episode_id=UUID(str(episode_id)),
        tenant_no=row["tenant_no"],
        podcast_no=row["podcast_no"],
        episode_no=row["episode_no"],
        **(values | given),
    )
    return placement_id


async def deliver(
    conn: _Connection, placement_id: UUID, day: str, downloads: int, *, strict: int | None = None
) -> None:
    """Store what a placement delivered on a day, whatever its episode had."""
    await conn.execute(
        """insert into app.placement_daily (tenant_id, sponsor_id, campaign_id, flight_id, placement_id, day, downloads,
            downloads_strict)
        select tenant_id, sponsor_id, campaign_id, flight_id, placement_id, $2, $3, $4
        from app.placements where placement_id = $1""",
        placement_id,
        dt.date.fromisoformat(day),
        downloads,
        downloads if strict is None else strict,
    )


async def make_run(
    conn: _Connection,
    campaign: MadeCampaign,
    *totals: tuple[str, UUID, str, int, int, int],
    status: str = "ready",
    models: tuple[str, ...] = ("linear",),
    created_at: dt.datetime = _MADE_AT,
    tells_of: Sequence[UUID] | None = None,
    insufficient: Mapping[Model, str] = MappingProxyType({}),
) -> UUID:
    """Store an attribution run with totals: model, flight, currency, millionths of conversions and new ones, value."""
    run_id = uuid4()
    campaigns = [campaign.campaign_id] if tells_of is None else tells_of
    summary = Tally().summary(insufficient=insufficient, removal_ppm={}, campaigns=campaigns)
    await _insert(
        conn,
        "attribution_runs",
        tenant_id=campaign.tenant.tenant_id,
        run_id=run_id,
        sponsor_id=campaign.sponsor_id,
        starts_at=dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
        ends_at=dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        models=list(models),
        params="{}",
        params_hash=bytes(32),
        status=status,
        cutoff_at=dt.datetime(2026, 11, 24, 11, tzinfo=dt.UTC),
        code_version="test",
        created_at=created_at,
        finished_at=created_at if status in ("ready", "failed") else None,
        summary=msgspec.json.encode(summary).decode() if tells_of is not None or insufficient else None,
    )
    for model, flight_id, currency, conversions, new, value in totals:
        await _insert(
            conn,
            "attribution_totals",
            tenant_id=campaign.tenant.tenant_id,
            run_id=run_id,
            sponsor_id=campaign.sponsor_id,
            model=model,
            campaign_id=campaign.campaign_id,
            flight_id=flight_id,
            currency=currency,
            conversions_ppm=conversions,
            new_customers_ppm=new,
            value_amount=value,
        )
    return run_id
