"""What is taken of the spool: a look at it, and the batches that are taken of what was there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from analytics_core.db.hits import Integers
from analytics_core.db.ledger import Entry
from analytics_core.db.segments import Checkpoint, SegmentRow
from analytics_core.spool import Totals
from ingest.batches import Batch, Piece, build_batch, stored_times
from ingest.bookkeeping import book_answers
from ingest.pipeline import Judged
from ingest.spool_reader import Reading, SegmentFile

__all__ = ("Part", "Taken", "Walk", "build_parts", "checkpoint", "micros")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Part(NamedTuple):
    """What a batch takes of one segment."""

    file: SegmentFile
    row: SegmentRow
    reading: Reading

    @property
    def row_after(self) -> SegmentRow:
        """The segment's checkpoint once the batch has landed."""
        row, reading = self.row, self.reading
        totals = reading.totals or row.totals
        return msgspec.structs.replace(row, committed=reading.end, hits=row.hits + reading.hits, totals=totals)

    def without_bytes(self) -> Part:
        """The same without the hits themselves."""
        return self._replace(reading=self.reading._replace(rows=b"", texts=b""))


class Walk:
    """What a look at the spool has found that has not landed, and how much of it batches have taken.

    Args:
        began: When the look was taken: what was answered before is in it.
        left: Segments with something unread, oldest first, each with its checkpoint.
    """

    def __init__(self, began: dt.datetime, left: list[tuple[SegmentFile, SegmentRow]]) -> None:
        self.began = began
        self.left = left
        """What no batch has taken; checkpoints are those once all taken batches have landed."""
        self.bytes = sum(file.size - row.committed for file, row in left)
        """What has not landed."""


class Taken(NamedTuple):
    """A batch that is ready to land.

    Attributes:
        walk: Where it was taken.
        parts: Of which segments; empty when nothing was left.
        batch: Their hits.
        checkpoints: The segments' steps, the fence.
        answers: What the ledger of answers gets.
        judged: What became of them.
        cutoff: Up to when the ledger is complete once it has landed; ``None`` when that is unknown.
        caught_up: Whether it was the last of the walk.
    """

    walk: Walk
    parts: Sequence[Part]
    batch: Batch
    checkpoints: Sequence[Checkpoint]
    answers: Sequence[Entry]
    judged: Judged
    cutoff: dt.datetime | None
    caught_up: bool


def build_parts(parts: Sequence[Part], began: dt.datetime) -> tuple[Batch, list[Checkpoint], list[Entry]]:
    """Read parts of segments as a batch, with its steps of their checkpoints and its entries in the ledger."""
    received = micros(began)
    pieces = [Piece(part.row.segment_no, part.row.hits, part.reading.rows, part.reading.texts) for part in parts]
    checkpoints, answers = [], []
    for part in parts:
        times, _ = stored_times(part.reading.rows, received)
        step = checkpoint(part, times, began)
        checkpoints.append(step)
        answers += book_answers(part.row.segment_no, step, times)
    return build_batch(pieces, received_us=received), checkpoints, answers


def micros(at: dt.datetime) -> int:
    """Write an instant as microseconds since 1970-01-01 UTC."""
    return (at - _EPOCH) // dt.timedelta(microseconds=1)


def checkpoint(part: Part, times: Integers, received: dt.datetime) -> Checkpoint:
    """Name the step that a part is of its segment's checkpoint.

    Args:
        part: What was read.
        times: Under which its hits, or events, are kept.
        received: When it was read.
    """
    reading = part.reading
    return Checkpoint(
        segment_id=part.row.segment_id,
        before=reading.start,
        after=reading.end,
        hits=reading.hits,
        first_us=int(times.min()) if len(times) else None,
        last_us=int(times.max()) if len(times) else None,
        totals_before=part.row.totals or reading.opening or Totals(),
        totals=reading.totals or Totals(),
        read_at=received,
    )
