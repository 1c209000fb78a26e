"""Countries of addresses, and where in them: from the registries' table, from an operator's database, or none."""

from __future__ import annotations

import datetime as dt
import enum
import importlib.metadata
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import iptocc
import maxminddb
import numpy as np
from numpy.typing import NDArray

from analytics_core.addresses import V4_MAPPED, format_address, write_addresses
from analytics_core.countries import pack_country, unpack_country
from analytics_core.errors import ConfigError
from analytics_core.places import Place, read_place

__all__ = (
    "CountryLookup",
    "DatabaseCountries",
    "Located",
    "NoCountries",
    "Precision",
    "RegistryCountries",
    "open_countries",
)

_NO_COUNTRIES: Final = frozenset({"AP", "EU", "XX", "ZZ"})
"""What registries and databases write for "somewhere in the region" and "nobody knows"."""

_RECORDS_PROBED: Final = 2_000

_V4_BLOCKS: Final = 2**24
_MAPPED: Final = 0xFFFF
"""What stands in front of the 32 bits of a mapped IPv4 address."""

_BLOCKS: Final = 65_536
"""How many networks a database's answers are remembered of: some 20 MiB."""


class Precision(enum.Enum):
    """What is told of an address beside its country."""

    NONE = "none"
    REGIONS = "regions"
    CITIES = "cities"


@dataclass(frozen=True, slots=True)
class Located:
    """Where addresses are.

    Attributes:
        countries: Packed, 0 where unknown.
        places: For each address a place in *names*.
        names: Distinct ones; ``None`` comes first and is that nothing beside the country is known.
    """

    countries: NDArray[np.int16]
    places: NDArray[np.intp]
    names: list[Place | None]


class CountryLookup(Protocol):
    """Finds the countries of addresses, and the places in them."""

    @property
    def version(self) -> str:
        """Which data answer, for every figure's small print."""
        ...

    @property
    def precision(self) -> Precision:
        """What is told beside the country."""
        ...

    def countries(self, addresses: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Find the country of each address.

        Args:
            addresses: An array of shape ``(n, 16)``.

        Returns:
            n packed countries, 0 where unknown.
        """
        ...

    def locate(self, addresses: NDArray[np.uint8]) -> Located:
        """Find the country and the place of each address.

        Args:
            addresses: An array of shape ``(n, 16)``.
        """
        ...


def _countries_alone(countries: NDArray[np.int16]) -> Located:
    return Located(countries, np.zeros(len(countries), np.intp), [None])


class NoCountries:
    """Knows no country.

    >>> NoCountries().countries(np.zeros((1, 16), np.uint8)).tolist()
    [0]
    """

    version = "none"
    precision = Precision.NONE

    def countries(self, addresses: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Answer 0 for each address."""
        return np.zeros(len(addresses), np.int16)

    def locate(self, addresses: NDArray[np.uint8]) -> Located:
        """Answer nothing for each address."""
        return _countries_alone(self.countries(addresses))


def _each(addresses: NDArray[np.uint8]) -> Iterator[bytes]:
    packed = addresses.tobytes()
    return (packed[at : at + 16] for at in range(0, len(packed), 16))


def _pack_known(code: str | None) -> int:
    number = pack_country(code)
    return 0 if unpack_country(number) in _NO_COUNTRIES else number


class RegistryCountries:
    """The country that each network is registered in, as the five registries publish it; needs no set-up.

    An address has the country of the first one of its 24 bits of IPv4, or 48 of IPv6: registries give smaller networks
    to nobody, but for one in 60,000 that is left over from before. So that a network is looked up once, whatever
    order its addresses come in, and what is remembered is of a network and not of anybody.

    >>> from analytics_core.addresses import pack_address
    >>> from analytics_core.network_tables import to_column
    >>> addresses = to_column(map(pack_address, ("8.8.8.8", "10.0.0.1")))
    >>> [unpack_country(number) for number in RegistryCountries().countries(addresses).tolist()]
    ['US', None]
    """

    precision = Precision.NONE

    def __init__(self) -> None:
        self.version = f"iptocc-{importlib.metadata.version('iptocc')}"
        self._packed: dict[str | None, int] = {}
        # A packed country and 1 for each network of IPv4, 0 while it was not looked up: at most 32 MiB, as much of it
        # as has been written.
        self._blocks = np.zeros(_V4_BLOCKS, np.int16)

    def countries(self, addresses: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Look all addresses up at once."""
        high, low = np.ascontiguousarray(addresses, np.uint8).view(">u8").astype(np.uint64).reshape(-1, 2).T
        is_v4 = (high == 0) & (low >> 32 == _MAPPED)
        found = np.zeros(len(high), np.int16)
        blocks = ((low[is_v4] >> 8) % _V4_BLOCKS).astype(np.int64)
        known = self._blocks[blocks]
        if (new := np.unique(blocks[known == 0])).size:
            first = (_MAPPED << 32) + (new.astype(np.uint64) << np.uint64(8))
            self._blocks[new] = self._look_up(np.zeros(len(new), np.uint64), first) + 1
            known = self._blocks[blocks]
        found[is_v4] = known - 1
        networks, places = np.unique(high[~is_v4] >> 16, return_inverse=True)
        if networks.size:
            found[~is_v4] = self._look_up(networks << np.uint64(16), np.zeros(len(networks), np.uint64))[places]
        return found

    def _look_up(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int16]:
        rows = np.column_stack((high, low)).astype(">u8").view(np.uint8).reshape(-1, 16)
        codes: list[str | None] = iptocc.country_code(write_addresses(list(_each(rows))))
        for code in set(codes) - self._packed.keys():
            self._packed[code] = _pack_known(code)
        return np.fromiter(map(self._packed.__getitem__, codes), np.int16, len(codes))

    def locate(self, addresses: NDArray[np.uint8]) -> Located:
        """Look all countries up at once; registries know no places."""
        return _countries_alone(self.countries(addresses))


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
        cities: Whether cities are told, of a database that has them; else regions alone are.

    Raises:
        ConfigError: It cannot be read, is no such database, or names no country.
    """

    def __init__(self, path: Path, *, cities: bool = False) -> None:
        try:
            self._reader = maxminddb.open_database(path)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise ConfigError([f"CASTLEDGER_GEO_DATABASE: {path} is no readable .mmdb database ({error})"]) from None
        try:
            metadata = self._reader.metadata()
            probed = self._probe()
            if probed is not None and not any(map(_country_code, probed)):
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
        self._cities = cities
        self.precision = self._judge(probed)
        self._blocks: dict[bytes, tuple[int, Place | None]] = {}

    def _probe(self) -> list[object] | None:
        """Read some records; ``None`` where the reader cannot walk the database, though it can ask it.

        Raises:
            InvalidDatabaseError: There is nothing to read in front of what is damaged.
        """
        found: list[object] = []
        try:
            for _, record in itertools.islice(self._reader, _RECORDS_PROBED):
                found.append(record)
        except maxminddb.InvalidDatabaseError:
            if not found:
                raise
        except ValueError:
            # A database of IPv6 that has one record for all of IPv4 and more.
            return None
        return found

    def _judge(self, probed: Sequence[object] | None) -> Precision:
        found = [read_place(record, "") for record in probed or () if isinstance(record, Mapping)]
        if self._cities and any(place.city for place in found):
            return Precision.CITIES
        return Precision.REGIONS if any(place.region for place in found) else Precision.NONE

    def countries(self, addresses: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Look addresses up one by one; a damaged record is an unknown country."""
        return np.fromiter((self._find(address)[0] for address in _each(addresses)), np.int16, len(addresses))

    def locate(self, addresses: NDArray[np.uint8]) -> Located:
        """Look addresses up one by one; a damaged record is an unknown place."""
        countries = np.zeros(len(addresses), np.int16)
        places = np.zeros(len(addresses), np.intp)
        index: dict[Place | None, int] = {None: 0}
        for row, address in enumerate(_each(addresses)):
            countries[row], place = self._find(address)
            places[row] = index.setdefault(place, len(index))
        return Located(countries, places, list(index))

    def _find(self, address: bytes) -> tuple[int, Place | None]:
        is_v4 = address.startswith(V4_MAPPED)
        # 24 bits of an IPv4 address, or 48 of an IPv6 one: what is remembered is of a network, not of anybody.
        block, bits = (address[:15], 24) if is_v4 else (address[:6], 48)
        found = self._blocks.get(block)
        if found is not None:
            return found
        # A database of IPv4 alone raises when it is asked for IPv6.
        if not (self._has_v6 or is_v4):
            return 0, None
        try:
            record, prefix = self._reader.get_with_prefix_len(format_address(address))
        except maxminddb.InvalidDatabaseError:
            return 0, None
        found = self._read(record)
        if prefix <= bits:
            if len(self._blocks) >= _BLOCKS:
                self._blocks.clear()
            self._blocks[block] = found
        return found

    def _read(self, record: object) -> tuple[int, Place | None]:
        code = _country_code(record)
        packed = _pack_known(code)
        if self.precision is Precision.NONE or not packed or code is None or not isinstance(record, Mapping):
            return packed, None
        place = read_place(record, code.upper())
        if not self._cities:
            place = place._replace(city="")
        return packed, place if place.region or place.city else None

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()


def open_countries(path: Path | None, *, cities: bool = False) -> CountryLookup:
    """Open the best source of countries that there is.

    Args:
        path: An operator's database; ``None`` takes the registries' table.
        cities: Whether cities are told, where the database has them.

    Raises:
        ConfigError: The database cannot be used.

    >>> open_countries(None).version.startswith("iptocc-")
    True
    """
    return RegistryCountries() if path is None else DatabaseCountries(path, cities=cities)
