"""How this installation counts, for everyone: a page for people, and the same for programs."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, Final

import msgspec
from litestar import MediaType, Request, Response, get

from analytics_core.software import software_version
from api.methodology import describe
from api.pages.views import show_plain
from api.resources import resources_of

__all__ = ("show_methodology",)

_JSON: Final = "/methodology.json"


def _wants_json(request: Request[Any, Any, Any]) -> bool:
    if request.url.path.endswith(_JSON):
        return True
    best = request.accept.best_match(["text/html", "application/json"], default="text/html")
    return best == "application/json"


@get(["/methodology", _JSON], opt={"is_open": True})
async def show_methodology(request: Request[Any, Any, Any]) -> Response[Any]:
    """Disclose what figures are made of."""
    resources = resources_of(request)
    lists = await asyncio.to_thread(resources.lists.read)
    files = await asyncio.to_thread(resources.lists.files)
    shared = await asyncio.to_thread(resources.lists.shared)
    described = describe(
        resources.profiles,
        resources.settings.ingest,
        lists,
        files,
        shared,
        today=resources.clock.now().astimezone(dt.UTC).date(),
        software=software_version(),
    )
    if _wants_json(request):
        headers = {"Cache-Control": "public, max-age=60", "Vary": "Accept"}
        return Response(msgspec.json.encode(described), media_type=MediaType.JSON, headers=headers)
    return show_plain("methodology.html", headers={"Vary": "Accept"}, methodology=described, tab="methodology")
