"""Tenants: how they are named, what states they go through, and how long a closed one can be had back."""

from __future__ import annotations

import enum
import re
import unicodedata
from typing import Final

from analytics_core.errors import InvalidInput

__all__ = (
    "GRACE_DAYS",
    "MAX_GRACE_DAYS",
    "NAME_CHARS",
    "SLUG_PATTERN",
    "TenantStatus",
    "parse_name",
    "parse_slug",
)

GRACE_DAYS: Final = 30
"""Days for which a tenant that was closed can be opened again, unless the installation says otherwise."""

MAX_GRACE_DAYS: Final = 365
NAME_CHARS: Final = 200
SLUG_PATTERN: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

_SLUG: Final = re.compile(SLUG_PATTERN)
# Control characters, such as turn the writing around among them (Cf), what is not assigned, and ends of lines.
_UNSEEN: Final = frozenset(("Cc", "Cf", "Cn", "Cs", "Zl", "Zp"))
# Some scripts and emoji are written with these.
_JOINERS: Final = "\u200c\u200d"


class TenantStatus(enum.StrEnum):
    """What a tenant may do: all; read alone; read alone until it is erased; nothing."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"


def parse_slug(text: str, *, path: str) -> str:
    """Read the short name of a tenant.

    >>> parse_slug("night-shift-2", path="/slug")
    'night-shift-2'

    Args:
        text: As it was given.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: ``invalid_slug``: it is longer than 63 characters, or has others than it may have.
    """
    if not _SLUG.fullmatch(text):
        reason = "has 1 to 63 characters: lower-case letters a to z, digits, and hyphens between them"
        raise InvalidInput(path, reason, code="invalid_slug")
    return text


def parse_name(text: str, *, path: str) -> str:
    r"""Read a name for people: composed (NFC), without space around it.

    >>> parse_name(" Cafe\u0301; DROP TABLE ", path="/name")
    'Café; DROP TABLE'

    Args:
        text: As it was given.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: It is empty, too long, or has control characters, surrogates or characters that are not assigned.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(name) <= NAME_CHARS:
        raise InvalidInput(path, f"has 1 to {NAME_CHARS} characters, not {len(name)}")
    if any(unicodedata.category(char) in _UNSEEN for char in name if char not in _JOINERS):
        raise InvalidInput(path, "has characters that cannot be seen; write it without them")
    return name
