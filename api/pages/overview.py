"""The front page: one podcast's figures, or the list of podcasts where there are several."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from litestar import Request, Response, get
from litestar.response import Redirect

from analytics_core.db.analytics import Scope
from analytics_core.db.episodes import get_heads, list_heads
from analytics_core.db.podcasts import list_podcasts
from analytics_core.db.pool import Connection
from analytics_core.db.spikes import count_open_spikes
from analytics_core.db.whole_days import rank_episodes
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.limits import REPORT_COST
from api.pages.figures import read_bars, read_breakdown
from api.pages.launches import EpisodeLine, compare_launches, list_lines
from api.pages.periods import PRESETS, Period, read_period
from api.pages.views import is_fragment, show
from api.pagination import id_cursor, write_cursor
from api.queries import Refusal
from api.resources import resources_of
from api.scopes import find_podcast, path_id

__all__ = ("show_front", "show_overview", "show_podcasts")

_PAGE: Final = 50
_CURSOR: Final = id_cursor("podcasts")
_MOST: Final = 8
_NEWEST: Final = 5


@get("/", opt={"permission": None})
async def show_front(request: Request[Any, Any, Any]) -> Response[Any]:
    """Lead to the one podcast, to the list of several, or to the first steps; who sees none is led to campaigns."""
    if Permission.PODCASTS_READ not in caller_of(request).permissions:
        can = Permission.CAMPAIGNS_READ in caller_of(request).permissions
        return Redirect("/campaigns" if can else "/sponsors", status_code=303)
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        rows = await list_podcasts(conn, after=None, limit=2)
    if not rows and Permission.PODCASTS_WRITE in caller_of(request).permissions:
        return Redirect("/podcasts/new", status_code=303)
    return Redirect(f"/podcasts/{rows[0].podcast_id}" if len(rows) == 1 else "/podcasts", status_code=303)


@get("/podcasts", opt={"permission": Permission.PODCASTS_READ})
async def show_podcasts(request: Request[Any, Any, Any]) -> Response[Any]:
    """List podcasts in the order in which they were added."""
    try:
        after = _CURSOR.parse(request.query_params.get("cursor", "")) if "cursor" in request.query_params else None
    except Refusal:
        after = None
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        rows = await list_podcasts(conn, after=after, limit=_PAGE + 1)
    last = rows[_PAGE - 1] if len(rows) > _PAGE else None
    cursor = None if last is None else write_cursor("podcasts", last.created_at, last.podcast_id)
    return show(
        request,
        "podcasts.html",
        podcasts=rows[:_PAGE],
        is_first_page=after is None,
        cursor=cursor,
        tab="podcasts",
    )


async def _read_most(
    conn: Connection, scope: Scope, period: Period, *, began: dt.date | None, now: dt.datetime
) -> list[EpisodeLine]:
    """Read the episodes with the most downloads in a period."""
    ranked = await rank_episodes(conn, scope, first=period.first, last=period.last, limit=_MOST)
    episodes = await get_heads(conn, [row.episode_no for row in ranked])
    downloads = {row.episode_no: row.downloads for row in ranked}
    return await list_lines(conn, episodes, downloads, began=began, now=now)


@get("/podcasts/{podcast_id:str}", opt={"permission": Permission.ANALYTICS_READ, "cost": REPORT_COST})
async def show_overview(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show a podcast's downloads in a period, against the period before, and by what they can be told apart."""
    resources = resources_of(request)
    now = resources.clock.now()
    today = now.astimezone(dt.UTC).date()
    period = read_period(dict(request.query_params.multi_items()), today=today)
    wanted = path_id(request, "podcast_id", what="podcast")
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        podcast = await find_podcast(conn, wanted)
        scope = Scope((podcast.podcast_no,))
        bars = await read_bars(conn, scope, period, today=today)
        if is_fragment(request):
            return show(request, "live.html", bars=bars, podcast=podcast, base=f"/podcasts/{podcast.podcast_id}")
        breakdown = await read_breakdown(conn, scope, period) if not bars.is_empty else []
        most = []
        if not bars.is_empty:
            most = await _read_most(conn, scope, period, began=bars.began, now=now)
        open_spikes = await count_open_spikes(conn, podcast_no=podcast.podcast_no)
        newest = [row for row in await list_heads(conn, wanted, after=None, limit=_NEWEST) if not row.live]
        launches = await compare_launches(conn, newest, began=bars.began, now=now) if not bars.is_empty else None
    return show(
        request,
        "overview.html",
        tab="overview",
        podcast=podcast,
        base=f"/podcasts/{podcast.podcast_id}",
        bars=bars,
        presets=PRESETS,
        breakdown=breakdown,
        most=most,
        launches=launches,
        open_spikes=open_spikes,
    )
