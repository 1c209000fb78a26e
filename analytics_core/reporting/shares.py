"""Links by which somebody without a login reads a report: their tokens, and when one is none any more."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
from typing import Final

from analytics_core.errors import NotKept

__all__ = ("LOCKED_FOR", "MAX_FAILURES", "MAX_SHARED", "ShareEnded", "hash_token", "is_token", "new_token")

MAX_SHARED: Final = dt.timedelta(days=365)
"""How long a link is good at most."""
MAX_FAILURES: Final = 5
"""Wrong passwords before the link has to be left alone for a while."""
LOCKED_FOR: Final = dt.timedelta(minutes=15)

_PREFIX: Final = "cl_share_"
_TOKEN: Final = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")


class ShareEnded(NotKept):
    """A link was good, and is not any more."""

    code = "share_ended"


def new_token() -> str:
    """Make a token: 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def is_token(text: str) -> bool:
    """Tell whether a text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def hash_token(token: str) -> bytes:
    """Return what is kept of a token.

    Nobody learns from the time that looking it up takes: an index compares hashes, and none of them can be chosen.
    """
    return hashlib.sha256(token.encode()).digest()
