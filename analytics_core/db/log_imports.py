"""Imports of access logs: a file's checkpoint, and days that trackers have counted already."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.ledger import IMPORT_SOURCE
from analytics_core.db.pool import Connection

__all__ = ("LiveDay", "count_downloads", "find_live_days", "register_log")


class LiveDay(msgspec.Struct, frozen=True):
    """A UTC day on which trackers have counted downloads of a podcast."""

    day: dt.date
    podcast_no: int
    title: str


# Linked from the beginning: there is no tracker whose totals could tell of a gap.
_REGISTER: Final[LiteralString] = """/* log_imports.register */
insert into ops.segments (segment_id, source, created_at, committed, is_linked) values ($1, $2, $3, 0, true)
on conflict (segment_id) do nothing"""

# Figures stay when their downloads go, and downloads are there before their figures.
_FIND_LIVE: Final[LiteralString] = """/* log_imports.find_live */
select n.day, n.podcast_no, p.title from unnest($1::integer[], $2::date[]) as n(podcast_no, day)
join app.podcasts p using (podcast_no)
where exists (
    select from app.metrics_daily m
    where m.podcast_no = n.podcast_no and m.dimension = 'source' and m.day = n.day and m.key = 'prefix'
) or exists (
    select from ts.downloads d where d.day = n.day and d.podcast_no = n.podcast_no and d.source = $3
)
order by n.day, n.podcast_no"""

_COUNT: Final[LiteralString] = """/* log_imports.count_downloads */
select count(*) from ts.downloads where day = any($1::date[]) and tenant_no = $2 and segment_no = any($3::integer[])"""


async def register_log(conn: Connection, segment_id: UUID, *, now: dt.datetime) -> None:
    """Give a log that was not seen before its number and its checkpoint, at its beginning.

    The checkpoint stays for good, so that the file is never counted twice; it is never finished, for files grow.

    Args:
        conn: As ingest, outside a transaction.
        segment_id: The file's.
        now: When it is seen.
    """
    await conn.execute(_REGISTER, segment_id, IMPORT_SOURCE, now)


async def find_live_days(conn: Connection, days: Collection[tuple[int, dt.date]], *, source: int) -> list[LiveDay]:
    """Find the days of podcasts that trackers have counted downloads for, earliest first.

    Args:
        conn: As ingest.
        days: Pairs of podcast and UTC day.
        source: How hits of trackers were told to us, as it is stored.
    """
    wanted = sorted(days)
    rows = await conn.fetch(_FIND_LIVE, [podcast_no for podcast_no, _ in wanted], [day for _, day in wanted], source)
    return [msgspec.convert(row, LiveDay) for row in rows]


async def count_downloads(
    conn: Connection, tenant_no: int, *, segment_nos: Sequence[int], days: Collection[dt.date]
) -> int:
    """Count a tenant's downloads of some UTC days whose best hit came in one of these segments."""
    return int(await conn.fetchval(_COUNT, sorted(days), tenant_no, list(segment_nos)))
