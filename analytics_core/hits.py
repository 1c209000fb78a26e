"""A hit: what one request for an enclosure said, before anything is judged."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

__all__ = ("MAX_AGENT_BYTES", "MAX_TEXT_BYTES", "NOT_COUNTED", "Hit", "HitFlag", "HitKind", "Method")

MAX_AGENT_BYTES = 512
"""User agents are cut here: longer ones are attacks, and each distinct one is stored."""

MAX_TEXT_BYTES = 8192
"""No other text of a hit is longer: the tracker refuses longer request lines and headers."""


class HitKind(enum.IntEnum):
    """What the request was for."""

    REQUEST = 1
    CLICK = 2


class Method(enum.IntEnum):
    """The request's method, of those that are recorded."""

    GET = 0
    HEAD = 1


class HitFlag(enum.IntFlag):
    """What else the request gave away, one bit each."""

    NONE = 0
    PREFETCH = 1
    """``Sec-Purpose: prefetch``, ``Purpose: prefetch``, ``X-Moz: prefetch`` or ``X-Purpose: preview``."""
    PLAYBACK_SESSION = 2
    """``X-Playback-Session-Id`` was there: Apple's media stack is streaming."""
    CONDITIONAL = 4
    """``If-None-Match`` or ``If-Modified-Since`` was there: perhaps a revalidation."""
    NAVIGATION = 8
    """A browser asked for a document, not a player for media."""
    LATE = 16
    """Landed for a day that was already final."""
    REKEYED = 32
    """Keyed under a secret made for a month whose own secret had been destroyed."""
    LINE_REPAIRED = 64
    """The request line held raw bytes that had to be percent-encoded before it could be parsed."""
    SKEW = 128
    """Kept under the time at which it was received: its own cannot be right."""
    WAITED = 256
    """Late, because it had waited for its episode; a restatement takes it in by itself."""
    RESTATED = 512
    """Was late, and counts since a restatement of its day."""
    SPIKE = 1024
    """Part of a spike that the podcast's owner has accepted: it makes no download until that is reverted."""
    REPLACED = 2048
    """Another source counts for the podcast's day: an imported log instead of trackers, or they instead of it."""
    PLAYLIST = 4096
    """Its episode's file is a playlist (``analytics_core.playlists``), as its feed had it when the hit was judged."""


NOT_COUNTED: Final = HitFlag.LATE | HitFlag.SPIKE | HitFlag.REPLACED
"""Hits with one of these make no download, whatever their verdict."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One request that the tracker answered with a redirect.

    Attributes:
        at_us: Microseconds since 1970-01-01 UTC at which the request was read.
        address: 16 bytes; IPv4 as ``::ffff:a.b.c.d``.
        target: What stood behind ``/e…/``, byte for byte.
        arguments: What stood between ``/e,`` and the next slash, byte for byte, without the comma; may be empty.
        agent: ``User-Agent``, at most ``MAX_AGENT_BYTES``; empty when there was none.
        referrer: ``Referer``; empty when there was none.
        byte_range: ``Range``; empty when there was none.
    """

    at_us: int
    address: bytes
    target: bytes
    arguments: bytes = b""
    agent: bytes = b""
    referrer: bytes = b""
    byte_range: bytes = b""
    method: Method = Method.GET
    kind: HitKind = HitKind.REQUEST
    flags: int = 0
    status: int = 302
