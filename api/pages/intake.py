"""Adding a podcast: by its feed's address, or by the feed itself."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from analytics_core.db.claims import ClaimRow
from analytics_core.db.podcasts import list_podcasts
from analytics_core.errors import InvalidInput
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.errors import PodcastTaken
from api.feed_intake import ReadFeed, fetch_podcast_feed, read_sent_feed, store_podcast
from api.limits import HEAVY_COST
from api.pages.forms import read_form
from api.pages.sessions import session_of
from api.pages.views import show
from api.resources import resources_of

__all__ = ("add_podcast", "show_new")

_MAX_URL: Final = 2000


async def _show_form(
    request: Request[Any, Any, Any],
    *,
    fault: str = "",
    url: str = "",
    claim: ClaimRow | None = None,
    status_code: int = 200,
) -> Response[Any]:
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        is_first = not await list_podcasts(conn, after=None, limit=1)
    return show(
        request,
        "new_podcast.html",
        status_code=status_code,
        podcast=None,
        tab="new",
        fault=fault,
        url=url,
        claim=claim,
        is_first=is_first,
        max_mb=resources_of(request).settings.api.max_body_mb,
    )


@get("/podcasts/new", opt={"permission": Permission.PODCASTS_WRITE})
async def show_new(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form; to whoever has no podcast yet, as the first step of three."""
    return await _show_form(request)


async def _read(url: str, file: str | UploadFile | None, request: Request[Any, Any, Any]) -> ReadFeed:
    if url:
        if len(url) > _MAX_URL:
            raise InvalidInput("feed_url", "the address is too long")
        return await fetch_podcast_feed(url, resources_of(request))
    data = await file.read() if isinstance(file, UploadFile) else b""
    if not data:
        raise InvalidInput("feed_url", "give the feed’s address, or choose its file")
    return await read_sent_feed(data)


@post("/podcasts/new", status_code=200, opt={"permission": Permission.PODCASTS_WRITE, "cost": HEAVY_COST})
async def add_podcast(request: Request[Any, Any, Any]) -> Response[Any]:
    """Add the podcast and lead to its set-up; what is wrong with a feed is told beside the form."""
    resources = resources_of(request)
    try:
        fields = await read_form(request, session_of(request))
    except HTTPException as error:
        if error.status_code != 413:
            raise
        limit = resources.settings.api.max_body_mb
        return await _show_form(request, fault=f"The feed is larger than {limit} MiB.", status_code=413)
    given = fields.get("feed_url", "")
    url = given.strip() if isinstance(given, str) else ""
    try:
        async with resources.feed_slots:
            read = await _read(url, fields.get("feed"), request)
            row = await store_podcast(read, request=request)
    except InvalidInput as error:
        fault = error.reason[:1].upper() + error.reason[1:]
        return await _show_form(request, fault=f"{fault}.", url=url, status_code=422)
    except PodcastTaken as error:
        fault = str(error).partition(";")[0]
        return await _show_form(
            request, fault=f"{fault[:1].upper()}{fault[1:]}.", url=url, claim=error.claim, status_code=409
        )
    if read.feed.warnings:
        return show(request, "added.html", podcast=row, tab="setup", warnings=read.feed.warnings)
    return Redirect(f"/podcasts/{row.podcast_id}/setup", status_code=303)
