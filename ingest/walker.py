"""Walks a spool: looks at its segments, takes what has not landed, and ends those of which nothing more will land.

What is remembered of checkpoints is the database's: after any failure it is forgotten, and read again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from analytics_core.clock import Clock
from analytics_core.db.pool import Connection
from analytics_core.db.segments import SegmentRow, find_segments, register_segments
from analytics_core.spool import HEADER_BYTES, MAX_FRAME_BYTES
from ingest.batches import stored_times
from ingest.endings import Endings
from ingest.metrics import Metrics
from ingest.spool_reader import Ending, SegmentFile, SpoolFolder
from ingest.walks import Part, Walk, micros

__all__ = ("Walker",)

_LOOK_BYTES: Final = 256 * 1024
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Walker:
    """Walks one spool.

    Args:
        spool: Where the segments are.
        clock: Says when a look was taken.
        metrics: Counts damage.
    """

    def __init__(self, spool: SpoolFolder, *, clock: Clock, metrics: Metrics) -> None:
        self._spool = spool
        self._clock = clock
        self._rows: dict[UUID, SegmentRow] = {}
        self._endings = Endings(spool, metrics, self._note)

    def forget(self) -> None:
        """Drop what is remembered of the database: after a lost connection or a lost fence it may be wrong."""
        self._rows.clear()

    def _note(self, row: SegmentRow) -> None:
        self._rows[row.segment_id] = row

    def note_landed(self, parts: Sequence[Part]) -> None:
        """Hear that parts have landed."""
        for part in parts:
            self._note(part.row_after)

    async def look(self, conn: Connection) -> Walk:
        """Look at the spool, and finish segments of which nothing more will land."""
        began = self._clock.now()
        files = await asyncio.to_thread(self._spool.scan)
        await self._learn(conn, files)
        left = []
        for file in files:
            row = self._rows.get(file.segment_id) if file.segment_id is not None else None
            if row is not None and row.finished_why is not None:
                await self._endings.clean_up(file, row.finished_why)
            elif file.header is None or row is None:
                await self._endings.drop_unreadable(conn, file, row)
            elif file.size < row.committed:
                await self._endings.finish(conn, file, row, Ending.SHORTER)
            elif file.size > row.committed or file.is_final:
                left.append((file, row))
        return Walk(began, left)

    async def _learn(self, conn: Connection, files: Sequence[SegmentFile]) -> None:
        """Read the checkpoints of segments that are new to us; the database gives new ones their numbers."""
        present = {file.segment_id for file in files}
        self._rows = {segment_id: row for segment_id, row in self._rows.items() if segment_id in present}
        new = [file.header for file in files if file.header is not None and file.segment_id not in self._rows]
        # A header that power loss has taken does not take the segment's number: that is found by the file's name.
        nameless = [file.segment_id for file in files if file.header is None and file.segment_id is not None]
        if nameless:
            self._rows |= await find_segments(conn, nameless)
        if new:
            known = await find_segments(conn, [header.segment_id for header in new])
            missing = [header for header in new if header.segment_id not in known]
            if missing:
                await register_segments(conn, missing, start=HEADER_BYTES)
                known |= await find_segments(conn, [header.segment_id for header in missing])
            self._rows |= known

    async def take(self, conn: Connection, walk: Walk, *, room: int) -> list[Part]:
        """Take the next parts of a walk; what they leave stays in it.

        Args:
            conn: As ingest, outside a transaction.
            walk: As :meth:`look` returned it.
            room: Hits, or events, after which no further frame is begun.
        """
        parts: list[Part] = []
        left: list[tuple[SegmentFile, SegmentRow]] = []
        for file, row in walk.left:
            if room <= 0:
                left.append((file, row))
                continue
            reading = await asyncio.to_thread(self._spool.read, file, offset=row.committed, max_hits=room)
            if reading.end > reading.start:
                part = Part(file, row, reading)
                parts.append(part)
                room -= reading.hits
                if reading.is_partial:
                    left.append((file, part.row_after))
            elif self._rows.get(row.segment_id) == row:
                # Nothing of it is on its way: what stands there now is all that will ever land.
                behind = await self._endings.end(conn, file, row, reading)
                if behind is not None:
                    left.append((file, behind))
            elif reading.fault is not None and file.is_final:
                left.append((file, row))
        walk.left = left
        return parts

    async def behind(self, walk: Walk) -> dt.datetime | None:
        """Say up to when all has landed once what was taken of a walk has: that is, before its oldest hit left."""
        if not walk.left:
            return walk.began
        times = []
        for file, row in walk.left:
            if file.header is not None and row.committed == HEADER_BYTES:
                times.append(file.header.created_us)
                continue
            for look_bytes in (_LOOK_BYTES, 2 * MAX_FRAME_BYTES):
                peek = await asyncio.to_thread(
                    self._spool.read, file, offset=row.committed, max_hits=1, max_bytes=look_bytes
                )
                found, _ = stored_times(peek.rows, micros(walk.began), self._spool.kind)
                if len(found):
                    times.append(int(found.min()))
                    break
        return _EPOCH + dt.timedelta(microseconds=min(times)) if times else None
