"""API keys: their two kinds, their form, their checksum, and the hash that is stored instead of them."""

from __future__ import annotations

import enum
import hashlib
import re
import secrets
import string
import zlib
from typing import Final

from analytics_core.permissions import Permission

__all__ = ("PUBLISHABLE_SCOPES", "KeyKind", "hash_key", "is_well_formed", "key_hint", "new_key")

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM: Final = re.compile(r"cl_(live|pub)_([0-9A-Za-z]{32})([0-9A-Za-z]{6})")


class KeyKind(enum.StrEnum):
    """Who may hold a key: ``secret`` ones servers and people alone, ``publishable`` ones anybody who reads a page."""

    SECRET = "secret"  # noqa: S105 - a kind, not one of them
    PUBLISHABLE = "publishable"


_PREFIXES: Final = {KeyKind.SECRET: "cl_live_", KeyKind.PUBLISHABLE: "cl_pub_"}

PUBLISHABLE_SCOPES: Final = frozenset({Permission.EVENTS_WRITE})
"""All that a publishable key may do: what anybody can copy out of a page must read nothing and change nothing."""


def _checksum(text: str) -> str:
    rest = zlib.crc32(text.encode())
    digits = ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def new_key(kind: KeyKind = KeyKind.SECRET) -> str:
    """Make a key: what kind it is, 190 random bits, and a checksum by which scanners know a real one.

    >>> new_key()[:8], is_well_formed(new_key())
    ('cl_live_', True)
    """
    body = "".join(secrets.choice(_ALPHABET) for _ in range(32))
    text = _PREFIXES[kind] + body
    return text + _checksum(text)


def is_well_formed(key: str) -> bool:
    """Tell whether *key* has a key's form and checksum: what has not is refused without a query.

    >>> is_well_formed("cl_live_" + "A" * 38)
    False
    """
    match = _FORM.fullmatch(key)
    return match is not None and secrets.compare_digest(_checksum(key[:-6]), match[3])


def hash_key(key: str) -> bytes:
    """Hash a key for storage: 32 bytes. A fast hash is enough for 190 random bits."""
    return hashlib.sha256(key.encode()).digest()


def key_hint(key: str) -> str:
    """Shorten a key to what may be shown again: its kind and four characters.

    >>> key_hint("cl_live_abcdefghijklmnop"), key_hint("cl_pub_abcdefghijklmnop")
    ('cl_live_abcd…', 'cl_pub_abcd…')
    """
    return key[: key.rindex("_") + 5] + "…"
