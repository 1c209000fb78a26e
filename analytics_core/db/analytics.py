"""Figures for reports, read from the rollups; listeners alone from the downloads, while these are kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.reports import Bucket, Slice

__all__ = (
    "MAX_SUMS",
    "FigureRow",
    "ListenerRow",
    "Scope",
    "StatusRow",
    "count_listeners",
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
    """

    cutoff_at: dt.datetime | None
    is_dirty: bool
    final_days: int


_PODCAST_NUMBERS: Final[LiteralString] = """/* analytics.podcast_numbers */
select podcast_no from app.podcasts order by podcast_no"""

_STATUS: Final[LiteralString] = """/* analytics.status */
select (select cutoff_at from api.cutoff) as cutoff_at,
    exists (select from api.dirty_marks m where m.podcast_no = any($1::integer[]) and m.day between $3 and $4
        and ($2::integer is null or m.episode_no = $2)) as is_dirty,
    (select count(*) from api.days d where d.day between $3 and $4 and d.final_at is not null) as final_days"""

# A slice that is a whole day takes the day's sum; only the days that a bucket cuts are added up by quarter hour.
_SUM: Final[LiteralString] = """/* analytics.sum */
select s.bucket, m.key,
    sum(case when s.first = 0 and s.last = 95 then m.downloads
        else (select sum(q) from unnest(m.quarters[s.first + 1:s.last + 1]) as q) end)::bigint as downloads,
    sum(case when s.first = 0 and s.last = 95 then m.downloads_strict
        else (select sum(q) from unnest(m.quarters_strict[s.first + 1:s.last + 1]) as q) end)::bigint
        as downloads_strict
from unnest($2::integer[], $3::date[], $4::integer[], $5::integer[]) as s(bucket, day, first, last)
join app.metrics_daily m on m.day = s.day
where m.podcast_no = any($1::integer[]) and m.dimension = $6 and m.day between $7 and $8
group by s.bucket, m.key order by s.bucket, m.key limit $9"""

_SUM_OF_EPISODE: Final[LiteralString] = """/* analytics.sum_of_episode */
select s.bucket, m.key,
    sum(case when s.first = 0 and s.last = 95 then m.downloads
        else (select sum(q) from unnest(m.quarters[s.first + 1:s.last + 1]) as q) end)::bigint as downloads,
    sum(case when s.first = 0 and s.last = 95 then m.downloads_strict
        else (select sum(q) from unnest(m.quarters_strict[s.first + 1:s.last + 1]) as q) end)::bigint
        as downloads_strict
from unnest($2::integer[], $3::date[], $4::integer[], $5::integer[]) as s(bucket, day, first, last)
join app.metrics_daily m on m.day = s.day
where m.episode_no = $1 and m.dimension = $6 and m.day between $7 and $8
group by s.bucket, m.key order by s.bucket, m.key limit $9"""

_SUM_BY_EPISODE: Final[LiteralString] = """/* analytics.sum_by_episode */
select f.bucket, e.episode_id::text as key, f.downloads, f.downloads_strict
from (
    select s.bucket, m.episode_no,
        sum(case when s.first = 0 and s.last = 95 then m.downloads
            else (select sum(q) from unnest(m.quarters[s.first + 1:s.last + 1]) as q) end)::bigint as downloads,
        sum(case when s.first = 0 and s.last = 95 then m.downloads_strict
            else (select sum(q) from unnest(m.quarters_strict[s.first + 1:s.last + 1]) as q) end)::bigint
            as downloads_strict
    from unnest($3::integer[], $4::date[], $5::integer[], $6::integer[]) as s(bucket, day, first, last)
    join app.metrics_daily m on m.day = s.day
    where m.podcast_no = any($1::integer[]) and ($2::integer is null or m.episode_no = $2)
        and m.dimension = 'total' and m.day between $7 and $8
    group by s.bucket, m.episode_no
) f join app.episodes e using (episode_no)
order by f.bucket, e.episode_id limit $9"""

# Grouped twice rather than counted distinct: a hash instead of a sort, in a third of the time.
_LISTENERS: Final[LiteralString] = """/* analytics.listeners */
select k.bucket, count(*) as listeners, sum(k.downloads)::bigint as downloads
from (
    select width_bucket(d.occurred_at, $3::timestamptz[]) - 1 as bucket, count(*) as downloads
    from api.downloads d
    where d.podcast_no = any($1::integer[]) and ($2::integer is null or d.episode_no = $2)
        and d.day between ($4::timestamptz at time zone 'UTC')::date and ($5::timestamptz at time zone 'UTC')::date
        and d.occurred_at >= $4 and d.occurred_at < $5
    group by 1, d.listener_key
) k group by k.bucket order by k.bucket"""


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
    conn: Connection, scope: Scope, slices: Sequence[Slice], *, by: str | None = None
) -> list[FigureRow]:
    """Add the downloads of a scope up by bucket and key.

    Args:
        conn: In a transaction of the tenant.
        scope: Whose downloads.
        slices: What the buckets are made of; at least one.
        by: ``None`` for one figure a bucket, ``episode`` for its ids as keys, or a dimension of the rollups.

    Returns:
        Rows by bucket and key, none for what has no downloads; at most ``MAX_SUMS`` + 1.
    """
    parts = (
        [part.bucket for part in slices],
        [part.day for part in slices],
        [part.first for part in slices],
        [part.last for part in slices],
    )
    first, last = min(parts[1]), max(parts[1])
    limit = MAX_SUMS + 1
    podcasts = list(scope.podcast_nos)
    if by == "episode":
        rows = await conn.fetch(
            _SUM_BY_EPISODE, podcasts, scope.episode_no, *parts, first, last, limit, timeout=_TIMEOUT_S
        )
    elif scope.episode_no is not None:
        rows = await conn.fetch(
            _SUM_OF_EPISODE, scope.episode_no, *parts, by or "total", first, last, limit, timeout=_TIMEOUT_S
        )
    else:
        rows = await conn.fetch(_SUM, podcasts, *parts, by or "total", first, last, limit, timeout=_TIMEOUT_S)
    return [msgspec.convert(row, FigureRow) for row in rows]


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
