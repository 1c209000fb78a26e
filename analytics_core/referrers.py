"""Where a request says it came from: the page that held the player, or the app whose feed the listener follows."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

__all__ = ("MAX_SLUG_CHARS", "feed_app", "referrer_host")

MAX_SLUG_CHARS: Final = 64
"""A longer ``_from`` is no slug of any app."""

_MAX_REFERRER_CHARS: Final = 2048
_SCHEMES: Final = frozenset({"http", "https", "android-app"})
# At least two labels, the last of which is no number: addresses and names of one machine are nobody's web site.
_HOST: Final = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+(?!\d+\Z)[a-z0-9_-]{2,63}")
# A player that glues its own query to a finished URL leaves the question mark encoded.
_FROM: Final = re.compile(r"(?:^|[?&;]|%3F|%26)_from=([^&;?#]*)", re.IGNORECASE)
_SLUG: Final = re.compile(rf"[a-z0-9._-]{{1,{MAX_SLUG_CHARS}}}")


def referrer_host(referrer: str) -> str:
    """Name the web site that a ``Referer`` header points to.

    Path and query are dropped at once: they may tell more about a listener than we want to know.

    Args:
        referrer: The header as it was sent; any text.

    Returns:
        The host in lower case, in ASCII, without ``www.`` and port, at most 253 characters; empty without a
        referrer, and when it is no http(s) or android-app URL of a public name.

    Source:
        ``docs/methodology.md``, "Referrers".

    >>> referrer_host("https://www.Example.com:443/shows/1?user=2")
    'example.com'
    >>> referrer_host("about:blank"), referrer_host("http://192.168.1.5/"), referrer_host("")
    ('', '', '')
    """
    try:
        parts = urlsplit(referrer[:_MAX_REFERRER_CHARS].strip())
        host = parts.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        # UnicodeError is one as well: a host that has no ASCII form.
        return ""
    host = host.removesuffix(".").removeprefix("www.")
    return host if parts.scheme in _SCHEMES and _HOST.fullmatch(host) is not None else ""


def feed_app(query: str) -> str:
    """Read the app that a feed was made for from the ``_from`` parameter of an enclosure's query.

    Hosts put it into the feeds they hand to each directory; the first one that can be read counts.

    Args:
        query: The target's query without its question mark; any text.

    Returns:
        The slug in lower case, 1 to ``MAX_SLUG_CHARS`` letters, digits, dots, hyphens and underscores; empty when
        there is none, or when it is anything else.

    Source:
        ``docs/methodology.md``, "Feed apps".

    >>> feed_app("a=1&_from=Overcast"), feed_app("_from=<script>"), feed_app("from=x")
    ('overcast', '', '')
    """
    if "_from=" not in query.lower():
        return ""
    for match in _FROM.finditer(query):
        slug = unquote(match[1]).lower()
        if _SLUG.fullmatch(slug) is not None:
            return slug
    return ""
