"""Places: the region and the city that a database names for an address, and the keys that figures have of them.

A place is written as country, region and city, apart by slashes: ``US/CA/San Francisco``, ``US/CA/``,
``SG//Singapore``. A region is the code of ISO 3166-2 where the database has it, else its name.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

__all__ = ("MAX_NAME_CHARS", "Place", "parse_place", "read_place")

MAX_NAME_CHARS: Final = 80
"""A longer name of a region or a city is cut."""

_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_CODE: Final = re.compile(r"[A-Z0-9]{1,3}")


class Place(NamedTuple):
    """Where an address is; *region* and *city* are empty where unknown.

    Attributes:
        country: Two capital letters.
        region: A code without the country's in front, or a name; without a slash.
        city: A name.
    """

    country: str
    region: str
    city: str

    def __str__(self) -> str:
        """Write it as it is stored.

        >>> str(Place("US", "CA", "San Francisco"))
        'US/CA/San Francisco'
        """
        return f"{self.country}/{self.region}/{self.city}"

    @property
    def region_key(self) -> str:
        """The region as figures name it.

        >>> Place("US", "CA", "").region_key, Place("US", "California", "").region_key, Place("SG", "", "").region_key
        ('US-CA', 'US/California', '')
        """
        if not self.region:
            return ""
        return f"{self.country}{'-' if _CODE.fullmatch(self.region) else '/'}{self.region}"

    @property
    def city_key(self) -> str:
        """The city as figures name it: behind its region, or behind its country where no region is known.

        >>> Place("US", "CA", "San Francisco").city_key, Place("SG", "", "Singapore").city_key
        ('US-CA/San Francisco', 'SG/Singapore')
        """
        return f"{self.region_key or self.country}/{self.city}" if self.city else ""


def _name(value: object) -> str:
    """Read a name: without what cannot be seen, and of a bounded length; empty for what is none."""
    return _clean(value) if isinstance(value, str) else ""


@functools.lru_cache(maxsize=20_000)
def _clean(value: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in value)
    return unicodedata.normalize("NFC", " ".join(shown.split()))[:MAX_NAME_CHARS].rstrip()


def _english(value: object) -> object:
    names = value.get("names") if isinstance(value, Mapping) else None
    return names.get("en") if isinstance(names, Mapping) else None


def read_place(record: Mapping[str, object], country: str) -> Place:
    """Find region and city in a record of an address database: MaxMind's nested form, or a flat one.

    Args:
        record: What the database has for an address; anything may stand in it.
        country: Two capital letters.

    Source:
        MaxMind's ``GeoIP2-City`` (``subdivisions``, ``city``), ip-location-db's ``dbip-city`` (``state1``, ``city``).

    >>> str(read_place({"subdivisions": [{"iso_code": "WA"}], "city": {"names": {"en": "Milton"}}}, "US"))
    'US/WA/Milton'
    >>> str(read_place({"country_code": "US", "state1": "California", "city": "Mountain View"}, "US"))
    'US/California/Mountain View'
    """
    divisions = record.get("subdivisions")
    if isinstance(divisions, Sequence) and divisions and isinstance(divisions[0], Mapping):
        region = _name(divisions[0].get("iso_code")) or _name(_english(divisions[0]))
    else:
        region = _name(record.get("state1"))
    city = record.get("city")
    return Place(country, region.replace("/", "-"), _name(_english(city)) or _name(city))


def parse_place(text: str) -> Place:
    """Read a place as it is stored.

    Raises:
        ValueError: It is none: without a country, with nothing but it, too long, or with what cannot be seen.

    >>> parse_place("US/CA/San Francisco").city
    'San Francisco'
    """
    parts = text.split("/", 2)
    if len(parts) == 3:
        place = Place(*parts)
        is_known = _COUNTRY.fullmatch(place.country) and (place.region or place.city)
        if is_known and all(_name(name) == name for name in place[1:]):
            return place
    raise ValueError(f"is no place such as US/CA/San Francisco: {text[:100]!r}")
