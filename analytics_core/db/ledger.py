"""The ledger of answers: for every minute and source what was answered, and what became of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString

import msgspec

from analytics_core.accounts import growth
from analytics_core.db.pool import Connection
from analytics_core.spool import Totals

__all__ = (
    "IMPORT_SOURCE",
    "BucketRow",
    "Entry",
    "SilentSource",
    "add_entries",
    "drop_entries",
    "link_segments",
    "list_buckets",
    "list_silent_trackers",
    "read_accounts",
    "read_complete_until",
    "read_totals",
)

IMPORT_SOURCE: Final = "import"
"""The source of hits that no tracker sent: those of archives and of logs. Nobody is to miss it."""


class Entry(msgspec.Struct, frozen=True):
    """Hits of a segment and minute to which one thing happened.

    Attributes:
        minute: Minutes since 1970-01-01 UTC.
        what: The account, as ``analytics_core.accounts`` names it.
        hits: How many; may be negative, where something else became of them since.
    """

    segment_no: int
    minute: int
    what: str
    hits: int


# In one order, so that writers meet in it.
_ADD: Final[LiteralString] = """/* ledger.add */
insert into ops.ledger_minutes as old (minute, source, what, hits)
select to_timestamp(n.minute * 60), s.source, n.what, sum(n.hits)
from unnest($1::integer[], $2::bigint[], $3::text[], $4::bigint[]) as n(segment_no, minute, what, hits)
join ops.segments s using (segment_no)
group by 1, 2, 3 order by 1, 2, 3
on conflict (minute, source, what) do update set hits = old.hits + excluded.hits"""

_LOCK_LINKS: Final[LiteralString] = """/* ledger.lock_links */
select pg_advisory_xact_lock(hashtext('castledger.links'))"""

# The one before is the newest older one whose totals do not go beyond: those of another life as a rule do. It has to
# be finished, whichever it is: what is read of a later one first must not be taken for what is missing. One whose file
# was taken away never is; after a week it is not waited for.
_UNLINKED: Final[LiteralString] = """/* ledger.unlinked */
select s.segment_no, extract(epoch from s.created_at)::bigint / 60 as minute, s.opening, p.totals as former
from ops.segments s left join lateral (
    select totals from ops.segments b
    where b.source = s.source and (b.created_at, b.segment_no) < (s.created_at, s.segment_no) and b.totals <> '{}'
        and (s.opening->>'answered')::bigint > 0
        and (b.totals->>'recorded')::bigint <= (s.opening->>'recorded')::bigint
        and (b.totals->>'answered')::bigint <= (s.opening->>'answered')::bigint
    order by b.created_at desc, b.segment_no desc limit 1
) p on true
where s.opening is not null and not s.is_linked and not exists (
    select from ops.segments b
    where b.source = s.source and b.finished_at is null and (b.created_at, b.segment_no) < (s.created_at, s.segment_no)
        and b.created_at > s.created_at - interval '7 days')
order by s.created_at, s.segment_no limit $1"""

_LINKED: Final[LiteralString] = """/* ledger.linked */
update ops.segments set is_linked = true where segment_no = any($1::integer[])"""

_READ: Final[LiteralString] = """/* ledger.read */
select what, sum(hits)::bigint as hits from ops.ledger_minutes where minute >= $1 and minute < $2 group by what"""

_BUCKETS: Final[LiteralString] = """/* ledger.buckets */
select start, source, jsonb_object_agg(what, hits) as accounts from (
    select date_trunc($1, minute, 'UTC') as start, source, what, sum(hits)::bigint as hits
    from api.ledger_minutes where minute >= $2 and minute < $3 group by 1, 2, 3
) b where hits <> 0 group by 1, 2 order by 1, 2"""

_SILENT: Final[LiteralString] = """/* ledger.silent */
select source, last_frame_at from api.trackers
where finished_why is distinct from 'sealed' and last_frame_at < cutoff_at - $1::interval
    and last_frame_at > cutoff_at - interval '7 days' and source <> $2
order by source"""

_CUTOFF: Final[LiteralString] = """/* ledger.cutoff */ select cutoff_at from api.cutoff"""

_DROP: Final[LiteralString] = """/* ledger.drop */ delete from ops.ledger_minutes where minute < $1"""


class SilentSource(msgspec.Struct, frozen=True):
    """A tracker of which nothing is heard though it did not stop.

    Attributes:
        source: Its name.
        last_frame_at: When it was last heard of.
    """

    source: str
    last_frame_at: dt.datetime


class BucketRow(msgspec.Struct, frozen=True):
    """What happened to answers of a source in a span of time.

    Attributes:
        start: Where the span begins, UTC.
        source: The tracker.
        accounts: Hits by account.
    """

    start: dt.datetime
    source: str
    accounts: dict[str, int]


def read_totals(stored: Mapping[str, Any] | None) -> Totals | None:
    """Read totals as they are stored; ``None`` where there are none yet."""
    if not stored:
        return None
    return Totals(
        answered=stored["answered"],
        recorded=stored["recorded"],
        refused={int(status): count for status, count in stored["refused"].items()},
        lost=stored["lost"],
        at_risk=stored["at_risk"],
    )


async def add_entries(conn: Connection, entries: Sequence[Entry]) -> None:
    """Add entries, in the transaction that makes them true."""
    if entries:
        columns = zip(*(msgspec.structs.astuple(entry) for entry in entries), strict=True)
        await conn.execute(_ADD, *(list(column) for column in columns))


async def link_segments(conn: Connection, *, limit: int = 1_000) -> int:
    """Enter what happened between segments of one process: what was lost while there was none, and hits of lost ones.

    A segment waits until those before it are finished. One that begins with nothing answered begins a process's life.

    Args:
        conn: As ingest, outside a transaction.
        limit: Segments that are linked at once.

    Returns:
        How many were linked.
    """
    async with conn.transaction():
        await conn.execute(_LOCK_LINKS)
        entries, linked = [], []
        for row in await conn.fetch(_UNLINKED, limit):
            former, opening = read_totals(row["former"]), read_totals(row["opening"])
            if opening is None:
                raise AssertionError("only segments with an opening are linked")
            linked.append(row["segment_no"])
            found = growth(former or Totals(), opening, hits=0)
            entries += [Entry(row["segment_no"], row["minute"], what, hits) for what, hits in found.items()]
        await add_entries(conn, entries)
        await conn.execute(_LINKED, linked)
        return len(linked)


async def read_accounts(conn: Connection, *, start: dt.datetime, end: dt.datetime) -> dict[str, int]:
    """Add up all sources' accounts from *start* to before *end*."""
    return {row["what"]: row["hits"] for row in await conn.fetch(_READ, start, end)}


async def list_buckets(conn: Connection, *, interval: str, start: dt.datetime, end: dt.datetime) -> list[BucketRow]:
    """List sources' accounts by minute, hour or day (UTC), as the API, for the installation's own tenant.

    Args:
        conn: In a transaction of that tenant; any other sees nothing.
        interval: ``minute``, ``hour`` or ``day``.
        start: Of the first minute.
        end: Behind the last.
    """
    return [msgspec.convert(row, BucketRow) for row in await conn.fetch(_BUCKETS, interval, start, end)]


async def list_silent_trackers(conn: Connection, *, after: dt.timedelta) -> list[SilentSource]:
    """List the trackers of which nothing was heard for *after*, though they did not stop; seen as by buckets."""
    return [msgspec.convert(row, SilentSource) for row in await conn.fetch(_SILENT, after, IMPORT_SOURCE)]


async def read_complete_until(conn: Connection) -> dt.datetime | None:
    """Read up to when the ledger is complete, as the API; ``None`` before anything was ingested."""
    until: dt.datetime | None = await conn.fetchval(_CUTOFF)
    return until


async def drop_entries(conn: Connection, *, before: dt.datetime) -> int:
    """Drop minutes before *before*; return how many entries."""
    return int(str(await conn.execute(_DROP, before)).split()[-1])
