"""A shop of Django's: its settings, its pages, and its applications for WSGI and ASGI."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from castledger.integrations import current

_WAIT_S = 30.0
barriers: dict[str, Any] = {}

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["castledger.integrations.django.AttributionMiddleware"],
        SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
        SECRET_KEY="only for tests",
        LOGGING_CONFIG=None,
    )
    django.setup()


def _show(request: HttpRequest, **_: str) -> HttpResponseBase:
    return JsonResponse(current().fields())


def _stream(request: HttpRequest) -> HttpResponseBase:
    def pieces() -> Iterator[str]:
        for _ in range(2):
            yield f"{current().promo_code};"

    return StreamingHttpResponse(pieces())


async def _stream_async(request: HttpRequest) -> HttpResponseBase:
    async def pieces() -> AsyncIterator[str]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield f"{current().promo_code};"

    return StreamingHttpResponse(pieces())


def _fail(request: HttpRequest) -> HttpResponseBase:
    raise RuntimeError("sold out")


def _meet(request: HttpRequest) -> HttpResponseBase:
    barriers["threads"].wait(_WAIT_S)
    return JsonResponse(current().fields())


async def _meet_async(request: HttpRequest) -> HttpResponseBase:
    await barriers["tasks"].wait()
    return JsonResponse(current().fields())


urlpatterns = [
    path("", _show),
    path("stream", _stream),
    path("stream-async", _stream_async),
    path("fail", _fail),
    path("meet", _meet),
    path("meet-async", _meet_async),
    path("p/<str:name>", _show),
]


def make_wsgi(**options: Any) -> WSGIHandler:
    """Make the application for threads."""
    barriers["threads"] = threading.Barrier(2)
    with override_settings(CASTLEDGER_ATTRIBUTION=options):
        return WSGIHandler()


def make_asgi(**options: Any) -> ASGIHandler:
    """Make the application for tasks."""
    barriers["tasks"] = asyncio.Barrier(2)
    with override_settings(CASTLEDGER_ATTRIBUTION=options):
        return ASGIHandler()
