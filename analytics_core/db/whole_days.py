"""Downloads of whole UTC days, from the sums by month: by day, by what they can be told apart by, and by episode."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from analytics_core.db.analytics import Scope
from analytics_core.db.pool import Connection
from analytics_core.ids import EpisodeNo
from analytics_core.reports import whole_months

__all__ = ("DayCounts", "KeyRow", "RankedEpisode", "rank_episodes", "read_days", "sum_by_keys", "sum_of_episodes")

_DAY: Final = dt.timedelta(days=1)


class DayCounts(msgspec.Struct, frozen=True):
    """Downloads of days one after the other, a number each; the strict ones are among them."""

    downloads: list[int]
    downloads_strict: list[int]


class KeyRow(msgspec.Struct, frozen=True):
    """The downloads of one key of a dimension."""

    dimension: str
    key: str
    downloads: int


class RankedEpisode(msgspec.Struct, frozen=True):
    """An episode and its downloads."""

    episode_no: EpisodeNo
    downloads: int


_DAYS: Final[LiteralString] = """/* days.read_counts */
select month, running, running_strict from app.podcast_months
where podcast_no = any($1::integer[]) and dimension = $2 and key = $3 and month = any($4::date[])"""

# Only where a month is cut a second number is taken from its array: each costs a copy of it.
_SUM: Final[LiteralString] = """/* days.sum_by_keys */
select dimension, key, sum(n)::bigint as downloads
from (
    select m.dimension, m.key, m.running[s.last] - case when s.first > 1 then m.running[s.first - 1] else 0 end as n
    from unnest($3::date[], $4::integer[], $5::integer[]) as s(month, first, last)
    join app.podcast_months m on m.month = s.month
    where m.podcast_no = any($1::integer[]) and m.dimension = any($2::text[]) and m.month = any($3::date[])
) f group by dimension, key having sum(n) > 0"""

_SUM_OF_EPISODE: Final[LiteralString] = """/* days.sum_by_keys_of_episode */
select dimension, key, sum(downloads)::bigint as downloads from app.metrics_daily
where episode_no = $1 and dimension = any($2::text[]) and day between $3 and $4
group by dimension, key having sum(downloads) > 0"""

# Only the numbers, month by month: a look at each episode, or at all months in one go, takes twice the time.
_RANK: Final[LiteralString] = """/* days.rank_episodes */
select key::integer as episode_no,
    sum(running[last] - case when first > 1 then running[first - 1] else 0 end)::bigint as downloads
from (
    select m.key, m.running, s.first, s.last
    from unnest($2::date[], $3::integer[], $4::integer[]) as s(month, first, last)
    cross join lateral (
        select key, running from app.podcast_months
        where podcast_no = any($1::integer[]) and dimension = 'episode' and month = s.month offset 0
    ) m
) f
group by key having sum(running[last] - case when first > 1 then running[first - 1] else 0 end) > 0
order by downloads desc, episode_no desc limit $5"""

# Key by key: a podcast may have a hundred times as many episodes as are asked for.
_SUM_EPISODES: Final[LiteralString] = """/* days.sum_of_episodes */
select n.episode_no,
    sum(m.running[s.last] - case when s.first > 1 then m.running[s.first - 1] else 0 end)::bigint as downloads
from unnest($2::integer[]) as n(episode_no)
cross join unnest($3::date[], $4::integer[], $5::integer[]) as s(month, first, last)
join app.podcast_months m on m.podcast_no = any($1::integer[]) and m.dimension = 'episode' and m.month = s.month
    and m.key = n.episode_no::text
group by n.episode_no"""


def _months(first: dt.date, last: dt.date) -> tuple[list[dt.date], list[int], list[int]]:
    parts = whole_months(first, last)
    return [part.month for part in parts], [part.first for part in parts], [part.last for part in parts]


async def read_days(conn: Connection, scope: Scope, *, first: dt.date, last: dt.date) -> DayCounts:
    """Read the downloads of each UTC day, both ends included.

    Args:
        conn: In a transaction of the tenant.
        scope: Whose downloads.
        first: The day of the first number.
        last: The day of the last one.
    """
    parts = whole_months(first, last)
    dimension, key = ("total", "") if scope.episode_no is None else ("episode", str(int(scope.episode_no)))
    rows = await conn.fetch(_DAYS, list(scope.podcast_nos), dimension, key, [part.month for part in parts])
    length = (last - first).days + 1
    counts = DayCounts([0] * length, [0] * length)
    bounds = {part.month: (part.first, part.last) for part in parts}
    for row in rows:
        begin, end = bounds[row["month"]]
        offset = (row["month"] - first).days - 1
        for column, into in ((row["running"], counts.downloads), (row["running_strict"], counts.downloads_strict)):
            before = column[begin - 2] if begin > 1 else 0
            for day in range(begin, end + 1):
                into[offset + day] += column[day - 1] - before
                before = column[day - 1]
    return counts


async def sum_by_keys(
    conn: Connection, scope: Scope, *, first: dt.date, last: dt.date, dimensions: Sequence[str]
) -> list[KeyRow]:
    """Add the downloads of UTC days up, both ends included, by several dimensions and their keys.

    Returns:
        Rows in no order, none for a key without downloads.
    """
    if scope.episode_no is not None:
        rows = await conn.fetch(_SUM_OF_EPISODE, scope.episode_no, list(dimensions), first, last)
    else:
        rows = await conn.fetch(_SUM, list(scope.podcast_nos), list(dimensions), *_months(first, last))
    return [KeyRow(*row) for row in rows]


async def rank_episodes(
    conn: Connection, scope: Scope, *, first: dt.date, last: dt.date, limit: int
) -> list[RankedEpisode]:
    """Name the episodes with the most downloads on some UTC days, both ends included; none without any download.

    Those with as many come with the one first that was added last.
    """
    rows = await conn.fetch(_RANK, list(scope.podcast_nos), *_months(first, last), limit)
    return [RankedEpisode(EpisodeNo(row["episode_no"]), row["downloads"]) for row in rows]


async def sum_of_episodes(
    conn: Connection, scope: Scope, episode_nos: Sequence[EpisodeNo], *, first: dt.date, last: dt.date
) -> dict[EpisodeNo, int]:
    """Add the downloads of UTC days up, both ends included, for some episodes of a podcast.

    Returns:
        By number; what has no downloads may be missing.
    """
    rows = await conn.fetch(_SUM_EPISODES, list(scope.podcast_nos), list(episode_nos), *_months(first, last))
    return {EpisodeNo(row["episode_no"]): row["downloads"] for row in rows}
