"""Flights that somebody has sold, and conversions that came of them, written by hand."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple
from uuid import UUID

import msgspec

from analytics_core.ids import new_id
from tests.integration.api.ledger import Ledger

__all__ = ("BEGINS", "ENDS", "SoldFlight", "add_conversion", "place_flight", "sell_flight")

BEGINS = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
ENDS = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
_NOW = dt.datetime(2026, 10, 20, tzinfo=dt.UTC)


class SoldFlight(NamedTuple):
    """A flight with what it is part of."""

    flight_id: str
    campaign_id: str
    sponsor_id: str


async def sell_flight(
    ledger: Ledger,
    sponsor_id: str,
    *,
    slug: str = "home",
    name: str = "November",
    campaign: str = "Spring Sale",
    status: str = "planned",
    utm: dict[str, str] | None = None,
) -> SoldFlight:
    """Store an order, a campaign and a flight of a sponsor."""
    tenant, conn = await ledger.tenant_of(slug), ledger.operator
    order_id, campaign_id, flight_id, sponsor = new_id(), new_id(), new_id(), UUID(sponsor_id)
    await conn.execute(
        """insert into app.insertion_orders (tenant_id, insertion_order_id, sponsor_id, number, name, currency,
            created_at)
        select $1, $2, $3, coalesce(max(number), 0) + 1, $4, 'EUR', $5
        from app.insertion_orders where tenant_id = $1""",
        tenant.tenant_id,
        order_id,
        sponsor,
        campaign,
        _NOW,
    )
    await conn.execute(
        """insert into app.campaigns (tenant_id, campaign_id, sponsor_id, insertion_order_id, currency, name, starts_on,
            ends_on, pricing, budget_amount, model, window_days, utm, created_at)
        values ($1, $2, $3, $4, 'EUR', $5, $6, $7, 'cpm', 100000, 'linear', 30, $8::text::jsonb, $9)""",
        tenant.tenant_id,
        campaign_id,
        sponsor,
        order_id,
        campaign,
        BEGINS.date(),
        ENDS.date(),
        msgspec.json.encode(utm or {}).decode(),
        _NOW,
    )
    await conn.execute(
        """insert into app.flights (tenant_id, flight_id, campaign_id, sponsor_id, currency, name, status, starts_at,
            ends_at, price_amount, created_at)
        values ($1, $2, $3, $4, 'EUR', $5, $6, $7, $8, 2500, $9)""",
        tenant.tenant_id,
        flight_id,
        campaign_id,
        sponsor,
        name,
        status,
        BEGINS,
        ENDS,
        _NOW,
    )
    return SoldFlight(str(flight_id), str(campaign_id), sponsor_id)


async def place_flight(ledger: Ledger, flight: SoldFlight, podcast_id: str, *, status: str = "planned") -> None:
    """Store a placement of a flight in a podcast's first episode."""
    await ledger.operator.execute(
        """insert into app.placements (tenant_id, placement_id, flight_id, campaign_id, sponsor_id, podcast_id,
            episode_id, tenant_no, podcast_no, episode_no, position, delivery, status, live_from, live_until,
            created_at)
        select p.tenant_id, $1, $2, $3, $4, p.podcast_id, e.episode_id, p.tenant_no, p.podcast_no, e.episode_no, 'mid',
            'baked_in', $5, $6, $7, $8
        from app.podcasts p join app.episodes e using (tenant_id, podcast_id) where p.podcast_id = $9
        order by e.episode_no limit 1""",
        new_id(),
        UUID(flight.flight_id),
        UUID(flight.campaign_id),
        UUID(flight.sponsor_id),
        status,
        BEGINS,
        ENDS,
        _NOW,
        UUID(podcast_id),
    )


async def add_conversion(
    ledger: Ledger,
    sponsor_id: str,
    promo_code: str | None,
    occurred_at: dt.datetime,
    *,
    slug: str = "home",
    adjusted: tuple[str, ...] = (),
) -> None:
    """Store a conversion of a sponsor's, with what was said of it later, in this order."""
    tenant, conn, sponsor = await ledger.tenant_of(slug), ledger.operator, UUID(sponsor_id)
    await conn.execute(
        """insert into app.conversion_actions (tenant_id, action_id, sponsor_id, name, name_key, category, created_at)
        values ($1, $2, $2, 'Purchase', $2, 'purchase', $3) on conflict do nothing""",
        tenant.tenant_id,
        sponsor,
        _NOW,
    )
    conversion_id = new_id()
    await conn.execute(
        """insert into app.conversions (tenant_id, conversion_id, action_id, sponsor_id, external_id, said_hash, source,
            occurred_at, received_at, value_amount, currency, promo_code)
        values ($1, $2, $3, $3, $2::uuid::text, sha256('x'), 'api', $4, $4, 1000, 'EUR', $5)""",
        tenant.tenant_id,
        conversion_id,
        sponsor,
        occurred_at,
        promo_code,
    )
    for later, kind in enumerate(adjusted, start=1):
        await conn.execute(
            """insert into app.conversion_adjustments (tenant_id, adjustment_id, conversion_id, kind, value_amount,
                said_hash, adjusted_at, received_at)
            values ($1, $2, $3, $4, $5, sha256('x'), $6, $6)""",
            tenant.tenant_id,
            new_id(),
            conversion_id,
            kind,
            500 if kind == "restate" else None,
            occurred_at + dt.timedelta(hours=later),
        )
