"""Reach of UTC months: counted from the downloads while they are kept, and read.

Counting reads a month's downloads of all episodes that a sponsor is placed in, so it is done for those sponsors and
months of which the impressions are others than those counted, and the more there are, the more seldom; once more when
the month is final. Impressions are kept beside it: they tell what it was counted of. Nothing is counted of days whose
downloads have gone: what was counted while they were there stays.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection
from analytics_core.ids import TenantId
from analytics_core.reach import MonthReach

__all__ = ("AT_MOST_EVERY", "DueMonth", "count_reach", "list_due", "read_campaign_reach", "read_flight_reach")

AT_MOST_EVERY: Final = dt.timedelta(hours=1)
"""A sponsor's month with a million impressions or more is not counted more often; one with fewer waits less long."""
_MANY: Final = 1_000_000


class DueMonth(msgspec.Struct, frozen=True):
    """A sponsor's month that is to be counted."""

    tenant_id: UUID
    tenant_no: int
    sponsor_id: UUID
    month: dt.date
    is_final: bool


# Over all tenants; a month that has lost a day's downloads which the sponsor had impressions on is left as it is.
_DUE: Final[LiteralString] = """/* reach.due */
with delivered as (
    select d.tenant_id, t.tenant_no, d.sponsor_id, date_trunc('month', d.day::timestamp)::date as month,
        sum(d.downloads)::bigint as impressions, bool_or(k.downloads_dropped_at is not null) as is_gone
    from app.placement_daily d
    join app.tenants t on t.tenant_id = d.tenant_id
    left join ops.days k on k.tenant_no = t.tenant_no and k.day = d.day
    group by 1, 2, 3, 4
), months as (
    select coalesce(d.tenant_id, r.tenant_id) as tenant_id, coalesce(d.sponsor_id, r.sponsor_id) as sponsor_id,
        coalesce(d.month, r.month) as month, coalesce(d.impressions, 0) as impressions,
        coalesce(d.is_gone, false) as is_gone, r.impressions as counted, r.is_final as was_final, r.computed_at
    from delivered d
    full join (select * from app.reach_months where level = 'sponsor') r
        on r.tenant_id = d.tenant_id and r.sponsor_id = d.sponsor_id and r.month = d.month
), known as (
    select m.*, t.tenant_no, (m.month + interval '1 month') at time zone 'UTC' <= $1::timestamptz - $2::interval
        and not exists (
        select from ops.days k
        where k.tenant_no = t.tenant_no and k.day >= m.month and k.day < m.month + interval '1 month'
            and k.final_at is null
    ) as is_final
    from months m join app.tenants t on t.tenant_id = m.tenant_id
)
select tenant_id, tenant_no, sponsor_id, month, is_final from known
where not is_gone and (computed_at is null or (is_final and not was_final)
    or (impressions <> counted
        and computed_at <= $1::timestamptz - $3::interval * least(1, greatest(impressions, counted)::float / $4)))
order by computed_at nulls first, tenant_id, sponsor_id, month limit $5"""

_COUNT: Final[LiteralString] = """/* reach.count */
with live as materialized (
    select campaign_id, flight_id, episode_no, live_from, live_until from app.placements
    where tenant_id = $1 and sponsor_id = $3 and status <> 'missed'
        and live_from < $5::date::timestamp at time zone 'UTC' and live_until > $4::date::timestamp at time zone 'UTC'
), complete as materialized (
    select not exists (
        select from ops.days k
        where k.tenant_no = $2 and k.day >= $4 and k.day < $5 and k.downloads_dropped_at is not null
            and exists (select from app.placement_daily d
                where d.tenant_id = $1 and d.sponsor_id = $3 and d.day = k.day)
    ) as yes
), heard as materialized (
    select l.campaign_id, l.flight_id, w.listener_key, count(*) as n
    from live l
    join ts.downloads w on w.episode_no = l.episode_no and w.tenant_no = $2 and w.day >= $4 and w.day < $5
        and w.occurred_at >= l.live_from and w.occurred_at < l.live_until
    where (select yes from complete)
    group by 1, 2, 3
), counted as materialized (
    select 'flight' as level, flight_id as subject_id, count(*) as reach, sum(n)::bigint as impressions
    from heard group by flight_id
    union all
    select 'campaign', campaign_id, count(distinct listener_key), sum(n)::bigint from heard group by campaign_id
    union all
    select 'sponsor', $3, count(distinct listener_key), coalesce(sum(n), 0)::bigint from heard
), gone as (
    delete from app.reach_months
    where tenant_id = $1 and sponsor_id = $3 and month = $4 and (select yes from complete)
        and (level, subject_id) not in (select level, subject_id from counted)
)
insert into app.reach_months as old (tenant_id, sponsor_id, level, subject_id, month, reach, impressions, is_final,
    computed_at)
select $1, $3, level, subject_id, $4, reach, impressions, $6, $7 from counted where (select yes from complete)
on conflict (tenant_id, level, subject_id, month) do update
    set sponsor_id = excluded.sponsor_id, reach = excluded.reach, impressions = excluded.impressions,
        is_final = excluded.is_final, computed_at = excluded.computed_at"""

_CAMPAIGN: Final[LiteralString] = """/* reach.of_campaign */
select coalesce(d.month, r.month) as month, coalesce(d.delivered, 0) as delivered, r.reach, r.impressions,
    coalesce(r.is_final, false) as is_final, r.computed_at
from (
    select date_trunc('month', day::timestamp)::date as month, sum(downloads)::bigint as delivered
    from app.placement_daily where tenant_id = $1 and campaign_id = $2 group by 1
) d
full join (
    select * from app.reach_months where tenant_id = $1 and level = 'campaign' and subject_id = $2
) r on r.month = d.month
order by 1"""

_FLIGHTS: Final[LiteralString] = """/* reach.of_flights */
select coalesce(d.flight_id, r.subject_id) as flight_id, coalesce(d.month, r.month) as month,
    coalesce(d.delivered, 0) as delivered, r.reach, r.impressions, coalesce(r.is_final, false) as is_final,
    r.computed_at
from (
    select flight_id, date_trunc('month', day::timestamp)::date as month, sum(downloads)::bigint as delivered
    from app.placement_daily where tenant_id = $1 and campaign_id = $2 group by 1, 2
) d
full join (
    select * from app.reach_months where tenant_id = $1 and level = 'flight' and subject_id = any($3::uuid[])
) r on r.subject_id = d.flight_id and r.month = d.month
order by 1, 2"""


async def list_due(
    conn: Connection,
    *,
    now: dt.datetime,
    final_after: dt.timedelta,
    at_most_every: dt.timedelta = AT_MOST_EVERY,
    limit: int,
) -> list[DueMonth]:
    """List sponsors' months that are to be counted, those first that never were.

    Args:
        conn: As ingest.
        now: Aware instant.
        final_after: What has to lie between a month's end and its being final.
        at_most_every: Leave alone a month with very many impressions that was counted a shorter time ago.
        limit: How many at most.
    """
    rows = await conn.fetch(_DUE, now, final_after, at_most_every, _MANY, limit)
    return [msgspec.convert(row, DueMonth) for row in rows]


async def count_reach(conn: Connection, due: DueMonth, *, now: dt.datetime) -> None:
    """Count the reach of a sponsor's month, and of its campaigns and flights, unless downloads of it have gone.

    Args:
        conn: As ingest, with READ COMMITTED isolation.
        due: Which.
        now: Aware instant.
    """
    following = (due.month + dt.timedelta(days=31)).replace(day=1)
    await conn.execute(_COUNT, due.tenant_id, due.tenant_no, due.sponsor_id, due.month, following, due.is_final, now)


async def read_campaign_reach(conn: Connection, tenant_id: TenantId, campaign_id: UUID) -> list[MonthReach]:
    """Read a campaign's reach month by month; those without impressions are not there."""
    return [msgspec.convert(row, MonthReach) for row in await conn.fetch(_CAMPAIGN, tenant_id, campaign_id)]


async def read_flight_reach(
    conn: Connection, tenant_id: TenantId, campaign_id: UUID, flight_ids: Sequence[UUID]
) -> dict[UUID, list[MonthReach]]:
    """Read the reach of a campaign's flights, as :func:`read_campaign_reach` does that of the campaign."""
    found: dict[UUID, list[MonthReach]] = {}
    for row in await conn.fetch(_FLIGHTS, tenant_id, campaign_id, flight_ids):
        month = {name: value for name, value in row.items() if name != "flight_id"}
        found.setdefault(row["flight_id"], []).append(MonthReach(**month))
    return found
