"""Batches: hits of the spool as columns, with each distinct text once.

Rules then judge each distinct value, or combination of values, a single time.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from analytics_core.hits import HitFlag
from analytics_core.skew import settle_times
from analytics_core.spool import ROW_BYTES, FrameKind

__all__ = (
    "EVENT_ROW_DTYPE",
    "ODD",
    "ROW_DTYPE",
    "Batch",
    "Codes",
    "Piece",
    "Texts",
    "build_batch",
    "distinct",
    "hit_times",
    "stored_times",
    "text_bytes",
)

Codes: TypeAlias = npt.NDArray[np.int64]
"""For each hit the place of its value in a table of distinct ones."""

ROW_DTYPE: Final = np.dtype(
    [
        ("at_us", "<i8"),
        ("address", ">u8", (2,)),
        ("target", "<u2"),
        ("arguments", "<u2"),
        ("agent", "<u2"),
        ("referrer", "<u2"),
        ("byte_range", "<u2"),
        ("flags", "<u2"),
        ("method", "u1"),
        ("kind", "u1"),
        ("status", "<u2"),
    ]
)
"""The spool's row as numpy reads it; ``analytics_core.spool.ROW`` says the same."""

EVENT_ROW_DTYPE: Final = np.dtype([("at_us", "<i8"), ("address", "V16"), ("text", "<u4")])
"""An event's row as numpy reads it; ``analytics_core.spool.EVENT_ROW`` says the same."""

_TEXTS: Final = ("target", "arguments", "agent", "referrer", "byte_range")

# Years 2000 to 2199: outside of them a time is a fault of the sender's clock.
_EARLIEST_US: Final = 946_684_800_000_000
_LATEST_US: Final = 7_258_118_400_000_000 - 1


_TABLE_A_HIT: Final = 16
"""Where there may be no more combinations than so many a hit, a table of all of them is a tenth of a sort's work."""

ODD: Final = 0x9E3779B97F4A7C15
"""Without a pattern, so that what is multiplied by it spreads over all 64 bits."""

# Flags of a later version that do not fit the column say nothing to this one; these are not the writer's to set.
_RECORDED: Final = 0x7FFF & ~int(HitFlag.SKEW | HitFlag.WAITED | HitFlag.RESTATED | HitFlag.REPLACED)


class Texts(NamedTuple):
    """A column of texts: the distinct ones, and for each hit the place of its own.

    The empty text is always there, at place 0.
    """

    values: list[bytes]
    codes: Codes


class Piece(NamedTuple):
    """Consecutive whole frames of one segment.

    Attributes:
        segment_no: The segment's number.
        ordinal: Place of the first hit in the segment.
        rows: The hits' rows, one behind the other.
        texts: The hits' texts, one behind the other, nothing else between them.
    """

    segment_no: int
    ordinal: int
    rows: bytes
    texts: bytes

    @property
    def hits(self) -> int:
        """The number of hits."""
        return len(self.rows) // ROW_BYTES


@dataclass(frozen=True, slots=True)
class Batch:
    """Hits by column; ``address`` has two columns of eight bytes, the higher half first."""

    at_us: npt.NDArray[np.int64]
    address: npt.NDArray[np.uint64]
    flags: npt.NDArray[np.int64]
    method: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    segment_no: npt.NDArray[np.int64]
    ordinal: npt.NDArray[np.int64]
    target: Texts
    arguments: Texts
    agent: Texts
    referrer: Texts
    byte_range: Texts

    def __len__(self) -> int:
        return len(self.at_us)

    def select(self, chosen: npt.NDArray[np.bool_]) -> Self:
        """Take some of the hits; texts of others may stay in the tables."""

        def cut(column: Any) -> Any:
            return Texts(column.values, column.codes[chosen]) if isinstance(column, Texts) else column[chosen]

        return type(self)(*(cut(getattr(self, field.name)) for field in dataclasses.fields(self)))

    def extract(self, places: npt.NDArray[np.intp]) -> Self:
        """Take some of the hits, by their places, with their own texts alone."""

        def cut(column: Any) -> Any:
            return _own(column, places) if isinstance(column, Texts) else column[places]

        return type(self)(*(cut(getattr(self, field.name)) for field in dataclasses.fields(self)))


def _own(texts: Texts, places: npt.NDArray[np.intp]) -> Texts:
    """Take some hits' texts, and the empty one, which is always there."""
    kept, codes = np.unique(np.append(texts.codes[places], 0), return_inverse=True)
    return Texts([texts.values[code] for code in kept.tolist()], codes[:-1].astype(np.int64, copy=False))


def text_bytes(rows: bytes | memoryview, kind: FrameKind = FrameKind.HITS) -> int:
    """Add up how many bytes of text rows of hits or of events say that they have."""
    if kind is FrameKind.EVENTS:
        return int(np.frombuffer(rows, EVENT_ROW_DTYPE)["text"].sum(dtype=np.int64))
    table = np.frombuffer(rows, ROW_DTYPE)
    return sum(int(table[name].sum(dtype=np.int64)) for name in _TEXTS)


def _own_times(rows: bytes | memoryview, kind: FrameKind) -> npt.NDArray[np.int64]:
    dtype = EVENT_ROW_DTYPE if kind is FrameKind.EVENTS else ROW_DTYPE
    return np.frombuffer(rows, dtype)["at_us"].astype(np.int64)


def hit_times(rows: bytes | memoryview, kind: FrameKind = FrameKind.HITS) -> npt.NDArray[np.int64]:
    """Read the times of rows to show them; those outside the years 2000 to 2199 are moved to their ends."""
    times = _own_times(rows, kind)
    return np.clip(times, _EARLIEST_US, _LATEST_US)


def stored_times(
    rows: bytes | memoryview, received_us: int, kind: FrameKind = FrameKind.HITS
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Read the times under which rows are kept, and which of them are not their own.

    Args:
        rows: Any number.
        received_us: When they were read, microseconds since 1970-01-01 UTC.
        kind: Whether they are of hits or of events.
    """
    return settle_times(_own_times(rows, kind), received_us)


def _encode(texts: bytes, ends: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Texts:
    """Slice each text once and give each distinct one a code."""
    # A missing key gets the next number, in C: half the time of a ``setdefault`` a text.
    index: defaultdict[bytes, int] = defaultdict(itertools.count(1).__next__, {b"": 0})
    codes = np.zeros(len(lengths), np.int64)
    filled = np.flatnonzero(lengths)
    stops = ends[filled]
    starts = stops - lengths[filled]
    codes[filled] = [index[texts[start:stop]] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
    return Texts(list(index), codes)


def build_batch(pieces: Sequence[Piece], *, received_us: int) -> Batch:
    """Read pieces of the spool as one batch.

    Args:
        pieces: In any order; each one's texts are exactly as long as its rows say.
        received_us: When they were read, microseconds since 1970-01-01 UTC.

    Returns:
        The hits, piece by piece in their order.

    Raises:
        ValueError: Texts are shorter or longer than rows say.
    """
    rows = b"".join(piece.rows for piece in pieces)
    table: npt.NDArray[Any] = np.frombuffer(rows, ROW_DTYPE)
    texts = b"".join(piece.texts for piece in pieces)
    lengths = np.empty((len(table), len(_TEXTS)), np.int64)
    for place, name in enumerate(_TEXTS):
        lengths[:, place] = table[name]
    ends = np.cumsum(lengths.ravel()).reshape(lengths.shape)
    if len(table) and int(ends[-1, -1]) != len(texts):
        raise ValueError("a piece's texts are not as long as its rows say")
    columns = [_encode(texts, ends[:, place], lengths[:, place]) for place in range(len(_TEXTS))]
    counts = [piece.hits for piece in pieces]
    at_us, is_skewed = stored_times(rows, received_us)
    return Batch(
        at_us=at_us,
        address=table["address"].astype(np.uint64),
        flags=table["flags"].astype(np.int64) & _RECORDED | np.where(is_skewed, int(HitFlag.SKEW), 0),
        method=table["method"].astype(np.int64),
        kind=table["kind"].astype(np.int64),
        segment_no=np.repeat(np.array([piece.segment_no for piece in pieces], np.int64), counts),
        ordinal=np.concatenate(
            [np.arange(piece.ordinal, piece.ordinal + piece.hits, dtype=np.int64) for piece in pieces]
            or [np.empty(0, np.int64)]
        ),
        target=columns[0],
        arguments=columns[1],
        agent=columns[2],
        referrer=columns[3],
        byte_range=columns[4],
    )


def _pack(columns: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[np.int64], int] | None:
    """Write each combination as one number, and say below which; ``None`` when that takes more than 62 bits."""
    packed = np.zeros(len(columns[0]), np.int64)
    width = 1
    for column in columns:
        low = column.min()
        span = int(column.max()) - int(low) + 1
        width *= span
        if width >= 2**62:
            return None
        if span > 1:
            packed = packed * span + (column - low).astype(np.int64)
    return packed, width


def _fold(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.uint64]:
    """Write each combination as a number that hardly any other has; with equal others in the order of the first."""
    folded = columns[0].astype(np.uint64)
    factor = 1
    for column in columns[1:]:
        factor = factor * ODD & 0xFFFFFFFFFFFFFFFF
        folded += column.astype(np.uint64) * np.uint64(factor)
    return folded


def _number(numbers: npt.NDArray[np.int64], width: int) -> tuple[npt.NDArray[np.intp], Codes]:
    """Find the distinct ones of small numbers by a table of all that there may be."""
    is_there = np.zeros(width, np.bool_)
    is_there[numbers] = True
    kinds = np.flatnonzero(is_there)
    ranks = np.empty(width, np.int64)
    ranks[kinds] = np.arange(len(kinds))
    codes = ranks[numbers]
    places = np.empty(len(kinds), np.intp)
    places[codes] = np.arange(len(numbers))
    return places, codes


def _sort(numbers: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], Codes]:
    """Find the distinct ones of any numbers by one sort, several times as fast as one of combinations."""
    kinds, codes = np.unique(numbers, return_inverse=True)
    places = np.empty(len(kinds), np.intp)
    places[codes] = np.arange(len(numbers))
    return places, codes.astype(np.int64, copy=False)


def distinct(*columns: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], Codes]:
    """Find the distinct combinations of some columns.

    Args:
        columns: At least one, of integers, all of one length.

    Returns:
        The place of one hit of each combination, and for each hit the combination's place among those. Combinations
        that fit into 62 bits come in their order, the first column's before the second's; others in any.

    >>> places, codes = distinct(np.array([3, 1, 3]), np.array([0, 0, 0]))
    >>> sorted(places.tolist()), codes.tolist()
    ([1, 2], [1, 0, 1])
    """
    if not len(columns[0]):
        return np.empty(0, np.intp), np.empty(0, np.int64)
    packed = _pack(columns)
    if packed is not None:
        numbers, width = packed
        return _number(numbers, width) if width <= _TABLE_A_HIT * len(numbers) else _sort(numbers)
    places, codes = _sort(_fold(columns))
    if all((column == column[places][codes]).all() for column in columns):
        return places, codes
    # Two combinations have the same number: by chance hardly ever, but senders choose their addresses.
    order = np.lexsort(columns)
    starts = np.zeros(len(order), np.bool_)
    starts[0] = True
    for column in columns:
        ordered = column[order]
        starts[1:] |= ordered[1:] != ordered[:-1]
    codes = np.empty(len(order), np.int64)
    codes[order] = np.cumsum(starts) - 1
    return order[starts], codes
