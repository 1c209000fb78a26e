"""For any ASGI framework; FastAPI, Starlette and Litestar among them."""

from __future__ import annotations

from typing import Any

from castledger.integrations._capture import Capture
from castledger.integrations._context import attributed

__all__ = ("AttributionMiddleware",)


# Each framework has types of its own for what ASGI gives, none of which fits the others'.
class AttributionMiddleware:
    """Capture the click and the promo code of each HTTP request; web sockets pass untouched.

    Args:
        app: The application.
        options: As of :class:`~castledger.integrations.Capture`.

    Raises:
        ConfigurationError: An option cannot work.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        self._app = app
        self._capture = Capture(**options)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = self._capture.read(
            scheme=scope.get("scheme", "http"),
            path=scope["path"],
            query=scope.get("query_string", b"").decode("latin-1"),
            headers=_headers(scope),
        )

        async def send_with_cookie(message: Any) -> None:
            if message["type"] == "http.response.start" and visit.set_cookie is not None:
                cookie = b"set-cookie", visit.set_cookie.encode("ascii")
                message = {**message, "headers": [*message.get("headers", ()), cookie]}
            await send(message)

        with attributed(visit.attribution):
            await self._app(scope, receive, send_with_cookie)


def _headers(scope: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        # HTTP/2 may split cookies over several lines.
        found[name] = f"{found[name]}; {value}" if name == "cookie" and name in found else value
    return found
