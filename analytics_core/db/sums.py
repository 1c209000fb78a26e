"""Whether the sums of rollups are what the rollups say: a recount beside them, by nothing that made them."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection

__all__ = ("WrongSum", "find_wrong_sums")

_TIMEOUT_S: Final = 30.0


class WrongSum(msgspec.Struct, frozen=True):
    """A sum that is not what its rollups say.

    Attributes:
        kept_in: ``podcast_daily`` or ``podcast_months``.
        dimension: Of the rollups, or ``episode``.
        kept: Downloads and strict ones as they are kept; zeros without a row.
        counted: The same as the rollups say.
    """

    kept_in: str
    podcast_no: int
    day: dt.date
    dimension: str
    key: str
    kept: int
    kept_strict: int
    counted: int
    counted_strict: int

    def __str__(self) -> str:
        """Name it and both figures."""
        what = f"{self.dimension} {self.key}".strip()
        return (
            f"{self.kept_in}: podcast {self.podcast_no}, {self.day}, {what}: {self.kept} downloads "
            f"({self.kept_strict} strict) are kept, {self.counted} ({self.counted_strict}) are counted"
        )


# What still has a mark is not wrong but waits. A podcast and a dimension at a time, each by an index.
_FIND: Final[LiteralString] = """/* sums.find_wrong */
with counted as materialized (
    select p.podcast_no, d.dimension, m.key, m.episode_no, m.day, m.downloads as n, m.downloads_strict as strict
    from app.podcasts p
    cross join unnest('{total,app,device,os,country,region,city,referrer,feed_app,source}'::text[]) as d(dimension)
    cross join lateral (
        select key, episode_no, day, downloads, downloads_strict from app.metrics_daily
        where podcast_no = p.podcast_no and dimension = d.dimension and day between $1 and $2
        offset 0
    ) m
), by_key as materialized (
    select podcast_no, day, dimension, key, sum(n) as n, sum(strict) as strict from counted group by 1, 2, 3, 4
), by_day as (
    select podcast_no, day, dimension, key, downloads as n, downloads_strict as strict from app.podcast_daily
    where day between $1 and $2
), by_month as (
    select m.podcast_no, d::date as day, m.dimension, m.key,
        m.running[w.place] - coalesce(m.running[w.place - 1], 0) as n,
        m.running_strict[w.place] - coalesce(m.running_strict[w.place - 1], 0) as strict
    from generate_series($1::timestamp, $2::timestamp, interval '1 day') as d
    cross join lateral (select extract(day from d)::integer as place) w
    join app.podcast_months m on m.month = date_trunc('month', d)::date
    where (m.running[w.place], m.running_strict[w.place])
        is distinct from (coalesce(m.running[w.place - 1], 0), coalesce(m.running_strict[w.place - 1], 0))
), wrong as (
    select 'podcast_daily' as kept_in, podcast_no, day, dimension, key, k.n as kept, k.strict as kept_strict,
        c.n as counted, c.strict as counted_strict
    from by_day k full join by_key c using (podcast_no, day, dimension, key)
    union all
    select 'podcast_months', podcast_no, day, dimension, key, k.n, k.strict, c.n, c.strict
    from by_month k full join (
        select * from by_key
        union all
        select podcast_no, day, 'episode', episode_no::text, n, strict from counted where dimension = 'total'
    ) c using (podcast_no, day, dimension, key)
)
select kept_in, podcast_no, day, dimension, key, coalesce(kept, 0)::bigint as kept,
    coalesce(kept_strict, 0)::bigint as kept_strict, coalesce(counted, 0)::bigint as counted,
    coalesce(counted_strict, 0)::bigint as counted_strict
from wrong w
where (kept, kept_strict) is distinct from (counted, counted_strict)
    and not exists (select from ops.sum_marks s where s.podcast_no = w.podcast_no and s.day = w.day)
order by podcast_no, day, kept_in, dimension, key limit $3"""


async def find_wrong_sums(conn: Connection, *, first: dt.date, last: dt.date, limit: int = 100) -> list[WrongSum]:
    """Compare the sums of some UTC days, both ends included, with the rollups that they are made of.

    Args:
        conn: As ingest.
        first: The first day.
        last: The last one.
        limit: Most differences to name.

    Returns:
        By podcast and day; none when all is right, or waits to be summed up.

    Raises:
        TimeoutError: It took longer than half a minute.
    """
    rows = await conn.fetch(_FIND, first, last, limit, timeout=_TIMEOUT_S)
    return [msgspec.convert(row, WrongSum) for row in rows]
