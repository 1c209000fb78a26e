"""Autonomous systems: the number of the network operator that an address belongs to, by an operator's own database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

import maxminddb
import numpy as np
from numpy.typing import NDArray

from analytics_core.addresses import pack_network
from analytics_core.errors import ConfigError

__all__ = ("MAX_ASN", "AsnLookup", "DatabaseAsns", "NoAsns", "asn_database_version", "open_asns")

MAX_ASN: Final = 2**31 - 1
"""What the column of hits holds. Numbers beyond are for private use, and not announced."""

_VARIABLE: Final = "CASTLEDGER_ASN_DATABASE"
_END: Final = 2**128


class AsnLookup(Protocol):
    """Finds the autonomous systems of addresses."""

    @property
    def version(self) -> str:
        """Which data answer, for every figure's small print."""
        ...

    def asns(self, addresses: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Find the number of each address's autonomous system.

        Args:
            addresses: An array of shape ``(n, 16)``.

        Returns:
            An array of n numbers, 0 where unknown.
        """
        ...


class NoAsns:
    """Knows no autonomous system.

    >>> NoAsns().asns(np.zeros((2, 16), np.uint8)).tolist()
    [0, 0]
    """

    version = "none"

    def asns(self, addresses: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Answer 0 for each address."""
        return np.zeros(len(addresses), np.int64)


class DatabaseAsns:
    """An operator's database in MaxMind's format, read whole: an address costs one binary search then.

    Args:
        path: The ``.mmdb`` file, with ``autonomous_system_number`` (GeoLite2, DB-IP) or ``asn`` in its records.

    Raises:
        ConfigError: It cannot be read, is damaged, or names no autonomous system.
    """

    def __init__(self, path: Path) -> None:
        try:
            with maxminddb.open_database(path) as reader:
                self.version = _version(reader.metadata())
                starts: list[bytes] = []
                numbers: list[int] = []
                end = 0
                for first, last, number in _networks(reader):
                    if first < end:
                        raise ValueError("a network of IPv6 holds those of IPv4")
                    if first > end:
                        # A gap: nobody is known to announce it.
                        starts.append(end.to_bytes(16))
                        numbers.append(0)
                    starts.append(first.to_bytes(16))
                    numbers.append(number)
                    end = last + 1
        except (OSError, ValueError, OverflowError, maxminddb.InvalidDatabaseError) as error:
            raise ConfigError([f"{_VARIABLE}: {path} is no readable .mmdb database ({error})"]) from None
        if not any(numbers):
            raise ConfigError([f"{_VARIABLE}: {path} ({self.version}) names no autonomous systems"])
        if end < _END:
            starts.append(end.to_bytes(16))
            numbers.append(0)
        # Fixed-width strings compare as unsigned bytes, and padding with zeros leaves 16 of them as they are.
        self._starts = np.array(starts, "S16")
        self._numbers = np.array(numbers, np.int32)

    def asns(self, addresses: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Look all addresses up at once."""
        rows = np.ascontiguousarray(addresses, np.uint8)
        if not len(rows):
            return np.zeros(0, np.int64)
        # The first start is the lowest of all addresses, so that nothing lies in front of it.
        places = np.searchsorted(self._starts, rows.view("S16").ravel(), side="right") - 1
        return self._numbers[places].astype(np.int64)


def _version(metadata: maxminddb.reader.Metadata) -> str:
    built = dt.datetime.fromtimestamp(metadata.build_epoch, dt.UTC).date()
    return f"{metadata.database_type}-{built}"


def _asn(record: object) -> int:
    if not isinstance(record, Mapping):
        return 0
    number = record.get("autonomous_system_number", record.get("asn"))
    if isinstance(number, str):
        text = number.removeprefix("AS")
        number = int(text) if len(text) <= 10 and text.isascii() and text.isdigit() else 0
    return number if isinstance(number, int) and 0 < number <= MAX_ASN else 0


def _networks(reader: maxminddb.Reader) -> Iterator[tuple[int, int, int]]:
    """List networks with their numbers in the order of packed addresses: IPv4 lies among the mapped ones."""
    return iter(sorted((*pack_network(network), _asn(record)) for network, record in reader))


def asn_database_version(path: Path) -> str:
    """Name the version of a database without reading it whole.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        with maxminddb.open_database(path) as reader:
            return _version(reader.metadata())
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise ConfigError([f"{_VARIABLE}: {path} is no readable .mmdb database ({error})"]) from None


def open_asns(path: Path | None) -> AsnLookup:
    """Open the source of autonomous systems that there is.

    Args:
        path: An operator's database; ``None`` knows none.

    Raises:
        ConfigError: The database cannot be used.

    >>> open_asns(None).version
    'none'
    """
    return NoAsns() if path is None else DatabaseAsns(path)
