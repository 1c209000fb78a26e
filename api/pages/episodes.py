"""Episodes: the list of all, and one of them with its days and where its downloads came from."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get

from analytics_core.db.analytics import Scope
from analytics_core.db.days import first_day
from analytics_core.db.episodes import EpisodeRow, get_episode, list_heads
from analytics_core.db.podcasts import PodcastRow
from analytics_core.db.pool import Connection
from analytics_core.db.whole_days import sum_of_episodes
from analytics_core.errors import NotFound
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.limits import REPORT_COST
from api.pages.figures import read_bars, read_breakdown
from api.pages.launches import compare_launches, list_lines
from api.pages.periods import PRESETS, read_period
from api.pages.views import is_fragment, show
from api.pagination import id_cursor, write_cursor
from api.queries import Refusal
from api.resources import resources_of
from api.scopes import find_podcast, path_id

__all__ = ("find_episode", "show_episode", "show_episodes")

_PAGE: Final = 50
_COMPARED: Final = 4
_CURSOR: Final = id_cursor("episodes")


async def find_episode(conn: Connection, episode_id: UUID) -> tuple[PodcastRow, EpisodeRow]:
    """Read an episode of the tenant with its podcast.

    Raises:
        NotFound: There is none, or it is another tenant's.
    """
    episode = await get_episode(conn, episode_id)
    if episode is None:
        raise NotFound("episode")
    return await find_podcast(conn, episode.podcast_id), episode


@get("/podcasts/{podcast_id:str}/episodes", opt={"permission": Permission.ANALYTICS_READ, "cost": REPORT_COST})
async def show_episodes(request: Request[Any, Any, Any]) -> Response[Any]:
    """List a podcast's episodes, newest first, those that have left the feed too."""
    resources = resources_of(request)
    now = resources.clock.now()
    period = read_period({}, today=now.astimezone(dt.UTC).date())
    try:
        after = _CURSOR.parse(request.query_params.get("cursor", "")) if "cursor" in request.query_params else None
    except Refusal:
        after = None
    wanted = path_id(request, "podcast_id", what="podcast")
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        podcast = await find_podcast(conn, wanted)
        rows = await list_heads(conn, podcast.podcast_id, after=after, limit=_PAGE + 1)
        shown = rows[:_PAGE]
        scope = Scope((podcast.podcast_no,))
        numbers = [row.episode_no for row in shown]
        recent = await sum_of_episodes(conn, scope, numbers, first=period.first, last=period.last)
        began = await first_day(conn, scope)
        lines = await list_lines(conn, shown, recent, began=began, now=now)
    last = rows[_PAGE - 1] if len(rows) > _PAGE else None
    cursor = None
    if last is not None:
        cursor = write_cursor("episodes", last.published_at or last.first_seen_at, last.episode_id)
    return show(
        request,
        "episodes.html",
        podcast=podcast,
        tab="episodes",
        lines=lines,
        cursor=cursor,
        is_first_page=after is None,
    )


@get("/episodes/{episode_id:str}", opt={"permission": Permission.ANALYTICS_READ, "cost": REPORT_COST})
async def show_episode(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show an episode's downloads in a period, and by what they can be told apart."""
    resources = resources_of(request)
    now = resources.clock.now()
    today = now.astimezone(dt.UTC).date()
    period = read_period(dict(request.query_params.multi_items()), today=today)
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        podcast, episode = await find_episode(conn, path_id(request, "episode_id", what="episode"))
        scope = Scope((podcast.podcast_no,), episode.episode_no)
        base = f"/episodes/{episode.episode_id}"
        bars = await read_bars(conn, scope, period, today=today)
        if is_fragment(request):
            return show(request, "live.html", bars=bars, podcast=podcast, base=base)
        breakdown = await read_breakdown(conn, scope, period) if not bars.is_empty else []
        place = (episode.published_at or episode.first_seen_at, episode.episode_id)
        before = await list_heads(conn, podcast.podcast_id, after=place, limit=_COMPARED)
        launches = await compare_launches(
            conn, [episode, *before], began=await first_day(conn, Scope((podcast.podcast_no,))), now=now
        )
    return show(
        request,
        "episode.html",
        tab="episodes",
        podcast=podcast,
        episode=episode,
        base=base,
        bars=bars,
        presets=PRESETS,
        breakdown=breakdown,
        launches=launches,
    )
