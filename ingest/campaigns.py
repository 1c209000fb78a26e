"""What the calendar does to campaigns and flights: they begin and end by themselves."""

from __future__ import annotations

import datetime as dt
from typing import Final
from uuid import UUID

from analytics_core.campaigns import CampaignStatus
from analytics_core.db.audit import add_command
from analytics_core.db.campaigns import find_campaign, hold_campaign, list_due_campaigns, set_campaign_status
from analytics_core.db.flights import list_due_flights, settle_flights
from analytics_core.db.pool import Connection, Pool, Tenant, tenant_transaction
from analytics_core.ids import TenantId, TenantNo

__all__ = ("follow_calendar",)

_AT_ONCE: Final = 200
_MOST: Final = 10_000
"""Campaigns a run; the others have their turn in the next one."""


def _next(status: CampaignStatus, starts_on: dt.date, ends_on: dt.date, today: dt.date) -> CampaignStatus | None:
    """Tell where the calendar moves a campaign; ``None`` for nowhere."""
    if status is CampaignStatus.SCHEDULED and starts_on <= today:
        return CampaignStatus.ACTIVE
    if status in (CampaignStatus.ACTIVE, CampaignStatus.PAUSED) and ends_on < today:
        return CampaignStatus.COMPLETED
    return None


async def _move(pool: Pool, tenant: Tenant, campaign_id: UUID, *, now: dt.datetime) -> int:
    """Move a campaign one step, and its flights with it, on record; return the number of both."""
    async with tenant_transaction(pool, tenant) as conn:
        was = await hold_campaign(conn, campaign_id)
        status = _next(was.status, was.starts_on, was.ends_on, now.astimezone(dt.UTC).date())
        if status is not None:
            await set_campaign_status(conn, campaign_id, status, now=now)
            await add_command(
                conn,
                int(tenant.tenant_no),
                action="campaign.activate" if status is CampaignStatus.ACTIVE else "campaign.complete",
                resource_id=str(campaign_id),
                before={"status": was.status},
                after={"status": status},
            )
        flights = await settle_flights(conn, await find_campaign(conn, campaign_id), now=now)
        return len(flights) + (status is not None)


async def follow_calendar(conn: Connection, pool: Pool, *, now: dt.datetime) -> dict[str, int]:
    """Have campaigns whose first day has come begin, those whose last day is over end, and flights follow the clock.

    Args:
        conn: As ingest, outside a transaction.
        pool: As ingest; each campaign has a transaction of its own.
        now: Aware instant.
    """
    today = now.astimezone(dt.UTC).date()
    seen = moved = 0
    while seen < _MOST:
        due = [
            (Tenant(TenantId(one.tenant_id), TenantNo(one.tenant_no)), one.campaign_id)
            for one in (
                *await list_due_campaigns(conn, today=today, limit=_AT_ONCE),
                *await list_due_flights(conn, now=now, limit=_AT_ONCE),
            )
        ]
        step = [await _move(pool, tenant, campaign_id, now=now) for tenant, campaign_id in due]
        seen, moved = seen + len(due), moved + sum(step)
        # Somebody else moves what could not be moved here.
        if not any(step):
            break
    return {"moved": moved}
