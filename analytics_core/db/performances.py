"""Performances and invoices: deliveries with what is paid for them, clicks, and a run's totals by model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final, Literal, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.deliveries import CampaignHead, OrderHead, find_campaign, find_order, list_terms, sum_impressions
from analytics_core.db.pool import Connection
from analytics_core.db.reach import read_campaign_reach
from analytics_core.deliveries import Charge, FlightTerms, add_charges, charge_flight
from analytics_core.errors import Conflict, NotFound
from analytics_core.ids import TenantId
from analytics_core.money import Money
from analytics_core.performances import ModelFigures, ModelTotal, conversions_of, figures_by_model
from analytics_core.reach import MonthReach

__all__ = ("ChargedFlight", "Invoice", "Performance", "RunHead", "read_invoice", "read_performance")


class RunHead(msgspec.Struct, frozen=True, kw_only=True):
    """An attribution run that is ready: conversions of which time, received until when, by which models.

    Attributes:
        campaigns: All that it could credit; ``None`` where that was not noted.
        insufficient: Models that had too little to say anything by, and why.
    """

    run_id: UUID
    starts_at: dt.datetime
    ends_at: dt.datetime
    cutoff_at: dt.datetime
    models: Sequence[str]
    campaigns: frozenset[UUID] | None = None
    insufficient: Mapping[str, str] = {}

    @property
    def answering(self) -> list[str]:
        """Those of its models that said something."""
        return [model for model in self.models if model not in self.insufficient]

    def tells_of(self, campaign_id: UUID) -> bool:
        """Tell whether nothing given to a campaign means that it got nothing."""
        return self.campaigns is None or campaign_id in self.campaigns


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a campaign.

    Attributes:
        months: Its reach, month by month.
        cost: What it costs by now; ``None`` where conversions are paid for and no run counted them.
        models: What each model of the run that said something gives; none without one.
        run: ``None`` where there is none that is ready and tells of it.
    """

    head: CampaignHead
    impressions: int
    months: Sequence[MonthReach]
    clicks: int
    cost: Money | None
    models: Sequence[ModelFigures]
    run: RunHead | None


class ChargedFlight(msgspec.Struct, frozen=True):
    """A line of an invoice."""

    terms: FlightTerms
    delivered: int
    charge: Charge


class Invoice(msgspec.Struct, frozen=True):
    """What an insertion order costs by now, flight by flight."""

    head: OrderHead
    lines: Sequence[ChargedFlight]
    run: RunHead | None


class _RunState(RunHead, frozen=True, kw_only=True):
    status: Literal["queued", "running", "ready", "failed"]


_CLICKS: Final[LiteralString] = """/* performances.clicks */
select l.flight_id, sum(l.clicks_dropped + k.clicks)::bigint as clicks
from app.links l
cross join lateral (
    select count(*) as clicks from app.clicks c where c.link_no = l.link_no and not c.is_bot offset 0
) k
where l.tenant_id = $1 and l.flight_id = any($2::uuid[])
group by 1"""

_RUN: Final[LiteralString] = """/* performances.run */
select run_id, starts_at, ends_at, cutoff_at, models, status, summary -> 'campaigns' as campaigns,
    coalesce(summary -> 'insufficient', '{}') as insufficient
from app.attribution_runs where tenant_id = $1 and sponsor_id = $2 and run_id = $3"""

# A merge of sponsors brings runs that never looked at the campaigns of the other.
_LATEST: Final[LiteralString] = """/* performances.latest_run */
select run_id, starts_at, ends_at, cutoff_at, models, status, summary -> 'campaigns' as campaigns,
    coalesce(summary -> 'insufficient', '{}') as insufficient
from app.attribution_runs
where tenant_id = $1 and sponsor_id = $2 and status = 'ready' and coalesce(summary -> 'campaigns' ?| $3::text[], true)
order by created_at desc, run_id desc limit 1"""

_TOTALS: Final[LiteralString] = """/* performances.totals */
select model, flight_id, currency, conversions_ppm, new_customers_ppm, value_amount
from app.attribution_totals where tenant_id = $1 and run_id = $2 and campaign_id = any($3::uuid[])
order by model, flight_id, currency"""


async def _count_clicks(conn: Connection, tenant_id: TenantId, flight_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Count how often links of flights were followed by anyone but bots, deleted links too."""
    rows = await conn.fetch(_CLICKS, tenant_id, flight_ids)
    return {row["flight_id"]: row["clicks"] for row in rows}


async def _find_run(
    conn: Connection, tenant_id: TenantId, sponsor_id: UUID, run_id: UUID | None, campaign_ids: Sequence[UUID]
) -> RunHead | None:
    """Find an attribution run of a sponsor.

    Args:
        conn: In a transaction of the tenant.
        tenant_id: Of the tenant.
        sponsor_id: Whose run.
        run_id: Which; ``None`` for the latest that is ready and tells of any of the campaigns.
        campaign_ids: Of the sponsor.

    Returns:
        ``None`` where the latest is asked for and there is none.

    Raises:
        NotFound: The sponsor has none of this id.
        Conflict: ``run_not_ready``.
    """
    if run_id is None:
        row = await conn.fetchrow(_LATEST, tenant_id, sponsor_id, [str(one) for one in campaign_ids])
        return None if row is None else msgspec.convert(row, _RunState)
    row = await conn.fetchrow(_RUN, tenant_id, sponsor_id, run_id)
    if row is None:
        raise NotFound("attribution run")
    found = msgspec.convert(row, _RunState)
    if found.status != "ready":
        raise Conflict("run_not_ready", f"the attribution run is {found.status}; ask again once it is ready")
    return found


async def _read_totals(
    conn: Connection, tenant_id: TenantId, run_id: UUID, campaign_ids: Sequence[UUID]
) -> list[ModelTotal]:
    """Read what a run gave the flights of campaigns, by model and currency."""
    rows = await conn.fetch(_TOTALS, tenant_id, run_id, campaign_ids)
    return [msgspec.convert(row, ModelTotal) for row in rows]


def _charge(
    terms: Sequence[FlightTerms],
    delivered: Mapping[UUID, int],
    run: RunHead | None,
    totals: Sequence[ModelTotal],
    *,
    now: dt.datetime,
) -> list[ChargedFlight]:
    lines = []
    for one in terms:
        count = delivered.get(one.flight_id, 0)
        is_told = run is not None and run.tells_of(one.campaign_id)
        conversions = conversions_of(totals, one.flight_id) if is_told else None
        lines.append(
            ChargedFlight(one, count, charge_flight(one, delivered=count, conversions_ppm=conversions, now=now))
        )
    return lines


async def read_performance(
    conn: Connection, tenant_id: TenantId, campaign_id: UUID, *, run_id: UUID | None, now: dt.datetime
) -> Performance:
    """Tell what came of a campaign.

    Args:
        conn: In a transaction of the tenant whose statements see one instant.
        tenant_id: Of the tenant.
        campaign_id: Which.
        run_id: The attribution run that tells of conversions; ``None`` for the sponsor's latest.
        now: Aware instant.

    Raises:
        NotFound: There is no such campaign, or its sponsor has no such run.
        Conflict: ``run_not_ready``.
    """
    head = await find_campaign(conn, tenant_id, campaign_id)
    terms = await list_terms(conn, tenant_id, campaign_id=campaign_id)
    delivered = await sum_impressions(conn, tenant_id, [campaign_id])
    clicks = await _count_clicks(conn, tenant_id, [one.flight_id for one in terms])
    run = await _find_run(conn, tenant_id, head.sponsor_id, run_id, [campaign_id])
    if run is not None and not run.tells_of(campaign_id):
        run = None
    totals = [] if run is None else await _read_totals(conn, tenant_id, run.run_id, [campaign_id])
    lines = _charge(terms, delivered, run, totals, now=now)
    cost = add_charges((line.charge for line in lines), head.currency)
    return Performance(
        head=head,
        impressions=sum(delivered.values()),
        months=await read_campaign_reach(conn, tenant_id, campaign_id),
        clicks=sum(clicks.values()),
        cost=cost,
        models=[] if run is None else figures_by_model(totals, run.answering, cost=cost, currency=head.currency),
        run=run,
    )


async def read_invoice(
    conn: Connection, tenant_id: TenantId, insertion_order_id: UUID, *, run_id: UUID | None, now: dt.datetime
) -> Invoice:
    """Tell what an insertion order costs by now; the arguments are those of :func:`read_performance`.

    Raises:
        NotFound: There is no such order, or its sponsor has no such run.
        Conflict: ``run_not_ready``.
    """
    head = await find_order(conn, tenant_id, insertion_order_id)
    terms = await list_terms(conn, tenant_id, insertion_order_id=insertion_order_id)
    campaign_ids = sorted({one.campaign_id for one in terms})
    delivered = await sum_impressions(conn, tenant_id, campaign_ids)
    run = await _find_run(conn, tenant_id, head.sponsor_id, run_id, campaign_ids)
    totals = [] if run is None else await _read_totals(conn, tenant_id, run.run_id, campaign_ids)
    return Invoice(head, _charge(terms, delivered, run, totals, now=now), run)
