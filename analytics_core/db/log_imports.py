"""Imports of access logs: a file's checkpoint, and days that trackers have counted already."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.ledger import IMPORT_SOURCE
from analytics_core.db.pool import Connection

__all__ = (
    "LiveDay",
    "add_to_tally",
    "begin_tally",
    "count_downloads",
    "find_live_days",
    "read_tally",
    "register_log",
)


class LiveDay(msgspec.Struct, frozen=True):
    """A UTC day on which trackers have counted downloads of a podcast.

    Attributes:
        downloads: Those that are still there one by one; figures may be all that is left.
        first_at: When the first of their hits came; ``None`` without any.
        last_at: The same of the last.
    """

    day: dt.date
    podcast_no: int
    title: str
    downloads: int
    first_at: dt.datetime | None
    last_at: dt.datetime | None


# Linked from the beginning: there is no tracker whose totals could tell of a gap.
_REGISTER: Final[LiteralString] = """/* log_imports.register */
insert into ops.segments (segment_id, source, created_at, committed, is_linked) values ($1, $2, $3, 0, true)
on conflict (segment_id) do nothing"""

# Figures stay when their downloads go, and downloads are there before their figures; those of a day for which a log
# counts may be older than that.
_FIND_LIVE: Final[LiteralString] = """/* log_imports.find_live */
select n.day, n.podcast_no, p.title, d.downloads, d.first_at, d.last_at
from unnest($1::integer[], $2::date[]) as n(podcast_no, day)
join app.podcasts p using (podcast_no)
cross join lateral (
    select count(*) as downloads, min(w.occurred_at) as first_at, max(w.occurred_at) as last_at
    from ts.downloads w where w.day = n.day and w.podcast_no = n.podcast_no and w.source = $3
) d
where not exists (
    select from ops.day_sources s
    where s.tenant_no = p.tenant_no and s.day = n.day and s.podcast_no = n.podcast_no and s.source <> $3
) and (d.downloads > 0 or exists (
    select from app.metrics_daily m
    where m.podcast_no = n.podcast_no and m.dimension = 'source' and m.day = n.day and m.key = 'prefix'
))
order by n.day, n.podcast_no"""

_TALLY_TABLE: Final[LiteralString] = """/* log_imports.tally_table */
create temporary table if not exists log_downloads (podcast_no integer not null, day date not null,
    episode_no integer not null, listener_key uuid not null, primary key (day, episode_no, listener_key))"""

_TALLY: Final[LiteralString] = """/* log_imports.tally */
insert into pg_temp.log_downloads (podcast_no, day, episode_no, listener_key)
select * from unnest($1::integer[], $2::date[], $3::integer[], $4::uuid[]) on conflict do nothing"""

_TALLIED: Final[LiteralString] = """/* log_imports.tallied */
select podcast_no, day, count(*) as downloads from pg_temp.log_downloads group by podcast_no, day"""

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


async def begin_tally(conn: Connection) -> None:
    """Make room for the downloads that logs would make: a table of this connection, so that no memory is filled."""
    await conn.execute(_TALLY_TABLE)


async def add_to_tally(
    conn: Connection,
    *,
    podcast_nos: Sequence[int],
    days: Sequence[dt.date],
    episode_nos: Sequence[int],
    listener_keys: Sequence[UUID],
) -> None:
    """Add downloads, each once; all four are of one length."""
    await conn.execute(_TALLY, podcast_nos, days, episode_nos, listener_keys)


async def read_tally(conn: Connection) -> dict[tuple[int, dt.date], int]:
    """Count what was added by podcast and UTC day."""
    return {(row["podcast_no"], row["day"]): row["downloads"] for row in await conn.fetch(_TALLIED)}
