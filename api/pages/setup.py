"""Setting a podcast up: its prefix, its feed with the prefix in place, and what the feed is like."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from analytics_core.db.analytics import Scope
from analytics_core.db.days import first_day
from analytics_core.db.episodes import EpisodeRow, list_episodes
from analytics_core.db.podcasts import PodcastRow
from analytics_core.db.unknown_hosts import list_unknown_hosts
from analytics_core.enclosures import find_own_prefix, prefix_url
from analytics_core.errors import Conflict, InvalidInput
from analytics_core.feed_rewriting import rewrite_feed
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.feed_intake import fetch_bytes
from api.hosts import accept
from api.limits import HEAVY_COST
from api.pages.forms import read_form
from api.pages.sessions import session_of
from api.pages.views import show
from api.resources import resources_of
from api.scopes import find_podcast, path_id

__all__ = ("accept_unknown", "rewrite_by_address", "rewrite_sent", "show_setup")

_LOOKED_AT: Final = 10


class Prefixed(msgspec.Struct, frozen=True):
    """How many of the newest episodes have the prefix in the feed, and the address by which to try one."""

    looked_at: int
    with_prefix: int
    trial: str | None


def _look(podcast: PodcastRow, episodes: Sequence[EpisodeRow], public_url: str) -> Prefixed:
    urls = [episode.enclosures[0].url for episode in episodes if episode.enclosures and not episode.live]
    having = [url for url in urls if find_own_prefix(url, public_url=public_url) is not None]
    trial = None
    if urls:
        try:
            trial = urls[0] if urls[0] in having else prefix_url(public_url, podcast.podcast_guid, urls[0])
        except InvalidInput:
            trial = None
    return Prefixed(len(urls), len(having), trial)


async def _show(request: Request[Any, Any, Any], *, fault: str = "", status_code: int = 200) -> Response[Any]:
    resources = resources_of(request)
    wanted = path_id(request, "podcast_id", what="podcast")
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        podcast = await find_podcast(conn, wanted)
        began = await first_day(conn, Scope((podcast.podcast_no,)))
        episodes = await list_episodes(conn, podcast.podcast_id, after=None, limit=_LOOKED_AT)
        hosts = await list_unknown_hosts(conn, podcast.podcast_no)
    public_url = resources.settings.tracker.public_url
    prefix = f"{public_url}/e,pg={podcast.podcast_guid}/" if public_url and podcast.transferred_at is None else None
    return show(
        request,
        "setup.html",
        status_code=status_code,
        podcast=podcast,
        tab="setup",
        prefix=prefix,
        prefixed=_look(podcast, episodes, public_url) if prefix else None,
        began=began,
        hosts=hosts,
        fault=fault,
        poll_minutes=max(1, resources.settings.feed.poll_s // 60),
    )


@get("/podcasts/{podcast_id:str}/setup", opt={"permission": Permission.PODCASTS_READ})
async def show_setup(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the prefix, where it belongs, and how the feed is doing."""
    return await _show(request)


@post(
    "/podcasts/{podcast_id:str}/hosts",
    request_max_body_size=16_384,
    status_code=200,
    opt={"permission": Permission.PODCASTS_WRITE},
)
async def accept_unknown(request: Request[Any, Any, Any]) -> Response[Any]:
    """Accept a host that players asked for."""
    wanted = path_id(request, "podcast_id", what="podcast")
    host = (await read_form(request, session_of(request))).get("host", "")
    try:
        await accept(host if isinstance(host, str) else "", wanted, request=request)
    except InvalidInput as error:
        return await _show(request, fault=f"The host {error.reason}.", status_code=422)
    except Conflict as error:
        return await _show(request, fault=f"{str(error)[:1].upper()}{str(error)[1:]}.", status_code=409)
    return Redirect(f"/podcasts/{wanted}/setup#hosts", status_code=303)


async def _rewrite(request: Request[Any, Any, Any], data: bytes, podcast: PodcastRow) -> Response[Any]:
    public_url = resources_of(request).settings.tracker.public_url
    if not public_url or podcast.transferred_at is not None:
        return await _show(request, fault="There is no prefix to put in.", status_code=409)
    rewritten = await asyncio.to_thread(rewrite_feed, data, public_url=public_url, podcast_guid=podcast.podcast_guid)
    name = re.sub(r"[^a-z0-9]+", "-", podcast.title.lower()).strip("-")[:60] or "feed"
    headers = {"Content-Disposition": f'attachment; filename="{name}.xml"'}
    return Response(rewritten, media_type="application/rss+xml", headers=headers)


async def _podcast(request: Request[Any, Any, Any]) -> PodcastRow:
    wanted = path_id(request, "podcast_id", what="podcast")
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        return await find_podcast(conn, wanted)


def _sentence(error: InvalidInput) -> str:
    return f"{error.reason[:1].upper()}{error.reason[1:]}."


@get("/podcasts/{podcast_id:str}/feed.xml", opt={"permission": Permission.PODCASTS_READ, "cost": HEAVY_COST})
async def rewrite_by_address(request: Request[Any, Any, Any]) -> Response[Any]:
    """Fetch the feed and give it back with the prefix in place."""
    resources = resources_of(request)
    podcast = await _podcast(request)
    if podcast.feed_url is None:
        return await _show(request, fault="This podcast’s feed has no address: send its file.", status_code=409)
    try:
        async with resources.feed_slots:
            data, _, _ = await fetch_bytes(podcast.feed_url, resources)
            return await _rewrite(request, data, podcast)
    except InvalidInput as error:
        return await _show(request, fault=_sentence(error), status_code=502)


@post(
    "/podcasts/{podcast_id:str}/feed.xml",
    status_code=200,
    opt={"permission": Permission.PODCASTS_READ, "changes_nothing": "the feed to rewrite is too long for an address"},
)
async def rewrite_sent(request: Request[Any, Any, Any]) -> Response[Any]:
    """Give a feed that is sent back with the prefix in place."""
    try:
        fields = await read_form(request, session_of(request))
    except HTTPException as error:
        if error.status_code != 413:
            raise
        return await _show(request, fault="The feed is too large.", status_code=413)
    podcast = await _podcast(request)
    file = fields.get("feed")
    data = await file.read() if isinstance(file, UploadFile) else b""
    if b"<" not in data:
        return await _show(request, fault="This is no feed.", status_code=422)
    try:
        async with resources_of(request).feed_slots:
            return await _rewrite(request, data, podcast)
    except InvalidInput as error:
        return await _show(request, fault=_sentence(error), status_code=422)
