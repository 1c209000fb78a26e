"""Flights, made by hand."""

from __future__ import annotations

from uuid import UUID, uuid4

from tests.integration.api.ledger import Ledger

__all__ = ("make_flight",)


async def make_flight(ledger: Ledger, sponsor_id: str, slug: str = "home") -> str:
    """Make a sponsor's order with a campaign and a flight; return the flight's id."""
    tenant = await ledger.tenant_of(slug)
    sponsor, order_id, campaign_id, flight_id = UUID(sponsor_id), uuid4(), uuid4(), uuid4()
    await ledger.operator.execute(
        """insert into app.insertion_orders
            (tenant_id, insertion_order_id, sponsor_id, number, name, currency, created_at)
        select $1, $2, $3, count(*) + 1, 'Order', 'EUR', now() from app.insertion_orders where tenant_id = $1""",
        tenant.tenant_id,
        order_id,
        sponsor,
    )
    await ledger.operator.execute(
        """insert into app.campaigns (tenant_id, campaign_id, sponsor_id, insertion_order_id, currency, name, starts_on,
            ends_on, pricing, budget_amount, model, window_days, created_at)
        values ($1, $2, $3, $4, 'EUR', 'Campaign', '2026-11-01', '2026-11-30', 'cpm', 0, 'linear', 30, now())""",
        tenant.tenant_id,
        campaign_id,
        sponsor,
        order_id,
    )
    await ledger.operator.execute(
        """insert into app.flights (tenant_id, flight_id, campaign_id, sponsor_id, currency, name, starts_at, ends_at,
            price_amount, created_at)
        values ($1, $2, $3, $4, 'EUR', 'Flight', '2026-11-01T00:00Z', '2026-12-01T00:00Z', 0, now())""",
        tenant.tenant_id,
        flight_id,
        campaign_id,
        sponsor,
    )
    return str(flight_id)
