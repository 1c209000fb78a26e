"""Lists of networks, of data centres, VPNs, relays and the operator's own, looked up for a column of addresses at once.

Apart from :mod:`analytics_core.addresses` because only ingest needs it, and the tracker does without numpy.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from analytics_core.addresses import pack_address
from analytics_core.errors import InvalidInput

__all__ = (
    "MAX_FILE_BYTES",
    "MAX_NETWORKS",
    "NetworkClass",
    "NetworkLists",
    "NetworkTable",
    "load_network_lists",
    "to_column",
)

MAX_NETWORKS: Final = 1_000_000
"""No table is made of more; the public lists have some 60,000."""

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""No file of a list is longer."""

_LAST: Final = 2**128 - 1

Interval = tuple[int, int]

_MAPPED: Final[Interval] = (0xFFFF << 32, (0xFFFF << 32) | 0xFFFFFFFF)
"""Where IPv4 is mapped to."""


class NetworkClass(enum.IntFlag):
    """In which lists an address is, one bit each."""

    NONE = 0
    DATACENTER = 1
    VPN = 2
    RELAY = 4
    """In front of people, as Apple Private Relay is; an address in it is in no other list but ``BLOCKED``."""
    BLOCKED = 8


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


_EMPTY: Final = NetworkTable()


class NetworkLists(msgspec.Struct, frozen=True, kw_only=True):
    """The lists that hits are judged by.

    Attributes:
        datacenter: Machines' addresses, relays excepted.
        vpn: VPNs' addresses, relays excepted.
        relay: Relays in front of people, such as Apple Private Relay.
        blocked: What the operator blocks; it wins over ``relay``.
        version: A short hash of all four, or ``none`` when all are empty.
    """

    datacenter: NetworkTable = _EMPTY
    vpn: NetworkTable = _EMPTY
    relay: NetworkTable = _EMPTY
    blocked: NetworkTable = _EMPTY
    version: str = "none"

    def classes(self, addresses: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Tell for each address in which lists it is.

        Args:
            addresses: An array of shape ``(n, 16)``.

        Returns:
            An array of n unions of :class:`NetworkClass`.
        """
        bits = np.zeros(len(addresses), np.uint8)
        for table, bit in (
            (self.datacenter, NetworkClass.DATACENTER),
            (self.vpn, NetworkClass.VPN),
            (self.relay, NetworkClass.RELAY),
            (self.blocked, NetworkClass.BLOCKED),
        ):
            bits |= table.lookup(addresses) * np.uint8(bit)
        return bits


def _read_table(folder: Path, stem: str) -> NetworkTable:
    table = _EMPTY
    for path in sorted(folder.glob(f"{stem}*.txt")):
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidInput(path.name, f"a list has at most {MAX_FILE_BYTES} bytes")
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            raise InvalidInput(path.name, "a list is UTF-8 text") from None
        table = table.union(NetworkTable.from_lines(lines, name=path.name))
    return table


def load_network_lists(folder: Path) -> NetworkLists:
    """Read ``datacenter*.txt``, ``vpn*.txt``, ``relay*.txt`` and ``blocked*.txt`` of a folder, those that are there.

    Public lists put Apple Private Relay under both data centres and VPNs, and taking them at their word would lose
    everyone who listens through it: what is in a relay list is taken out of those two.

    Args:
        folder: Where the lists are; it need not exist.

    Returns:
        The lists; all empty, with the version ``none``, when there are none.

    Raises:
        InvalidInput: A line is no network; the path names file and line.
        OSError: A file cannot be read.

    Source:
        Podcast Technical Measurement Guidelines v2.3, section 1.2, rules 1 and 2; the relay's exception is our own.
    """
    relay = _read_table(folder, "relay")
    datacenter = _read_table(folder, "datacenter").without(relay)
    vpn = _read_table(folder, "vpn").without(relay)
    blocked = _read_table(folder, "blocked")
    tables = (datacenter, vpn, relay, blocked)
    version = "none"
    if any(len(table) for table in tables):
        version = hashlib.sha256(b"".join(table.digest() for table in tables)).hexdigest()[:12]
    return NetworkLists(datacenter=datacenter, vpn=vpn, relay=relay, blocked=blocked, version=version)
