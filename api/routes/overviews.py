"""Overviews: a podcast or a whole tenant at a glance."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from litestar import Request, Response, get

from analytics_core.db.analytics import FigureRow, Scope, read_status, sum_downloads
from analytics_core.db.audience import read_audience
from analytics_core.db.days import first_day
from analytics_core.db.episodes import get_heads
from analytics_core.db.podcasts import get_titles
from analytics_core.db.pool import Connection
from analytics_core.db.rankings import rank_keys
from analytics_core.db.states import counted_by, is_partial, state_of
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.permissions import Permission
from analytics_core.reports import Bucket, start_of_day, utc_days
from api.auth import caller_of
from api.explanations import version_tag
from api.limits import REPORT_COST
from api.preferences import read_report_query
from api.queries import Parameter, whole_number
from api.ranges import FROM, TO, TZ, TimeRange, read_range
from api.resources import resources_of
from api.schemas.overviews import Former, OverviewAnswer, Top, TopValue
from api.scopes import PODCAST_ID, find_scope
from api.tags import answer_unchanged, answer_with

__all__ = ("get_overview",)

TOP: Final = Parameter(
    "limit",
    whole_number(1, 100),
    10,
    "How many podcasts, episodes, apps and countries to name, from 1 to 100.",
    {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
)


def _range_before(wanted: TimeRange, tz: ZoneInfo) -> Bucket:
    """Return as many calendar days right before a range of whole ones, else as much time."""
    first, last = (at.astimezone(tz).date() for at in wanted)
    if (start_of_day(first, tz), start_of_day(last, tz)) == wanted:
        return Bucket(start_of_day(first - (last - first), tz), wanted.start)
    return Bucket(wanted.start - (wanted.end - wanted.start), wanted.start)


async def _names(conn: Connection, by: str, keys: list[str]) -> Mapping[str, tuple[str, str]]:
    """Look up the ids and titles of what is ranked by its numbers; other values have none."""
    if by == "episode":
        heads = await get_heads(conn, [EpisodeNo(int(key)) for key in keys])
        return {str(int(head.episode_no)): (str(head.episode_id), head.title) for head in heads}
    if by == "podcast":
        titles = await get_titles(conn, [PodcastNo(int(key)) for key in keys])
        return {str(int(row.podcast_no)): (str(row.podcast_id), row.title) for row in titles}
    return {}


async def _top(conn: Connection, scope: Scope, span: Bucket, total: FigureRow, *, by: str, limit: int) -> Top:
    ranking = await rank_keys(conn, scope, span, by=by, limit=limit)
    names = await _names(conn, by, [row.key for row in ranking.keys])
    values = []
    for row in ranking.keys:
        key, title = names.get(row.key, (row.key, None))
        values.append(TopValue(key, title, row.downloads, row.downloads_strict, row.downloads / total.downloads))
    return Top(
        values,
        ranking.values - len(values),
        total.downloads - sum(row.downloads for row in values),
        total.downloads_strict - sum(row.downloads_strict for row in values),
    )


async def _former(
    conn: Connection, scope: Scope, before: Bucket, figures: Mapping[int, FigureRow], tz: ZoneInfo
) -> Former | None:
    began = await first_day(conn, scope)
    if began is None or dt.datetime.combine(began, dt.time(), dt.UTC) > before.start:
        return None
    former, now = figures[0], figures[1]
    return Former(
        start=before.start.astimezone(tz),
        end=before.end.astimezone(tz),
        downloads=former.downloads,
        downloads_strict=former.downloads_strict,
        change=now.downloads / former.downloads - 1 if former.downloads else None,
    )


@get(
    "/analytics/overview",
    tags=["analytics"],
    opt={
        "permission": Permission.ANALYTICS_READ,
        "cost": REPORT_COST,
        "is_tagged": True,
        "query": (PODCAST_ID, FROM, TO, TOP, TZ),
    },
)
async def get_overview(request: Request[Any, Any, Any]) -> Response[OverviewAnswer]:
    """Show a range at a glance: downloads against the range before, listeners, and what has the most downloads.

    Of a podcast, or of all podcasts when none is given.
    """
    resources = resources_of(request)
    now = resources.clock.now()
    lists = await asyncio.to_thread(resources.lists.read)
    async with resources.database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        query, days = await read_report_query(request, conn)
        podcast_id, tz, limit = query.get(PODCAST_ID), query.get(TZ), query.get(TOP)
        wanted = read_range(query, now=now, days=days)
        query.finish()
        span, before = Bucket(*wanted), _range_before(wanted, tz)
        first, last = utc_days(*wanted)
        scope, _ = await find_scope(conn, podcast_id=podcast_id, episode_id=None)
        # The range before is part of the answer: what lands there changes it too.
        status = await read_status(conn, scope, first=before.start.date(), last=last)
        settled = await read_status(conn, scope, first=first, last=last)
        state, partial = state_of(settled, first, last, now=now), is_partial(status, wanted.end)
        tag = version_tag(status, wanted, state, partial, status.is_counting, lists, tz.key)
        if (unchanged := answer_unchanged(request, tag)) is not None:
            return unchanged
        sums = {row.bucket: row for row in await sum_downloads(conn, scope, [before, span])}
        figures = {number: sums.get(number) or FigureRow(number, "", 0, 0) for number in (0, 1)}
        total = figures[1]
        (listeners,), reason, is_old = await read_audience(conn, scope, [span], [total.downloads])
        tops = {
            by: await _top(conn, scope, span, total, by=by, limit=limit)
            for by in ("episode", "app", "country", *(("podcast",) if podcast_id is None else ()))
        }
        former = await _former(conn, scope, before, figures, tz)
    profile, rules = counted_by(settled)
    answer = OverviewAnswer(
        cutoff=status.cutoff_at,
        profile=profile,
        rules=rules,
        lists=lists,
        state=state,
        partial=partial or is_old,
        restated=settled.restated,
        tz=tz.key,
        start=wanted.start.astimezone(tz),
        end=wanted.end.astimezone(tz),
        downloads=total.downloads,
        downloads_strict=total.downloads_strict,
        listeners=listeners,
        listeners_reason=reason,
        former=former,
        podcasts=tops.get("podcast"),
        episodes=tops["episode"],
        apps=tops["app"],
        countries=tops["country"],
    )
    return answer_with(request, answer, tag=tag)
