"""Events in the spool, as a collector leaves them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from analytics_core.events import EventRecord, encode_record
from analytics_core.spool import (
    FrameKind,
    SegmentHeader,
    Totals,
    encode_event_row,
    encode_events_frame,
    encode_header,
    encode_totals_frame,
    segment_name,
)
from tests.factories import make_header, micros
from tests.ledgers import NOW

__all__ = ("NOBODY", "event_segment_bytes", "make_event", "write_event_segment")

NOBODY = bytes(16)
"""The address of who is not told."""


def make_event(tenant_no: int, event_id: UUID | None = None, **more: Any) -> EventRecord:
    """Make a record of a purchase, but for what *more* says."""
    given: dict[str, Any] = {"type": "purchase", "occurred_us": micros(NOW) - 60_000_000, **more}
    return EventRecord(tenant_no=tenant_no, event_id=event_id or uuid4(), **given)


def event_segment_bytes(
    header: SegmentHeader,
    events: Sequence[tuple[dt.datetime, EventRecord | bytes]],
    *,
    address: bytes = NOBODY,
    frame_events: int = 100,
    sealed: bool = True,
) -> bytes:
    """Write events, each with when it was received, as the bytes of a whole segment; bytes as they are."""
    parts = [encode_header(header)]
    totals = Totals()
    for at in range(0, len(events), frame_events):
        some = events[at : at + frame_events]
        totals.answered += len(some)
        totals.recorded += len(some)
        texts = [record if isinstance(record, bytes) else encode_record(record) for _, record in some]
        rows = [
            encode_event_row(micros(received), address, text) for (received, _), text in zip(some, texts, strict=True)
        ]
        parts.append(encode_events_frame(rows, texts, totals))
    if sealed:
        parts.append(encode_totals_frame(FrameKind.SEAL, totals))
    return b"".join(parts)


def write_event_segment(
    folder: Path,
    events: Sequence[tuple[dt.datetime, EventRecord | bytes]],
    *,
    source: str = "collector-0",
    segment_id: UUID | None = None,
    address: bytes = NOBODY,
    frame_events: int = 100,
    sealed: bool = True,
) -> Path:
    """Write a segment of events that nobody writes to any more."""
    folder.mkdir(parents=True, exist_ok=True)
    header = make_header(source, created_us=micros(events[0][0]) if events else 0, segment_id=segment_id)
    path = folder / f"{segment_name(header)}.{'sealed' if sealed else 'open'}"
    path.write_bytes(event_segment_bytes(header, events, address=address, frame_events=frame_events, sealed=sealed))
    return path
