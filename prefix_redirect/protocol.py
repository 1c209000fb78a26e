"""One connection of a client: requests in, answers out in order, and no way to hold us up."""

from __future__ import annotations

import asyncio
import enum
import os
from typing import Final, cast

from analytics_core.hits import HitFlag, HitKind
from analytics_core.replay import replay_time_us
from analytics_core.spool import pack_time
from prefix_redirect.clients import Client, forwarded_for
from prefix_redirect.decisions import Decision, refuse
from prefix_redirect.handover import Member
from prefix_redirect.host_policy import is_navigation
from prefix_redirect.proxy_protocol import parse_proxy_header
from prefix_redirect.recorder import Trace, flags_of, trace_of
from prefix_redirect.replies import Reply, part_forwarded
from prefix_redirect.requests import HeaderName, RequestReader, Stage
from prefix_redirect.tracker import Tracker

__all__ = ("TrackerProtocol",)

_MOST_HELD: Final = 16
"""Groups of answers waiting for a sync, above which a connection is not read on."""

_MOST_DISCARDED_BYTES: Final = 4 * 1024 * 1024
_FEW_PIECES: Final = 3
"""Pieces of one request, behind which its client is read in the slow lane."""
_BETWEEN: Final = Stage.BETWEEN
_END: Final = b"\r\n\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"
# As plain integers: an enum's operators cost a microsecond each.
_NAVIGATION: Final = int(HitFlag.NAVIGATION)
_LINE_REPAIRED: Final = int(HitFlag.LINE_REPAIRED)
_REQUEST: Final = int(HitKind.REQUEST)


class _State(enum.IntEnum):
    OPEN = 0
    GREETING = 3
    """The proxy in front has not said yet who the client is."""
    CLOSING = 1
    """The last answer is on its way; nothing more is read."""
    LINGERING = 2
    """Our side is shut; what the client still sends is thrown away, so that it gets to read our answer."""


# Globals of the module are found faster than members of a class.
_OPEN: Final = _State.OPEN
_CLOSING: Final = _State.CLOSING


def _reply(decision: Decision, trace: Trace | None, *, has_body: bool, closes: bool, is_old: bool) -> Reply:
    connection = _CLOSE if closes else _KEEP_ALIVE if is_old else b""
    body = decision.body if has_body else b""
    return Reply(decision.status, b"".join((decision.headers, connection, b"\r\n", body)), closes, trace)


class TrackerProtocol(asyncio.Protocol):
    """Speaks HTTP with one client.

    Args:
        tracker: What all connections share.
        host: The address at the other end; ``None`` when it has none.
        is_greeted: Whether the proxy in front has said who the client is, or does not have to.
        begun: What the client said first.
    """

    __slots__ = (
        "_begun",
        "_client",
        "_delivered",
        "_descriptor",
        "_discarded",
        "_has_rest",
        "_held",
        "_is_forwarded",
        "_is_reading",
        "_is_slow",
        "_last_reply",
        "_out",
        "_pieces",
        "_proxy_bytes",
        "_reader",
        "_state",
        "_tracker",
        "_transport",
        "deadline_s",
        "idle_since_s",
        "is_stuck",
    )

    _transport: asyncio.Transport

    def __init__(self, tracker: Tracker, *, host: str | None, is_greeted: bool, begun: bytes) -> None:
        self._tracker = tracker
        self._begun = begun
        self._reader: RequestReader | None = None
        self._delivered = 0
        self._is_forwarded = False
        self._last_reply: Reply | None = None
        self._client = tracker.clients.unknown if host is None else tracker.clients.of_host(host)
        self._proxy_bytes = b""
        self._out: list[bytes] = []
        self._held = 0
        self._state = _State.OPEN if is_greeted else _State.GREETING
        self._has_rest = False
        self._is_reading = True
        self._is_slow = False
        self._pieces = 0
        self._discarded = 0
        self.is_stuck = False
        """Whether the client leaves its answers unread."""
        self.idle_since_s = 0.0
        """When the last request was read, or the connection was made."""
        self.deadline_s = 0.0
        """When the sweep ends the connection, on the loop's clock."""

    @property
    def is_idle(self) -> bool:
        """Whether the client neither asks nor waits for anything."""
        return self._state in (_OPEN, _State.GREETING) and self._is_between and not self._out and not self._held

    @property
    def _is_between(self) -> bool:
        return self._reader is None or self._reader.stage == Stage.BETWEEN

    @property
    def is_in_body(self) -> bool:
        """Whether what comes next belongs to a request's body."""
        return self._reader is not None and self._reader.stage == Stage.BODY

    def as_member(self) -> Member | None:
        """The connection, for another process to go on with; ``None`` while it is in use."""
        transport = self._transport
        if not self.is_idle or self._proxy_bytes or transport.is_closing() or transport.get_write_buffer_size():
            return None
        return Member(self._descriptor, self._client.address, self._state is _OPEN)

    # What follows is called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a client in."""
        self._transport = cast("asyncio.Transport", transport)
        self._descriptor = transport.get_extra_info("socket").fileno()
        tracker = self._tracker
        self.idle_since_s = tracker.loop.time()
        self.deadline_s = self.idle_since_s + tracker.limits.header_s
        tracker.join(self)
        begun, self._begun = self._begun, b""
        self.data_received(begun)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let a client go."""
        if self._is_slow:
            self._tracker.slow_lane.leave(self._descriptor)
        self._tracker.leave(self)

    def data_received(self, data: bytes) -> None:
        """Read what a client sends."""
        tracker = self._tracker
        turns = tracker.turns
        reader = self._reader
        is_between = reader is None or reader.stage == _BETWEEN
        # A piece of a request is worth no turn of its own: whoever sends byte by byte pays for nothing else.
        if is_between and not turns.is_begun:
            turns.begin()
        if self._state is _OPEN:
            if is_between:
                client = self._client
                reply = tracker.replies.get(data)
                if reply is None and client.is_trusted:
                    parts = part_forwarded(data)
                    if parts is not None:
                        reply = tracker.replies.get(parts[0])
                        client = tracker.clients.behind(client, parts[1])
                if reply is not None:
                    self._answer(reply, client)
                    data = b""
                else:
                    data = self._answer_known(data)
                if not data:
                    self.idle_since_s = turns.now_s
                    self.deadline_s = turns.now_s + tracker.limits.idle_s
                    return
        elif self._state is _State.GREETING:
            data = self._read_proxy_header(data)
            if not data:
                return
        else:
            self._discarded += len(data)
            if self._discarded > _MOST_DISCARDED_BYTES:
                self.abort()
            return
        if reader is None:
            reader = self._reader = RequestReader(self._on_request, tracker.limits)
        self._delivered = 0
        status = reader.feed(data)
        if status:
            self.refuse(status)
        elif reader.stage == _BETWEEN:
            # The end of a body is answered already: then no turn has begun.
            self.idle_since_s = now_s = turns.now_s if turns.is_begun else tracker.loop.time()
            self.deadline_s = now_s + tracker.limits.idle_s
            if self._is_slow:
                self.leave_slow_lane()
            if is_between and self._delivered == 1 and self._last_reply is not None:
                self._remember(data, self._last_reply)
        elif is_between or self._out:
            self._pieces = 1
            self.deadline_s = (turns.now_s if turns.is_begun else tracker.loop.time()) + tracker.limits.header_s
        else:
            self._pieces += 1
            if self._pieces == _FEW_PIECES and not self._is_slow:
                self._take_slow_lane()

    def _answer_known(self, data: bytes) -> bytes:
        """Answer the known requests that begin what came at once; return what is left to be read.

        Where a core was taken from us for a moment, whoever asks without waiting for answers has asked several times
        meanwhile. Read one by one by the parser, those requests would have all others wait for as long again.
        """
        get = self._tracker.replies.get
        at = 0
        while at < len(data) and self._state is _OPEN:
            # Where no end is found this is next to nothing, which is never known.
            end = data.find(_END, at) + len(_END)
            reply = get(data[at:end])
            if reply is None:
                return data[at:]
            self._answer(reply, self._client)
            at = end
        return b""

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

    # What follows is called by the slow lane, the turn and the sweep.

    def leave_slow_lane(self) -> None:
        """Be read by the event loop again."""
        self._is_slow = False
        self._tracker.slow_lane.leave(self._descriptor)
        self._read_on(wanted=True)

    def send_turn(self) -> None:
        """Send the answers of this turn, in order: their hits are recorded."""
        out = self._out
        answers = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        if not self._transport.is_closing():
            self._write(answers)
        if self._state is _CLOSING and not self._held:
            self._finish()

    def _write(self, answers: bytes) -> None:
        """Send at once what the socket takes, and leave the rest to the transport, which is not closing."""
        transport = self._transport
        # Through the transport alone a request costs a tenth more (docs/performance.md).
        if transport.get_write_buffer_size():
            sent = 0
        else:
            try:
                sent = os.write(self._descriptor, answers)
            except OSError:
                # A full buffer and a client that has gone are the transport's to deal with.
                sent = 0
        if sent < len(answers):
            transport.write(answers[sent:] if sent else answers)

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
        if self._transport.is_closing():
            return
        self._write(answers)
        if self._out or self._held:
            return
        if self._state is _State.CLOSING:
            self._finish()
        else:
            self._read_on(wanted=True)

    def expire(self) -> None:
        """End a connection whose time is up."""
        if self.is_stuck or self._state in (_State.CLOSING, _State.LINGERING):
            self.abort()
        elif self._is_between:
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
        self._has_rest = True
        self._answer(_reply(refuse(status), None, has_body=True, closes=True, is_old=False), self._client)

    def _remember(self, request: bytes, reply: Reply) -> None:
        if self._is_forwarded:
            parts = part_forwarded(request)
            if parts is None:
                return
            request = parts[0]
        self._tracker.replies.keep(request, reply)

    def _on_request(self) -> None:
        reader = self._reader
        assert reader is not None  # noqa: S101 - it is who calls
        tracker = self._tracker
        headers = reader.headers
        client = self._client
        navigation = False
        self._is_forwarded = False
        flags = 0
        at = host = b""
        holds_for_all = True
        if headers:
            get = headers.get
            host = get(HeaderName.HOST, b"")
            navigation = is_navigation(get(HeaderName.ACCEPT, b""), get(HeaderName.FETCH_DEST, b""))
            flags = flags_of(headers)
            forwarded = forwarded_for(headers)
            self._is_forwarded = forwarded is not None
            if forwarded is not None and client.is_trusted:
                client = tracker.clients.behind(client, forwarded)
            if tracker.is_replay and HeaderName.REPLAY_TIME in headers:
                replayed_us = replay_time_us(headers[HeaderName.REPLAY_TIME])
                if replayed_us is None:
                    self.refuse(400)
                    return
                at = pack_time(replayed_us)
        if navigation:
            flags |= _NAVIGATION
        if reader.is_repaired:
            flags |= _LINE_REPAIRED
        method = reader.method
        decision = tracker.decider.decide(method, reader.url, navigation=navigation, host=host)
        if reader.closes and reader.stage == Stage.BODY:
            self._has_rest = True
            holds_for_all = False
        reply = _reply(
            decision,
            trace_of(decision, method=method, headers=headers, flags=flags),
            has_body=method != b"HEAD",
            closes=reader.closes or tracker.is_draining,
            is_old=reader.is_old,
        )
        self._delivered += 1
        self._last_reply = reply if holds_for_all and decision.kind == _REQUEST else None
        self._answer(reply, client, at)

    def _answer(self, reply: Reply, client: Client, at: bytes = b"") -> None:
        if self._state is not _OPEN:
            return
        tracker = self._tracker
        if not self._out:
            tracker.turns.join(self)
        self._out.append(tracker.answer(reply, client, at))
        if reply.closes:
            self._state = _CLOSING

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
        if wanted and (self.is_stuck or self._is_slow or self._held >= _MOST_HELD):
            return
        self._is_reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _take_slow_lane(self) -> None:
        if self._transport.is_closing():
            return
        self._is_slow = True
        self._read_on(wanted=False)
        self._tracker.slow_lane.take(self._descriptor, self)

    def _read_proxy_header(self, data: bytes) -> bytes:
        """Return what follows the PROXY header; nothing while it is not whole."""
        self._proxy_bytes = seen = self._proxy_bytes + data
        try:
            header = parse_proxy_header(seen)
        except ValueError:
            self.abort()
            return b""
        if header is None:
            return b""
        self._proxy_bytes = b""
        self._state = _OPEN
        # Without an address it is the proxy itself that asks: its own health check.
        if header.host is not None:
            self._client = self._tracker.clients.of_host(header.host)
        return seen[header.size :]
