"""What surrounds every request: its id, its line in the log, and headers that keep browsers careful."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Final

from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from analytics_core.ids import new_id_text
from api.logs import RequestLog
from api.metrics import RequestMetrics
from api.rates import rate_headers

__all__ = ("Observer", "request_id_of")

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)


def request_id_of(scope: Scope) -> str:
    """Return the request's id: the client's own when it is sane, else a new one."""
    state = scope.setdefault("state", {})
    request_id = state.get("request_id")
    if not isinstance(request_id, str):
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        request_id = given if _SANE_ID.fullmatch(given) else new_id_text()
        state["request_id"] = request_id
    return request_id


class Observer:
    """Wraps the application: answers HEAD as GET, adds headers, and logs.

    Args:
        app: What answers.
        log: Where a line a request goes.
        metrics: Where it is counted.
        methods: Those of each path, as OPTIONS tells them: the framework forgets those of later routes.
    """

    def __init__(
        self, app: ASGIApp, log: RequestLog, metrics: RequestMetrics, *, methods: Mapping[str, Iterable[str]]
    ) -> None:
        self._app = app
        self._log = log
        self._metrics = metrics
        self._allowed = {path: ", ".join(sorted(known)).encode() for path, known in methods.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = request_id_of(scope)
        method = str(scope["method"])
        is_head = method == "HEAD"
        if is_head:
            scope["method"] = HttpMethod.GET
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # By hand: the framework's headers look through all of them for each that is set.
                given = [*message["headers"]]
                names = {name.lower() for name, _ in given}
                if method == "OPTIONS" and b"allow" in names:
                    allowed = self._allowed.get(scope.get("path_template", ""))
                    given = [(name, allowed if allowed and name.lower() == b"allow" else text) for name, text in given]
                given += [header for header in _HEADERS if header[0] not in names]
                message["headers"] = [*given, (b"x-request-id", request_id.encode()), *rate_headers(scope)]
            elif message["type"] == "http.response.body" and is_head:
                message = {"type": "http.response.body", "body": b"", "more_body": message["more_body"]}
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            seconds = time.perf_counter() - began
            route = scope.get("path_template") or None
            self._metrics.observe(method, route, status, seconds)
            self._log.write(
                "info" if 0 < status < 500 else "error",
                "request",
                {
                    "request_id": request_id,
                    "method": method,
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1000, 1),
                },
            )
