"""Damage in the spool: which bytes of which segment could not be read, and how many hits are missing there."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection

__all__ = ("FaultCount", "SpoolFault", "add_spool_fault", "count_spool_faults", "has_spool_faults")

_MAX_REASON_CHARS: Final = 500


class SpoolFault(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a segment that are no whole frame.

    Attributes:
        file: The segment's name, without its ending.
        start: Offset of the first.
        end: Offset behind the last.
        segment_no: The segment's number; ``None`` when not even its name tells which it was.
        reason: What is wrong with them.
        lost_hits: How many hits are missing; ``None`` when the totals around them do not tell.
    """

    file: str
    start: int
    end: int
    segment_no: int | None
    reason: str
    lost_hits: int | None


class FaultCount(msgspec.Struct, frozen=True):
    """How much of the spool was damaged since an instant.

    Attributes:
        faults: Places.
        lost_hits: Hits that are missing at those of them where it is known.
        last_file: The file of the last one; ``None`` without any.
        last_start: Its offset.
    """

    faults: int
    lost_hits: int
    last_file: str | None
    last_start: int | None


# Whoever saw the same file before an interruption has told of it already.
_ADD: Final[LiteralString] = """/* spool_faults.add */
insert into ops.spool_faults (file, start_offset, end_offset, segment_no, reason, lost_hits)
values ($1, $2, $3, $4, $5, $6) on conflict (file, start_offset) do nothing"""

_HAS: Final[LiteralString] = """/* spool_faults.has */
select exists (select from ops.spool_faults where segment_no = $1)"""

_COUNT: Final[LiteralString] = """/* spool_faults.count */
select count(*) as faults, coalesce(sum(lost_hits), 0)::bigint as lost_hits,
    (array_agg(file order by found_at desc, file desc, start_offset desc))[1] as last_file,
    (array_agg(start_offset order by found_at desc, file desc, start_offset desc))[1] as last_start
from ops.spool_faults where found_at >= $1"""


async def add_spool_fault(conn: Connection, fault: SpoolFault) -> None:
    """Note damage; a place that is known already stays as it was noted."""
    await conn.execute(
        _ADD,
        fault.file,
        fault.start,
        fault.end,
        fault.segment_no,
        fault.reason[:_MAX_REASON_CHARS],
        fault.lost_hits,
    )


async def has_spool_faults(conn: Connection, segment_no: int) -> bool:
    """Say whether damage was noted in a segment."""
    return bool(await conn.fetchval(_HAS, segment_no))


async def count_spool_faults(conn: Connection, *, since: dt.datetime) -> FaultCount:
    """Add up the damage that was found since an instant."""
    return msgspec.convert(await conn.fetchrow(_COUNT, since), FaultCount)
