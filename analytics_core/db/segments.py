"""Spool segments in the database: the checkpoint that fences batches, and how far the ledger is complete."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.ledger import IMPORT_SOURCE, SilentSource, read_totals
from analytics_core.db.pool import Connection
from analytics_core.spool import SegmentHeader, Totals

__all__ = (
    "Checkpoint",
    "SegmentRow",
    "advance_cutoff",
    "find_segments",
    "finish_segment",
    "list_silent",
    "move_checkpoint",
    "read_cutoff",
    "register_segments",
    "skip_gap",
)

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_GIVEN_UP: Final = dt.timedelta(days=7)
_LAST_US: Final = 7_258_118_400_000_000 - 1  # the end of the year 2199


class SegmentRow(msgspec.Struct, frozen=True):
    """A segment as the database knows it.

    Attributes:
        committed: Offset up to which its frames have landed.
        hits: Hits that have landed: the next one's ordinal.
        totals: The writer's with the last frame that has landed; ``None`` before the first.
        finished_why: Why nothing more will land; ``None`` while it may.
    """

    segment_no: int
    segment_id: UUID
    committed: int
    hits: int
    finished_why: str | None
    totals: Totals | None = None


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a segment's checkpoint.

    Attributes:
        before: Offset at which the batch began.
        after: Offset behind its last frame.
        hits: Number of its hits.
        first_us: Time of its earliest hit, microseconds since 1970; ``None`` without hits.
        last_us: Time of its latest hit.
        totals_before: The writer's running totals at its beginning.
        totals: The same at its end.
        read_at: When its last frame was read.
    """

    segment_id: UUID
    before: int
    after: int
    hits: int
    first_us: int | None
    last_us: int | None
    totals_before: Totals
    totals: Totals
    read_at: dt.datetime


_REGISTER: Final[LiteralString] = """/* segments.register */
insert into ops.segments (segment_id, source, created_at, committed)
select n.segment_id, n.source, n.created_at, n.committed
from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::bigint[]) as n(segment_id, source, created_at, committed)
order by n.created_at, n.segment_id
on conflict (segment_id) do nothing"""

_FIND: Final[LiteralString] = """/* segments.find */
select segment_no, segment_id, committed, hits, finished_why, totals
from ops.segments where segment_id = any($1::uuid[])"""

_MOVE: Final[LiteralString] = """/* segments.move_checkpoint */
update ops.segments set committed = $3, hits = hits + $4, first_hit_at = least(first_hit_at, $5),
    last_hit_at = greatest(last_hit_at, $6), totals = $7, last_frame_at = greatest(last_frame_at, $8),
    opening = coalesce(opening, $9)
where segment_id = $1 and committed = $2 and finished_at is null"""

_FINISH: Final[LiteralString] = """/* segments.finish */
update ops.segments set finished_at = now(), finished_why = $3
where segment_id = $1 and committed = $2 and finished_at is null"""

_SKIP: Final[LiteralString] = """/* segments.skip */
update ops.segments set committed = $3 where segment_id = $1 and committed = $2 and finished_at is null"""

# Of each source the newest segment alone counts. What is sealed was stopped, or is followed by another within a minute.
# The time is the one up to which all was read: while ingest is behind, or was away, nobody is taken for silent.
_SILENT: Final[LiteralString] = """/* segments.silent */
select source, last_frame_at from (
    select distinct on (s.source) s.source, s.finished_why, c.cutoff_at,
        coalesce(s.last_frame_at, s.created_at) as last_frame_at
    from ops.segments s, (select min(cutoff_at) as cutoff_at from ops.ingest_status) c
    where (s.finished_at is null or s.finished_at > now() - $2::interval) and s.source <> $3
    order by s.source, s.created_at desc, s.segment_no desc
) newest
where finished_why is distinct from 'sealed' and last_frame_at < cutoff_at - $1::interval
    and last_frame_at > cutoff_at - $2::interval
order by source"""

_ADVANCE: Final[LiteralString] = """/* ingest_status.advance */
insert into ops.ingest_status as old (source, cutoff_at) values ($1, $2)
on conflict (source) do update set cutoff_at = excluded.cutoff_at where old.cutoff_at < excluded.cutoff_at"""

# Hits do not wait for events, which are no part of any figure.
_CUTOFF: Final[LiteralString] = """/* ingest_status.cutoff */
select min(cutoff_at) from ops.ingest_status where source <> 'events'"""


def _instant(at_us: int | None) -> dt.datetime | None:
    # A segment's creation may be anything where a clock is wrong, and a damaged name may say anything.
    return None if at_us is None else _EPOCH + dt.timedelta(microseconds=min(max(at_us, 0), _LAST_US))


async def register_segments(conn: Connection, headers: Sequence[SegmentHeader], *, start: int) -> None:
    """Give segments that were not seen before their numbers; those that were stay as they are.

    Args:
        conn: Outside a transaction, so that two shippers do not wait for one another.
        headers: The segments' headers.
        start: Offset of a segment's first frame.
    """
    await conn.execute(
        _REGISTER,
        [header.segment_id for header in headers],
        [header.source for header in headers],
        [_instant(header.created_us) for header in headers],
        [start] * len(headers),
    )


async def find_segments(conn: Connection, segment_ids: Sequence[UUID]) -> dict[UUID, SegmentRow]:
    """Read what is known of segments, by their ids; unknown ones are left out."""
    rows = [
        SegmentRow(
            row["segment_no"],
            row["segment_id"],
            row["committed"],
            row["hits"],
            row["finished_why"],
            read_totals(row["totals"]),
        )
        for row in await conn.fetch(_FIND, list(segment_ids))
    ]
    return {row.segment_id: row for row in rows}


async def move_checkpoint(conn: Connection, step: Checkpoint) -> bool:
    """Move a segment's checkpoint, the fence of a batch: ``False`` when someone else has moved it before.

    The caller then rolls back: the batch has landed already.
    """
    totals: dict[str, Any] = msgspec.structs.asdict(step.totals)
    status = await conn.execute(
        _MOVE,
        step.segment_id,
        step.before,
        step.after,
        step.hits,
        _instant(step.first_us),
        _instant(step.last_us),
        totals,
        step.read_at,
        msgspec.structs.asdict(step.totals_before),
    )
    return str(status) == "UPDATE 1"


async def finish_segment(conn: Connection, segment_id: UUID, *, committed: int, why: str) -> bool:
    """Note that nothing more will land from a segment; ``False`` when someone else moved or finished it."""
    return str(await conn.execute(_FINISH, segment_id, committed, why)) == "UPDATE 1"


async def skip_gap(conn: Connection, segment_id: UUID, *, before: int, after: int) -> bool:
    """Move a segment's checkpoint past damage; ``False`` when someone else has moved it before."""
    return str(await conn.execute(_SKIP, segment_id, before, after)) == "UPDATE 1"


async def list_silent(conn: Connection, *, after: dt.timedelta) -> list[SilentSource]:
    """List the sources of which no frame was read for *after*, though they did not stop.

    One that has been silent for a week is given up: it is not expected back.
    """
    return [msgspec.convert(row, SilentSource) for row in await conn.fetch(_SILENT, after, _GIVEN_UP, IMPORT_SOURCE)]


async def advance_cutoff(conn: Connection, *, source: str, at: dt.datetime) -> None:
    """Note that every hit of a source that was answered before *at* has landed; it never goes back."""
    await conn.execute(_ADVANCE, source, at)


async def read_cutoff(conn: Connection) -> dt.datetime | None:
    """Read up to when the ledger is complete; ``None`` before anything was ingested."""
    cutoff: dt.datetime | None = await conn.fetchval(_CUTOFF)
    return cutoff
