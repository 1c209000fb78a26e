"""What is left of a damaged segment: its whole frames, and where something stands that is none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple
from uuid import UUID

from analytics_core.spool import (
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    Frame,
    FrameKind,
    SegmentHeader,
    SpoolCorrupt,
    Totals,
    encode_header,
    encode_totals_frame,
    holds_its_texts,
    read_frames,
)

__all__ = ("Gap", "find_frames", "salvage")

_MAGIC: Final = b"CLbf"


class Gap(NamedTuple):
    """Bytes that are no whole frame.

    Attributes:
        start: Offset of the first in the segment.
        end: Offset behind the last.
        reason: What is wrong with them.
        is_torn: Whether they are the end and begin as a frame that is not whole: its hits were never answered.
    """

    start: int
    end: int
    reason: str
    is_torn: bool


def _frame_at(data: memoryview, at: int, offset: int) -> Frame | str | None:
    """Read the frame that begins at a place; why there is none, or ``None`` where the data end inside of it."""
    try:
        for frame in read_frames(data[at:], offset=offset + at):
            if not holds_its_texts(frame):
                return f"the frame at offset {frame.start} holds other texts than its rows say"
            return frame
    except SpoolCorrupt as error:
        return str(error)
    return None


def find_frames(data: bytes, *, offset: int = HEADER_BYTES) -> Iterator[Frame | Gap]:
    """Find every whole frame, also behind damage.

    Args:
        data: Bytes of a segment from *offset* on.
        offset: Where in the segment *data* begins.

    Yields:
        Frames and the gaps between them, in order; together they are all of the data.
    """
    view = memoryview(data)
    at = 0
    while at < len(data):
        found = _frame_at(view, at, offset)
        if isinstance(found, Frame):
            yield found
            at = found.end - offset
            continue
        start, reason = at, found
        frame = None
        while frame is None and (at := data.find(_MAGIC, at + 1)) >= 0:
            again = _frame_at(view, at, offset)
            frame = again if isinstance(again, Frame) else None
        end = len(data) if frame is None else at
        is_torn = frame is None and reason is None
        yield Gap(offset + start, offset + end, reason or _torn(view[start:end]), is_torn)
        at = end


def _torn(rest: memoryview) -> str:
    whole = len(rest) >= FRAME_HEADER_BYTES
    return f"{len(rest)} bytes of a frame that is not whole" + ("" if whole else "'s header")


def salvage(header: SegmentHeader, frames: list[Frame], data: bytes, *, offset: int = HEADER_BYTES) -> bytes:
    """Make a segment of frames that stood behind damage, byte for byte as they were.

    Its id follows from the old one, the first frame's place and the frames: making it twice makes the same segment, and
    the ledger takes a segment once.

    Args:
        header: Of the damaged segment.
        frames: Those to keep, at least one, in their order.
        data: Bytes of the damaged segment from *offset* on.
        offset: Where in the segment *data* begins.
    """
    body = b"".join(data[frame.start - offset : frame.end - offset] for frame in frames if frame.kind is FrameKind.HITS)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(header.segment_id.bytes + frames[0].start.to_bytes(8, "little"))
    digest.update(body)
    new = SegmentHeader(UUID(bytes=digest.digest()), header.created_us, header.source)
    totals: Totals = frames[-1].totals
    return encode_header(new) + body + encode_totals_frame(FrameKind.SEAL, totals)
