"""Which days have hits, which of them are final, and with which day counting began."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString

import msgspec

from analytics_core.db.analytics import Scope
from analytics_core.db.pool import Connection

__all__ = ("DayRow", "first_day", "list_days", "list_days_without_hits")


class DayRow(msgspec.Struct, frozen=True):
    """A UTC day on which the tenant has hits."""

    day: dt.date
    is_final: bool


_LIST: Final[LiteralString] = """/* days.list */
select day, final_at is not null as is_final from api.days where day between $1 and $2 order by day"""

_LIST_GONE: Final[LiteralString] = """/* days.list_gone */
select day from api.days where day between $1 and $2 and hits_gone order by day"""

# A podcast at a time, each one look into an index.
_FIRST: Final[LiteralString] = """/* days.first */
select min(f.day) from unnest($1::integer[]) as p(podcast_no) cross join lateral (
    select m.day from app.metrics_daily m
    where m.podcast_no = p.podcast_no and m.dimension = 'total' order by m.day limit 1
) f"""

_FIRST_OF_EPISODE: Final[LiteralString] = """/* days.first_of_episode */
select min(day) from app.metrics_daily where episode_no = $1 and dimension = 'total'"""


async def list_days(conn: Connection, *, first: dt.date, last: dt.date) -> list[DayRow]:
    """List the days with hits of the transaction's tenant, both ends included; a day without any has no row."""
    return [DayRow(*row) for row in await conn.fetch(_LIST, first, last)]


async def list_days_without_hits(conn: Connection, *, first: dt.date, last: dt.date) -> list[dt.date]:
    """List the days of the transaction's tenant whose hits have gone, both ends included."""
    return [row["day"] for row in await conn.fetch(_LIST_GONE, first, last)]


async def first_day(conn: Connection, scope: Scope) -> dt.date | None:
    """Name the UTC day of the first download of a podcast or an episode; ``None`` when there is none yet."""
    if scope.episode_no is not None:
        found: dt.date | None = await conn.fetchval(_FIRST_OF_EPISODE, scope.episode_no)
    else:
        found = await conn.fetchval(_FIRST, list(scope.podcast_nos))
    return found
