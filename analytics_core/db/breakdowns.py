"""Downloads of whole days by what they can be told apart by: all dimensions in one look."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from analytics_core.db.analytics import Scope
from analytics_core.db.pool import Connection
from analytics_core.reports import whole_months

__all__ = ("KeyRow", "sum_whole_days")


class KeyRow(msgspec.Struct, frozen=True):
    """The downloads of one key of a dimension."""

    dimension: str
    key: str
    downloads: int


_SUM: Final[LiteralString] = """/* breakdowns.of_podcast */
select dimension, key, sum(n)::bigint as downloads
from (
    select m.dimension, m.key, m.running[s.last] - coalesce(m.running[s.first - 1], 0) as n
    from unnest($3::date[], $4::integer[], $5::integer[]) as s(month, first, last)
    join app.podcast_months m on m.month = s.month
    where m.podcast_no = any($1::integer[]) and m.dimension = any($2::text[]) and m.month = any($3::date[])
) f group by dimension, key having sum(n) > 0"""

_SUM_OF_EPISODE: Final[LiteralString] = """/* breakdowns.of_episode */
select dimension, key, sum(downloads)::bigint as downloads from app.metrics_daily
where episode_no = $1 and dimension = any($2::text[]) and day between $3 and $4
group by dimension, key having sum(downloads) > 0"""


async def sum_whole_days(
    conn: Connection, scope: Scope, *, first: dt.date, last: dt.date, dimensions: Sequence[str]
) -> list[KeyRow]:
    """Add the downloads of UTC days up, both ends included, by several dimensions and their keys.

    Returns:
        Rows in no order, none for a key without downloads.
    """
    if scope.episode_no is not None:
        rows = await conn.fetch(_SUM_OF_EPISODE, scope.episode_no, list(dimensions), first, last)
    else:
        months = whole_months(first, last)
        rows = await conn.fetch(
            _SUM,
            list(scope.podcast_nos),
            list(dimensions),
            [part.month for part in months],
            [part.first for part in months],
            [part.last for part in months],
        )
    return [msgspec.convert(row, KeyRow) for row in rows]
