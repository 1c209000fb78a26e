"""Reads the spool: which segments there are, who still writes to them, and their whole frames from an offset on."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from analytics_core.accounts import opening_totals
from analytics_core.spool import (
    HEADER_BYTES,
    Frame,
    FrameKind,
    SegmentHeader,
    SpoolCorrupt,
    SpoolVersion,
    Totals,
    parse_header,
    parse_segment_name,
    read_frames,
)
from analytics_core.spool_recovery import Gap, find_frames
from ingest.batches import text_bytes

__all__ = ("Ending", "Reading", "SegmentFile", "SpoolFolder")

OPEN_SUFFIX: Final = ".open"
SEALED_SUFFIX: Final = ".sealed"
DAMAGED_SUFFIX: Final = ".damaged"

_MAX_BYTES: Final = 32 * 1024 * 1024
"""A batch holds no more of the spool than this, whatever the number of its hits; any frame fits."""

_log = logging.getLogger("castledger.ingest.spool")


class Ending(enum.Enum):
    """Why nothing more will land from a segment: what is stored with it."""

    SEALED = "sealed"
    ABANDONED = "abandoned"
    """Its writer died."""
    TORN = "torn"
    """Its writer died, or could not write the end: what stands behind the last whole frame was never answered."""
    SHORTER = "shorter"
    """It lost what had landed already: its disk had not been synced when the power went."""
    DAMAGED = "damaged"
    EMPTY = "empty"
    """It never got as far as its header."""


class SegmentFile(NamedTuple):
    """A segment's file as a look at the folder found it.

    Attributes:
        path: Where it is.
        header: What it says of itself; ``None`` when that cannot be read.
        segment_id: From the header, else from its name; ``None`` when neither tells.
        size: Its length at the time of the look. All that was answered before the look is in it.
        is_final: Whether nobody writes to it any more.
        header_fault: What is wrong with its header; with a header all the same, that is what its name says.
    """

    path: Path
    header: SegmentHeader | None
    segment_id: UUID | None
    size: int
    is_final: bool
    header_fault: str | None = None


class Reading(NamedTuple):
    """Whole frames of one segment.

    Attributes:
        start: Offset of the first.
        end: Offset behind the last; *start* when there is none.
        hits: The number of hits.
        rows: Their rows.
        texts: Their texts, and nothing else.
        opening: The writer's totals before the first frame; ``None`` without a frame.
        totals: The same with the last frame.
        is_partial: Whether more was there but was not wanted.
        fault: Why reading stopped where it did, if that is damage.
    """

    start: int
    end: int
    hits: int
    rows: bytes
    texts: bytes
    opening: Totals | None
    totals: Totals | None
    is_partial: bool
    fault: str | None


class SpoolFolder:
    """The spool's folder.

    Args:
        folder: Need not exist yet.
        kind: Whether it is a tracker's, of hits, or a collector's, of events.
        piece_bytes: How much is read at a time: the rest of a segment is for other batches.
    """

    def __init__(self, folder: Path, *, kind: FrameKind = FrameKind.HITS, piece_bytes: int = 1024 * 1024) -> None:
        self.folder = folder
        self.kind = kind
        self._piece_bytes = piece_bytes
        self._headers: dict[str, SegmentHeader] = {}

    def scan(self) -> list[SegmentFile]:
        """Look at every segment, oldest first.

        Whether a writer lives is asked before a file's length, so that a final length is final.

        Raises:
            OSError: The folder cannot be read.
        """
        if not self.folder.is_dir():
            return []
        names = sorted(
            entry.name for entry in os.scandir(self.folder) if entry.name.endswith((OPEN_SUFFIX, SEALED_SUFFIX))
        )
        self._headers = {name: header for name, header in self._headers.items() if name in set(names)}
        found = []
        for name in names:
            # A file may be renamed or removed between the two looks; the next scan finds it under its new name.
            with contextlib.suppress(FileNotFoundError):
                found.append(self._look(name))
        return found

    def _look(self, name: str) -> SegmentFile:
        path = self.folder / name
        with path.open("rb") as file:
            is_final = name.endswith(SEALED_SUFFIX) or _is_unlocked(file.fileno())
            size = os.fstat(file.fileno()).st_size
            header, fault = self._headers.get(name), None
            if header is None and size >= HEADER_BYTES:
                try:
                    header = parse_header(file.read(HEADER_BYTES))
                    self._headers[name] = header
                except SpoolVersion as error:
                    fault = str(error)
                except SpoolCorrupt as error:
                    fault, header = str(error), parse_segment_name(name)
        named = header or parse_segment_name(name)
        return SegmentFile(path, header, named.segment_id if named else None, size, is_final, fault)

    def read(self, file: SegmentFile, *, offset: int, max_hits: int, max_bytes: int = _MAX_BYTES) -> Reading:
        """Read whole frames of a segment, up to the length that the scan saw.

        Args:
            file: From :meth:`scan`.
            offset: A frame's first byte, or ``HEADER_BYTES``.
            max_hits: No frame is begun when that many hits are read; at least one frame is.
            max_bytes: No more is read; any one frame fits into ``MAX_FRAME_BYTES`` and its header.

        Raises:
            OSError: The file cannot be read, or is gone.
        """
        frames: list[Frame] = []
        hits, fault, is_partial = 0, None, False
        try:
            for frame in self._read_pieces(file, offset, min(file.size, offset + max_bytes)):
                if hits >= max_hits:
                    is_partial = True
                    break
                frames.append(frame)
                hits += frame.hits
            else:
                is_partial = file.size - offset > max_bytes
        except SpoolCorrupt as error:
            fault = str(error)
        rows = b"".join(frame.rows for frame in frames)
        texts = b"".join(frame.texts for frame in frames)
        if text_bytes(rows, self.kind) != len(texts):
            frames, fault = self._sound(frames)
            rows = b"".join(frame.rows for frame in frames)
            texts = b"".join(frame.texts for frame in frames)
        last = frames[-1] if frames else None
        return Reading(
            start=offset,
            end=last.end if last else offset,
            hits=sum(frame.hits for frame in frames),
            rows=rows,
            texts=texts,
            opening=opening_totals(frames[0].totals, frames[0].hits) if frames else None,
            totals=last.totals if last else None,
            is_partial=is_partial and fault is None,
            fault=fault,
        )

    def _read_pieces(self, file: SegmentFile, start: int, end: int) -> Iterator[Frame]:
        """Read a segment's whole frames, some at a time."""
        wanted = self._piece_bytes
        with file.path.open("rb") as handle:
            while start < end:
                asked = min(wanted, end - start)
                data = os.pread(handle.fileno(), asked, start)
                behind = start
                for frame in read_frames(data, offset=start):
                    if frame.hits and frame.kind is not self.kind:
                        raise SpoolCorrupt(f"the frame at offset {frame.start} is one of {frame.kind.name.lower()}")
                    behind = frame.end
                    yield frame
                if behind > start:
                    start, wanted = behind, self._piece_bytes
                elif len(data) == asked < end - start:
                    # The frame is longer than a piece.
                    wanted = end - start
                else:
                    return

    def find_gap(self, file: SegmentFile, *, offset: int) -> tuple[Gap, int | None]:
        """Find how far the damage reaches that begins at *offset*.

        Args:
            file: A final one.
            offset: Where something stands that is no whole frame.

        Returns:
            The gap, and the writer's running total of recorded hits behind it; ``None`` when no frame follows.

        Raises:
            OSError: The file cannot be read, or is gone.
        """
        with file.path.open("rb") as handle:
            data = os.pread(handle.fileno(), file.size - offset, offset)
        found = find_frames(data, offset=offset, kind=self.kind)
        gap = next(found)
        if not isinstance(gap, Gap):
            raise AssertionError("where reading stopped there is a gap")
        behind = next(found, None)
        return gap, behind.totals.recorded - behind.hits if isinstance(behind, Frame) else None

    def _sound(self, frames: list[Frame]) -> tuple[list[Frame], str]:
        """Take the frames before the first whose rows and texts contradict each other."""
        for place, frame in enumerate(frames):
            if text_bytes(frame.rows, self.kind) != len(frame.texts):
                return frames[:place], f"the frame at offset {frame.start} holds other texts than its rows say"
        raise AssertionError("frames that differ together differ one by one")

    def ending(self, file: SegmentFile, *, offset: int) -> Ending:
        """Say how a final segment ended whose last whole frame ends at *offset*."""
        if file.size > offset:
            return Ending.TORN
        return Ending.SEALED if file.path.suffix == SEALED_SUFFIX else Ending.ABANDONED

    def remove(self, file: SegmentFile) -> None:
        """Remove a segment all of which has landed, for good: it must not come back after power loss."""
        file.path.unlink(missing_ok=True)
        self._sync()

    def set_aside(self, file: SegmentFile) -> Path:
        """Keep a damaged segment under another name, for people to look at; return that."""
        kept = file.path.with_suffix(DAMAGED_SUFFIX)
        with contextlib.suppress(FileNotFoundError):
            file.path.rename(kept)
            self._sync()
        return kept

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_unlocked(descriptor: int) -> bool:
    """Say whether no writer holds the file: a writer's lock goes with its process, however that ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
