"""What a request's `Range` header asked for, read as RFC 9110 writes it and as leniently as servers and browsers do.

A tracker that redirects sees only what was *asked* for. Sizes are unknown here: whether a range is much or little
is for :mod:`analytics_core.evidence` to say.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = ("MAX_OFFSET", "MAX_PARTS", "ByteRange", "RangeKind", "format_range", "parse_range", "union_bytes")

MAX_PARTS: Final = 64
"""A header with more parts, empty ones included, is an attack and not a player: it is ``INVALID``."""

MAX_OFFSET: Final = 2**63 - 1
"""Larger numbers are read as this one, so that what players send for "to the end" fits a database's bigint."""

_BLANKS: Final = " \t"
_PLAIN: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")


class RangeKind(enum.IntEnum):
    """The shape of a range."""

    NONE = 0
    """There was no ``Range``."""
    CLOSED = 1
    """``bytes=a-b``."""
    OPEN = 2
    """``bytes=a-``."""
    SUFFIX = 3
    """``bytes=-n``: the last n bytes."""
    MULTIPLE = 4
    """Several parts, summed up by their union."""
    INVALID = 5
    """Not a byte range; servers ignore it and send the whole, so it counts as no ``Range``."""

    @property
    def label(self) -> str:
        """The name that is shown.

        >>> RangeKind.SUFFIX.label
        'suffix'
        """
        return self.name.lower()


class ByteRange(NamedTuple):
    """What a ``Range`` header asked for, small enough to be stored with every hit.

    Attributes:
        kind: The shape.
        first: First byte asked for, from 0; -1 for ``NONE``, ``SUFFIX`` and ``INVALID``.
        last: Last byte asked for, inclusive; -1 for ``NONE``, ``OPEN`` and ``INVALID``. For ``SUFFIX`` the number
            of bytes from the end. For ``MULTIPLE`` such that ``last - first + 1`` is the size of the union.
    """

    kind: RangeKind
    first: int
    last: int

    @property
    def requested_bytes(self) -> int | None:
        """How many bytes were asked for at most; ``None`` where only the file's size could tell.

        >>> parse_range("bytes=0-1").requested_bytes
        2
        >>> parse_range("bytes=0-").requested_bytes is None
        True
        """
        match self.kind:
            case RangeKind.CLOSED | RangeKind.MULTIPLE:
                return self.last - self.first + 1
            case RangeKind.SUFFIX:
                return self.last
            case _:
                return None


_NONE: Final = ByteRange(RangeKind.NONE, -1, -1)
_INVALID: Final = ByteRange(RangeKind.INVALID, -1, -1)


def union_bytes(intervals: Iterable[tuple[int, int]]) -> int:
    """Count the bytes in a union of closed intervals; overlaps count once.

    Args:
        intervals: Pairs ``(first, last)`` with ``first <= last``, in any order.

    Returns:
        The number of distinct bytes; 0 for no interval.

    >>> union_bytes([(0, 9), (5, 14), (100, 100)])
    16
    """
    total, covered = 0, -1
    for first, last in sorted(intervals):
        if last > covered:
            total += last - max(first, covered + 1) + 1
            covered = last
    return total


def _offset(digits: str) -> int:
    """Read digits; too many of them are a very large number, whose exact value no file reaches."""
    significant = digits.lstrip("0")
    return MAX_OFFSET if len(significant) > 19 else min(int(significant or "0"), MAX_OFFSET)


def _parse_part(part: str) -> tuple[int, int] | None:
    """Read one part as ``(first, last)`` with -1 for what is left out; ``None`` when it is no byte range."""
    left, dash, right = part.partition("-")
    left, right = left.strip(_BLANKS), right.strip(_BLANKS)
    if not dash or not (left or right):
        return None
    for digits in (left, right):
        # ``isdigit`` alone would accept digits of every script.
        if digits and not (digits.isascii() and digits.isdigit()):
            return None
    first, last = _offset(left) if left else -1, _offset(right) if right else -1
    return None if left and right and last < first else (first, last)


def parse_range(text: str | bytes) -> ByteRange:
    """Read the value of a ``Range`` header.

    Lenient where browsers and servers are: the unit in any case, blanks and tabs anywhere between the tokens, empty
    list elements, numbers beyond ``MAX_OFFSET``. Anything else that is no byte range is ``INVALID``, never an error.

    Of several parts, an open one stands for all: its first byte, moved back over the parts that touch it, starts an
    ``OPEN`` range, for beside "to the end" the others say little. Suffixes beside other parts are left out, as they
    may overlap them; several suffixes alone are the longest one. The rest is ``MULTIPLE``.

    Args:
        text: The header's value; empty when there was none. Linear in its length.

    Returns:
        The range; ``NONE`` for an empty or blank *text*.

    Source:
        RFC 9110, sections 14.1.1, 14.1.2 and 14.2.

    >>> parse_range("bytes=0-1")
    ByteRange(kind=<RangeKind.CLOSED: 1>, first=0, last=1)
    >>> parse_range(b"Bytes = 500 -")
    ByteRange(kind=<RangeKind.OPEN: 2>, first=500, last=-1)
    >>> parse_range("bytes=0-9,5-14,100-100")
    ByteRange(kind=<RangeKind.MULTIPLE: 4>, first=0, last=15)
    >>> parse_range("bytes=9-0").kind.label, parse_range("items=0-5").kind.label
    ('invalid', 'invalid')
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    # What nearly every player sends, in a third of the time.
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        first, last = int(plain[1]), int(plain[2] or -1)
        if last < 0:
            return ByteRange(RangeKind.OPEN, first, -1)
        return ByteRange(RangeKind.CLOSED, first, last) if first <= last else _INVALID
    unit, equals, parts = text.partition("=")
    if not equals:
        return _INVALID if text.strip(_BLANKS) else _NONE
    if unit.strip(_BLANKS).lower() != "bytes" or parts.count(",") >= MAX_PARTS:
        return _INVALID
    read: list[tuple[int, int]] = []
    for part in parts.split(","):
        if not part.strip(_BLANKS):
            continue
        interval = _parse_part(part)
        if interval is None:
            return _INVALID
        read.append(interval)
    if not read:
        return _INVALID
    if len(read) == 1:
        first, last = read[0]
        if first < 0:
            return ByteRange(RangeKind.SUFFIX, -1, last)
        return ByteRange(RangeKind.OPEN if last < 0 else RangeKind.CLOSED, first, last)
    return _combine(read)


def _combine(parts: list[tuple[int, int]]) -> ByteRange:
    closed = [(first, last) for first, last in parts if first >= 0 and last >= 0]
    starts = [first for first, last in parts if last < 0]
    if starts:
        start = min(starts)
        for first, last in sorted(closed, key=lambda interval: interval[1], reverse=True):
            if last + 1 >= start:
                start = min(start, first)
        return ByteRange(RangeKind.OPEN, start, -1)
    if not closed:
        return ByteRange(RangeKind.SUFFIX, -1, max(last for _, last in parts))
    lowest = min(closed)[0]
    return ByteRange(RangeKind.MULTIPLE, lowest, lowest + union_bytes(closed) - 1)


def format_range(byte_range: ByteRange) -> str:
    """Write a header that :func:`parse_range` reads as *byte_range*.

    Of several parts only the union is known: they are written as one part of that size and its first byte again.

    >>> format_range(parse_range(" BYTES= 0 - 1 "))
    'bytes=0-1'
    >>> format_range(parse_range("bytes=0-9,5-14"))
    'bytes=0-14,0-0'
    """
    kind, first, last = byte_range
    match kind:
        case RangeKind.NONE:
            return ""
        case RangeKind.CLOSED:
            return f"bytes={first}-{last}"
        case RangeKind.OPEN:
            return f"bytes={first}-"
        case RangeKind.SUFFIX:
            return f"bytes=-{last}"
        case RangeKind.MULTIPLE:
            return f"bytes={first}-{last},{first}-{first}"
        case RangeKind.INVALID:
            return "bytes="
