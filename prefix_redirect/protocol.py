"""One connection of a client: requests in, answers out in order, and no way to hold us up."""

from __future__ import annotations

import asyncio
import enum
from typing import Final, cast

from analytics_core.hits import HitFlag
from prefix_redirect.decisions import Decision, refuse
from prefix_redirect.host_policy import is_navigation
from prefix_redirect.proxy_protocol import parse_proxy_header
from prefix_redirect.recorder import flags_of
from prefix_redirect.replay import replay_time_us
from prefix_redirect.requests import HeaderName, RequestReader, Stage
from prefix_redirect.tracker import Tracker

__all__ = ("TrackerProtocol",)

_MOST_HELD: Final = 16
"""Groups of answers waiting for a sync, above which a connection is not read on."""

_MOST_DISCARDED_BYTES: Final = 4 * 1024 * 1024
_BETWEEN: Final = Stage.BETWEEN
_CLOSE: Final = b"Connection: close\r\n"
_KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"
# As plain integers: an enum's operators cost a microsecond each.
_NAVIGATION: Final = int(HitFlag.NAVIGATION)
_LINE_REPAIRED: Final = int(HitFlag.LINE_REPAIRED)


class _State(enum.IntEnum):
    OPEN = 0
    CLOSING = 1
    """The last answer is on its way; nothing more is read."""
    LINGERING = 2
    """Our side is shut; what the client still sends is thrown away, so that it gets to read our answer."""


class TrackerProtocol(asyncio.Protocol):
    """Speaks HTTP with one client.

    Args:
        tracker: What all connections share.
    """

    __slots__ = (
        "_client",
        "_discarded",
        "_has_rest",
        "_held",
        "_is_reading",
        "_now_ns",
        "_out",
        "_proxy_bytes",
        "_reader",
        "_state",
        "_tracker",
        "_transport",
        "at_us",
        "deadline_s",
        "is_stuck",
    )

    _transport: asyncio.Transport

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._reader = RequestReader(self._on_request, tracker.limits)
        self._client = tracker.clients.unknown
        self._proxy_bytes: bytes | None = b"" if tracker.proxy_protocol else None
        self._out: list[bytes] = []
        self._held = 0
        self._state = _State.OPEN
        self._has_rest = False
        self._is_reading = True
        self._discarded = 0
        self._now_ns = 0
        self.at_us = 0
        self.is_stuck = False
        """Whether the client leaves its answers unread."""
        self.deadline_s = 0.0
        """When the sweep ends the connection, on the loop's clock."""

    @property
    def is_idle(self) -> bool:
        """Whether the client neither asks nor waits for anything."""
        return self._state is _State.OPEN and self._reader.stage == Stage.BETWEEN and not self._out and not self._held

    # What follows is called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a client in."""
        self._transport = cast("asyncio.Transport", transport)
        tracker = self._tracker
        self.deadline_s = tracker.loop.time() + tracker.limits.header_s
        if self._proxy_bytes is None:
            self._set_client(None)
        tracker.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let a client go."""
        self._tracker.leave(self)

    def data_received(self, data: bytes) -> None:
        """Read what a client sends."""
        if self._state is not _State.OPEN:
            self._discarded += len(data)
            if self._discarded > _MOST_DISCARDED_BYTES:
                self.abort()
            return
        if self._proxy_bytes is not None:
            data = self._read_proxy_header(data)
            if not data:
                return
        tracker = self._tracker
        reader = self._reader
        stage = reader.stage
        now_s = tracker.loop.time()
        self.at_us = tracker.clock.now_us()
        self._now_ns = int(now_s * 1e9)
        status = reader.feed(data)
        if status:
            self.refuse(status)
        elif reader.stage == _BETWEEN:
            self.deadline_s = now_s + tracker.limits.idle_s
        elif stage == _BETWEEN or self._out:
            self.deadline_s = now_s + tracker.limits.header_s

    def eof_received(self) -> bool:
        """Keep our side open while a client that has said all waits for its answers."""
        if not self._out and not self._held:
            return False
        if self._state is _State.OPEN:
            self._state = _State.CLOSING
        return True

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read."""
        self.is_stuck = True
        self.deadline_s = self._tracker.loop.time() + self._tracker.limits.write_s
        self._read_on(wanted=False)

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        self.is_stuck = False
        self.deadline_s = self._tracker.loop.time() + self._tracker.limits.idle_s
        self._read_on(wanted=True)

    # What follows is called by the turn and the sweep.

    def take_answers(self) -> bytes:
        """Hand over the answers of this turn, in order."""
        answers = b"".join(self._out)
        self._out.clear()
        self._held += 1
        if self._held >= _MOST_HELD:
            self._read_on(wanted=False)
        return answers

    def send_answers(self, answers: bytes) -> None:
        """Send what was handed over: the hits are recorded."""
        self._held -= 1
        transport = self._transport
        if transport.is_closing():
            return
        transport.write(answers)
        if self._out or self._held:
            return
        if self._state is _State.CLOSING:
            self._finish()
        else:
            self._read_on(wanted=True)

    def expire(self) -> None:
        """End a connection whose time is up."""
        if self.is_stuck or self._state is not _State.OPEN:
            self.abort()
        elif self._reader.stage == Stage.BETWEEN or self._proxy_bytes is not None:
            self._transport.close()
        else:
            self.refuse(408)

    def close_if_idle(self) -> None:
        """Close a connection on which nothing is going on."""
        if self.is_idle:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def refuse(self, status: int) -> None:
        """Answer a request that could not be read, and close."""
        decision = refuse(status)
        self._tracker.recorder.record(
            decision, method=b"", headers={}, flags=0, address=b"", source=None, at_us=0, now_ns=0
        )
        self._has_rest = True
        self._answer(decision, has_body=True, closes=True, is_old=False)

    def _on_request(self) -> None:
        tracker = self._tracker
        reader = self._reader
        headers = reader.headers
        client = self._client
        navigation = False
        flags = 0
        at_us = self.at_us
        if headers:
            get = headers.get
            navigation = is_navigation(get(HeaderName.ACCEPT, b""), get(HeaderName.FETCH_DEST, b""))
            flags = flags_of(headers)
            if client.is_trusted and HeaderName.FORWARDED_FOR in headers:
                client = tracker.clients.behind(client, headers[HeaderName.FORWARDED_FOR])
            if tracker.is_replay and HeaderName.REPLAY_TIME in headers:
                replayed_us = replay_time_us(headers[HeaderName.REPLAY_TIME])
                if replayed_us is None:
                    self.refuse(400)
                    return
                at_us = replayed_us
        if navigation:
            flags |= _NAVIGATION
        if reader.is_repaired:
            flags |= _LINE_REPAIRED
        method = reader.method
        decision = tracker.decider.decide(method, reader.url, navigation=navigation)
        tracker.recorder.record(
            decision,
            method=method,
            headers=headers,
            flags=flags,
            address=client.address,
            source=client.source,
            at_us=at_us,
            now_ns=self._now_ns,
        )
        if reader.closes and reader.stage == Stage.BODY:
            self._has_rest = True
        self._answer(
            decision,
            has_body=method != b"HEAD",
            closes=reader.closes or tracker.is_draining,
            is_old=reader.is_old,
        )

    def _answer(self, decision: Decision, *, has_body: bool, closes: bool, is_old: bool) -> None:
        if self._state is not _State.OPEN:
            return
        out = self._out
        if not out:
            self._tracker.turns.join(self)
        out += (self._tracker.status_lines[decision.status], decision.headers)
        if closes:
            self._state = _State.CLOSING
            out.append(_CLOSE)
        elif is_old:
            out.append(_KEEP_ALIVE)
        out.append(b"\r\n")
        if has_body and decision.body:
            out.append(decision.body)

    def _finish(self) -> None:
        """Close behind the last answer; where the client is still sending, a plain close would destroy the answer."""
        transport = self._transport
        if not self._has_rest:
            transport.close()
            return
        self._state = _State.LINGERING
        self.deadline_s = self._tracker.loop.time() + self._tracker.limits.linger_s
        if transport.can_write_eof():
            transport.write_eof()

    def _read_on(self, *, wanted: bool) -> None:
        transport = self._transport
        if wanted is self._is_reading or transport.is_closing():
            return
        if wanted and (self.is_stuck or self._held >= _MOST_HELD):
            return
        self._is_reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _read_proxy_header(self, data: bytes) -> bytes:
        """Return what follows the PROXY header; nothing while it is not whole."""
        self._proxy_bytes = seen = (self._proxy_bytes or b"") + data
        try:
            header = parse_proxy_header(seen)
        except ValueError:
            self.abort()
            return b""
        if header is None:
            return b""
        self._proxy_bytes = None
        self._set_client(header.host)
        return seen[header.size :]

    def _set_client(self, host: str | None) -> None:
        if host is None:
            peer = self._transport.get_extra_info("peername")
            host = peer[0] if isinstance(peer, tuple) else None
        if host is not None:
            self._client = self._tracker.clients.of_host(host)
