"""The PROXY protocol, version 2: a load balancer says in front of each connection who its client is."""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

__all__ = ("ProxyHeader", "parse_proxy_header")

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED: Final = struct.Struct("!12sBBH")
_MAX_BYTES: Final = 4096


class ProxyHeader(NamedTuple):
    """What stood in front of a connection.

    Attributes:
        host: The client's address as text; ``None`` when the balancer itself connects, as for its health checks.
        size: Bytes of the header; what follows is the client's.
    """

    host: str | None
    size: int


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header a connection begins with.

    Args:
        data: All bytes of the connection so far.

    Returns:
        The header, or ``None`` when more bytes are needed.

    Raises:
        ValueError: The connection begins with something else.

    Source:
        https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, section 2.2.

    >>> head = b"\\r\\n\\r\\n\\x00\\r\\nQUIT\\n" + bytes((0x21, 0x11, 0, 12))
    >>> parse_proxy_header(head + bytes((9, 9, 9, 9, 1, 1, 1, 1, 0, 1, 0, 2)) + b"GET /")
    ProxyHeader(host='9.9.9.9', size=28)
    """
    if not _SIGNATURE.startswith(data[:12]):
        raise ValueError("the connection does not begin with a PROXY protocol v2 header")
    if len(data) < _FIXED.size:
        return None
    _, command, family, length = _FIXED.unpack_from(data)
    size = _FIXED.size + length
    if command not in (0x20, 0x21) or size > _MAX_BYTES:
        raise ValueError("the PROXY protocol header is malformed")
    if len(data) < size:
        return None
    body = data[_FIXED.size : size]
    if command == 0x20:
        return ProxyHeader(None, size)
    if family >> 4 == 1 and len(body) >= 12:
        return ProxyHeader(socket.inet_ntop(socket.AF_INET, body[:4]), size)
    if family >> 4 == 2 and len(body) >= 36:
        return ProxyHeader(socket.inet_ntop(socket.AF_INET6, body[:16]), size)
    return ProxyHeader(None, size)
