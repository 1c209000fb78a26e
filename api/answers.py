"""How the structs that routes return become answers."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import MediaType, Response
from litestar.types import ASGIApp, Receive, Scope, Send

__all__ = ("JsonAnswer",)

_NO_BODY: Final = (204, 205, 304)
_ENCODE: Final = msgspec.json.Encoder().encode


class _Sent:
    """An answer that is ready to be sent."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._status = status
        self._headers = headers
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


class JsonAnswer(Response[Any]):
    """What a route returns that returns a struct, for the framework's ``response_class``.

    A route that says more, such as a header or a cookie, returns a :class:`litestar.Response`. The framework's own
    would cost as much as finding out who asks: it is made for answers of any type, and sets headers one by one.
    """

    def to_asgi_response(self, app: Any, request: Any, **given: Any) -> ASGIApp:  # type: ignore[override]
        """Encode the content; ``None`` with a status that allows no body is none."""
        is_plain = self.media_type == MediaType.JSON and self.background is None
        if not is_plain or given.get("headers") or given.get("cookies"):
            return super().to_asgi_response(app, request, **given)
        status = self.status_code or 200
        if status in _NO_BODY:
            return _Sent(status, [], b"")
        body = _ENCODE(self.content)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        return _Sent(status, headers, body)
