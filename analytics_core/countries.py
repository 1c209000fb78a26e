"""Countries: their codes and names (ISO 3166), and the small integers as which hits and downloads keep them.

Apart from :mod:`analytics_core.geo`, which finds them: the API reads numbers and does without what looks addresses up.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

__all__ = ("country_names", "pack_country", "unpack_country")


@functools.cache
def country_names() -> Mapping[str, str]:
    """Read the names of all countries by their two letters, in the order of these.

    >>> country_names()["AX"]
    'Åland Islands'
    """
    text = resources.files("analytics_core").joinpath("countries.txt").read_text("utf-8")
    return MappingProxyType(dict(line.split("\t", 1) for line in text.splitlines() if line and line[0] != "#"))


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
