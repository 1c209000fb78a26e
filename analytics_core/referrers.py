"""Where a hit says that it comes from: the referring page's host, and the app that a feed's copy was made for."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

__all__ = ("feed_app", "referrer_host")

_HOST: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")
_FROM: Final = re.compile(r"(?:^|[?&])_from=([^&#]*)")
_SLUG: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def referrer_host(referrer: str) -> str:
    """Read the host of a ``Referer``, in lower case and without ``www.``; anything else is an empty text.

    >>> referrer_host("https://www.Example.com/a?b"), referrer_host("nonsense"), referrer_host("")
    ('example.com', '', '')
    """
    try:
        host = (urlsplit(referrer.strip()).hostname or "").removeprefix("www.").rstrip(".")
    except ValueError:
        return ""
    return host if len(host) <= 253 and _HOST.fullmatch(host) else ""


def feed_app(target: str) -> str:
    """Read the ``_from`` parameter that hosts put into the feed that they serve to one app; else an empty text.

    Source:
        The open RSS user-agent list's ``_from`` slugs.

    >>> feed_app("cdn.example.com/a.mp3?x=1&_from=overcast"), feed_app("cdn.example.com/a.mp3")
    ('overcast', '')
    """
    match = _FROM.search(target)
    slug = unquote(match[1]) if match is not None else ""
    return slug.lower() if _SLUG.fullmatch(slug) else ""
