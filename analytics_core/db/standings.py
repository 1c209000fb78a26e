"""Standings: how many campaigns stand at once, by the sums of their flights and the latest attribution run of each."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.deliveries import list_terms_of, sum_impressions
from analytics_core.db.pool import Connection
from analytics_core.deliveries import CampaignPace, FlightTerms, add_charges, charge_flight, pace_campaign
from analytics_core.ids import TenantId
from analytics_core.money import Money
from analytics_core.performances import DETERMINISTIC, ModelFigures, ModelTotal, conversions_of, figures_by_model

__all__ = ("Standing", "StandingHead", "list_standings")


class StandingHead(msgspec.Struct, frozen=True, kw_only=True):
    """What the standing of a campaign says of it."""

    campaign_id: UUID
    sponsor_id: UUID
    sponsor_name: str
    name: str
    status: str
    starts_on: dt.date
    ends_on: dt.date
    currency: str
    created_at: dt.datetime


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a campaign stands.

    Attributes:
        cost: What it costs by now; ``None`` where conversions are paid for and no run counted them.
        run_id: The latest attribution run that is ready and tells of it.
        sure: What that gives it for sure; ``None`` without one.
    """

    head: StandingHead
    pace: CampaignPace
    cost: Money | None
    run_id: UUID | None
    sure: ModelFigures | None


class _Total(ModelTotal, frozen=True, kw_only=True):
    campaign_id: UUID


_CAMPAIGNS: Final[LiteralString] = """/* standings.campaigns */
select c.campaign_id, c.sponsor_id, s.name as sponsor_name, c.name, c.status, c.starts_on, c.ends_on, c.currency,
    c.created_at
from app.campaigns c join app.sponsors s on s.tenant_id = c.tenant_id and s.sponsor_id = c.sponsor_id
where c.tenant_id = $1 and ($2::timestamptz is null or (c.created_at, c.campaign_id) > ($2, $3::uuid))
    and ($5::uuid is null or c.sponsor_id = $5)
order by c.created_at, c.campaign_id limit $4"""

# As performances.latest_run has it, for each campaign by itself.
_RUNS: Final[LiteralString] = """/* standings.runs */
select k.campaign_id, r.run_id
from unnest($2::uuid[], $3::uuid[]) as k (campaign_id, sponsor_id)
cross join lateral (
    select run_id from app.attribution_runs
    where tenant_id = $1 and sponsor_id = k.sponsor_id and status = 'ready'
        and coalesce(summary -> 'campaigns' ? k.campaign_id::text, true)
    order by created_at desc, run_id desc limit 1
) r"""

_TOTALS: Final[LiteralString] = """/* standings.totals */
select t.campaign_id, t.model, t.flight_id, t.currency, t.conversions_ppm, t.new_customers_ppm, t.value_amount
from unnest($2::uuid[], $3::uuid[]) as k (campaign_id, run_id)
join app.attribution_totals t on t.tenant_id = $1 and t.run_id = k.run_id and t.campaign_id = k.campaign_id
where t.model = $4"""


async def list_standings(
    conn: Connection,
    tenant_id: TenantId,
    *,
    after: tuple[dt.datetime, UUID] | None,
    limit: int,
    sponsor_id: UUID | None,
    now: dt.datetime,
) -> list[Standing]:
    """Tell how campaigns stand, in the order in which they were made, behind *after*.

    Args:
        conn: In a transaction of the tenant whose statements see one instant.
        tenant_id: Of the tenant.
        after: The row behind which the list begins.
        limit: How many at most.
        sponsor_id: Only of this sponsor.
        now: Aware instant.
    """
    at, behind = after if after is not None else (None, None)
    rows = await conn.fetch(_CAMPAIGNS, tenant_id, at, behind, limit, sponsor_id)
    heads = [msgspec.convert(row, StandingHead) for row in rows]
    campaign_ids = [head.campaign_id for head in heads]
    terms: defaultdict[UUID, list[FlightTerms]] = defaultdict(list)
    for one in await list_terms_of(conn, tenant_id, campaign_ids):
        terms[one.campaign_id].append(one)
    delivered = await sum_impressions(conn, tenant_id, campaign_ids)
    sponsor_ids = [head.sponsor_id for head in heads]
    found = await conn.fetch(_RUNS, tenant_id, campaign_ids, sponsor_ids)
    runs: dict[UUID, UUID] = {row["campaign_id"]: row["run_id"] for row in found}
    totals: defaultdict[UUID, list[ModelTotal]] = defaultdict(list)
    for row in await conn.fetch(_TOTALS, tenant_id, list(runs), list(runs.values()), DETERMINISTIC):
        total = msgspec.convert(row, _Total)
        totals[total.campaign_id].append(total)
    return [
        _stand(
            head,
            [(one, delivered.get(one.flight_id, 0)) for one in terms[head.campaign_id]],
            run_id=runs.get(head.campaign_id),
            totals=totals[head.campaign_id],
            now=now,
        )
        for head in heads
    ]


def _stand(
    head: StandingHead,
    flights: Sequence[tuple[FlightTerms, int]],
    *,
    run_id: UUID | None,
    totals: Sequence[ModelTotal],
    now: dt.datetime,
) -> Standing:
    charges = [
        charge_flight(
            terms,
            delivered=delivered,
            conversions_ppm=None if run_id is None else conversions_of(totals, terms.flight_id),
            now=now,
        )
        for terms, delivered in flights
    ]
    cost = add_charges(charges, head.currency)
    figures = figures_by_model(totals, (), cost=cost, currency=head.currency)
    return Standing(
        head=head,
        pace=pace_campaign(flights, now=now),
        cost=cost,
        run_id=run_id,
        sure=None if run_id is None else figures[0],
    )
