"""The grammar of what stands behind ``/e``: bytes in, the place to redirect to out, or the fault.

Repairs act on scheme and arguments, never on path and query, which reach the target byte for byte; only a URL that was
percent-encoded as a whole, slashes included, is decoded, since it names no host otherwise. The host that is
judged is the host that a browser will go to: whatever browsers read differently from us (backslashes, octal
addresses, percent-encoded hosts) is refused, so that no clever spelling passes the host policy.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from analytics_core.addresses import is_public, pack_address
from analytics_core.errors import InvalidInput
from analytics_core.hosts import HostKind, classify_host

__all__ = ("Target", "TargetFault", "parse_target", "split_prefix")


class TargetFault(enum.Enum):
    """Why a target is answered with 400; the value is the sentence that the caller reads."""

    EMPTY = "The prefix is followed by no host."
    BACKSLASH = "A target holds no backslash: browsers would read it as a slash."
    CONTROL = "A target holds no control byte, no space and no byte above 127 that is not percent-encoded."
    DOUBLED_SCHEME = "The target's scheme is written twice."
    USER_INFO = "A target names no user."
    PORT = "A port is a number from 1 to 65535, without zeros in front."
    LABEL = "The host is no host name and no address."


class Target(NamedTuple):
    """Where a request wants to go.

    Attributes:
        location: The URL for the ``Location`` header; path and query as they came.
        stored: What is recorded: what was written, or, where that needed a repair, the repaired form.
        host: Lower-case, without trailing dot, brackets and port: what is judged.
        host_kind: Whether the host has to be registered.
        path: From the first slash behind the host up to query or fragment, as it came; may be empty.
        arguments: What a slip such as ``/e/pg=<guid>/…`` carried; else empty.
    """

    location: bytes
    stored: bytes
    host: str
    host_kind: HostKind
    path: bytes
    arguments: bytes


# Colon and slashes as they are, percent-encoded, or with one slash lost on the way through a careless proxy.
_SCHEME: Final = re.compile(rb"(https?)(?::|%3a)((?:/|%2f){1,2})", re.IGNORECASE)
# Behind a percent-encoded scheme, a host that ends at a percent-encoded slash: somebody encoded the whole URL.
_WHOLE: Final = re.compile(rb"[^/?#]+?%2f", re.IGNORECASE)
_BEYOND_ASCII: Final = re.compile(rb"[\x20\x80-\xff]")
_AUTHORITY_END: Final = re.compile(rb"[/?#]")
_QUERY: Final = re.compile(rb"[?#]")
_UNSAFE: Final = re.compile(rb"[^\x21-\x7e]")
_SLIP: Final = re.compile(rb"pg(?:=|%3d)([^/?#]*)/", re.IGNORECASE)
_PORT: Final = re.compile(rb"[1-9][0-9]{0,4}")


def split_prefix(path: bytes) -> tuple[bytes, bytes] | None:
    """Split a request's path into the prefix's arguments and the target behind it.

    A percent-encoded comma or equals sign in the arguments is repaired, since some clients encode both.

    Args:
        path: The request target from its first slash on, query included.

    Returns:
        Arguments without the leading comma, and target; ``None`` when the path is no ``/e…/``.

    >>> split_prefix(b"/e,pg=1/cdn.example.com/a.mp3?x=/")
    (b'pg=1', b'cdn.example.com/a.mp3?x=/')
    >>> split_prefix(b"/e/cdn.example.com/a.mp3")
    (b'', b'cdn.example.com/a.mp3')
    >>> split_prefix(b"/episodes/1") is None
    True
    """
    if path.startswith(b"/e/"):
        return b"", path[3:]
    if path.startswith(b"/e,"):
        arguments, slash, target = path[3:].partition(b"/")
    elif path[:5].lower() == b"/e%2c":
        arguments, slash, target = path[5:].partition(b"/")
    else:
        return None
    if not slash or _QUERY.search(arguments):
        return None
    if b"%" in arguments:
        arguments = arguments.replace(b"%2C", b",").replace(b"%2c", b",").replace(b"%3D", b"=").replace(b"%3d", b"=")
    return arguments, target


def parse_target(raw: bytes) -> Target | TargetFault:
    """Read what stands behind ``/e…/``.

    Without a scheme https is assumed. One slash too many in front is ignored.

    Args:
        raw: Bytes of the request target; any content.

    Returns:
        The target, or why there is none.

    Source:
        ``docs/architecture.md``, the tracker's contract.

    >>> parse_target(b"CDN.example.com/a//b.mp3?x=%2F").location
    b'https://CDN.example.com/a//b.mp3?x=%2F'
    >>> parse_target(b"HTTP%3A%2F%2Fcdn.example.com/a.mp3").stored
    b'http://cdn.example.com/a.mp3'
    >>> parse_target(b"https%3A%2F%2Fcdn.example.com%2Fa%2520b.mp3?x=%2F").location
    b'https://cdn.example.com/a%20b.mp3?x=%2F'
    >>> parse_target(b"user@cdn.example.com/a.mp3")
    <TargetFault.USER_INFO: 'A target names no user.'>
    """
    if _UNSAFE.search(raw):
        return TargetFault.CONTROL
    if b"\\" in raw:
        return TargetFault.BACKSLASH
    arguments, written = b"", raw.removeprefix(b"/")
    slip = _SLIP.match(written)
    if slip is not None:
        arguments, written = b"pg=" + slip[1], written[slip.end() :].removeprefix(b"/")
    scheme, behind = b"https", written
    found = _SCHEME.match(written)
    if found is not None:
        scheme, behind = found[1].lower(), written[found.end() :]
        if b"%" in found[0] and _WHOLE.match(behind):
            behind = _decode_whole(behind)
            if _UNSAFE.search(behind):
                return TargetFault.CONTROL
            if b"\\" in behind:
                return TargetFault.BACKSLASH
        if _SCHEME.match(behind):
            return TargetFault.DOUBLED_SCHEME
    cut = _AUTHORITY_END.search(behind)
    authority, rest = (behind, b"") if cut is None else (behind[: cut.start()], behind[cut.start() :])
    host = _read_authority(authority)
    if isinstance(host, TargetFault):
        return host
    location = b"".join((scheme, b"://", behind))
    plain = found is None or written.startswith(scheme + b"://")
    query = _QUERY.search(rest)
    path = rest if query is None else rest[: query.start()]
    return Target(location, written if plain else location, host[0], host[1], path, arguments)


def _decode_whole(behind: bytes) -> bytes:
    """Take one layer of percent-encoding off, up to a query that was added behind it."""
    query = _QUERY.search(behind)
    path, rest = (behind, b"") if query is None else (behind[: query.start()], behind[query.start() :])
    decoded = unquote_to_bytes(path)
    return _BEYOND_ASCII.sub(lambda found: b"%%%02X" % found[0][0], decoded) + rest


def _read_authority(authority: bytes) -> tuple[str, HostKind] | TargetFault:
    """Read ``host[:port]`` and judge both."""
    if not authority:
        return TargetFault.EMPTY
    if b"@" in authority:
        return TargetFault.USER_INFO
    if authority.startswith(b"["):
        literal, bracket, behind = authority[1:].partition(b"]")
        if not bracket or (behind and not behind.startswith(b":")):
            return TargetFault.LABEL
        host, colon, port = literal, behind[:1], behind[1:]
    else:
        host, colon, port = authority.partition(b":")
    if not host:
        return TargetFault.EMPTY
    if len(host) > 254:
        return TargetFault.LABEL
    if colon and (_PORT.fullmatch(port) is None or int(port) > 65535):
        return TargetFault.PORT
    name = host.decode("ascii").lower()
    if authority.startswith(b"["):
        return _read_ipv6(name)
    name = name.removesuffix(".")
    kind = classify_host(name)
    return TargetFault.LABEL if kind is None else (name, kind)


def _read_ipv6(text: str) -> tuple[str, HostKind] | TargetFault:
    try:
        address = pack_address(text)
    except InvalidInput:
        return TargetFault.LABEL
    if ":" not in text or "%" in text:
        return TargetFault.LABEL
    return str(ipaddress.IPv6Address(address)), HostKind.PUBLIC if is_public(address) else HostKind.RESERVED
