"""Flights that somebody has sold, and conversions that came of them, written by hand."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple
from uuid import UUID

import msgspec

from analytics_core.ids import new_id
from tests.campaigns import MadeCampaign, make_campaign, make_flight, make_placement
from tests.integration.api.ledger import Ledger

__all__ = ("BEGINS", "ENDS", "SoldFlight", "add_conversion", "place_flight", "sell_flight")

BEGINS = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
ENDS = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
_NOW = dt.datetime(2026, 10, 20, tzinfo=dt.UTC)


class SoldFlight(NamedTuple):
    """A flight with what it is part of, as the API names them."""

    flight_id: str
    campaign_id: str
    sponsor_id: str


async def sell_flight(
    ledger: Ledger,
    sponsor_id: str,
    *,
    name: str = "November",
    campaign: str = "Spring Sale",
    status: str = "planned",
    utm: dict[str, str] | None = None,
) -> SoldFlight:
    """Store a flight of a campaign of its own, of the installation's own tenant."""
    template = msgspec.json.encode(utm or {}).decode()
    made = await make_campaign(
        ledger.operator, await ledger.tenant_of("home"), sponsor_id, name=campaign, status="draft", utm=template
    )
    flight_id = await make_flight(ledger.operator, made, name=name, status=status, starts_at=BEGINS, ends_at=ENDS)
    return SoldFlight(str(flight_id), str(made.campaign_id), sponsor_id)


async def place_flight(ledger: Ledger, flight: SoldFlight, podcast_id: str, *, status: str = "planned") -> None:
    """Store a placement of a flight in a podcast's first episode."""
    tenant, conn = await ledger.tenant_of("home"), ledger.operator
    episode_id = await conn.fetchval(
        "select episode_id from app.episodes where podcast_id = $1 order by episode_no limit 1", UUID(podcast_id)
    )
    campaign = MadeCampaign(tenant, UUID(flight.sponsor_id), new_id(), UUID(flight.campaign_id), "EUR")
    await make_placement(conn, campaign, UUID(flight.flight_id), episode_id, status=status)


async def add_conversion(
    ledger: Ledger,
    sponsor_id: str,
    promo_code: str | None,
    occurred_at: dt.datetime,
    *,
    adjusted: tuple[str, ...] = (),
) -> None:
    """Store a conversion of a sponsor's, with what was said of it later, in this order."""
    tenant, conn, sponsor = await ledger.tenant_of("home"), ledger.operator, UUID(sponsor_id)
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
