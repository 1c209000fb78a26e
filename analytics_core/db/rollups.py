"""Rollups: which episodes' days are out of date, and their recomputation from the downloads.

Safe against lost updates by the order of three statements, each with a snapshot of its own: the episode is locked,
the marks that can be seen are deleted, and only then are the downloads read. Whatever a writer commits in between
is either counted already or has left a mark that is still there.

Sums of episodes' rows (whole podcasts by quarter hour, podcasts and episodes by month) have marks of their own, left by
triggers on whatever changes a row, and are summed up anew in the same order under a lock of the podcast. Nothing is
ever added to a sum: one that is wrong, for whatever reason, is right again once its day is marked.

What placements delivered is such a sum as well, of the quarter hours in which they are live: made with the sums of the
days that changed, and of a placement's whole time when that was made or changed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection

__all__ = (
    "MAX_CITIES",
    "Claim",
    "MarkedDay",
    "claim_episodes",
    "count_marks",
    "deliver_placements",
    "recompute_days",
    "sum_up",
    "take_marks",
    "take_placement_marks",
    "take_sum_marks",
)

MAX_CITIES: Final = 1_000
"""An episode's day has no more cities, those with the most downloads; the others are one."""


class MarkedDay(msgspec.Struct, frozen=True, order=True):
    """A day of an episode whose rollups are out of date."""

    tenant_no: int
    podcast_no: int
    episode_no: int
    day: dt.date


class Claim(msgspec.Struct, frozen=True):
    """What a refresher holds locked until its transaction ends.

    Attributes:
        episode_nos: Whose marks it may take.
        podcast_nos: Their podcasts, and those that only wait to be summed up or have placements that wait.
    """

    episode_nos: list[int]
    podcast_nos: list[int]


# The candidates are settled before any lock is tried: a planner may otherwise try more locks than rows are wanted.
# A podcast first, as its sums are made of all its episodes; episodes too, as the version before locks only these.
_CLAIM: Final[LiteralString] = """/* rollups.claim */
with waiting as materialized (
    select episode_no, podcast_no from ops.dirty_marks group by 1, 2 order by min(mark_no) limit $1
), summing as materialized (
    select podcast_no from ops.sum_marks group by 1 order by min(mark_no) limit $1
), delivering as materialized (
    select podcast_no from ops.placement_marks group by 1 order by min(mark_no) limit $1
), podcasts as materialized (
    select podcast_no from (
        select podcast_no from waiting union select podcast_no from summing union select podcast_no from delivering
    ) c
    where pg_try_advisory_xact_lock(hashtext('castledger.sums'), podcast_no)
)
select podcast_no, array(
    select w.episode_no from waiting w
    where w.podcast_no = p.podcast_no and pg_try_advisory_xact_lock(hashtext('castledger.rollups'), w.episode_no)
) as episode_nos from podcasts p"""

_TAKE: Final[LiteralString] = """/* rollups.take_marks */
delete from ops.dirty_marks where episode_no = any($1::integer[])
returning tenant_no, podcast_no, episode_no, day"""

# `not in`, as every column is not null: a hash whatever the planner guesses, where `not exists` over a CTE of unknown
# size becomes a nested loop. The days stand once more by themselves, so that partitions can be pruned.
# Days whose downloads are gone, of the tenant or of one that had the episode before, stay as they were counted.
# Of cities there can be as many as downloads: those beyond the largest of an episode's day are one.
_RECOMPUTE: Final[LiteralString] = """/* rollups.recompute */
with days as materialized (
    select * from unnest($1::integer[], $2::integer[], $3::integer[], $4::date[])
        as n(tenant_no, podcast_no, episode_no, day)
    where not exists (
        select from (
            select n.tenant_no
            union all
            select m.tenant_no from app.metrics_daily m
            where m.episode_no = n.episode_no and m.day = n.day and m.dimension = 'total'
        ) o join ops.days d on d.tenant_no = o.tenant_no and d.day = n.day
        where d.downloads_dropped_at is not null
    )
), facts as (
    select w.episode_no, w.day, w.agent_no, w.country, w.place_no, w.referrer_no, w.feed_app_no, w.source,
        (floor(date_part('epoch', w.occurred_at) / 900)::bigint % 96)::integer as quarter,
        count(*) as downloads, count(*) filter (where w.evidence > 1) as strict
    from days n join ts.downloads w on w.day = n.day and w.episode_no = n.episode_no
    where w.day = any($5::date[])
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9
), small_cities as materialized (
    select episode_no, day, city from (
        select f.episode_no, f.day, l.city,
            row_number() over (partition by f.episode_no, f.day order by sum(f.downloads) desc, l.city) as place
        from facts f join ops.places l using (place_no) where l.city <> '' group by 1, 2, 3
    ) c where place > $6
), quarters as (
    select f.episode_no, f.day, x.dimension, x.key, f.quarter, sum(f.downloads) as downloads, sum(f.strict) as strict
    from facts f
    left join ops.agents a using (agent_no)
    left join ops.places l on l.place_no = f.place_no
    left join ops.terms r on r.term_no = f.referrer_no
    left join ops.terms p on p.term_no = f.feed_app_no
    cross join lateral (values
        ('total', ''),
        ('app', coalesce(a.app, '')),
        ('device', coalesce(a.device, '')),
        ('os', coalesce(a.os, '')),
        ('country', case when f.country > 0 then chr(f.country / 256) || chr(f.country % 256) else '' end),
        ('region', coalesce(l.region, '')),
        ('city', case when (f.episode_no, f.day, l.city) in (select episode_no, day, city from small_cities)
            then 'other' else coalesce(l.city, '') end),
        ('referrer', coalesce(r.term, '')),
        ('feed_app', coalesce(p.term, '')),
        ('source', case f.source when 1 then 'prefix' when 2 then 'log' else '' end)) as x(dimension, key)
    group by 1, 2, 3, 4, 5
), sums as (
    select episode_no, day, dimension, key, sum(downloads)::integer as downloads, sum(strict)::integer as strict,
        array_agg(quarter) as places, array_agg(downloads) as counts, array_agg(strict) as counts_strict
    from quarters group by 1, 2, 3, 4
), fresh as materialized (
    select n.tenant_no, n.podcast_no, s.episode_no, s.day, s.dimension, s.key, s.downloads, s.strict,
        q.quarters, q.quarters_strict
    from sums s join days n using (episode_no, day)
    cross join lateral (
        select array_agg(coalesce(c.n, 0)::integer order by g) as quarters,
            array_agg(coalesce(c.strict, 0)::integer order by g) as quarters_strict
        from generate_series(0, 95) as g
        left join unnest(s.places, s.counts, s.counts_strict) as c(place, n, strict) on c.place = g
    ) as q
), gone as (
    delete from app.metrics_daily m using days n
    where m.episode_no = n.episode_no and m.day = n.day
        and (m.episode_no, m.day, m.dimension, m.key) not in (select episode_no, day, dimension, key from fresh)
)
insert into app.metrics_daily as old (tenant_no, podcast_no, episode_no, day, dimension, key, downloads,
    downloads_strict, quarters, quarters_strict)
select tenant_no, podcast_no, episode_no, day, dimension, key, downloads, strict, quarters, quarters_strict from fresh
on conflict (episode_no, day, dimension, key) do update
    set downloads = excluded.downloads, downloads_strict = excluded.downloads_strict, quarters = excluded.quarters,
        quarters_strict = excluded.quarters_strict, refreshed_at = now()
    where (old.quarters, old.quarters_strict) is distinct from (excluded.quarters, excluded.quarters_strict)"""

_TAKE_SUMS: Final[LiteralString] = """/* rollups.take_sum_marks */
delete from ops.sum_marks where podcast_no = any($1::integer[])
returning tenant_no, podcast_no, episode_no, day"""

_SUM_UP: Final[LiteralString] = """/* rollups.sum_up */
select app.sum_up($1::integer[], $2::integer[], $3::date[])"""

_TAKE_PLACEMENTS: Final[LiteralString] = """/* rollups.take_placement_marks */
delete from ops.placement_marks where podcast_no = any($1::integer[]) returning placement_id"""

_DELIVER: Final[LiteralString] = """/* rollups.deliver_placements */
select app.deliver_placements($1::uuid[])"""

_COUNT: Final[LiteralString] = """/* rollups.count_marks */
select (select count(*) from ops.dirty_marks) + (select count(*) from ops.sum_marks)
    + (select count(*) from ops.placement_marks)"""


async def claim_episodes(conn: Connection, *, limit: int) -> Claim:
    """Lock episodes with marks and their podcasts, longest waiting first; what another holds is left out."""
    rows = await conn.fetch(_CLAIM, limit)
    return Claim([number for row in rows for number in row["episode_nos"]], [row["podcast_no"] for row in rows])


async def take_marks(conn: Connection, claim: Claim) -> list[MarkedDay]:
    """Delete the marks of claimed episodes that can be seen, and return their distinct days, sorted."""
    rows = await conn.fetch(_TAKE, claim.episode_nos)
    return sorted({msgspec.convert(row, MarkedDay) for row in rows})


async def take_sum_marks(conn: Connection, claim: Claim) -> list[MarkedDay]:
    """Delete what can be seen of marks of claimed podcasts, and return the distinct days, sorted."""
    rows = await conn.fetch(_TAKE_SUMS, claim.podcast_nos)
    return sorted({msgspec.convert(row, MarkedDay) for row in rows})


async def take_placement_marks(conn: Connection, claim: Claim) -> list[UUID]:
    """Delete what can be seen of marks of claimed podcasts' placements, and return the placements."""
    rows = await conn.fetch(_TAKE_PLACEMENTS, claim.podcast_nos)
    return sorted({UUID(int=row["placement_id"].int) for row in rows})


async def deliver_placements(conn: Connection, placement_ids: Sequence[UUID]) -> None:
    """Replace what placements delivered by what the rollups say now.

    Args:
        conn: In the transaction that claimed their podcasts and took their marks.
        placement_ids: Those that are gone deliver nothing.
    """
    await conn.execute(_DELIVER, list(placement_ids))


async def recompute_days(conn: Connection, days: Sequence[MarkedDay], *, cities: int = MAX_CITIES) -> None:
    """Replace the rollups of these days by what their downloads say now.

    Args:
        conn: In the transaction that claimed the episodes and took their marks.
        days: Distinct; a key that has no download any more loses its row. Those whose downloads are not kept any more
            are left as they are.
        cities: Most cities of an episode's day that have a row of their own; the others are `other`.
    """
    await conn.execute(
        _RECOMPUTE,
        [day.tenant_no for day in days],
        [day.podcast_no for day in days],
        [day.episode_no for day in days],
        [day.day for day in days],
        sorted({day.day for day in days}),
        cities,
    )


async def sum_up(conn: Connection, days: Sequence[MarkedDay]) -> None:
    """Replace the sums that these days of episodes belong to by what the rollups say now.

    Args:
        conn: In the transaction that claimed the podcasts and took their marks.
        days: Distinct; a key that has no download any more loses its row.
    """
    await conn.execute(
        _SUM_UP,
        [day.podcast_no for day in days],
        [day.episode_no for day in days],
        [day.day for day in days],
    )


async def count_marks(conn: Connection) -> int:
    """Count the marks that wait."""
    return int(await conn.fetchval(_COUNT))
