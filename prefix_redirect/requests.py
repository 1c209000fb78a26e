"""Reads requests from bytes: httptools, the limits, and repairs for players that do not encode what they ask for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import httptools
import msgspec

from analytics_core.replay import REPLAY_TIME_HEADER

__all__ = ("HeaderName", "Limits", "RequestReader", "Stage", "repair_line")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may cost us.

    Attributes:
        line_bytes: Longest request line, else 414.
        header_bytes: Largest headers, else 431.
        headers: Most headers, else 431.
        body_bytes: Largest body that is read and ignored; behind a larger one the connection closes.
        header_s: Seconds in which a request's headers have to be there, else 408.
        idle_s: Seconds between two requests.
        write_s: Seconds that a client may leave its answers unread.
        linger_s: Seconds in which a refused client may go on sending, so that it reads our refusal.
        drain_s: Seconds for open connections to end at shutdown.
    """

    line_bytes: int = 8192
    header_bytes: int = 16 * 1024
    headers: int = 100
    body_bytes: int = 1024 * 1024
    header_s: float = 10.0
    idle_s: float = 75.0
    write_s: float = 30.0
    linger_s: float = 2.0
    drain_s: float = 9.0


class HeaderName:
    """Names of the headers that are kept, in lower case."""

    ACCEPT: Final = b"accept"
    AGENT: Final = b"user-agent"
    CONNECTION: Final = b"connection"
    CONTENT_LENGTH: Final = b"content-length"
    EXPECT: Final = b"expect"
    FETCH_DEST: Final = b"sec-fetch-dest"
    FORWARDED: Final = b"forwarded"
    FORWARDED_FOR: Final = b"x-forwarded-for"
    HOST: Final = b"host"
    MODIFIED_SINCE: Final = b"if-modified-since"
    MOZ: Final = b"x-moz"
    NONE_MATCH: Final = b"if-none-match"
    PLAYBACK_SESSION: Final = b"x-playback-session-id"
    PURPOSE: Final = b"purpose"
    RANGE: Final = b"range"
    REFERRER: Final = b"referer"
    REPLAY_TIME: Final = REPLAY_TIME_HEADER
    SEC_PURPOSE: Final = b"sec-purpose"
    TRANSFER_ENCODING: Final = b"transfer-encoding"
    X_PURPOSE: Final = b"x-purpose"


_KEPT: Final = {name: name for key, name in vars(HeaderName).items() if key.isupper()}
_JOINED: Final = frozenset((HeaderName.FORWARDED, HeaderName.FORWARDED_FOR))
_LINE_REST: Final = len(b"GET  HTTP/1.1")
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
_RAW: Final = re.compile(rb"[\x80-\xff ]")
_REPAIRS_A_FEED: Final = 64


def repair_line(line: bytes) -> bytes | None:
    """Percent-encode what a player left raw in its request line: spaces, and bytes above 127.

    Args:
        line: Without its line end.

    Returns:
        The repaired line, or ``None`` when it cannot be one.

    >>> repair_line("GET /e/cdn.example.com/Folge 1 – Größe.mp3 HTTP/1.1".encode())
    b'GET /e/cdn.example.com/Folge%201%20%E2%80%93%20Gr%C3%B6%C3%9Fe.mp3 HTTP/1.1'
    """
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    target = target.strip(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not target or _CONTROL.search(target):
        return None
    return b" ".join((method, _RAW.sub(lambda byte: b"%%%02X" % byte[0][0], target), version))


class Stage:
    """Where in a request a reader stands: plain integers, since they are compared for every request."""

    BETWEEN: Final = 0
    LINE: Final = 1
    """In a request line that has to be repaired and is not whole yet."""
    HEAD: Final = 2
    BODY: Final = 3


# Globals of the module are found faster than attributes of a class, and these are on every request's way.
_BETWEEN: Final = Stage.BETWEEN
_HEAD: Final = Stage.HEAD
_BODY: Final = Stage.BODY
# Under every host a prefix means the same, and is nearly all that is asked for.
_PREFIXES: Final = (b"/e/", b"/e,")
_KEPT_OF_PREFIXES: Final = {name: name for name in _KEPT if name != HeaderName.HOST}


class _Stop(Exception):
    """Ends the parser's work from within one of its callbacks."""


class RequestReader:
    """Turns the bytes of one connection into calls of *on_request*, one a request, in order.

    While *on_request* runs, ``method``, ``url``, ``headers``, ``is_repaired``, ``closes`` and ``is_old`` describe the
    request. Once a request that closes was delivered, everything behind it is ignored.

    Args:
        on_request: Called for each whole request.
        limits: What is refused.
    """

    __slots__ = (
        "_body_bytes",
        "_completed",
        "_had_body",
        "_header_bytes",
        "_header_count",
        "_is_line_repaired",
        "_kept",
        "_later_bytes",
        "_limits",
        "_max_url",
        "_most_header_bytes",
        "_most_headers",
        "_on_request",
        "_parser",
        "_refusal",
        "_tail",
        "closes",
        "headers",
        "is_done",
        "is_old",
        "is_repaired",
        "method",
        "stage",
        "url",
    )

    def __init__(self, on_request: Callable[[], None], limits: Limits) -> None:
        self._on_request = on_request
        self._limits = limits
        self._most_header_bytes = limits.header_bytes
        self._most_headers = limits.headers
        self._max_url = limits.line_bytes - _LINE_REST
        self._kept = _KEPT
        self._parser = httptools.HttpRequestParser(self)
        self._refusal = 0
        self._completed = 0
        self._had_body = False
        self._tail: bytes | None = b""
        self._body_bytes = 0
        self._header_bytes = 0
        self._header_count = 0
        self._later_bytes: int | None = None
        self.method = b""
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.stage = Stage.BETWEEN
        self.is_done = False
        self.is_repaired = False
        self._is_line_repaired = False
        self.closes = False
        self.is_old = False

    def feed(self, data: bytes) -> int:
        """Read on.

        Args:
            data: The next bytes of the connection; not empty.

        Returns:
            0 to go on, or the status to refuse the request in progress with, after which no more is to be fed.
        """
        # Only the request line is missing in that stage: nothing of the request has been parsed.
        pending = self._parse(data) if self.stage != Stage.LINE else self._repair((self._tail or b"") + data)
        repairs = 0
        while isinstance(pending, bytes):
            if not pending or self.is_done:
                return 0
            repairs += 1
            pending = self._parse(pending) if repairs <= _REPAIRS_A_FEED else 400
        return pending

    def _parse(self, data: bytes) -> bytes | int:
        """Feed the parser; return a status (0: all was read), or the bytes to feed next."""
        self._completed = 0
        self._had_body = self.stage == _BODY
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The request was delivered as if it had not asked; what follows is the next one.
            self._tail = b""
            return b"" if self.is_done else data[upgrade.args[0] :]
        except httptools.HttpParserError:
            if self.is_done:
                return 0
            if self._refusal:
                return self._refusal
            head = self._head(data)
            return 400 if head is None else self._repair(head)
        if self.stage == _HEAD:
            self._tail = self._head(data)
            # Where a body hides where the request began, only what came after that piece is certainly of its head.
            self._later_bytes = 0 if self._later_bytes is None else self._later_bytes + len(data)
            raw = self._later_bytes if self._tail is None else len(self._tail)
            if raw > self._limits.line_bytes + self._limits.header_bytes:
                return 431
        elif self._tail != b"":
            self._tail = b""
        return 0

    def _head(self, data: bytes) -> bytes | None:
        """Return what was read so far of the request in progress; ``None`` when a body hides where it began."""
        if self._had_body or self._tail is None:
            return None
        buffer = self._tail + data if self._tail else data
        start = 0
        for _ in range(self._completed):
            start = buffer.index(b"\r\n\r\n", start) + 4
        return buffer[start:] if start else buffer

    def _repair(self, head: bytes) -> bytes | int:
        """Begin the request anew with its line repaired; wait for the rest of the line when it is not there."""
        head = head.lstrip(b"\r\n")
        end = head.find(b"\r\n")
        if (end if end >= 0 else len(head)) > self._limits.line_bytes:
            return 414
        self._tail = head if end < 0 else b""
        if end < 0:
            self.stage = Stage.LINE
            return 400 if _CONTROL.search(head.removesuffix(b"\r")) else 0
        line = repair_line(head[:end])
        if line is None or line == head[:end]:
            return 400
        if len(line) > self._limits.line_bytes:
            return 414
        self._parser = httptools.HttpRequestParser(self)
        self.stage = Stage.BETWEEN
        self._is_line_repaired = True
        return line + head[end:]

    # What follows is called by httptools.

    def on_message_begin(self) -> None:
        """Forget the request before."""
        self.stage = _HEAD
        self.url = b""
        self.headers = {}
        self._header_bytes = 0
        self._header_count = 0
        self._later_bytes = None
        self.is_repaired = self._is_line_repaired
        self._is_line_repaired = False

    def on_url(self, piece: bytes) -> None:
        """Take a piece of the request target: usually all of it."""
        self.url = url = self.url + piece if self.url else piece
        self._kept = _KEPT_OF_PREFIXES if url.startswith(_PREFIXES) else _KEPT
        if len(url) > self._max_url:
            self._refusal = 414
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header, and keep it if anyone will ask for it."""
        self._header_count = count = self._header_count + 1
        self._header_bytes = size = self._header_bytes + len(name) + len(value) + 4
        if count > self._most_headers or size > self._most_header_bytes:
            self._refusal = 431
            raise _Stop
        kept = self._kept.get(name.lower())
        if kept is None or self.stage != _HEAD:  # a chunked body's trailer says nothing that we believe
            return
        headers = self.headers
        if kept not in headers:
            headers[kept] = value
        elif kept in _JOINED:
            headers[kept] += b", " + value

    def on_headers_complete(self) -> None:
        """Look whether a body follows, and whether it is worth waiting for."""
        self.stage = _BODY
        headers = self.headers
        if HeaderName.CONTENT_LENGTH not in headers and HeaderName.TRANSFER_ENCODING not in headers:
            return
        self._had_body = True
        self._body_bytes = 0
        announced = headers.get(HeaderName.CONTENT_LENGTH, b"0")
        too_large = len(announced) > 9 or int(announced) > self._limits.body_bytes
        if too_large or HeaderName.EXPECT in headers or self._parser.should_upgrade():
            self._deliver(closes=True)
            raise _Stop

    def on_body(self, piece: bytes) -> None:
        """Ignore a body, up to a point."""
        self._body_bytes += len(piece)
        if self._body_bytes > self._limits.body_bytes:
            self._deliver(closes=True)
            raise _Stop

    def on_message_complete(self) -> None:
        """Hand the request on."""
        self.stage = _BETWEEN
        self._completed += 1
        self._deliver(closes=not self._parser.should_keep_alive())

    def _deliver(self, *, closes: bool) -> None:
        if self.is_done:
            return
        self.is_old = False
        if closes or HeaderName.CONNECTION in self.headers:
            version = self._parser.get_http_version()
            if version not in ("1.1", "1.0"):
                self._refusal = 400
                raise _Stop
            self.is_old = version == "1.0"
        self.method = self._parser.get_method()
        self.closes = self.is_done = closes
        self._on_request()
