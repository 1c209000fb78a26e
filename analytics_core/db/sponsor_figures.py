"""What the reports of what was sold are made of, by the same readings that the API answers by."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.analytics import Scope, read_status
from analytics_core.db.deliveries import read_campaign_delivery
from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.reach import read_campaign_reach
from analytics_core.db.report_figures import counted_of, span_of
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.ids import PodcastNo
from analytics_core.performances import ModelTotal
from analytics_core.reach import MonthReach
from analytics_core.reporting.campaigns import CampaignPart, cut_campaign
from analytics_core.reporting.documents import ReportFailed
from analytics_core.reporting.requests import ReportKind, ReportParams
from analytics_core.reporting.sponsors import CodeFigure, LinkFigure, RunFacts, SponsorFigures
from analytics_core.reports import utc_days

__all__ = ("MAX_CAMPAIGNS", "read_sponsor_figures")

MAX_CAMPAIGNS: Final = 2_000
"""Campaigns of a report."""

_SPONSOR: Final[LiteralString] = """/* sponsor_figures.sponsor */
select name from app.sponsors where tenant_id = $1 and sponsor_id = $2"""

# Those that were sold and still counted in the days; a draft is nobody's business yet.
_CAMPAIGNS: Final[LiteralString] = """/* sponsor_figures.campaigns */
select c.campaign_id from app.campaigns c
where c.tenant_id = $1 and ($2::uuid is null or c.sponsor_id = $2) and ($3::uuid is null or c.campaign_id = $3)
    and (c.campaign_id = $3 or c.status <> 'draft' and exists (
        select from app.flights f where f.tenant_id = c.tenant_id and f.campaign_id = c.campaign_id
            and f.starts_at < $5 and f.ends_at + f.measurement_days * interval '1 day' > $4
    ))
order by c.created_at, c.campaign_id limit $6"""

_PODCASTS: Final[LiteralString] = """/* sponsor_figures.podcasts */
select distinct podcast_no from app.placements where tenant_id = $1 and campaign_id = any($2::uuid[]) order by 1"""

_CODES: Final[LiteralString] = """/* sponsor_figures.codes */
with said as materialized (
    select c.conversion_id, c.occurred_at, c.promo_key as code
    from app.conversions c
    where c.tenant_id = $1 and c.sponsor_id = $2 and c.promo_key is not null
        and c.occurred_at >= $4 and c.occurred_at < $5 and c.received_at < $6
        and (
            select a.kind from app.conversion_adjustments a
            where a.tenant_id = c.tenant_id and a.conversion_id = c.conversion_id and a.received_at < $6
            order by a.adjusted_at desc, a.adjustment_id desc limit 1
        ) is distinct from 'retract'
), redeemed as (
    select distinct on (s.conversion_id) s.conversion_id, p.promo_code_id,
        coalesce(s.occurred_at >= p.valid_until, false) as is_late
    from said s join app.promo_codes p on p.tenant_id = $1 and p.sponsor_id = $2 and p.code = s.code
        and s.occurred_at >= p.valid_from and p.valid_until is distinct from p.valid_from
        and (p.valid_until is null or s.occurred_at < p.valid_until + p.grace_days * interval '1 day')
    order by s.conversion_id, is_late, p.valid_from desc
)
select p.code, p.campaign_id, p.flight_id, p.valid_from, p.valid_until, count(r.conversion_id) as redemptions,
    count(*) filter (where r.is_late) as late,
    case when $7::uuid is not null then count(*) filter (where a.leak = 'coupon_referrer') end as coupon_referrer,
    case when $7::uuid is not null then count(*) filter (where a.leak = 'no_exposure') end as no_exposure,
    case when $7::uuid is not null then count(*) filter (where a.leak = 'over_limit') end as over_limit
from app.promo_codes p
left join redeemed r using (promo_code_id)
left join app.attributed_conversions a
    on a.tenant_id = $1 and a.run_id = $7 and a.conversion_id = r.conversion_id
where p.tenant_id = $1 and p.campaign_id = any($3::uuid[])
group by p.promo_code_id, p.code, p.campaign_id, p.flight_id, p.valid_from, p.valid_until
order by redemptions desc, p.code, p.valid_from, p.promo_code_id"""

_LINKS: Final[LiteralString] = """/* sponsor_figures.links */
select l.slug, l.campaign_id, l.flight_id,
    (select count(*) from app.clicks k
        where k.link_no = l.link_no and not k.is_bot and k.occurred_at >= $3 and k.occurred_at < $4) as clicks
from app.links l where l.tenant_id = $1 and l.campaign_id = any($2::uuid[])
order by clicks desc, l.slug"""

_RUN: Final[LiteralString] = """/* sponsor_figures.run */
select run_id, starts_at, ends_at, cutoff_at, code_version, models,
    coalesce(summary -> 'insufficient', '{}') as insufficient, summary -> 'campaigns' as campaigns
from app.attribution_runs where tenant_id = $1 and run_id = $2 and status = 'ready'"""

_TOTALS: Final[LiteralString] = """/* sponsor_figures.totals */
select model, flight_id, currency, conversions_ppm, new_customers_ppm, value_amount
from app.attribution_totals where tenant_id = $1 and run_id = $2 and campaign_id = any($3::uuid[])
order by model, flight_id, currency"""


async def _find_run(conn: Connection, tenant: Tenant, run_id: UUID | None) -> RunFacts | None:
    if run_id is None:
        return None
    row = await conn.fetchrow(_RUN, tenant.tenant_id, run_id)
    if row is None:
        raise ReportFailed("its attribution run is not there any more")
    return msgspec.convert(row, RunFacts)


async def _sponsor_of(conn: Connection, tenant: Tenant, params: ReportParams) -> str | None:
    if params.sponsor_id is None:
        return None
    name: str | None = await conn.fetchval(_SPONSOR, tenant.tenant_id, params.sponsor_id)
    if name is None:
        raise ReportFailed("its sponsor is not there any more")
    return name


async def read_sponsor_figures(
    conn: Connection, tenant: Tenant, kind: ReportKind, params: ReportParams, *, now: dt.datetime
) -> SponsorFigures:
    """Read what a sponsor's report, or one of deliveries, is made of.

    How flights stand is told as of the cutoff, not as of now: so a report of days that are over stays the same.

    Args:
        conn: As the API, in a snapshot of the tenant.
        tenant: Whose.
        kind: Of deliveries nothing is read of codes, links and conversions.
        params: Of which sponsor or campaign.
        now: Aware instant.

    Raises:
        ReportFailed: What it is about is gone, or too much.
    """
    span, key = span_of(params), tenant.tenant_id
    first, last = utc_days(*span)
    sponsor = await _sponsor_of(conn, tenant, params)
    rows = await conn.fetch(_CAMPAIGNS, key, params.sponsor_id, params.campaign_id, *span, MAX_CAMPAIGNS + 1)
    campaign_ids = [row["campaign_id"] for row in rows]
    if len(campaign_ids) > MAX_CAMPAIGNS:
        raise ReportFailed(f"it is about more than {MAX_CAMPAIGNS:,} campaigns: ask for a sponsor or fewer days")
    if params.campaign_id is not None and not campaign_ids:
        raise ReportFailed("its campaign is not there any more")
    podcasts = tuple(PodcastNo(row["podcast_no"]) for row in await conn.fetch(_PODCASTS, key, campaign_ids))
    # First, so that what it says holds for figures that are read after it.
    status = await read_status(conn, Scope(podcasts), first=first, last=last)
    counted = counted_of(status, span, now=now)
    of_sponsor = kind is ReportKind.SPONSOR
    run = await _find_run(conn, tenant, params.run_id) if of_sponsor else None
    totals = [] if run is None else await _read_totals(conn, tenant, run.run_id, campaign_ids)
    codes = await _read_codes(conn, tenant, params, campaign_ids) if of_sponsor else []
    links = await _read_links(conn, tenant, params, campaign_ids) if of_sponsor else []
    redemptions: Counter[UUID] = Counter()
    for code in codes:
        redemptions[code.campaign_id] += code.redemptions
    clicks: Counter[UUID] = Counter()
    for link in links:
        clicks[link.campaign_id] += link.clicks
    campaigns = []
    months: dict[UUID, Sequence[MonthReach]] = {}
    for campaign_id in campaign_ids:
        try:
            found = await read_campaign_delivery(conn, key, campaign_id, now=now)
        except NotFound as error:
            raise AssertionError("a snapshot has what it has listed") from error
        except InvalidInput as error:
            raise ReportFailed(f"a campaign in it is too large: {error.reason}") from error
        flights, placements, in_range, costs = cut_campaign(
            found.delivery.flights,
            found.placements,
            totals if run is not None and run.tells_of(campaign_id) else None,
            start=params.start,
            end=params.end,
            at=min(now, span.end) if counted.cutoff_at is None else counted.cutoff_at,
        )
        head = found.head
        campaigns.append(
            CampaignPart(
                campaign_id=campaign_id,
                name=head.name,
                status=head.status,
                starts_on=head.starts_on,
                ends_on=head.ends_on,
                model=head.model,
                currency=head.currency,
                flights=flights,
                placements=placements,
                in_range=in_range,
                costs=costs,
                clicks=clicks[campaign_id],
                redemptions=redemptions[campaign_id],
            )
        )
        if of_sponsor:
            months[campaign_id] = [
                month
                for month in await read_campaign_reach(conn, key, campaign_id)
                if params.start.replace(day=1) <= month.month < params.end
            ]
    return SponsorFigures(
        sponsor=sponsor,
        counted=counted,
        campaigns=campaigns,
        months=months,
        codes=codes,
        links=links,
        run=run,
        totals=totals,
    )


async def _read_totals(
    conn: Connection, tenant: Tenant, run_id: UUID, campaign_ids: Sequence[UUID]
) -> list[ModelTotal]:
    rows = await conn.fetch(_TOTALS, tenant.tenant_id, run_id, campaign_ids)
    return [msgspec.convert(row, ModelTotal) for row in rows]


async def _read_codes(
    conn: Connection, tenant: Tenant, params: ReportParams, campaign_ids: Sequence[UUID]
) -> list[CodeFigure]:
    """Count conversions by the code that they named while it was valid or in its grace; retracted ones are none."""
    rows = await conn.fetch(
        _CODES,
        tenant.tenant_id,
        params.sponsor_id,
        campaign_ids,
        *span_of(params),
        params.received_before,
        params.run_id,
    )
    return [msgspec.convert(row, CodeFigure) for row in rows]


async def _read_links(
    conn: Connection, tenant: Tenant, params: ReportParams, campaign_ids: Sequence[UUID]
) -> list[LinkFigure]:
    rows = await conn.fetch(_LINKS, tenant.tenant_id, campaign_ids, *span_of(params))
    return [msgspec.convert(row, LinkFigure) for row in rows]
