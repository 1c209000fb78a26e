"""Lists of networks: data centres, VPNs, relays and the operator's own, looked up for a column of addresses at once."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import re
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from analytics_core.addresses import pack_network
from analytics_core.errors import InvalidInput
from analytics_core.network_classes import NetworkClass
from analytics_core.network_tables import DayTable, NetworkTable
from analytics_core.shared_addresses import FILE_NAME, SharedEntry, parse_shared
from analytics_core.shared_addresses import MAX_FILE_BYTES as MAX_SHARED_BYTES

__all__ = ("MAX_FILE_BYTES", "NetworkClass", "NetworkLists", "load_network_lists")

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""No file of a list is longer."""

_ASN_LINE: Final = re.compile(r"\s*AS(\d{1,10})\s*(?:[#;].*)?", re.IGNORECASE | re.ASCII)


_EMPTY: Final = NetworkTable()
_NONE_SHARED: Final = DayTable()
_EPOCH: Final = dt.date(1970, 1, 1)


class NetworkLists(msgspec.Struct, frozen=True, kw_only=True):
    """The lists that hits are judged by.

    Attributes:
        datacenter: Machines' addresses, relays excepted.
        vpn: VPNs' addresses, relays excepted.
        relay: Relays in front of people, such as Apple Private Relay.
        blocked: What the operator blocks; it wins over ``relay``.
        datacenter_asns: Autonomous systems of data centres, by their numbers.
        vpn_asns: The same of VPNs.
        shared: Addresses that many people share, each with the last day, in days since 1970, for whose hits it acts.
        shared_entries: The list that *shared* is made of.
        version: A short hash of all, or ``none`` when all are empty.
    """

    datacenter: NetworkTable = _EMPTY
    vpn: NetworkTable = _EMPTY
    relay: NetworkTable = _EMPTY
    blocked: NetworkTable = _EMPTY
    datacenter_asns: frozenset[int] = frozenset()
    vpn_asns: frozenset[int] = frozenset()
    shared: DayTable = _NONE_SHARED
    shared_entries: tuple[SharedEntry, ...] = ()
    version: str = "none"

    def classes(self, addresses: NDArray[np.uint8], asns: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Tell for each address in which lists it is; which are shared depends on the day, too (``shared``).

        Args:
            addresses: An array of shape ``(n, 16)``.
            asns: The autonomous system of each, 0 where unknown; without it those lists name nobody.

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
        if asns is not None:
            is_relay = (bits & NetworkClass.RELAY) != 0
            for numbers, bit in (
                (self.datacenter_asns, NetworkClass.DATACENTER),
                (self.vpn_asns, NetworkClass.VPN),
            ):
                if numbers:
                    bits |= (np.isin(asns, list(numbers)) & ~is_relay) * np.uint8(bit)
        return bits


def _read_lines(path: Path, *, most_bytes: int = MAX_FILE_BYTES) -> list[str]:
    if path.stat().st_size > most_bytes:
        raise InvalidInput(path.name, f"a list has at most {most_bytes} bytes")
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise InvalidInput(path.name, "a list is UTF-8 text") from None


def _read_table(folder: Path, stem: str) -> tuple[NetworkTable, frozenset[int]]:
    """Read all lists of a kind: networks, and numbers of autonomous systems."""
    table, asns = _EMPTY, set[int]()
    for path in sorted(folder.glob(f"{stem}*.txt")):
        lines = _read_lines(path)
        for place, line in enumerate(lines):
            match = _ASN_LINE.fullmatch(line)
            if match is not None:
                asns.add(_asn(match[1], f"{path.name}:{place + 1}"))
                # The line keeps its number, for what is said of those behind it.
                lines[place] = ""
        table = table.union(NetworkTable.from_lines(lines, name=path.name))
    for path in sorted(folder.glob(f"{stem}*.csv")):
        asns |= _read_asns(path)
    return table, frozenset(asns)


def _read_asns(path: Path) -> set[int]:
    """Read the first column of a table whose first line names it ``ASN``."""
    asns = set()
    lines = _read_lines(path)
    if not lines or next(csv.reader(lines[:1]), [""])[0].strip().lstrip("\ufeff").upper() != "ASN":
        raise InvalidInput(f"{path.name}:1", "the first column of a list of autonomous systems is called ASN")
    for number, line in enumerate(lines[1:], 2):
        cells = next(csv.reader([line]), [])
        if cells and cells[0].strip():
            asns.add(_asn(cells[0].strip().upper().removeprefix("AS"), f"{path.name}:{number}"))
    return asns


def _asn(text: str, path: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) < 2**32:
        return int(text)
    raise InvalidInput(path, f"{text[:60]!r} is no number of an autonomous system")


def _read_shared(folder: Path, today: dt.date | None) -> tuple[SharedEntry, ...]:
    path = folder / FILE_NAME
    return tuple(parse_shared(_read_lines(path, most_bytes=MAX_SHARED_BYTES), today=today)) if path.exists() else ()


def load_network_lists(folder: Path, *, today: dt.date | None = None) -> NetworkLists:
    """Read ``datacenter*.txt``, ``vpn*.txt``, ``relay*.txt`` and ``blocked*.txt`` of a folder, those that are there.

    Lists of data centres and VPNs may hold lines such as ``AS64496`` too, which stand for all networks that an
    autonomous system announces; so do ``datacenter*.csv`` and ``vpn*.csv``, whose first column is ``ASN``.

    Public lists put Apple Private Relay under both data centres and VPNs, and taking them at their word would lose
    everyone who listens through it: what is in a relay list is taken out of those two. What is in ``shared.txt`` stays
    in them, since not every profile heeds that list.

    Args:
        folder: Where the lists are; it need not exist.
        today: UTC day, behind which no validation of ``shared.txt`` may lie; ``None`` where no clock is at hand.

    Returns:
        The lists; all empty, with the version ``none``, when there are none.

    Raises:
        InvalidInput: A line is no network; the path names file and line.
        OSError: A file cannot be read.

    Source:
        Podcast Technical Measurement Guidelines v2.3, section 1.2, rules 1 and 2 and the note on an inclusion list; the
        relay's exception is our own.
    """
    (relay, relay_asns), (blocked, blocked_asns) = _read_table(folder, "relay"), _read_table(folder, "blocked")
    for stem, asns in (("relay", relay_asns), ("blocked", blocked_asns)):
        if asns:
            raise InvalidInput(stem, f"AS{min(asns)}: networks alone are taken here, not autonomous systems")
    datacenter, datacenter_asns = _read_table(folder, "datacenter")
    vpn, vpn_asns = _read_table(folder, "vpn")
    tables = (datacenter.without(relay), vpn.without(relay), relay, blocked)
    entries = _read_shared(folder, today)
    shared = DayTable((pack_network(entry.network), (entry.last_day - _EPOCH).days) for entry in entries)
    version = "none"
    # Alone, shared addresses are spared from nothing.
    if any(len(table) for table in tables) or datacenter_asns or vpn_asns:
        told = b"".join(table.digest() for table in tables)
        if datacenter_asns or vpn_asns:
            told += repr((sorted(datacenter_asns), sorted(vpn_asns))).encode()
        if entries:
            told += shared.digest()
        version = hashlib.sha256(told).hexdigest()[:12]
    return NetworkLists(
        datacenter=tables[0],
        vpn=tables[1],
        relay=relay,
        blocked=blocked,
        datacenter_asns=datacenter_asns,
        vpn_asns=vpn_asns,
        shared=shared,
        shared_entries=entries,
        version=version,
    )
