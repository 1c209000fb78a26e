"""Tenants: how they are named, what states they go through, and how long a closed one can be had back."""

from __future__ import annotations

import enum
import re
from typing import Final

from analytics_core.errors import InvalidInput
from analytics_core.people import parse_name

__all__ = (
    "GRACE_DAYS",
    "MAX_GRACE_DAYS",
    "SLUG_PATTERN",
    "TenantStatus",
    "parse_slug",
    "parse_tenant_name",
)

GRACE_DAYS: Final = 30
"""Days for which a tenant that was closed can be opened again, unless the installation says otherwise."""

MAX_GRACE_DAYS: Final = 365
SLUG_PATTERN: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

_SLUG: Final = re.compile(SLUG_PATTERN)


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


def parse_tenant_name(text: str, *, path: str) -> str:
    """Read what people call a tenant.

    >>> parse_tenant_name(" O'Brien; DROP TABLE ", path="/name")
    "O'Brien; DROP TABLE"

    Args:
        text: As it was given.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: It is empty, too long, or has characters that nobody can see.
    """
    name = parse_name(text, path=path)
    if not name:
        raise InvalidInput(path, "is empty: a tenant has a name")
    return name
