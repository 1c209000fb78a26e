"""Writes the spool: one write a loop turn, syncs off the loop, and an honest count of whatever is lost.

The redirect never waits for a broken disk and never fails with it: what cannot be recorded is counted by reason, and
the counts travel in the next frame that can be written.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

from analytics_core.clock import Clock, SystemClock
from analytics_core.segments import Disk, OsDisk, Reserve, Segment, is_disk_full, remove_stillborn
from analytics_core.spool import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    FrameKind,
    SegmentHeader,
    Totals,
    encode_events_frame,
    encode_hits_frame,
    encode_totals_frame,
)

__all__ = ("SpoolWriter", "SyncWork")

_HEARTBEAT_S: Final = 60.0
_RETRY_S: Final = 1.0
_LOG_S: Final = 60.0
# A hit's texts stay below 32 KiB, an event's below 64, so that this many always fit into a frame.
_HITS_PER_FRAME: Final = MAX_FRAME_BYTES // (32 * 1024)
_EVENTS_PER_FRAME: Final = MAX_FRAME_BYTES // (64 * 1024)

_log = logging.getLogger("castledger.spool")


class SyncWork:
    """One sync, prepared on the loop, run in a thread, settled on the loop again."""

    def __init__(self, current: Segment | None, retired: Sequence[Segment]) -> None:
        self.current = current
        self.retired = tuple(retired)
        self.current_hits = current.hits if current is not None else 0
        self.at_risk = 0
        self.current_error: OSError | None = None
        self.retired_error: OSError | None = None

    def run(self) -> None:
        """Sync and finish the retired segments, then sync the current one. Raises nothing."""
        for segment in self.retired:
            try:
                segment.sync()
            except OSError as error:
                self.retired_error = error
                self.at_risk += segment.hits - segment.synced_hits
            segment.finish()
        if self.current is not None:
            try:
                self.current.sync()
            except OSError as error:
                self.current_error = error


class SpoolWriter:
    """The spool of one process.

    Args:
        folder: Made with mode 0700 when it is not there.
        source: Who writes, such as ``tracker-0``.
        segment_bytes: A segment is sealed at this size.
        segment_s: A segment is sealed this many seconds after its first hit.
        reserve_bytes: Disk space kept for a full disk; 0 keeps none.
        holds_events: Whether ``rows`` are those of events; else they are of hits.
        clock: Names segments.
        monotonic: Seconds, for ages.
        disk: The disk; tests pass one that fails.
    """

    def __init__(
        self,
        folder: Path,
        source: str,
        *,
        segment_bytes: int = 64 * 1024 * 1024,
        segment_s: float = 60.0,
        reserve_bytes: int = 0,
        holds_events: bool = False,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        disk: Disk | None = None,
    ) -> None:
        self._folder = folder
        self._source = source
        self._fault_text = "events are refused" if holds_events else "hits are being lost"
        self._encode_frame = encode_events_frame if holds_events else encode_hits_frame
        self._per_frame = _EVENTS_PER_FRAME if holds_events else _HITS_PER_FRAME
        self._segment_bytes = segment_bytes
        self._segment_s = segment_s
        self._clock = clock or SystemClock()
        self._monotonic = monotonic
        self._disk = disk or OsDisk()
        self.reserve = Reserve(folder, reserve_bytes, self._disk)
        self.totals = Totals()
        self.fault: str | None = None
        """Why hits are being lost, or events refused; ``None`` while they are recorded."""
        self.written_bytes = 0
        self.rows: list[bytes] = []
        self.texts: list[bytes] = []
        """Of each of ``rows``, its texts as one; whoever records a hit appends to both."""
        self._segment: Segment | None = None
        self._retired: list[Segment] = []
        self._is_dirty = False
        self._first_hit_s = 0.0
        self._last_frame_s = monotonic()
        self._blocked_until_s = 0.0
        self._blocked_reason = "write_error"
        self._logged_s = -math.inf

    @property
    def is_dirty(self) -> bool:
        """Whether something was written that no sync has begun to cover."""
        return self._is_dirty or bool(self._retired)

    def open(self) -> None:
        """Start the process's first segment with its totals, all zero. A folder that fails is retried later."""
        try:
            self._make_folder()
            # Hits carry raw addresses: a folder that was made by hand gets our mode too.
            self._folder.chmod(0o700)
            remove_stillborn(self._folder, now_s=self._clock.now_us() / 1e6)
        except OSError as error:
            _log.error("the spool's folder cannot be used: %s", error.strerror)
        self.reserve.hold()
        self._write((), ())

    def write_turn(self) -> None:
        """Write what was recorded in this turn of the loop, each an answer; what fails is counted as lost."""
        rows = self.rows
        if not rows:
            return
        texts = self.texts
        self.rows, self.texts = [], []
        self.totals.answered += len(rows)
        if not self._write(rows, texts):
            lost = self.totals.lost
            lost[self._blocked_reason] = lost.get(self._blocked_reason, 0) + len(rows)

    def write_now(self, rows: Sequence[bytes], texts: Sequence[bytes]) -> bool:
        """Write rows whose senders are told when it fails, and keep them: nothing is lost then, and nothing answered.

        Returns:
            Whether they are written.
        """
        self.totals.answered += len(rows)
        is_written = self._write(rows, texts)
        if not is_written:
            self.totals.answered -= len(rows)
        return is_written

    def tick(self) -> None:
        """Seal what is old and show that the process lives: to be called about once a second."""
        self.write_turn()
        now_s = self._monotonic()
        segment = self._segment
        if segment is not None and segment.hits and now_s - self._first_hit_s >= self._segment_s:
            self._retire()
        if now_s - self._last_frame_s >= _HEARTBEAT_S:
            self._last_frame_s = now_s
            self._write((), ())

    def begin_sync(self) -> SyncWork | None:
        """Take what is to be synced, or ``None`` when nothing is. One at a time."""
        if not self.is_dirty:
            return None
        work = SyncWork(self._segment if self._is_dirty else None, self._retired)
        self._retired = []
        self._is_dirty = False
        return work

    def end_sync(self, work: SyncWork) -> None:
        """Settle a sync that was run: a segment whose sync failed is sealed, its unsynced hits are at risk.

        A second sync of the same file may report success for pages that are gone, so it is never asked again.
        """
        self.totals.at_risk += work.at_risk
        segment = work.current
        if segment is not None:
            if work.current_error is not None:
                self.totals.at_risk += work.current_hits - segment.synced_hits
            segment.synced_hits = work.current_hits
            if work.current_error is not None and segment is self._segment:
                self._retire()
        error = work.current_error or work.retired_error
        if error is not None:
            _log.error("the spool could not be synced: %s", error.strerror)

    def sync_now(self) -> None:
        """Sync everything here and now: at the end, and in tests."""
        while (work := self.begin_sync()) is not None:
            work.run()
            self.end_sync(work)

    def close(self) -> None:
        """Write what is left, seal, sync."""
        self.write_turn()
        if self._segment is not None:
            self._retire()
        self.sync_now()

    def _write(self, rows: Sequence[bytes], texts: Sequence[bytes]) -> bool:
        """Append hits, or without any a heartbeat, to the segment in hand or else to a new one; say whether it is."""
        now_s = self._monotonic()
        if now_s < self._blocked_until_s:
            return False
        recorded = self.totals.recorded
        try:
            self._append(rows, texts, now_s)
        except OSError as error:
            return self._append_again(rows, texts, now_s, error, recorded)
        return True

    def _append(self, rows: Sequence[bytes], texts: Sequence[bytes], now_s: float) -> None:
        segment = self._segment or self._start_segment()
        data, hits = self._encode(rows, texts), len(rows)
        segment.append(data, hits=hits)
        self.fault = None
        self.written_bytes += len(data)
        self._is_dirty = True
        self._last_frame_s = now_s
        if hits and segment.hits == hits:
            self._first_hit_s = now_s
        if segment.size >= self._segment_bytes:
            self._retire()

    def _append_again(
        self, rows: Sequence[bytes], texts: Sequence[bytes], now_s: float, failure: OSError, recorded: int
    ) -> bool:
        """Try once more, and after each thing that may help: another segment, room from the reserve."""
        for attempt in range(3):
            self.totals.recorded = recorded
            self._give_up_segment(failure, now_s)
            is_worth_it = is_disk_full(failure) and self.reserve.release()
            if attempt == 2 or not (is_worth_it or attempt == 0):
                break
            try:
                self._append(rows, texts, now_s)
            except OSError as error:
                failure = error
            else:
                return True
        # Once a second is often enough to try again; at every turn it would be the load that kills the redirect.
        self._blocked_reason = "disk_full" if is_disk_full(failure) else "write_error"
        self._blocked_until_s = now_s + _RETRY_S
        self.fault = f"{self._fault_text}: {failure.strerror}"
        return False

    def _encode(self, rows: Sequence[bytes], texts: Sequence[bytes]) -> bytes:
        totals, hits = self.totals, len(rows)
        if 0 < hits <= self._per_frame:
            totals.recorded += hits
            return self._encode_frame(rows, texts, totals)
        if not hits:
            return encode_totals_frame(FrameKind.TOTALS, totals)
        frames = []
        for start in range(0, len(rows), self._per_frame):
            some = rows[start : start + self._per_frame]
            totals.recorded += len(some)
            frames.append(self._encode_frame(some, texts[start : start + len(some)], totals))
        return b"".join(frames)

    def _make_folder(self) -> None:
        if not self._folder.is_dir():
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)

    def _start_segment(self) -> Segment:
        self._make_folder()
        header = SegmentHeader(uuid4(), self._clock.now_us(), self._source)
        self._segment = Segment(self._folder, header, self._disk)
        return self._segment

    def _give_up_segment(self, error: OSError, now_s: float) -> None:
        if now_s - self._logged_s >= _LOG_S:
            self._logged_s = now_s
            _log.error("the spool could not be written: %s", error.strerror)
        segment = self._segment
        if segment is None:
            return
        segment.cut()
        if segment.size > HEADER_BYTES:
            self._retire()
        else:
            self._segment = None
            segment.discard()

    def _retire(self) -> None:
        """Seal the segment in hand; the next sync finishes it."""
        segment = self._segment
        if segment is not None:
            segment.seal(self.totals)
            self._retired.append(segment)
            self._segment = None
            self._is_dirty = False
