"""Access logs of media hosts: what one line says of a request, in the formats that can be imported.

A line becomes a hit as a tracker would have recorded it, or the reason why it is none. Nothing is raised, whatever a
line holds.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Callable
from typing import Annotated, Final, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

from analytics_core.addresses import pack_address
from analytics_core.errors import InvalidInput
from analytics_core.hits import MAX_AGENT_BYTES, MAX_TEXT_BYTES, Hit, HitFlag, HitKind, Method

__all__ = ("MAX_LINE_BYTES", "LineParser", "LogFormat", "Skip", "line_parser")

MAX_LINE_BYTES: Final = 64 * 1024
"""A longer line is no line of an access log."""


class LogFormat(enum.Enum):
    """Formats that can be read."""

    NGINX = "nginx"
    """The combined format of nginx and Apache."""
    CLOUDFRONT = "cloudfront"
    """Standard logs of Amazon CloudFront, with their line of ``#Fields``."""
    CADDY = "caddy"
    """Caddy's access log in JSON, as it comes."""
    CASTLEDGER = "castledger"
    """What ``castledger spool cat --addresses`` prints."""

    @property
    def names_hosts(self) -> bool:
        """Whether each line names the host that it is of, so that nobody needs to say."""
        return self is not LogFormat.NGINX


class Skip(enum.Enum):
    """Why a line is no hit. Values are what is counted under."""

    MALFORMED = "malformed"
    """It is not of the format."""
    TOO_LONG = "too_long"
    """It, or one of its texts, is longer than any that a tracker takes."""
    ADDRESS = "address"
    """It has no whole address: nobody can be told from anybody else."""
    HOST = "host"
    """Neither it nor the importer says which host it is of."""
    METHOD = "method"
    """Neither GET nor HEAD."""
    STATUS = "status"
    """The host did not give the file: errors, and answers to who has it already (304)."""
    CLICK = "click"
    """Somebody followed a short link: no request for an enclosure."""

    @property
    def is_damage(self) -> bool:
        """Whether the line is not what it should be, rather than no request for a file."""
        return self in (Skip.MALFORMED, Skip.TOO_LONG, Skip.ADDRESS, Skip.HOST)


LineParser: TypeAlias = Callable[[bytes], "Hit | Skip | None"]
"""Reads a line without its end: ``None`` where it says nothing of a request, such as a comment.

Lines have to come in the file's order, from its first on as far as comments go: those say what the columns are.
"""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_METHODS: Final = {b"GET": Method.GET, b"HEAD": Method.HEAD}
_GIVEN: Final = frozenset((200, 206, 301, 302, 303, 307, 308))
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
# What no header and no request line holds: a tracker refuses it.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# Possessive, so that no line takes longer than its length.
_QUOTED: Final = rb'"((?:[^"\\]++|\\.)*+)"'
_COMBINED: Final = re.compile(
    rb"(\S+) [^\[]*+\[(\d{2})/(\w{3})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})\] "
    + _QUOTED
    + rb" (\d{3}) (\d{1,18}|-) "
    + _QUOTED
    + rb" "
    + _QUOTED
    + rb"(?: .*)?",
    re.DOTALL,
)
_ESCAPED: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_SIMPLE: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"b": b"\b", b"f": b"\f"}


def _unescape(text: bytes) -> bytes:
    """Undo what nginx (``\\xHH``) and Apache (``\\"`` and the like too) write for bytes that would disturb a line."""
    if b"\\" not in text:
        return text
    return _ESCAPED.sub(
        lambda match: bytes((int(match[1], 16),)) if match[1] is not None else _SIMPLE.get(match[2], match[2]), text
    )


def _text(value: bytes) -> bytes:
    return b"" if value == b"-" else value


def _address(value: bytes) -> bytes | None:
    try:
        return pack_address(value.decode("ascii"))
    except (InvalidInput, UnicodeDecodeError):
        return None


def _make_hit(
    at: dt.datetime,
    *,
    address: bytes | None,
    method: bytes,
    status: int,
    target: bytes,
    arguments: bytes = b"",
    agent: bytes,
    referrer: bytes,
    byte_range: bytes,
    flags: int = 0,
) -> Hit | Skip:
    """Make a hit of what a line says, or say why it is none."""
    known = _METHODS.get(method)
    if known is None:
        return Skip.METHOD
    if status not in _GIVEN:
        return Skip.STATUS
    if address is None:
        return Skip.ADDRESS
    texts = (target, arguments, agent, referrer, byte_range)
    if any(map(_CONTROL.search, texts)):
        return Skip.MALFORMED
    if max(map(len, texts)) > MAX_TEXT_BYTES:
        return Skip.TOO_LONG
    return Hit(
        at_us=(at - _EPOCH) // dt.timedelta(microseconds=1),
        address=address,
        target=target,
        arguments=arguments,
        agent=agent[:MAX_AGENT_BYTES],
        referrer=referrer,
        byte_range=byte_range,
        method=known,
        flags=flags,
        status=status,
    )


def _sent_range(status: int, sent: bytes) -> bytes:
    """Say which bytes a partial answer was of, where a log has only how many were sent.

    Where they began is not known. As many from the beginning weigh the same under every rule but that of lone probes.

    >>> _sent_range(206, b"2"), _sent_range(206, b"-"), _sent_range(200, b"28800000")
    (b'bytes=0-1', b'bytes=0-0', b'')
    """
    if status != 206:
        return b""
    return b"bytes=0-%d" % (max(int(sent[:18]), 1) - 1 if sent.isdigit() else 0)


class _Combined:
    """Reads lines of nginx's and Apache's combined format; whatever stands behind the agent is left out.

    Args:
        host: Of all lines.
    """

    def __init__(self, host: str) -> None:
        self._host = host.encode()

    def __call__(self, line: bytes) -> Hit | Skip | None:
        if not line:
            return None
        match = _COMBINED.fullmatch(line)
        if match is None:
            return Skip.MALFORMED
        address, day, month, year, hour, minute, second, sign, hours, minutes = match.groups()[:10]
        request, status, sent, referrer, agent = match.groups()[10:]
        method, _, rest = _unescape(request).partition(b" ")
        target, space, protocol = rest.rpartition(b" ")
        if not space or not protocol.startswith(b"HTTP/"):
            # Nothing that could be read as a request: such lines have the status 400 as well.
            return Skip.STATUS if int(status) not in _GIVEN else Skip.MALFORMED
        try:
            behind = dt.timedelta(hours=int(hours), minutes=int(minutes))
            at = dt.datetime(
                int(year),
                _MONTHS[month],
                int(day),
                int(hour),
                int(minute),
                int(second),
                tzinfo=dt.timezone(-behind if sign == b"-" else behind),
            )
        except (ValueError, KeyError):
            return Skip.MALFORMED
        if target.startswith(b"/"):
            target = self._host + target
        elif not target.lower().startswith((b"http://", b"https://")):
            return Skip.MALFORMED
        return _make_hit(
            at,
            address=_address(address),
            method=method,
            status=int(status),
            target=target,
            agent=_text(_unescape(agent)),
            referrer=_text(_unescape(referrer)),
            byte_range=_sent_range(int(status), sent),
        )


class _CloudFront:
    """Reads lines of CloudFront's standard logs, in the order of columns that the file names.

    Args:
        host: Of all lines; without it each line's ``x-host-header``.
    """

    _NEEDED: Final = ("date", "time", "c-ip", "cs-method", "cs-uri-stem", "sc-status", "cs(User-Agent)")

    def __init__(self, host: str | None) -> None:
        self._host = None if host is None else host.encode()
        self._places: dict[str, int] | None = None

    def __call__(self, line: bytes) -> Hit | Skip | None:
        if not line:
            return None
        if line.startswith(b"#"):
            if line.startswith(b"#Fields:"):
                names = line.partition(b":")[2].decode("latin-1").split()
                self._places = {name: place for place, name in enumerate(names)}
            return None
        cells = line.split(b"\t")
        places = self._places
        if places is None or len(cells) != len(places) or not all(name in places for name in self._NEEDED):
            return Skip.MALFORMED

        def cell(name: str) -> bytes:
            place = places.get(name)
            return b"" if place is None else _text(cells[place])

        status = cell("sc-status")
        try:
            at = dt.datetime.fromisoformat(f"{cell('date').decode()}T{cell('time').decode()}+00:00")
        except ValueError:
            return Skip.MALFORMED
        path, query = cell("cs-uri-stem"), cell("cs-uri-query")
        if not path.startswith(b"/") or len(status) != 3 or not status.isdigit():
            return Skip.MALFORMED
        host = self._host or cell("x-host-header")
        if not host:
            return Skip.HOST
        return _make_hit(
            at,
            address=_address(cell("c-ip")),
            method=cell("cs-method"),
            status=int(status),
            target=host + path + (b"?" + query if query else b""),
            agent=unquote_to_bytes(cell("cs(User-Agent)")),
            referrer=unquote_to_bytes(cell("cs(Referer)")),
            byte_range=self._range(int(status), *map(cell, ("sc-range-start", "sc-range-end", "sc-content-len"))),
        )

    @staticmethod
    def _range(status: int, first: bytes, last: bytes, sent: bytes) -> bytes:
        if status == 206 and first.isdigit() and last.isdigit():
            return b"bytes=%s-%s" % (first, last)
        return _sent_range(status, sent)


class _CaddyRequest(msgspec.Struct, frozen=True):
    method: str
    uri: str
    host: str = ""
    remote_ip: str = ""
    client_ip: str = ""
    headers: dict[str, list[str]] = {}


class _CaddyLine(msgspec.Struct, frozen=True):
    """What Caddy says of a request, with the time in seconds or as ``time_format`` has it; other lines have none."""

    ts: float | str
    status: int = 0
    size: int = 0
    request: _CaddyRequest | None = None


_caddy_lines: Final = msgspec.json.Decoder(_CaddyLine)


class _Caddy:
    """Reads lines of Caddy's access log, which have the headers of requests, the range among them.

    Args:
        host: Of all lines; without it each line's own.
    """

    def __init__(self, host: str | None) -> None:
        self._host = None if host is None else host.encode()

    def __call__(self, line: bytes) -> Hit | Skip | None:
        if not line:
            return None
        try:
            said = _caddy_lines.decode(line)
            of = said.request
            if of is None:
                return None
            if isinstance(said.ts, str):
                at = dt.datetime.fromisoformat(said.ts)
            else:
                at = _EPOCH + dt.timedelta(seconds=said.ts)
            headers = {name.lower(): values[0].encode() for name, values in of.headers.items() if values}
            host, uri, method = self._host or of.host.encode(), of.uri.encode(), of.method.encode()
            address = _address((of.client_ip or of.remote_ip).encode())
        except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError, OverflowError):
            return Skip.MALFORMED
        if at.tzinfo is None or not uri.startswith(b"/"):
            return Skip.MALFORMED
        if not host:
            return Skip.HOST
        byte_range = headers.get("range", b"")
        return _make_hit(
            at,
            address=address,
            method=method,
            status=said.status,
            target=host + uri,
            agent=headers.get("user-agent", b""),
            referrer=headers.get("referer", b""),
            byte_range=byte_range or _sent_range(said.status, b"%d" % max(said.size, 0)),
        )


class _CastledgerLine(msgspec.Struct, frozen=True):
    """A hit as ``castledger spool cat`` prints it."""

    at: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    address: str
    method: str
    target: str
    kind: str = "request"
    status: int = 302
    arguments: str = ""
    agent: str = ""
    referrer: str = ""
    range: str = ""
    flags: list[str] = []


_castledger_lines: Final = msgspec.json.Decoder(_CastledgerLine)
# What a tracker says of a request; all else was found out later, and is found out anew.
_TOLD_FLAGS: Final = {
    flag.name.lower(): flag
    for flag in (
        HitFlag.PREFETCH,
        HitFlag.PLAYBACK_SESSION,
        HitFlag.CONDITIONAL,
        HitFlag.NAVIGATION,
        HitFlag.LINE_REPAIRED,
    )
    if flag.name
}


def _parse_castledger(line: bytes) -> Hit | Skip | None:
    if not line:
        return None
    try:
        said = _castledger_lines.decode(line)
        texts = [text.encode() for text in (said.target, said.arguments, said.agent, said.referrer, said.range)]
        address = _address(said.address.encode())
        method = said.method.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Skip.MALFORMED
    if said.kind != HitKind.REQUEST.name.lower():
        return Skip.CLICK if said.kind == HitKind.CLICK.name.lower() else Skip.MALFORMED
    target, arguments, agent, referrer, byte_range = texts
    return _make_hit(
        said.at,
        address=address,
        method=method,
        status=said.status,
        target=target,
        arguments=arguments,
        agent=agent,
        referrer=referrer,
        byte_range=byte_range,
        flags=int(sum(_TOLD_FLAGS.get(name, 0) for name in set(said.flags))),
    )


def line_parser(form: LogFormat, *, host: str | None) -> LineParser:
    """Make a reader of the lines of one file.

    Args:
        form: The file's format.
        host: Which host the paths of a log are of. nginx needs it; CloudFront and Caddy name their own
            otherwise.

    Raises:
        InvalidInput: The format needs a host, or has no room for one.

    >>> read = line_parser(LogFormat.NGINX, host="cdn.example.com")
    >>> line = b'192.0.2.1 - - [02/Nov/2026:12:00:00 +0100] "GET /a.mp3 HTTP/1.1" 206 2 "-" "Overcast/3.0"'
    >>> hit = read(line)
    >>> hit.target, hit.byte_range, hit.at_us
    (b'cdn.example.com/a.mp3', b'bytes=0-1', 1793617200000000)
    >>> read(b"nonsense"), read(line.replace(b" 206 ", b" 404 "))
    (<Skip.MALFORMED: 'malformed'>, <Skip.STATUS: 'status'>)
    """
    if form is LogFormat.NGINX:
        if host is None:
            raise InvalidInput("--host", "is needed: lines of nginx name no host, such as cdn.example.com")
        return _Combined(host)
    if form is LogFormat.CLOUDFRONT:
        return _CloudFront(host)
    if form is LogFormat.CADDY:
        return _Caddy(host)
    if host is not None:
        raise InvalidInput("--host", "is not for this format: its lines name their hosts")
    return _parse_castledger
