"""The mail server that an address such as ``smtp://user:password@mail.example.org`` names.

Source: RFC 8314 3.3 (port 465 is encrypted from its first byte), RFC 3207 (STARTTLS), RFC 6409 3.1 (port 587).
"""

from __future__ import annotations

import enum
import ipaddress
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

__all__ = ("CONSOLE", "SmtpServer", "Tls", "parse_smtp_url")

CONSOLE: Final = "console:"
"""In place of a server's address: mail is written to the sender's standard error."""

_EXAMPLE: Final = "an address such as smtp://user:password@mail.example.org:587"


class Tls(enum.Enum):
    """How a connection to a mail server is encrypted."""

    IMPLICIT = "implicit"
    """From its first byte, as ``smtps`` says."""
    STARTTLS = "starttls"
    """After the greeting; a server that does not offer it gets nothing from us."""
    NONE = "none"
    """Not at all."""


class SmtpServer(msgspec.Struct, frozen=True, kw_only=True):
    """A mail server, and who we are there; the password does not show itself where it is printed."""

    host: str
    port: int
    tls: Tls
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"SmtpServer({self.host!r}, {self.port}, {self.tls.value})"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_smtp_url(text: str) -> SmtpServer:
    """Read a mail server's address.

    A connection is encrypted, but for one that does not leave the machine; ``?tls=none`` and ``?tls=starttls`` say
    otherwise.

    >>> parse_smtp_url("smtp://ana:p%40ss@mail.example.org")
    SmtpServer('mail.example.org', 587, starttls)
    >>> parse_smtp_url("smtps://mail.example.org").port, parse_smtp_url("smtp://localhost:25").tls.value
    (465, 'none')

    Raises:
        ValueError: It is none; the message says what it has to be and quotes nothing of it.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(_EXAMPLE) from None
    if parts.scheme not in ("smtp", "smtps") or not host or port == 0 or parts.path not in ("", "/") or parts.fragment:
        raise ValueError(_EXAMPLE)
    is_implicit = parts.scheme == "smtps"
    tls = Tls.IMPLICIT if is_implicit else Tls.NONE if _is_loopback(host) else Tls.STARTTLS
    for name, value in options:
        if name != "tls" or value not in ("none", "starttls") or is_implicit or len(options) > 1:
            raise ValueError(f"{_EXAMPLE}; behind smtp:// there may be ?tls=none or ?tls=starttls, and no more")
        tls = Tls(value)
    if (parts.username is None) != (parts.password is None) or parts.username == "":
        raise ValueError(f"{_EXAMPLE}: with a user and a password, percent-encoded, or with neither")
    return SmtpServer(
        host=host,
        port=port or (465 if is_implicit else 587),
        tls=tls,
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )
