"""Requests of browsers: where they say that they come from, and what pages of other sites may read of an answer.

Origins that the installation names may ask anything of the API. For routes that publishable keys may call, any origin
may ask, never with cookies: a preflight carries no credential, so it cannot know the key. The request itself is decided
on by its key, and its answer names exactly its own origin.

Source:
    WHATWG Fetch, "CORS protocol".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from analytics_core.api_keys import PUBLISHABLE_SCOPES

__all__ = ("CrossOrigin", "allow_origin", "is_from_here")

_ALLOWED: Final = "allowed_origin"
_API: Final = "/api/"


class _Terms(NamedTuple):
    """What pages of an origin may send, and read of an answer.

    Attributes:
        max_age_s: For how long a browser need not ask again: at most two hours, whatever it is told.
    """

    methods: str
    headers: str
    exposed: str
    max_age_s: int


_NAMED: Final = _Terms(
    methods="GET, HEAD, POST, PUT, PATCH, DELETE",
    headers="Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id",
    exposed="ETag, Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id",
    # An origin may be taken off the list.
    max_age_s=600,
)
"""For the origins that the installation names."""

_KEYED: Final = _Terms(
    methods="",
    headers="Authorization, Content-Type, Idempotency-Key",
    exposed="Retry-After, X-Request-Id",
    max_age_s=7_200,
)
"""For every origin, of the methods that publishable keys may call."""


def is_from_here(headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes from our own page, as far as its browser says; what says nothing is no browser's.

    What the browser itself compared is best; else the name in ``Origin`` has to be the one it asked for, which a proxy
    may have passed on under another header. Other sites' pages can set none of these.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    named = urlsplit(origin).netloc.lower()
    return bool(named) and named in (headers.get("host", "").lower(), headers.get("x-forwarded-host", "").lower())


def allow_origin(scope: Scope, origin: str) -> None:
    """Let pages of an origin read the answer to a request, after its key was found to allow it."""
    scope.setdefault("state", {})[_ALLOWED] = origin


def _methods(app: Litestar) -> dict[re.Pattern[str], str]:
    """Find the paths that publishable keys may call, each with its methods."""
    found: dict[str, set[str]] = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.opt.get("permission") in PUBLISHABLE_SCOPES:
                    found.setdefault(route.path_format, set()).update(handler.http_methods - {"OPTIONS"})
    return {
        re.compile("[^/]+".join(map(re.escape, re.split(r"{\w+}", path)))): ", ".join(sorted(methods))
        for path, methods in found.items()
    }


class CrossOrigin:
    """Wraps the application: answers preflights, and lets pages read what they were allowed to ask.

    Args:
        app: Whose routes say which of them publishable keys may call.
        inner: What answers.
        origins: Those that may ask anything.
    """

    def __init__(self, app: Litestar, inner: ASGIApp, origins: Collection[str] = ()) -> None:
        self._inner = inner
        self._paths = _methods(app)
        self._origins = frozenset(origin.encode() for origin in origins)

    def _named_origin(self, scope: Scope) -> str:
        """Return the origin of a request when it is one that may ask anything; empty for all others."""
        given = [value for name, value in scope["headers"] if name == b"origin"]
        return given[0].decode() if len(given) == 1 and given[0] in self._origins else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._inner(scope, receive, send)
            return
        path = str(scope["path"])
        is_shared = bool(self._origins) and path.startswith(_API)
        methods = next((methods for pattern, methods in self._paths.items() if pattern.fullmatch(path)), None)
        if methods is None and not is_shared:
            await self._inner(scope, receive, send)
            return
        named = self._named_origin(scope) if is_shared else ""
        is_preflight = scope["method"] == "OPTIONS" and _asks(scope)
        if is_preflight and named:
            await _answer_preflight(_NAMED, named, send)
        elif is_preflight and methods is not None:
            await _answer_preflight(_KEYED._replace(methods=methods), "*", send)
        else:
            await self._inner(scope, receive, _opening(scope, send, named))


def _asks(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return b"origin" in names and b"access-control-request-method" in names


async def _answer_preflight(terms: _Terms, origin: str, send: Send) -> None:
    headers = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": terms.methods,
        "access-control-allow-headers": terms.headers,
        "access-control-max-age": str(terms.max_age_s),
        "content-length": "0",
        **({} if origin == "*" else {"vary": "Origin"}),
    }
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 204, "headers": lines})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _opening(scope: Scope, send: Send, named: str) -> Send:
    async def opened(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableScopeHeaders.from_message(message)
            headers.extend_header_value("Vary", "Origin")
            origin = named or scope.get("state", {}).get(_ALLOWED)
            if origin is not None:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Expose-Headers"] = (_NAMED if named else _KEYED).exposed
        await send(message)

    return opened
