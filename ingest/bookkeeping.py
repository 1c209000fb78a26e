"""Bookkeeping: what became of a batch's hits, and what its segments' totals say besides, as entries of the ledger."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from analytics_core.accounts import ANSWERED, CLICK, DEAD, PENDING, growth
from analytics_core.db.hits import HitColumns
from analytics_core.db.ledger import Entry
from analytics_core.db.pending import PendingHit
from analytics_core.db.segments import Checkpoint
from analytics_core.verdicts import NO_VERDICT, Verdict
from ingest.batches import Codes, distinct
from ingest.pipeline import Judged

__all__ = ("book_answers", "book_judged", "book_rejudged")

_MINUTE_US: Final = 60_000_000
_MINUTE: Final = dt.timedelta(minutes=1)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _book_hits(hits: HitColumns) -> list[Entry]:
    """Enter hits that have landed, by verdict."""
    minutes = hits.occurred_at // _MINUTE_US
    places, codes = distinct(hits.segment_no, minutes, hits.verdict)
    counts = np.bincount(codes, minlength=len(places)).tolist()
    return [
        Entry(segment_no, minute, CLICK if verdict == NO_VERDICT else Verdict(verdict).label, count)
        for segment_no, minute, verdict, count in zip(
            hits.segment_no[places].tolist(),
            minutes[places].tolist(),
            hits.verdict[places].tolist(),
            counts,
            strict=True,
        )
    ]


def _book_each(ids: Iterable[tuple[int, dt.datetime]], what: str, sign: int = 1) -> list[Entry]:
    counts = Counter((segment_no, (at - _EPOCH) // _MINUTE) for segment_no, at in ids)
    return [Entry(segment_no, minute, what, sign * count) for (segment_no, minute), count in counts.items()]


def book_judged(judged: Judged) -> list[Entry]:
    """Enter what became of a batch."""
    return [
        *_book_hits(judged.hits),
        *_book_each(((hit.segment_no, hit.occurred_at) for hit in judged.pending), PENDING),
        *_book_each(((letter.segment_no, letter.occurred_at) for letter in judged.dead), DEAD),
    ]


def book_rejudged(waited: Iterable[PendingHit], hits: HitColumns) -> list[Entry]:
    """Enter that hits no longer wait."""
    return [*_book_each(((hit.segment_no, hit.occurred_at) for hit in waited), PENDING, -1), *_book_hits(hits)]


def book_answers(segment_no: int, step: Checkpoint, times: npt.NDArray[np.int64]) -> list[Entry]:
    """Enter what a tracker says that it answered.

    Hits count in the minute of their time; what was answered and is not among them in that of the last one, where the
    totals were told, or without any of the reading.

    Args:
        segment_no: The segment's.
        step: How far it was read.
        times: Under which its hits are kept, microseconds since 1970-01-01 UTC.
    """
    codes: Codes = times // _MINUTE_US
    minutes, counts = np.unique(codes, return_counts=True)
    entries = [
        Entry(segment_no, minute, ANSWERED, count)
        for minute, count in zip(minutes.tolist(), counts.tolist(), strict=True)
    ]
    told = int(codes.max()) if len(codes) else (step.read_at - _EPOCH) // _MINUTE
    found = growth(step.totals_before, step.totals, hits=step.hits)
    return entries + [Entry(segment_no, told, what, count) for what, count in found.items()]
