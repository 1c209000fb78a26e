"""Listeners of UTC months, counted beforehand so that those of any days of one are known at once.

A listener key lives for one UTC month. For each key the days of its month on which it came are one mask of bits; all
that is kept of them is how many keys came on a day and how long before they had come last. From that follows the exact
number of distinct keys of any stretch of days, by adding up (``app.listener_months`` says how).

Counting reads all downloads of a month. So it is not done at each change but again and again while there are changes,
and the longer it takes, the more seldom. Marks work as those of rollups do: the ones that can be seen are deleted, and
only then are the downloads read.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, LiteralString

from asyncpg import Record

from analytics_core.db.analytics import Scope
from analytics_core.db.pool import Connection
from analytics_core.db.rollups import MarkedDay
from analytics_core.reports import Bucket

__all__ = (
    "AT_MOST_EVERY",
    "count_month",
    "listeners_of_buckets",
    "mark_listeners",
    "read_listeners",
)

AT_MOST_EVERY: Final = dt.timedelta(seconds=15)
"""A podcast's month is not counted more often."""
_SHARE: Final = 50

_MARK: Final[LiteralString] = """/* listeners.mark */
insert into ops.listener_marks (tenant_no, podcast_no, month)
select * from unnest($1::integer[], $2::integer[], $3::date[])"""

# The candidates are settled before any lock is tried, and tried in their order until one can be had: a sort behind the
# locks would take all of them.
_CLAIM: Final[LiteralString] = """/* listeners.claim */
with due as materialized (
    select m.podcast_no, m.month
    from (select podcast_no, month, min(mark_no) as mark_no from ops.listener_marks group by 1, 2) m
    left join app.listener_months l on l.podcast_no = m.podcast_no and l.month = m.month and l.episode_no = 0
    where l.podcast_no is null or l.counted_at + greatest($1::interval, $2::integer * l.took) <= clock_timestamp()
        or $1::interval is null
    order by m.mark_no limit 16
)
select podcast_no, month from due
where pg_try_advisory_xact_lock(hashtext('castledger.listeners'), podcast_no) limit 1"""

_TAKE: Final[LiteralString] = """/* listeners.take_marks */
delete from ops.listener_marks where podcast_no = $1 and month = $2"""

# Downloads that are not kept any more would be missing: then what was counted while they were there stays.
_COUNT: Final[LiteralString] = """/* listeners.count */
with keys as materialized (
    select episode_no, listener_key, bit_or(1::bigint << extract(day from day)::integer) as mask, count(*) as downloads
    from ts.downloads where podcast_no = $1 and day >= $2 and day < $3
    group by 1, 2
), complete as materialized (
    select coalesce(sum(downloads), 0) >= coalesce((
        select running[31] from app.podcast_months
        where podcast_no = $1 and dimension = 'total' and month = $2 and key = ''), 0) as yes
    from keys
), masks as (
    select 0 as episode_no, mask, count(*) as n
    from (select bit_or(mask) as mask from keys group by listener_key) k group by mask
    union all
    select episode_no, mask, count(*) from keys group by 1, 2
), pairs as (
    select m.episode_no, d.day, case p.place when 0 then 0 else 32 - p.place end as former, sum(m.n) as n
    from masks m
    join generate_series(1, 31) as d(day) on m.mask & (1::bigint << d.day) <> 0
    cross join lateral (
        select position('1' in (m.mask & ((1::bigint << d.day) - 1))::bit(32)::text) as place
    ) p
    group by 1, 2, 3
), fresh as materialized (
    select episode_no, array_agg(day::smallint order by day, former) as days,
        array_agg(former::smallint order by day, former) as former,
        array_agg(n::integer order by day, former) as listeners
    from pairs group by 1
), gone as (
    delete from app.listener_months
    where podcast_no = $1 and month = $2 and (select yes from complete)
        and episode_no not in (select episode_no from fresh)
)
insert into app.listener_months as old (tenant_no, podcast_no, episode_no, month, days, former, listeners, counted_at,
    took)
select p.tenant_no, p.podcast_no, f.episode_no, $2, f.days, f.former, f.listeners, clock_timestamp(),
    clock_timestamp() - statement_timestamp()
from fresh f join app.podcasts p on p.podcast_no = $1
where (select yes from complete)
on conflict (podcast_no, episode_no, month) do update
    set tenant_no = excluded.tenant_no, days = excluded.days, former = excluded.former,
        listeners = excluded.listeners, counted_at = excluded.counted_at, took = excluded.took
    where old.episode_no = 0
        or (old.days, old.former, old.listeners)
            is distinct from (excluded.days, excluded.former, excluded.listeners)"""

_READ: Final[LiteralString] = """/* listeners.read */
select (
    select coalesce(sum(c.n), 0) from unnest(l.days, l.former, l.listeners) as c(day, former, n)
    where c.day between $4 and $5 and c.former < $4
)::bigint from app.listener_months l where l.podcast_no = $1 and l.episode_no = $2 and l.month = $3"""

_READ_MONTHS: Final[LiteralString] = """/* listeners.read_months */
select l.month, l.days, l.former, l.listeners,
    exists (select from api.listener_marks m where m.podcast_no = l.podcast_no and m.month = l.month) as is_old
from app.listener_months l where l.podcast_no = $1 and l.episode_no = $2 and l.month = any($3::date[])"""


def _month_of(day: dt.date) -> dt.date:
    return day.replace(day=1)


async def mark_listeners(conn: Connection, days: Iterable[MarkedDay]) -> None:
    """Have the months of days that changed counted anew.

    Args:
        conn: In the transaction that brings their rollups up to date.
        days: Some of them; episodes make no difference.
    """
    months = sorted({(day.tenant_no, day.podcast_no, _month_of(day.day)) for day in days})
    await conn.execute(
        _MARK, [month[0] for month in months], [month[1] for month in months], [month[2] for month in months]
    )


async def count_month(conn: Connection, *, at_most_every: dt.timedelta | None = AT_MOST_EVERY) -> bool:
    """Count the listeners of the podcast and month that has waited longest.

    Args:
        conn: As ingest, in a transaction with READ COMMITTED isolation.
        at_most_every: Leave alone what was counted a shorter time ago, or fifty times the time that this took;
            ``None`` to leave nothing alone.

    Returns:
        Whether there was one.
    """
    claim = await conn.fetchrow(_CLAIM, at_most_every, _SHARE)
    if claim is None:
        return False
    podcast_no, month = claim["podcast_no"], claim["month"]
    if await conn.execute(_TAKE, podcast_no, month) == "DELETE 0":
        # Somebody else's, or erased, since they were seen.
        return False
    following = _month_of(month + dt.timedelta(days=31))
    await conn.execute(_COUNT, podcast_no, month, following)
    return True


async def read_listeners(conn: Connection, scope: Scope, *, first: dt.date, last: dt.date) -> int | None:
    """Tell how many distinct listeners there were on some UTC days of one month, as of when they were counted last.

    Args:
        conn: In a transaction of the tenant.
        scope: One podcast, or one of its episodes.
        first: The first day.
        last: The last one, included.

    Returns:
        ``None`` when that month was not counted yet.

    Raises:
        ValueError: The days lie in more than one month, or there are several podcasts: keys do not add up over either.
    """
    if _month_of(first) != _month_of(last) or len(scope.podcast_nos) != 1:
        raise ValueError("listeners are counted for one podcast in one UTC month")
    found: int | None = await conn.fetchval(
        _READ, scope.podcast_nos[0], scope.episode_no or 0, _month_of(first), first.day, last.day
    )
    return found


def _whole_days(bucket: Bucket) -> tuple[dt.date, dt.date] | None:
    """Name the first and the last day of a bucket that is whole UTC days of one month; ``None`` of any other."""
    start, end = bucket
    if start.hour or start.minute or end.hour or end.minute:
        return None
    first, last = start.date(), end.date() - dt.timedelta(days=1)
    return (first, last) if (first.year, first.month) == (last.year, last.month) else None


def _came(counted: Record, first: int, last: int) -> int:
    """Add up the keys that came on some days of a month, each on the first of these days on which it came."""
    days = counted["days"]
    places = slice(bisect_left(days, first), bisect_right(days, last))
    listeners = counted["listeners"][places]
    if first == last:
        # Whatever day a key had come on before, it was an earlier one.
        return sum(listeners)
    return sum(n for former, n in zip(counted["former"][places], listeners, strict=True) if former < first)


async def listeners_of_buckets(
    conn: Connection, scope: Scope, buckets: Sequence[Bucket]
) -> tuple[dict[int, int], set[int]]:
    """Tell how many distinct listeners buckets had, as of when their months were counted last.

    Args:
        conn: In a transaction of the tenant.
        scope: Whose listeners; several podcasts have none, as keys do not add up over them.
        buckets: In UTC, both ends on the quarter hour.

    Returns:
        By the bucket's place, and the places whose months are going to be counted anew. A bucket is left out that is
        none of whole UTC days of one month, or whose month was not counted yet.
    """
    if len(scope.podcast_nos) != 1:
        return {}, set()
    wanted = {place: days for place, bucket in enumerate(buckets) if (days := _whole_days(bucket)) is not None}
    months = sorted({_month_of(first) for first, _ in wanted.values()})
    rows = await conn.fetch(_READ_MONTHS, scope.podcast_nos[0], scope.episode_no or 0, months) if months else []
    known = {row["month"]: row for row in rows}
    found: dict[int, int] = {}
    for place, (first, last) in wanted.items():
        counted = known.get(_month_of(first))
        if counted is not None:
            found[place] = _came(counted, first.day, last.day)
    old_months = {row["month"] for row in rows if row["is_old"]}
    return found, {place for place in found if _month_of(wanted[place][0]) in old_months}
