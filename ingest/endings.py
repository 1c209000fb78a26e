"""Where segments end: sealed, torn, damaged, shorter than they were, or without a readable header."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from analytics_core.db.pool import Connection
from analytics_core.db.segments import SegmentRow, finish_segment, skip_gap
from analytics_core.db.spool_faults import SpoolFault, add_spool_fault, has_spool_faults
from analytics_core.spool import HEADER_BYTES
from analytics_core.spool_recovery import Gap
from ingest.metrics import Metrics
from ingest.spool_reader import Ending, Reading, SegmentFile, SpoolFolder
from ingest.writer import FenceLost

__all__ = ("Endings",)

_log: Final = logging.getLogger("castledger.ingest.shipper")


class Endings:
    """Finishes segments of which nothing more will land, and moves past damage.

    Args:
        spool: Where the segments are.
        metrics: Counts damage.
        note: Called with what a segment's row has become.
    """

    def __init__(self, spool: SpoolFolder, metrics: Metrics, note: Callable[[SegmentRow], None]) -> None:
        self._spool = spool
        self._metrics = metrics
        self._note = note
        self._reported: set[str] = set()

    async def end(self, conn: Connection, file: SegmentFile, row: SegmentRow, reading: Reading) -> SegmentRow | None:
        """Finish a segment that has no whole frame left, or return its checkpoint behind damage."""
        if reading.is_partial:
            return None
        if not file.is_final:
            if reading.fault is not None:
                self._report(file, f"is damaged while its writer lives: {reading.fault}; it is read on once complete")
            return None
        if reading.fault is not None or await self._is_damaged(file, row):
            return await self._skip(conn, file, row)
        ending = self._spool.ending(file, offset=row.committed)
        if file.header_fault is not None:
            await self._note_fault(conn, file, row, Gap(0, HEADER_BYTES, file.header_fault, False), None)
        if await has_spool_faults(conn, row.segment_no):
            ending = Ending.DAMAGED
        await self.finish(conn, file, row, ending)
        return None

    async def _is_damaged(self, file: SegmentFile, row: SegmentRow) -> bool:
        """Say whether what looks like a torn end is none: a damaged length reaches beyond the frames that follow it."""
        if file.size <= row.committed:
            return False
        gap, _ = await asyncio.to_thread(self._spool.find_gap, file, offset=row.committed)
        return not gap.is_torn

    async def _skip(self, conn: Connection, file: SegmentFile, row: SegmentRow) -> SegmentRow:
        """Move a checkpoint past damage, which is noted in the same transaction."""
        gap, recorded = await asyncio.to_thread(self._spool.find_gap, file, offset=row.committed)
        lost = None if recorded is None or row.totals is None else max(recorded - row.totals.recorded, 0)
        async with conn.transaction():
            if not await skip_gap(conn, row.segment_id, before=gap.start, after=gap.end):
                raise FenceLost(f"segment {row.segment_id} has moved on from {gap.start}")
            await self._note_fault(conn, file, row, gap, lost)
        behind = msgspec.structs.replace(row, committed=gap.end)
        self._note(behind)
        self._metrics.damaged_bytes.inc(gap.end - gap.start)
        if lost is not None:
            self._metrics.damaged_hits.inc(lost)
        return behind

    async def _note_fault(
        self, conn: Connection, file: SegmentFile, row: SegmentRow | None, gap: Gap, lost: int | None
    ) -> None:
        fault = SpoolFault(
            file=file.path.stem,
            start=gap.start,
            end=gap.end,
            segment_no=row.segment_no if row is not None else None,
            reason=gap.reason,
            lost_hits=lost,
        )
        await add_spool_fault(conn, fault)
        missing = "an unknown number of" if lost is None else lost
        _log.error(
            "%s is damaged from offset %d to %d: %s; %s hits are missing",
            fault.file,
            gap.start,
            gap.end,
            gap.reason,
            missing,
        )

    async def finish(self, conn: Connection, file: SegmentFile, row: SegmentRow, ending: Ending) -> None:
        if not file.is_final:
            self._report(file, "is shorter than what has landed of it while its writer lives")
            return
        if ending is Ending.SHORTER and file.header is not None:
            self._report(file, f"came back with {file.size} bytes, though {row.committed} have landed")
        if not await finish_segment(conn, row.segment_id, committed=row.committed, why=ending.value):
            raise FenceLost(f"segment {row.segment_id} was finished by someone else")
        self._note(msgspec.structs.replace(row, finished_why=ending.value))
        await self.clean_up(file, ending.value)

    async def clean_up(self, file: SegmentFile, why: str) -> None:
        """Remove a finished segment's file; a damaged one is kept for people to look at."""
        if why == Ending.DAMAGED.value:
            kept = await asyncio.to_thread(self._spool.set_aside, file)
            self._metrics.damaged.inc()
            _log.error("a damaged segment is kept as %s", kept.name)
        else:
            await asyncio.to_thread(self._spool.remove, file)

    async def drop_unreadable(self, conn: Connection, file: SegmentFile, row: SegmentRow | None) -> None:
        """Take a final segment without a readable header out of the way: no hit of it can be landed."""
        if not file.is_final:
            return
        if file.size < HEADER_BYTES:
            ending = Ending.SHORTER if row is not None and row.hits else Ending.EMPTY
            self._report(file, "ends before its header does")
        else:
            ending = Ending.DAMAGED
            reason = file.header_fault or "neither its header nor its name tells what it is"
            await self._note_fault(conn, file, row, Gap(0, file.size, reason, False), None)
        if row is not None:
            await self.finish(conn, file, row, ending)
        else:
            await self.clean_up(file, ending.value)

    def _report(self, file: SegmentFile, fault: str) -> None:
        """Log a fault once a segment."""
        if file.path.name not in self._reported:
            self._reported.add(file.path.name)
            _log.error("the segment %s %s", file.path.name, fault)
