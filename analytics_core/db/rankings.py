"""What has the most downloads in a range: apps, countries, episodes or podcasts, exactly, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec
from asyncpg import Record

from analytics_core.db.analytics import Scope, part_columns
from analytics_core.db.pool import Connection
from analytics_core.reports import Bucket, slice_days, slice_months

__all__ = ("RankedKey", "Ranking", "rank_keys")

_TIMEOUT_S: Final = 30.0


class RankedKey(msgspec.Struct, frozen=True):
    """A value and its downloads in the range; episodes and podcasts by their numbers."""

    key: str
    downloads: int
    downloads_strict: int


class Ranking(msgspec.Struct, frozen=True):
    """The values with the most downloads, and how many have any."""

    keys: list[RankedKey]
    values: int


# Months one by one, as looking at all of them in one go takes twice the time; only days that the range cuts are read
# by the quarter hour.
_RANK: Final[LiteralString] = """/* rankings.keys */
select key, sum(n)::bigint as downloads, sum(strict)::bigint as downloads_strict, count(*) over () as keys
from (
    select m.key, m.running[s.last] - case when s.first > 1 then m.running[s.first - 1] else 0 end as n,
        m.running_strict[s.last] - case when s.first > 1 then m.running_strict[s.first - 1] else 0 end as strict
    from unnest($4::date[], $5::integer[], $6::integer[]) as s(month, first, last)
    cross join lateral (
        select key, running, running_strict from app.podcast_months
        where podcast_no = any($1::integer[]) and dimension = $2 and month = s.month offset 0
    ) m
    union all
    select m.key, m.running[s.last + 1] - coalesce(m.running[s.first], 0),
        m.running_strict[s.last + 1] - coalesce(m.running_strict[s.first], 0)
    from unnest($7::date[], $8::integer[], $9::integer[]) as s(day, first, last)
    cross join lateral (
        select key, running, running_strict from app.podcast_daily
        where podcast_no = any($1::integer[]) and dimension = $2 and day = s.day offset 0
    ) m
) f group by key having sum(n) > 0 order by downloads desc, key limit $3"""

_RANK_EPISODES: Final[LiteralString] = """/* rankings.episodes */
select key, sum(n)::bigint as downloads, sum(strict)::bigint as downloads_strict, count(*) over () as keys
from (
    select m.key, m.running[s.last] - case when s.first > 1 then m.running[s.first - 1] else 0 end as n,
        m.running_strict[s.last] - case when s.first > 1 then m.running_strict[s.first - 1] else 0 end as strict
    from unnest($3::date[], $4::integer[], $5::integer[]) as s(month, first, last)
    cross join lateral (
        select key, running, running_strict from app.podcast_months
        where podcast_no = any($1::integer[]) and dimension = 'episode' and month = s.month offset 0
    ) m
    union all
    select m.episode_no::text, (select sum(q)::integer from unnest(m.quarters[s.first + 1:s.last + 1]) as q),
        (select sum(q)::integer from unnest(m.quarters_strict[s.first + 1:s.last + 1]) as q)
    from unnest($6::date[], $7::integer[], $8::integer[]) as s(day, first, last)
    cross join lateral (
        select episode_no, quarters, quarters_strict from app.metrics_daily
        where podcast_no = any($1::integer[]) and dimension = 'total' and day = s.day offset 0
    ) m
) f group by key having sum(n) > 0 order by downloads desc, key::integer desc limit $2"""

_RANK_PODCASTS: Final[LiteralString] = """/* rankings.podcasts */
select podcast_no::text as key, sum(n)::bigint as downloads, sum(strict)::bigint as downloads_strict,
    count(*) over () as keys
from (
    select m.podcast_no, m.running[s.last] - case when s.first > 1 then m.running[s.first - 1] else 0 end as n,
        m.running_strict[s.last] - case when s.first > 1 then m.running_strict[s.first - 1] else 0 end as strict
    from unnest($3::date[], $4::integer[], $5::integer[]) as s(month, first, last)
    join app.podcast_months m on m.month = s.month
    where m.podcast_no = any($1::integer[]) and m.dimension = 'total' and m.key = '' and m.month = any($3::date[])
    union all
    select p.podcast_no, p.running[s.last + 1] - coalesce(p.running[s.first], 0),
        p.running_strict[s.last + 1] - coalesce(p.running_strict[s.first], 0)
    from unnest($6::date[], $7::integer[], $8::integer[]) as s(day, first, last)
    join app.podcast_daily p on p.day = s.day
    where p.podcast_no = any($1::integer[]) and p.dimension = 'total' and p.key = '' and p.day = any($6::date[])
) f group by podcast_no having sum(n) > 0 order by downloads desc, podcast_no desc limit $2"""

_RANK_OF_EPISODE: Final[LiteralString] = """/* rankings.of_episode */
select m.key,
    sum(case when s.first = 0 and s.last = 95 then m.downloads
        else (select sum(q)::integer from unnest(m.quarters[s.first + 1:s.last + 1]) as q) end)::bigint as downloads,
    sum(case when s.first = 0 and s.last = 95 then m.downloads_strict
        else (select sum(q)::integer from unnest(m.quarters_strict[s.first + 1:s.last + 1]) as q) end)::bigint
        as downloads_strict,
    count(*) over () as keys
from unnest($4::date[], $5::integer[], $6::integer[]) as s(day, first, last)
join app.metrics_daily m on m.day = s.day
where m.episode_no = $1 and m.dimension = $2 and m.day between $7 and $8
group by m.key
having sum(case when s.first = 0 and s.last = 95 then m.downloads
    else (select sum(q)::integer from unnest(m.quarters[s.first + 1:s.last + 1]) as q) end) > 0
order by downloads desc, m.key limit $3"""


async def rank_keys(conn: Connection, scope: Scope, span: Bucket, *, by: str, limit: int) -> Ranking:
    """Rank the values of a dimension by their downloads in a range; none without any.

    Args:
        conn: In a transaction of the tenant.
        scope: Whose downloads; those of an episode have no ``podcast``.
        span: The range, both ends on the quarter hour.
        by: A dimension of the rollups, ``episode`` or ``podcast``.
        limit: How many to name, at least 1.

    Returns:
        Most downloads first. Values with as many come in their order, episodes and podcasts with the newest first.
    """
    podcasts = list(scope.podcast_nos)
    if scope.episode_no is not None:
        slices = list(slice_days([span]))
        _, *parts = part_columns(slices)
        dimension = "total" if by == "episode" else by
        first, last = slices[0].day, slices[-1].day
        rows = await conn.fetch(
            _RANK_OF_EPISODE, scope.episode_no, dimension, limit, *parts, first, last, timeout=_TIMEOUT_S
        )
        found = _ranking(rows)
        if by == "episode":
            name = str(int(scope.episode_no))
            return Ranking([RankedKey(name, row.downloads, row.downloads_strict) for row in found.keys], found.values)
        return found
    months, cut = slice_months([span])
    whole, rest = part_columns(months)[1:], part_columns(cut)[1:]
    if by == "episode":
        rows = await conn.fetch(_RANK_EPISODES, podcasts, limit, *whole, *rest, timeout=_TIMEOUT_S)
    elif by == "podcast":
        rows = await conn.fetch(_RANK_PODCASTS, podcasts, limit, *whole, *rest, timeout=_TIMEOUT_S)
    else:
        rows = await conn.fetch(_RANK, podcasts, by, limit, *whole, *rest, timeout=_TIMEOUT_S)
    return _ranking(rows)


def _ranking(rows: Sequence[Record]) -> Ranking:
    keys = [RankedKey(row["key"], row["downloads"], row["downloads_strict"]) for row in rows]
    return Ranking(keys, rows[0]["keys"] if rows else 0)
