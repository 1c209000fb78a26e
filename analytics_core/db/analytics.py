"""Figures for reports, read from the rollups; listeners alone from the downloads, while these are kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.reports import Bucket, MonthSlice, Slice, slice_days, slice_months

__all__ = (
    "MAX_SUMS",
    "FigureRow",
    "ListenerRow",
    "Scope",
    "StatusRow",
    "count_listeners",
    "part_columns",
    "podcast_numbers",
    "read_status",
    "sum_downloads",
)

MAX_SUMS: Final = 100_000
"""A report has no more rows; one more is read, so that the caller can tell."""

_TIMEOUT_S: Final = 30.0


class Scope(msgspec.Struct, frozen=True):
    """What a report is about: podcasts of the tenant, or one episode of one of them."""

    podcast_nos: tuple[PodcastNo, ...]
    episode_no: EpisodeNo | None = None


class FigureRow(msgspec.Struct, frozen=True):
    """The downloads of one bucket and one key."""

    bucket: int
    key: str
    downloads: int
    downloads_strict: int


class ListenerRow(msgspec.Struct, frozen=True):
    """The listeners of one bucket, and how many downloads of it are still kept."""

    bucket: int
    listeners: int
    downloads: int


class StatusRow(msgspec.Struct, frozen=True):
    """How complete the figures of some days are.

    Attributes:
        cutoff_at: Every hit answered before has landed; ``None`` before the first one did.
        is_dirty: Hits have landed that the rollups do not hold yet.
        final_days: How many of the days asked for are final.
        is_counting: Listeners of their months are going to be counted anew.
        restated: How many of the days asked for were restated after they were final.
        rules: What hits of these days are judged by, each once, in one word; ``None`` for the default profile.
        version: Of the figures: while it stays the same and nothing is dirty, they do.
    """

    cutoff_at: dt.datetime | None
    is_dirty: bool
    final_days: int
    is_counting: bool
    restated: int
    rules: list[str | None]
    version: str


_PODCAST_NUMBERS: Final[LiteralString] = """/* analytics.podcast_numbers */
select podcast_no from app.podcasts order by podcast_no"""

_STATUS: Final[LiteralString] = """/* analytics.status */
select (select cutoff_at from api.cutoff) as cutoff_at,
    exists (select from api.dirty_marks m where m.podcast_no = any($1::integer[])
        and m.day between $3::date and $4::date and ($2::integer is null or m.episode_no = $2)) as is_dirty,
    (select count(*) from api.days d where d.day between $3 and $4 and d.final_at is not null) as final_days,
    exists (select from api.listener_marks m where m.podcast_no = any($1::integer[])
        and m.month between date_trunc('month', $3::date::timestamp)::date and $4) as is_counting,
    (select count(distinct r.day) from app.restatement_days r where r.day between $3 and $4) as restated,
    (select coalesce(array_agg(distinct d.rules), '{}') from api.days d where d.day between $3 and $4) as rules,
    md5(concat_ws(' ',
        (select string_agg(v.podcast_no || ':' || v.version, ',' order by v.podcast_no)
            from api.figure_versions v where v.podcast_no = any($1::integer[])),
        (select max(l.counted_at) from app.listener_months l
            where l.podcast_no = any($1::integer[]) and l.episode_no = 0
                and l.month between date_trunc('month', $3::date::timestamp)::date and $4)::text)) as version"""

# Whole days come from the months, one row for up to 31; only days that a bucket cuts are read one by one.
_SUM: Final[LiteralString] = """/* analytics.sum */
select bucket, key, sum(n)::bigint as downloads, sum(strict)::bigint as downloads_strict
from (
    select s.bucket, m.key, m.running[s.last] - coalesce(m.running[s.first - 1], 0) as n,
        m.running_strict[s.last] - coalesce(m.running_strict[s.first - 1], 0) as strict
    from unnest($3::integer[], $4::date[], $5::integer[], $6::integer[]) as s(bucket, month, first, last)
    join app.podcast_months m on m.month = s.month
    where m.podcast_no = any($1::integer[]) and m.dimension = $2 and m.month = any($4::date[])
        and m.key = any($12::text[])
    union all
    select s.bucket, p.key, p.running[s.last + 1] - coalesce(p.running[s.first], 0),
        p.running_strict[s.last + 1] - coalesce(p.running_strict[s.first], 0)
    from unnest($7::integer[], $8::date[], $9::integer[], $10::integer[]) as s(bucket, day, first, last)
    join app.podcast_daily p on p.day = s.day
    where p.podcast_no = any($1::integer[]) and p.dimension = $2 and p.day = any($8::date[])
        and p.key = any($12::text[])
) f group by bucket, key having sum(n) > 0 order by bucket, key limit $11"""

# By episodes' numbers, day by day where a bucket cuts one: the podcast's other episodes are not looked at.
_SUM_BY_EPISODE: Final[LiteralString] = """/* analytics.sum_by_episode */
select bucket, episode_no::text as key, sum(n)::bigint as downloads, sum(strict)::bigint as downloads_strict
from (
    select s.bucket, m.key::integer as episode_no, m.running[s.last] - coalesce(m.running[s.first - 1], 0) as n,
        m.running_strict[s.last] - coalesce(m.running_strict[s.first - 1], 0) as strict
    from unnest($2::integer[], $3::date[], $4::integer[], $5::integer[]) as s(bucket, month, first, last)
    join app.podcast_months m on m.month = s.month
    where m.podcast_no = any($1::integer[]) and m.dimension = 'episode' and m.month = any($3::date[])
        and m.key = any($11::text[])
    union all
    select s.bucket, m.episode_no, (select sum(q)::integer from unnest(m.quarters[s.first + 1:s.last + 1]) as q),
        (select sum(q)::integer from unnest(m.quarters_strict[s.first + 1:s.last + 1]) as q)
    from unnest($6::integer[], $7::date[], $8::integer[], $9::integer[]) as s(bucket, day, first, last)
    join app.metrics_daily m on m.day = s.day
    where m.episode_no = any($11::text[]::integer[]) and m.podcast_no = any($1::integer[])
        and m.dimension = 'total' and m.key = '' and m.day = any($7::date[])
) p
group by bucket, episode_no having sum(n) > 0 order by bucket, episode_no limit $10"""

# A slice that is a whole day takes the day's sum; only the days that a bucket cuts are added up by quarter hour.
_SUM_OF_EPISODE: Final[LiteralString] = """/* analytics.sum_of_episode */
select s.bucket, m.key,
    sum(case when s.first = 0 and s.last = 95 then m.downloads
        else (select sum(q)::integer from unnest(m.quarters[s.first + 1:s.last + 1]) as q) end)::bigint as downloads,
    sum(case when s.first = 0 and s.last = 95 then m.downloads_strict
        else (select sum(q)::integer from unnest(m.quarters_strict[s.first + 1:s.last + 1]) as q) end)::bigint
        as downloads_strict
from unnest($3::integer[], $4::date[], $5::integer[], $6::integer[]) as s(bucket, day, first, last)
join app.metrics_daily m on m.day = s.day
where m.episode_no = $1 and m.dimension = $2 and m.day between $7 and $8 and m.key = any($10::text[])
group by s.bucket, m.key order by s.bucket, m.key limit $9"""

# Grouped twice rather than counted distinct: a hash instead of a sort, in a third of the time.
_LISTENERS: Final[LiteralString] = """/* analytics.listeners */
select k.bucket, count(*) as listeners, sum(k.downloads)::bigint as downloads
from (
    select width_bucket(d.occurred_at, $3::timestamptz[]) - 1 as bucket, count(*) as downloads
    from api.downloads d
    where d.podcast_no = any($1::integer[]) and ($2::integer is null or d.episode_no = $2)
        and d.day between ($4::timestamptz at time zone 'UTC')::date
            and (($5::timestamptz - interval '1 microsecond') at time zone 'UTC')::date
        and d.occurred_at >= $4 and d.occurred_at < $5
    group by 1, d.listener_key
) k group by k.bucket order by k.bucket"""


def part_columns(
    parts: Sequence[Slice] | Sequence[MonthSlice],
) -> tuple[list[int], list[dt.date], list[int], list[int]]:
    """Turn slices into columns, as queries take them: bucket, day or month, first and last."""
    return (
        [part[0] for part in parts],
        [part[1] for part in parts],
        [part[2] for part in parts],
        [part[3] for part in parts],
    )


async def podcast_numbers(conn: Connection) -> tuple[PodcastNo, ...]:
    """List the numbers of all podcasts of the transaction's tenant."""
    return tuple(PodcastNo(row["podcast_no"]) for row in await conn.fetch(_PODCAST_NUMBERS))


async def read_status(conn: Connection, scope: Scope, *, first: dt.date, last: dt.date) -> StatusRow:
    """Tell how complete the figures of a scope are, from one UTC day to another, both included.

    Read it before the figures: what it says then holds for them, whatever lands in between.
    """
    row = await conn.fetchrow(_STATUS, list(scope.podcast_nos), scope.episode_no, first, last)
    return msgspec.convert(row, StatusRow)


async def sum_downloads(
    conn: Connection, scope: Scope, buckets: Sequence[Bucket], *, by: str | None = None, keys: Sequence[str] = ("",)
) -> list[FigureRow]:
    """Add the downloads of a scope up by bucket and key.

    Args:
        conn: In a transaction of the tenant.
        scope: Whose downloads.
        buckets: In the order of time, both ends on the quarter hour; at least one.
        by: ``None`` for one figure a bucket, ``episode`` for episodes' numbers as keys, or a dimension of the rollups.
        keys: Which values of the dimension; leave it out for ``None``.

    Returns:
        Rows by bucket and key, none for what has no downloads; at most ``MAX_SUMS`` + 1.
    """
    limit = MAX_SUMS + 1
    podcasts, wanted = list(scope.podcast_nos), list(keys)
    if scope.episode_no is not None and by != "episode":
        slices = list(slice_days(buckets))
        first, last = min(part.day for part in slices), max(part.day for part in slices)
        rows = await conn.fetch(
            _SUM_OF_EPISODE,
            scope.episode_no,
            by or "total",
            *part_columns(slices),
            first,
            last,
            limit,
            wanted,
            timeout=_TIMEOUT_S,
        )
        return [FigureRow(*row) for row in rows]
    months, cut = slice_months(buckets)
    parts = (*part_columns(months), *part_columns(cut), limit, wanted)
    if by == "episode":
        rows = await conn.fetch(_SUM_BY_EPISODE, podcasts, *parts, timeout=_TIMEOUT_S)
    else:
        rows = await conn.fetch(_SUM, podcasts, by or "total", *parts, timeout=_TIMEOUT_S)
    return [FigureRow(*row) for row in rows]


async def count_listeners(conn: Connection, scope: Scope, buckets: Sequence[Bucket]) -> list[ListenerRow]:
    """Count the distinct listeners of each bucket from the downloads that are kept.

    Keys of different UTC months never meet: a bucket across months has no meaningful figure.

    Args:
        conn: In a transaction of the tenant.
        scope: Whose downloads.
        buckets: One after the other without a gap; at least one.

    Returns:
        Rows by bucket, none for a bucket without downloads.
    """
    rows = await conn.fetch(
        _LISTENERS,
        list(scope.podcast_nos),
        scope.episode_no,
        [bucket.start for bucket in buckets],
        buckets[0].start,
        buckets[-1].end,
        timeout=_TIMEOUT_S,
    )
    return [msgspec.convert(row, ListenerRow) for row in rows]
