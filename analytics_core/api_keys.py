"""API keys: their form, their checksum, and the hash that is stored instead of them."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from typing import Final

__all__ = ("hash_key", "is_well_formed", "key_hint", "new_key")

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM: Final = re.compile(r"cl_(live|pub)_([0-9A-Za-z]{32})([0-9A-Za-z]{6})")


def _checksum(text: str) -> str:
    rest = zlib.crc32(text.encode())
    digits = ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def new_key() -> str:
    """Make a secret key: ``cl_live_``, 190 random bits, and a checksum by which scanners know a real one.

    >>> is_well_formed(new_key())
    True
    """
    body = "".join(secrets.choice(_ALPHABET) for _ in range(32))
    return f"cl_live_{body}{_checksum('cl_live_' + body)}"


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
    """Shorten a key to what may be shown again.

    >>> key_hint("cl_live_abcdefghijklmnop")
    'cl_live_abcd…'
    """
    return key[:12] + "…"
