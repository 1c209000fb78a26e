"""What one request leaves behind: a row for the spool, or a number among the running totals."""

from __future__ import annotations

from typing import Final

import msgspec

from analytics_core.hits import MAX_AGENT_BYTES, MAX_TEXT_BYTES, HitFlag, HitKind, Method
from analytics_core.spool import ROW_REST
from analytics_core.spool_writer import SpoolWriter
from prefix_redirect.decisions import Decision
from prefix_redirect.flood import FloodGuard
from prefix_redirect.requests import HeaderName

__all__ = ("Recorder", "Trace", "flags_of", "trace_of")

_PREFETCHES: Final = (
    (HeaderName.SEC_PURPOSE, b"prefetch"),
    (HeaderName.PURPOSE, b"prefetch"),
    (HeaderName.MOZ, b"prefetch"),
    (HeaderName.X_PURPOSE, b"preview"),
)
_CONDITIONALS: Final = (HeaderName.NONE_MATCH, HeaderName.MODIFIED_SINCE)
_TELLING: Final = frozenset((HeaderName.PLAYBACK_SESSION, *_CONDITIONALS, *(name for name, _ in _PREFETCHES)))
# As plain integers: an enum's members and operators cost too much for something done at every request.
_PREFETCH: Final = int(HitFlag.PREFETCH)
_PLAYBACK_SESSION: Final = int(HitFlag.PLAYBACK_SESSION)
_CONDITIONAL: Final = int(HitFlag.CONDITIONAL)
_CLICK: Final = int(HitKind.CLICK)
_GET: Final = int(Method.GET)
_HEAD: Final = int(Method.HEAD)


def flags_of(headers: dict[bytes, bytes]) -> int:
    """Read what else a request gave away, as bits of ``HitFlag``; those of its line and kind are the caller's.

    >>> flags_of({b"sec-purpose": b"Prefetch;prerender"}) == HitFlag.PREFETCH
    True
    """
    if _TELLING.isdisjoint(headers):
        return 0
    flags = 0
    for name, word in _PREFETCHES:
        if name in headers and word in headers[name].lower():
            flags |= _PREFETCH
    if HeaderName.PLAYBACK_SESSION in headers:
        flags |= _PLAYBACK_SESSION
    if any(name in headers for name in _CONDITIONALS):
        flags |= _CONDITIONAL
    return flags


class Trace(msgspec.Struct, frozen=True, gc=False):
    """What a redirect leaves in the spool, but for when it was and from where.

    Attributes:
        rest: The row behind time and address (``ROW_REST``).
        texts: The row's texts, one behind the other.
        is_click: Whether a link was followed.
    """

    rest: bytes
    texts: bytes
    is_click: bool = False


def trace_of(decision: Decision, *, method: bytes, headers: dict[bytes, bytes], flags: int) -> Trace | None:
    """Write down a hit; ``None`` for an answer that is only counted.

    Args:
        decision: What is answered.
        method: The request's.
        headers: Those that were kept.
        flags: Bits of ``HitFlag``.
    """
    if not decision.record:
        return None
    agent = referrer = byte_range = b""
    if headers:
        get = headers.get
        agent = get(HeaderName.AGENT, b"")[:MAX_AGENT_BYTES]
        referrer = get(HeaderName.REFERRER, b"")[:MAX_TEXT_BYTES]
        byte_range = get(HeaderName.RANGE, b"")[:MAX_TEXT_BYTES]
    target, arguments = decision.target, decision.arguments
    return Trace(
        ROW_REST.pack(
            len(target),
            len(arguments),
            len(agent),
            len(referrer),
            len(byte_range),
            flags,
            _HEAD if method == b"HEAD" else _GET,
            decision.kind,
            decision.status,
        ),
        b"".join((target, arguments, agent, referrer, byte_range)),
        decision.kind == _CLICK,
    )


class Recorder:
    """Counts every answer, and appends redirected hits to the spool's turn.

    Args:
        writer: The spool; its running totals are kept here.
        flood: Who asks too often.
    """

    def __init__(self, writer: SpoolWriter, flood: FloodGuard) -> None:
        self._writer = writer
        self._flood = flood
        self.others: dict[int, int] = {}
        """Answers other than redirects, by status; redirects are in the spool's totals."""
        self.clicks = 0
        """Hits of links, among those of the spool's totals."""

    def count(self, status: int) -> None:
        """Count an answer that leaves no hit."""
        self.others[status] = self.others.get(status, 0) + 1
        if status >= 400:
            refused = self._writer.totals.refused
            refused[status] = refused.get(status, 0) + 1

    def record(self, trace: Trace, *, at: bytes, address: bytes, source: bytes | None, now_ns: int) -> None:
        """Record a redirect, unless it is part of a flood: then it is counted.

        Args:
            trace: What it leaves behind.
            at: When the request was read: microseconds since 1970-01-01 UTC, as a row holds them.
            address: The client's, 16 bytes.
            source: The network that its hits are added up by; ``None`` when it is exempt.
            now_ns: A clock that never steps back, nanoseconds.
        """
        writer = self._writer
        if source is not None and self._flood.is_on and self._flood.exceeds(source, now_ns):
            totals = writer.totals
            totals.answered += 1
            totals.lost["flood"] = totals.lost.get("flood", 0) + 1
            return
        if trace.is_click:
            self.clicks += 1
        writer.rows.append(at + address + trace.rest)
        writer.texts.append(trace.texts)
