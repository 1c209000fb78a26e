"""Countries of addresses: from the registries' table, from an operator's database, or none."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import iptocc
import maxminddb
import numpy as np
from numpy.typing import NDArray

from analytics_core.addresses import V4_MAPPED, format_address, write_addresses
from analytics_core.errors import ConfigError

__all__ = (
    "CountryLookup",
    "DatabaseCountries",
    "NoCountries",
    "RegistryCountries",
    "open_countries",
    "pack_country",
    "unpack_country",
)

_NO_COUNTRIES: Final = frozenset({"AP", "EU", "XX", "ZZ"})
"""What registries and databases write for "somewhere in the region" and "nobody knows"."""

_RECORDS_PROBED: Final = 2_000


def pack_country(code: str | None) -> int:
    """Write a country's two letters as a small integer.

    Args:
        code: Two ASCII letters in any case, or ``None`` or empty for an unknown country.

    Returns:
        ``ord(first) * 256 + ord(second)`` of the upper-case letters, at most 23130; 0 for anything else.

    >>> pack_country("US"), pack_country("us"), pack_country(None), pack_country("USA")
    (21843, 21843, 0, 0)
    """
    if code is None or len(code) != 2 or not (code.isascii() and code.isalpha()):
        return 0
    first, second = code.upper().encode()
    return first * 256 + second


def unpack_country(number: int) -> str | None:
    """Read what :func:`pack_country` wrote.

    Returns:
        Two upper-case letters, or ``None`` for 0 and whatever is no country's number.

    >>> unpack_country(21843), unpack_country(0)
    ('US', None)
    """
    if not 0 < number <= 0x5A5A:
        return None
    code = chr(number >> 8) + chr(number & 0xFF)
    return code if pack_country(code) == number else None


class CountryLookup(Protocol):
    """Finds the countries of addresses."""

    @property
    def version(self) -> str:
        """Which data answer, for every figure's small print."""
        ...

    def countries(self, addresses: Sequence[bytes]) -> NDArray[np.int16]:
        """Find the country of each address.

        Args:
            addresses: Distinct addresses of 16 bytes.

        Returns:
            As many packed countries, 0 where unknown.
        """
        ...


class NoCountries:
    """Knows no country.

    >>> NoCountries().countries([bytes(16)]).tolist()
    [0]
    """

    version = "none"

    def countries(self, addresses: Sequence[bytes]) -> NDArray[np.int16]:
        """Answer 0 for each address."""
        return np.zeros(len(addresses), np.int16)


def _pack_known(code: str | None) -> int:
    number = pack_country(code)
    return 0 if unpack_country(number) in _NO_COUNTRIES else number


class RegistryCountries:
    """The country that each network is registered in, as the five registries publish it; needs no set-up.

    >>> from analytics_core.addresses import pack_address
    >>> found = RegistryCountries().countries([pack_address("8.8.8.8"), pack_address("10.0.0.1")])
    >>> [unpack_country(number) for number in found.tolist()]
    ['US', None]
    """

    def __init__(self) -> None:
        self.version = f"iptocc-{importlib.metadata.version('iptocc')}"
        self._packed: dict[str | None, int] = {}

    def countries(self, addresses: Sequence[bytes]) -> NDArray[np.int16]:
        """Look all addresses up at once."""
        codes: list[str | None] = iptocc.country_code(write_addresses(addresses))
        for code in set(codes) - self._packed.keys():
            self._packed[code] = _pack_known(code)
        return np.fromiter(map(self._packed.__getitem__, codes), np.int16, len(codes))


def _country_code(record: object) -> str | None:
    """Find the country in a record: MaxMind's nested form, or a flat one."""
    if not isinstance(record, Mapping):
        return None
    country = record.get("country")
    code = country.get("iso_code") if isinstance(country, Mapping) else record.get("country_code", country)
    return code if isinstance(code, str) else None


class DatabaseCountries:
    """An operator's database in MaxMind's format, with nested or flat records, of countries or of cities.

    Args:
        path: The ``.mmdb`` file. Replace it by renaming another over it: it is mapped, not copied.

    Raises:
        ConfigError: It cannot be read, is no such database, or names no country.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._reader = maxminddb.open_database(path)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise ConfigError([f"CASTLEDGER_GEO_DATABASE: {path} is no readable .mmdb database ({error})"]) from None
        try:
            metadata = self._reader.metadata()
            if not self._names_countries():
                raise ConfigError([f"CASTLEDGER_GEO_DATABASE: {path} ({metadata.database_type}) names no countries"])
        except maxminddb.InvalidDatabaseError as error:
            self.close()
            raise ConfigError([f"CASTLEDGER_GEO_DATABASE: {path} is damaged ({error})"]) from None
        except ConfigError:
            self.close()
            raise
        built = dt.datetime.fromtimestamp(metadata.build_epoch, dt.UTC).date()
        self.version = f"{metadata.database_type}-{built}"
        self._has_v6 = metadata.ip_version == 6

    def _names_countries(self) -> bool:
        records = (record for _, record in itertools.islice(self._reader, _RECORDS_PROBED))
        try:
            return any(map(_country_code, records))
        except ValueError:
            # The reader cannot walk a database of IPv6 that has one record for all of IPv4 and more; it can ask it.
            return True

    def countries(self, addresses: Sequence[bytes]) -> NDArray[np.int16]:
        """Look addresses up one by one; a damaged record is an unknown country."""
        found = np.zeros(len(addresses), np.int16)
        for index, address in enumerate(addresses):
            # A database of IPv4 alone raises when it is asked for IPv6.
            if self._has_v6 or address.startswith(V4_MAPPED):
                found[index] = self._country(address)
        return found

    def _country(self, address: bytes) -> int:
        try:
            return _pack_known(_country_code(self._reader.get(format_address(address))))
        except maxminddb.InvalidDatabaseError:
            return 0

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()


def open_countries(path: Path | None) -> CountryLookup:
    """Open the best source of countries that there is.

    Args:
        path: An operator's database; ``None`` takes the registries' table.

    Raises:
        ConfigError: The database cannot be used.

    >>> open_countries(None).version.startswith("iptocc-")
    True
    """
    return RegistryCountries() if path is None else DatabaseCountries(path)
