"""Which source counts for a podcast's UTC day where trackers and an imported log both tell of it.

Hits of the other source are kept and flagged ``REPLACED``. Whoever lands hits reads the row, and holds it until the
transaction ends, so that a source never changes under hits that are on their way.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from typing import Final, LiteralString, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.db.hits import HitSource, lock_finality
from analytics_core.db.pool import Connection

__all__ = (
    "DaySourceRow",
    "PodcastDay",
    "choose_source",
    "find_day_sources",
    "flag_replaced_hits",
    "list_day_sources",
    "note_day_sources",
)

PodcastDay: TypeAlias = tuple[int, dt.date]
"""A podcast's number, and a UTC day."""


class DaySourceRow(msgspec.Struct, frozen=True):
    """A podcast's day that two sources tell of, and the one that counts."""

    day: dt.date
    podcast_no: int
    podcast_id: UUID
    title: str
    source: int


# In one order, as by whoever changes them: so they never wait for each other in a circle.
_FIND: Final[LiteralString] = """/* day_sources.find */
select podcast_no, day, source from ops.day_sources s
where (tenant_no, day) in (select * from unnest($1::integer[], $2::date[]))
order by tenant_no, day, podcast_no for share of s"""

_NOTE: Final[LiteralString] = """/* day_sources.note */
insert into ops.day_sources (tenant_no, podcast_no, day, source)
select $1, n.podcast_no, n.day, $4 from unnest($2::integer[], $3::date[]) as n(podcast_no, day)
order by n.day, n.podcast_no on conflict do nothing"""

_LOCK: Final[LiteralString] = """/* day_sources.lock */
select from ops.day_sources where tenant_no = $1 and day = $2 and podcast_no = any($3::integer[])
order by podcast_no for update"""

_CHOOSE: Final[LiteralString] = """/* day_sources.choose */
update ops.day_sources set source = $4
where tenant_no = $1 and day = $2 and podcast_no = any($3::integer[]) and source <> $4"""

_FLAG: Final[LiteralString] = """/* day_sources.flag */ select ops.flag_replaced_hits($1, $2, $3)"""

_LIST: Final[LiteralString] = """/* day_sources.list */
select s.day, s.podcast_no, p.podcast_id, p.title, s.source
from ops.day_sources s join app.podcasts p using (podcast_no)
where s.tenant_no = $1 and s.day >= $2 and s.day < $3 and ($4::uuid is null or p.podcast_id = $4)
order by s.day, s.podcast_no"""


async def find_day_sources(conn: Connection, days: Iterable[tuple[int, dt.date]]) -> dict[PodcastDay, HitSource]:
    """Find which source counts for podcasts' days that two tell of, and keep it so until the transaction ends.

    Args:
        conn: As ingest, in a transaction that holds :func:`analytics_core.db.hits.lock_finality`.
        days: Pairs of tenant and UTC day.
    """
    wanted = sorted(days)
    if not wanted:
        return {}
    rows = await conn.fetch(_FIND, [tenant_no for tenant_no, _ in wanted], [day for _, day in wanted])
    return {(row["podcast_no"], row["day"]): HitSource(row["source"]) for row in rows}


async def note_day_sources(
    conn: Connection, tenant_no: int, days: Collection[PodcastDay], *, source: HitSource
) -> None:
    """Note that two sources tell of these days, of which *source* counts; those that are noted already stay.

    Args:
        conn: As ingest, outside a transaction. Whoever lands is waited for, so that all hits from here on are flagged.
        tenant_no: Whose podcasts.
        days: Any.
        source: The one whose hits are there.
    """
    wanted = sorted(days, key=lambda pair: (pair[1], pair[0]))
    if not wanted:
        return
    async with conn.transaction():
        await lock_finality(conn, exclusive=True)
        podcasts, dates = [podcast_no for podcast_no, _ in wanted], [day for _, day in wanted]
        await conn.execute(_NOTE, tenant_no, podcasts, dates, int(source))


async def choose_source(
    conn: Connection, tenant_no: int, day: dt.date, podcast_nos: Sequence[int], *, source: HitSource
) -> None:
    """Have another source count for some podcasts of a day that is noted, once nobody lands hits of them any more."""
    await conn.execute(_LOCK, tenant_no, day, podcast_nos)
    await conn.execute(_CHOOSE, tenant_no, day, podcast_nos, int(source))


async def flag_replaced_hits(conn: Connection, tenant_no: int, day: dt.date, podcast_nos: Sequence[int]) -> int:
    """Flag these podcasts' hits of a day as its source says, in the transaction that chose it.

    A log's hits that came late are taken in when the log counts.

    Returns:
        How many hits have other flags than before.
    """
    return int(await conn.fetchval(_FLAG, tenant_no, day, podcast_nos))


async def list_day_sources(
    conn: Connection, tenant_no: int, *, first: dt.date, until: dt.date, podcast_id: UUID | None = None
) -> list[DaySourceRow]:
    """List a tenant's days from *first* to before *until* that two sources tell of, of one podcast or of all."""
    rows = await conn.fetch(_LIST, tenant_no, first, until, podcast_id)
    return [msgspec.convert(row, DaySourceRow) for row in rows]
