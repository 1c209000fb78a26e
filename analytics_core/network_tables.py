"""Sets of networks that answer for a column of addresses at once.

Apart from :mod:`analytics_core.addresses` because only ingest needs it, and the tracker does without numpy.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics_core.addresses import pack_address
from analytics_core.errors import InvalidInput

__all__ = ("MAX_NETWORKS", "DayTable", "NetworkTable", "to_column")

MAX_NETWORKS: Final = 1_000_000
"""No table is made of more; the public lists have some 60,000."""

_LAST: Final = 2**128 - 1

Interval = tuple[int, int]

_MAPPED: Final[Interval] = (0xFFFF << 32, (0xFFFF << 32) | 0xFFFFFFFF)
"""Where IPv4 is mapped to."""


def to_column(addresses: Iterable[bytes]) -> NDArray[np.uint8]:
    """Lay addresses of 16 bytes out as the rows of an array.

    >>> to_column([pack_address("1.2.3.4")]).shape
    (1, 16)
    """
    return np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, 16)


def _parse_network(text: str) -> list[Interval]:
    """Read a network as what it holds: an IPv6 one around the mapped addresses is in two pieces."""
    address, slash, prefix = text.partition("/")
    packed = pack_address(address)
    if "%" in address:
        raise InvalidInput("network", "a network has no zone")
    is_v6 = ":" in address
    width = 128 if is_v6 else 32
    if not slash:
        bits = width
    elif len(prefix) <= 3 and prefix.isascii() and prefix.isdigit() and 0 < int(prefix) <= width:
        bits = int(prefix)
    else:
        raise InvalidInput("network", f"the length behind the slash is a whole number from 1 to {width}")
    hosts = (1 << (width - bits)) - 1
    first = int.from_bytes(packed) & ~hosts
    network = first, first + hosts
    if network == _MAPPED:
        raise InvalidInput("network", "it is all of IPv4")
    return list(_without([network], [_MAPPED])) if is_v6 and bits < 96 else [network]


def _merged(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """Join what overlaps or touches; sorted, with a gap between any two."""
    held: Interval | None = None
    for first, last in sorted(intervals):
        if held is None:
            held = first, last
        elif first <= held[1] + 1:
            held = held[0], max(held[1], last)
        else:
            yield held
            held = first, last
    if held is not None:
        yield held


def _without(intervals: Iterable[Interval], holes: list[Interval]) -> Iterator[Interval]:
    """Cut *holes* out; both sorted and disjoint."""
    at = 0
    for first, last in intervals:
        while at < len(holes) and holes[at][1] < first:
            at += 1
        # One hole may reach into the next interval, so that only those behind us are left for good.
        start, index = first, at
        while index < len(holes) and holes[index][0] <= last:
            if holes[index][0] > start:
                yield start, holes[index][0] - 1
            start = holes[index][1] + 1
            index += 1
        if start <= last:
            yield start, last


class NetworkTable:
    """A set of networks that answers for many addresses with one binary search each.

    Kept as the sorted addresses at which membership changes: inside behind an odd number of them, outside behind an
    even one. IPv4 networks hold mapped addresses; IPv6 networks never hold IPv4, however wide they are.

    >>> table = NetworkTable.from_lines(["# an example", "192.0.2.0/24", "2001:db8::/32  # documentation"])
    >>> [bool(found) for found in table.lookup(to_column(map(pack_address, ("192.0.2.7", "192.0.3.7"))))]
    [True, False]
    """

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        """Make a table of closed intervals of packed addresses read as numbers, in any order."""
        changes: list[bytes] = []
        for first, last in _merged(intervals):
            changes.append(first.to_bytes(16))
            if last < _LAST:
                changes.append((last + 1).to_bytes(16))
        # Fixed-width strings compare as unsigned bytes, and padding with zeros leaves 16 of them as they are.
        self._changes = np.array(changes, dtype="S16")
        self._numbers = [int.from_bytes(change) for change in changes]

    @classmethod
    def from_lines(cls, lines: Iterable[str], *, name: str = "list") -> NetworkTable:
        """Read a list: one network or address a line.

        Blank lines, and what stands behind ``#`` or ``;``, say nothing. Bits behind a network's length are cleared.

        Args:
            lines: The lines, with or without their ends.
            name: What errors call the list.

        Raises:
            InvalidInput: A line is no network, or there are more than ``MAX_NETWORKS``; the path is ``name:line``.
        """
        intervals: list[Interval] = []
        for number, line in enumerate(lines, 1):
            text = line.split("#", 1)[0].split(";", 1)[0].strip().lstrip("\ufeff")
            if not text:
                continue
            if len(intervals) >= MAX_NETWORKS:
                raise InvalidInput(f"{name}:{number}", f"a list has at most {MAX_NETWORKS} networks")
            try:
                intervals += _parse_network(text)
            except InvalidInput as error:
                raise InvalidInput(f"{name}:{number}", f"{text[:60]!r} is no network: {error.reason}") from None
        return cls(intervals)

    def intervals(self) -> list[Interval]:
        """List what is inside, sorted, with a gap between any two."""
        numbers = self._numbers
        return [
            (numbers[at], numbers[at + 1] - 1 if at + 1 < len(numbers) else _LAST) for at in range(0, len(numbers), 2)
        ]

    def without(self, other: NetworkTable) -> NetworkTable:
        """Return this table less what is in *other*.

        >>> table = NetworkTable.from_lines(["192.0.2.0/24"])
        >>> len(table.without(NetworkTable.from_lines(["192.0.2.128/32"])))
        2
        """
        return NetworkTable(_without(self.intervals(), other.intervals()))

    def union(self, other: NetworkTable) -> NetworkTable:
        """Return what is in either."""
        return NetworkTable([*self.intervals(), *other.intervals()])

    def lookup(self, addresses: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tell for each address whether it is inside.

        Args:
            addresses: An array of shape ``(n, 16)``.

        Returns:
            An array of n truth values.
        """
        rows = np.ascontiguousarray(addresses, np.uint8)
        if not len(self._changes) or not len(rows):
            return np.zeros(len(rows), np.bool_)
        found = np.searchsorted(self._changes, rows.view("S16").ravel(), side="right")
        return (found & 1).astype(np.bool_)

    def __len__(self) -> int:
        """The number of disjoint intervals."""
        return (len(self._numbers) + 1) // 2

    def digest(self) -> bytes:
        """Hash what is inside, however it was written."""
        return hashlib.sha256(b"".join(number.to_bytes(16) for number in self._numbers)).digest()


class DayTable:
    """Networks that each act until a day, answering for many addresses with one binary search each.

    Kept as the sorted addresses at which the answer changes, and the answer behind each; where networks overlap the
    latest day is the answer, so that their order makes no difference.

    >>> table = DayTable([((0, 9), 7), ((5, 5), 8)])
    >>> table.lookup(to_column(number.to_bytes(16) for number in (4, 5, 6, 10))).tolist()
    [7, 8, 7, -1]
    """

    def __init__(self, networks: Iterable[tuple[Interval, int]] = ()) -> None:
        """Make a table of closed intervals of packed addresses read as numbers, each with its day, 0 or above."""
        told = sorted(networks)
        starts = {first for (first, _), _ in told}
        edges = sorted(starts | {last + 1 for (_, last), _ in told if last < _LAST})
        changes, days = [], [-1]
        # Those that have begun and may not have ended yet, the latest day on top.
        open_ones: list[tuple[int, int]] = []
        at = 0
        for edge in edges:
            while at < len(told) and told[at][0][0] == edge:
                (_, last), day = told[at]
                heapq.heappush(open_ones, (-day, last))
                at += 1
            while open_ones and open_ones[0][1] < edge:
                heapq.heappop(open_ones)
            day = -open_ones[0][0] if open_ones else -1
            if day != days[-1]:
                changes.append(edge)
                days.append(day)
        self._numbers = changes
        self._changes = np.array([change.to_bytes(16) for change in changes], dtype="S16")
        self._days = np.array(days, np.int64)

    def lookup(self, addresses: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Tell for each address the last day for which a network of its acts.

        Args:
            addresses: An array of shape ``(n, 16)``.

        Returns:
            An array of n days; -1 where there is none.
        """
        rows = np.ascontiguousarray(addresses, np.uint8)
        if not len(self._changes) or not len(rows):
            return np.full(len(rows), -1, np.int64)
        return self._days[np.searchsorted(self._changes, rows.view("S16").ravel(), side="right")]

    def __len__(self) -> int:
        """The number of addresses at which the answer changes."""
        return len(self._numbers)

    def digest(self) -> bytes:
        """Hash what is inside, however it was written."""
        return hashlib.sha256(repr((self._numbers, self._days.tolist())).encode()).digest()
