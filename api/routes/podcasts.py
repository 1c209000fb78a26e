"""Podcasts and their episodes."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, get, post
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from analytics_core.db.episodes import list_episodes as read_episodes
from analytics_core.db.podcasts import PodcastRow
from analytics_core.db.podcasts import list_podcasts as read_podcasts
from analytics_core.errors import InvalidInput
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import media_type_of, read_json, refuse_media_type
from api.errors import Fault, InvalidRequest
from api.feed_intake import fetch_podcast_feed, read_sent_feed, store_podcast
from api.idempotency import replay_answer
from api.limits import HEAVY_COST
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import Resources, resources_of
from api.schemas.common import Page
from api.schemas.podcasts import AddedPodcast, AddPodcast, Episode, Podcast
from api.scopes import find_podcast, path_id

__all__ = ("create_podcast", "get_one_podcast", "list_episodes", "list_podcasts")

_PODCASTS: Final = "podcasts"
_EPISODES: Final = "episodes"
_PODCAST_CURSOR: Final = id_cursor(_PODCASTS)
_EPISODE_CURSOR: Final = id_cursor(_EPISODES)
_XML: Final = ("application/rss+xml", "application/xml", "text/xml")


def _show(row: PodcastRow, resources: Resources) -> Podcast:
    return Podcast.of(row, public_url=resources.settings.tracker.public_url)


def _refuse_size(resources: Resources) -> InvalidRequest:
    limit = f"{resources.settings.api.max_body_mb} MiB (CASTLEDGER_API_MAX_BODY_MB)"
    return InvalidRequest([Fault("", "feed_too_large", f"the feed is larger than {limit}")])


@post(
    "/podcasts",
    tags=["podcasts"],
    opt={
        "permission": Permission.PODCASTS_WRITE,
        "cost": HEAVY_COST,
        "bodies": {"application/json": AddPodcast, **dict.fromkeys(_XML)},
        "refusals": (409, 429),
    },
)
async def create_podcast(request: Request[Any, Any, Any]) -> AddedPodcast:
    """Add a podcast by its feed.

    Send `feed_url`, which is fetched now and polled from then on, or the feed itself. A feed has one owner on an
    installation: one that is taken is refused as `podcast_taken`. Unless it is your own already, the refusal starts a
    claim and names its `claim_id` and `token`: put the token into the feed, and the podcast becomes yours.
    """
    resources = resources_of(request)
    media_type = media_type_of(request)
    if media_type not in ("application/json", *_XML):
        raise refuse_media_type("application/json", *_XML)
    try:
        await replay_answer(request)
    except RequestEntityTooLarge as error:
        raise (_refuse_size(resources) if media_type in _XML else error) from error
    async with resources.feed_slots:
        if media_type in _XML:
            pointer = ""
            try:
                reading = read_sent_feed(await request.body())
            except RequestEntityTooLarge as error:
                raise _refuse_size(resources) from error
        else:
            pointer = "/feed_url"
            reading = fetch_podcast_feed((await read_json(request, AddPodcast)).feed_url.strip(), resources)
        try:
            read = await reading
        except InvalidInput as error:
            raise InvalidRequest([Fault(pointer, error.code, error.reason)]) from error
        return await store_podcast(read, request=request)


@get("/podcasts", tags=["podcasts"], opt={"permission": Permission.PODCASTS_READ, "query": (LIMIT, _PODCAST_CURSOR)})
async def list_podcasts(request: Request[Any, Any, Any]) -> Page[Podcast]:
    """List podcasts in the order in which they were added."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_PODCAST_CURSOR)
    query.finish()
    resources = resources_of(request)
    async with resources.database.reading(caller_of(request).tenant) as conn:
        rows = await read_podcasts(conn, after=after, limit=limit + 1)
    return page_of(
        rows, limit, lambda row: _show(row, resources), _PODCASTS, lambda row: (row.created_at, row.podcast_id)
    )


@get("/podcasts/{podcast_id:str}", tags=["podcasts"], opt={"permission": Permission.PODCASTS_READ})
async def get_one_podcast(request: Request[Any, Any, Any]) -> Podcast:
    """Read one podcast."""
    resources = resources_of(request)
    wanted = path_id(request, "podcast_id", what="podcast")
    async with resources.database.reading(caller_of(request).tenant) as conn:
        return _show(await find_podcast(conn, wanted), resources)


@get(
    "/podcasts/{podcast_id:str}/episodes",
    tags=["podcasts"],
    opt={"permission": Permission.PODCASTS_READ, "query": (LIMIT, _EPISODE_CURSOR)},
)
async def list_episodes(request: Request[Any, Any, Any]) -> Page[Episode]:
    """List a podcast's episodes, newest first; those that have left the feed too."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_EPISODE_CURSOR)
    query.finish()
    wanted = path_id(request, "podcast_id", what="podcast")
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        await find_podcast(conn, wanted)
        rows = await read_episodes(conn, wanted, after=after, limit=limit + 1)
    return page_of(
        rows, limit, Episode.of, _EPISODES, lambda row: (row.published_at or row.first_seen_at, row.episode_id)
    )
