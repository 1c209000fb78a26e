"""What is left of a damaged segment: its whole frames, and where something stands that is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from analytics_core.spool import (
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    Frame,
    FrameKind,
    SpoolCorrupt,
    holds_its_texts,
    read_frames,
)

__all__ = ("Gap", "find_frames")

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


def _frame_at(data: memoryview, at: int, offset: int, kind: FrameKind | None) -> Frame | str | None:
    """Read the frame that begins at a place; why there is none, or ``None`` where the data end inside of it."""
    try:
        for frame in read_frames(data[at:], offset=offset + at):
            if not holds_its_texts(frame):
                return f"the frame at offset {frame.start} holds other texts than its rows say"
            if kind is not None and frame.hits and frame.kind is not kind:
                return f"the frame at offset {frame.start} is one of {frame.kind.name.lower()}"
            return frame
    except SpoolCorrupt as error:
        return str(error)
    return None


def find_frames(data: bytes, *, offset: int = HEADER_BYTES, kind: FrameKind | None = None) -> Iterator[Frame | Gap]:
    """Find every whole frame, also behind damage.

    Args:
        data: Bytes of a segment from *offset* on.
        offset: Where in the segment *data* begins.
        kind: What frames that hold something may hold; anything by default.

    Yields:
        Frames and the gaps between them, in order; together they are all of the data.
    """
    view = memoryview(data)
    at = 0
    while at < len(data):
        found = _frame_at(view, at, offset, kind)
        if isinstance(found, Frame):
            yield found
            at = found.end - offset
            continue
        start, reason = at, found
        frame = None
        while frame is None and (at := data.find(_MAGIC, at + 1)) >= 0:
            again = _frame_at(view, at, offset, kind)
            frame = again if isinstance(again, Frame) else None
        end = len(data) if frame is None else at
        is_torn = frame is None and reason is None
        yield Gap(offset + start, offset + end, reason or _torn(view[start:end]), is_torn)
        at = end


def _torn(rest: memoryview) -> str:
    whole = len(rest) >= FRAME_HEADER_BYTES
    return f"{len(rest)} bytes of a frame that is not whole" + ("" if whole else "'s header")
