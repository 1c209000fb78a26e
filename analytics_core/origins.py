"""Origins: from which sites' pages a key may be used.

Source:
    RFC 6454, section 7 (``Origin``); WHATWG HTML, "serialization of an origin", which is what browsers send.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from analytics_core.api_keys import KeyKind
from analytics_core.errors import Forbidden, InvalidInput
from analytics_core.hosts import classify_host

__all__ = ("MAX_ORIGINS", "check_origin", "parse_origin", "parse_origins")

MAX_ORIGINS: Final = 50
"""Origins a key."""

_MAX_CHARS: Final = 300
_ORIGIN: Final = re.compile(r"(https?)://([^/?#@\s:\[\]]+|\[::1\])(?::([0-9]{1,5}))?", re.ASCII)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PORTS: Final = {"http": 80, "https": 443}


def parse_origin(text: str, *, path: str) -> str:
    """Read an origin into the very form in which browsers send it.

    Args:
        text: Such as ``https://shop.example.com`` or ``http://localhost:3000``.
        path: Where it stands, for the error.

    Returns:
        Scheme and host in lower case, and the port unless it is the scheme's own.

    Raises:
        InvalidInput: It is no origin, or one that would let anybody in.

    >>> parse_origin("https://Shop.Example.com:443", path="/origins/0")
    'https://shop.example.com'
    """
    lowered = text.lower()
    if "*" in text:
        raise InvalidInput(path, "has to be one exact origin: there are no wildcards, name each host")
    if lowered == "null":
        raise InvalidInput(path, "`null` is the origin of any sandboxed page or local file: it cannot be allowed")
    if not text.isascii():
        raise InvalidInput(path, "has to be written as browsers send it: a name beyond ASCII begins with `xn--`")
    match = _ORIGIN.fullmatch(lowered) if len(text) <= _MAX_CHARS else None
    if match is None:
        raise InvalidInput(
            path, "has to be `https://host` or `https://host:port`, without a user, a path or a slash at the end"
        )
    scheme, host, port = match[1], match[2], match[3]
    is_loopback = host in _LOOPBACK
    if not is_loopback and classify_host(host) is None:
        raise InvalidInput(path, f"`{host[:80]}` is no host name")
    if scheme == "http" and not is_loopback:
        raise InvalidInput(path, "has to be https: plain http is for localhost alone")
    if port is not None and not 0 < int(port) <= 65535:
        raise InvalidInput(path, f"there is no port {port}")
    is_default = port is None or int(port) == _PORTS[scheme]
    return f"{scheme}://{host}" + ("" if is_default else f":{int(port)}")


def parse_origins(texts: Iterable[str], *, path: str) -> tuple[str, ...]:
    """Read a list of origins; the same one twice is kept once.

    Raises:
        InvalidInput: There are none or too many, or one cannot be used; the path names which.
    """
    given = list(texts)
    if not 0 < len(given) <= MAX_ORIGINS:
        raise InvalidInput(path, f"has to name 1 to {MAX_ORIGINS} origins")
    return tuple(dict.fromkeys(parse_origin(text, path=f"{path}/{place}") for place, text in enumerate(given)))


def check_origin(kind: KeyKind, origins: Collection[str], origin: str | None, *, is_ours: bool) -> None:
    """Decide whether a valid key may be used from where a request says that it comes from.

    Browsers set ``Origin`` themselves, a page cannot. Other programs can send any: the check keeps a publishable key
    from being used on other sites' pages, and a secret one from being put into a page at all; it proves nothing beyond.

    Args:
        kind: The key's.
        origins: Those that a publishable key names.
        origin: The request's ``Origin``; ``None`` without one, as programs other than browsers send them.
        is_ours: Whether that origin is the very one that the request is for.

    Raises:
        Forbidden: ``origin_not_allowed``, or ``secret_key_in_browser``.
    """
    if kind is KeyKind.PUBLISHABLE:
        if origin is None or origin not in origins:
            shown = "a request without `Origin`" if origin is None else f"`{origin[:_MAX_CHARS]}`"
            raise Forbidden(
                f"this publishable key works on pages of its own origins only, and {shown} is not one of them",
                code="origin_not_allowed",
            )
    elif origin is not None and not is_ours:
        raise Forbidden(
            "this is a secret key: it must not be in a page, where anybody can read it; revoke it, and put a "
            "publishable key there",
            code="secret_key_in_browser",
        )
