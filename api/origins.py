"""Requests of browsers: where they say that they come from, and what pages of other sites may read of an answer.

A preflight carries no credential, so it cannot know the key: for routes that publishable keys may call, any origin may
ask, never with cookies. The request itself is decided on by its key, and its answer names exactly its own origin.

Source:
    WHATWG Fetch, "CORS protocol".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from analytics_core.api_keys import PUBLISHABLE_SCOPES

__all__ = ("CrossOrigin", "allow_origin", "is_from_here")

_ALLOWED: Final = "allowed_origin"
_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key"
_EXPOSED: Final = "Retry-After, X-Request-Id"
_MAX_AGE_S: Final = 7_200
"""Browsers ask again after at most two hours, whatever they are told."""


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
    """

    def __init__(self, app: Litestar, inner: ASGIApp) -> None:
        self._inner = inner
        self._paths = _methods(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._inner(scope, receive, send)
            return
        path = str(scope["path"])
        methods = next((methods for pattern, methods in self._paths.items() if pattern.fullmatch(path)), None)
        if methods is None:
            await self._inner(scope, receive, send)
        elif scope["method"] == "OPTIONS" and _asks(scope):
            await _answer_preflight(methods, send)
        else:
            await self._inner(scope, receive, _opening(scope, send))


def _asks(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return b"origin" in names and b"access-control-request-method" in names


async def _answer_preflight(methods: str, send: Send) -> None:
    headers: dict[str, Any] = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": _HEADERS,
        "Access-Control-Max-Age": str(_MAX_AGE_S),
        "Content-Length": "0",
    }
    await send(
        {
            "type": "http.response.start",
            "status": 204,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _opening(scope: Scope, send: Send) -> Send:
    async def opened(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableScopeHeaders.from_message(message)
            headers.extend_header_value("Vary", "Origin")
            origin = scope.get("state", {}).get(_ALLOWED)
            if origin is not None:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Expose-Headers"] = _EXPOSED
        await send(message)

    return opened
