"""Reads events of the spool: a record each, or why there is none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from analytics_core.db.dead_letters import DeadLetter
from analytics_core.db.ledger import Entry
from analytics_core.db.segments import Checkpoint
from analytics_core.events import EventRecord, decode_record
from analytics_core.spool import FrameKind
from ingest.batches import EVENT_ROW_DTYPE, stored_times
from ingest.bookkeeping import book_answers
from ingest.sieve import describe
from ingest.walks import Part, checkpoint, micros

__all__ = ("EventBatch", "SpooledEvent", "read_parts")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EARLIEST: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_LATEST: Final = dt.datetime(2199, 12, 31, tzinfo=dt.UTC)


class SpooledEvent(NamedTuple):
    """An event as it stood in the spool.

    Attributes:
        segment_no: Its segment.
        ordinal: Its place among the segment's events.
        received_at: When a collector took it.
        address: The sender's; zeros where nobody's is told.
        record: What the sender told.
    """

    segment_no: int
    ordinal: int
    received_at: dt.datetime
    address: bytes
    record: EventRecord

    @property
    def occurred_at(self) -> dt.datetime:
        """When it happened; moved to where calendars end, where a clock was that far off."""
        span = (_LATEST - _EPOCH) // dt.timedelta(microseconds=1)
        return max(_EPOCH + dt.timedelta(microseconds=min(max(self.record.occurred_us, 0), span)), _EARLIEST)


class EventBatch(NamedTuple):
    """Events of parts of segments.

    Attributes:
        events: Those that could be read, in order.
        dead: Those that could not.
        checkpoints: The parts' steps of their segments' checkpoints.
        answers: The parts' entries in the ledger of answers.
    """

    events: list[SpooledEvent]
    dead: list[DeadLetter]
    checkpoints: list[Checkpoint]
    answers: list[Entry]


def read_parts(parts: Sequence[Part], began: dt.datetime) -> EventBatch:
    """Read parts of segments.

    Args:
        parts: In order.
        began: When the look at the spool was taken.
    """
    batch = EventBatch([], [], [], [])
    for part in parts:
        rows = np.frombuffer(part.reading.rows, EVENT_ROW_DTYPE)
        times, _ = stored_times(part.reading.rows, micros(began), FrameKind.EVENTS)
        addresses = part.reading.rows
        step = checkpoint(part, times, began)
        batch.checkpoints.append(step)
        batch.answers.extend(book_answers(part.row.segment_no, step, times))
        at = 0
        for place, (at_us, length) in enumerate(zip(times.tolist(), rows["text"].tolist(), strict=True)):
            text = part.reading.texts[at : at + length]
            at += length
            received_at = _EPOCH + dt.timedelta(microseconds=at_us)
            start = place * EVENT_ROW_DTYPE.itemsize + 8
            _read(batch, part, place, received_at, addresses[start : start + 16], text)
    return batch


def _read(batch: EventBatch, part: Part, place: int, received_at: dt.datetime, address: bytes, text: bytes) -> None:
    segment_no, ordinal = part.row.segment_no, part.row.hits + place
    try:
        record = decode_record(text)
    except msgspec.MsgspecError as error:
        reason, message = describe(error)
        letter = DeadLetter(
            segment_no=segment_no,
            ordinal=ordinal,
            occurred_at=received_at,
            tenant_no=None,
            podcast_no=None,
            step="judge",
            reason=reason,
            message=message,
            target="",
            agent="",
        )
        batch.dead.append(letter)
    else:
        batch.events.append(SpooledEvent(segment_no, ordinal, received_at, address, record))
