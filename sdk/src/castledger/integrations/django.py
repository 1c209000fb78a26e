"""For Django: name the middleware in ``MIDDLEWARE``, and options, where any differ, in ``CASTLEDGER_ATTRIBUTION``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django import conf
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from castledger.integrations._capture import Capture, Visit
from castledger.integrations._context import Streamed, attributed, streamed

__all__ = ("AttributionMiddleware",)

_HEADERS = ("host", "referer", "cookie", "dnt", "sec-gpc")


class AttributionMiddleware:
    """Capture the click and the promo code of each request, under WSGI and ASGI alike.

    Args:
        get_response: What follows; Django gives it.

    Raises:
        ConfigurationError: Something in ``settings.CASTLEDGER_ATTRIBUTION``, which holds the options of
            :class:`~castledger.integrations.Capture`, cannot work.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._capture = Capture(**getattr(conf.settings, "CASTLEDGER_ATTRIBUTION", {}))
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Serve one request."""
        visit = self._read(request)
        if self._is_async:
            return self._serve(request, visit)
        with attributed(visit.attribution):
            response: HttpResponseBase = self._get_response(request)
        return self._finish(response, visit)

    async def _serve(self, request: HttpRequest, visit: Visit) -> HttpResponseBase:
        with attributed(visit.attribution):
            response: HttpResponseBase = await self._get_response(request)
        return self._finish(response, visit)

    def _read(self, request: HttpRequest) -> Visit:
        return self._capture.read(
            scheme=request.scheme or "http",
            path=request.path,
            query=request.META.get("QUERY_STRING", ""),
            headers={name: request.headers[name] for name in _HEADERS if name in request.headers},
        )

    def _finish(self, response: HttpResponseBase, visit: Visit) -> HttpResponseBase:
        if visit.set_cookie is not None:
            response.cookies.load(visit.set_cookie)
        # A server may send a file without reading it.
        if response.streaming and getattr(response, "file_to_stream", None) is None:
            pieces: Any = response
            kept = streamed if pieces.is_async else Streamed
            pieces.streaming_content = kept(visit.attribution, pieces.streaming_content)
        return response
