"""Claims: how somebody proves that a feed is theirs, by a token that only the feed's owner can put into it."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import hmac
import re
import secrets
from typing import Final

from analytics_core.feeds import Feed

__all__ = ("CHECK_EVERY", "LIFETIME", "ClaimStatus", "Proof", "find_proof", "find_tokens", "new_token")

LIFETIME: Final = dt.timedelta(days=14)
"""How long a claim may be proven."""

CHECK_EVERY: Final = dt.timedelta(minutes=1)
"""How often a claim's feed is fetched at most when its claimer asks for it."""

_PREFIX: Final = "castledger-verify-"
_TOKEN_BYTES: Final = 20
# Lower-case letters and digits only: what hosts do to a description must not break a token.
_TOKEN: Final = re.compile(rf"{_PREFIX}[a-z2-7]{{32}}(?![a-z2-7])")


class Proof(enum.Enum):
    """Where a token stood."""

    PODCAST_TXT = "podcast_txt"
    CHANNEL_TEXT = "channel_text"


class ClaimStatus(enum.Enum):
    """How a claim stands.

    ``PROVEN`` lasts for the moment until ingest has seen to it: ``MOVED`` when the podcast was another tenant's,
    ``VERIFIED`` when it was the claimer's own. ``SUPERSEDED`` is a claim whose podcast moved to somebody else first.
    """

    OPEN = "open"
    PROVEN = "proven"
    MOVED = "moved"
    VERIFIED = "verified"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


def new_token() -> str:
    """Make a token: 160 random bits, in a form that is recognised in any text.

    >>> token = new_token()
    >>> find_tokens(f"<p>{token}.</p>") == (token,)
    True
    """
    return _PREFIX + base64.b32encode(secrets.token_bytes(_TOKEN_BYTES)).decode().lower()


def find_tokens(text: str) -> tuple[str, ...]:
    """List the distinct tokens in a text, in their order.

    >>> find_tokens("no token, nor castledger-verify-short")
    ()
    """
    return tuple(dict.fromkeys(_TOKEN.findall(text)))


def _holds(texts: tuple[str, ...], token: str) -> bool:
    # In constant time: a feed is anybody's text, and how long we took must not help to guess.
    return any(hmac.compare_digest(candidate, token) for text in texts for candidate in find_tokens(text))


def find_proof(feed: Feed, token: str) -> Proof | None:
    """Tell where a feed holds a token: in ``podcast:txt purpose="verify"``, or in the channel's own text.

    What its items say is no proof: there, others may have a say.
    """
    if _holds(feed.verify_texts, token):
        return Proof.PODCAST_TXT
    return Proof.CHANNEL_TEXT if _holds(feed.channel_texts, token) else None
