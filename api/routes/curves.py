"""How episodes began: downloads after so many days, side by side whenever they came out."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
from typing import Any, Final

from litestar import Request, Response, get

from analytics_core.db.analytics import Scope, read_status
from analytics_core.db.days import first_day
from analytics_core.db.episodes import EpisodeHead, get_heads, list_heads
from analytics_core.db.launches import MAX_DAYS, Launch, Origin, read_launches
from analytics_core.db.podcasts import PodcastRow
from analytics_core.db.states import counted_by, is_partial, state_of
from analytics_core.permissions import Permission
from analytics_core.reports import CURVE_DAYS, utc_days
from api.auth import caller_of
from api.limits import REPORT_COST
from api.pagination import LIMIT, id_cursor, write_cursor
from api.queries import Parameter, Query, choice
from api.resources import resources_of
from api.schemas.curves import Curve, CurvePoint, CurvesAnswer, NoPoint
from api.scopes import EPISODE_ID, PODCAST_ID, find_podcast, find_scope
from api.tags import answer_with

__all__ = ("get_curves",)

_CURVES: Final = "curves"
_CURSOR: Final = id_cursor(_CURVES)


class _Origin(enum.Enum):
    """What a curve may start from."""

    PUBLISHED = "published"
    FIRST_HIT = "first_hit"


ORIGIN: Final = Parameter(
    "origin",
    choice(_Origin),
    _Origin.PUBLISHED,
    "What a curve starts from: the episode's publish date, or its first download.",
    {"type": "string", "enum": [origin.value for origin in _Origin], "default": "published"},
)


def _points(launch: Launch | None, absent: NoPoint, *, counted_from: dt.datetime, now: dt.datetime) -> list[CurvePoint]:
    if launch is None:
        return [CurvePoint(day, None, None, None, absent) for day in CURVE_DAYS]
    points = []
    for day in CURVE_DAYS:
        ends_at = launch.start_at + dt.timedelta(days=day)
        reason: NoPoint | None = None
        if launch.start_at < counted_from:
            reason = "counted_later"
        elif now < ends_at:
            reason = "not_over"
        if reason is None:
            downloads: int | None = launch.running[day - 1]
            strict: int | None = launch.running_strict[day - 1]
        else:
            downloads = strict = None
        points.append(CurvePoint(day, ends_at.astimezone(dt.UTC), downloads, strict, reason))
    return points


def _counted_from(podcast: PodcastRow, first: dt.date | None) -> dt.datetime:
    """Tell since when a podcast's downloads are counted: since it was added, or since the first that was brought in.

    A curve starts at a quarter hour, and so does this.
    """
    added = podcast.created_at
    if first is None or first >= added.astimezone(dt.UTC).date():
        return added - dt.timedelta(minutes=15)
    return dt.datetime.combine(first, dt.time(), dt.UTC)


def _curve(
    head: EpisodeHead, launch: Launch | None, origin: _Origin, *, counted_from: dt.datetime, now: dt.datetime
) -> Curve:
    absent: NoPoint = "no_downloads" if origin is _Origin.FIRST_HIT else "no_publish_date"
    return Curve(
        episode_id=head.episode_id,
        title=head.title,
        published_at=None if head.published_at is None else head.published_at.astimezone(dt.UTC),
        starts_at=None if launch is None else launch.start_at.astimezone(dt.UTC),
        points=_points(launch, absent, counted_from=counted_from, now=now),
    )


def _span(curves: list[Curve], now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Tell from when to when the hits occurred of which there are figures; today where there are none."""
    known = [curve for curve in curves if any(point.reason is None for point in curve.points)]
    starts = [curve.starts_at for curve in known if curve.starts_at is not None]
    ends = [point.ends_at for curve in known for point in curve.points if point.reason is None and point.ends_at]
    return min(starts, default=now), max(ends, default=now)


@get(
    "/analytics/curves",
    tags=["analytics"],
    opt={
        "permission": Permission.ANALYTICS_READ,
        "cost": REPORT_COST,
        "is_tagged": True,
        "query": (PODCAST_ID, EPISODE_ID, ORIGIN, LIMIT, _CURSOR),
    },
)
async def get_curves(request: Request[Any, Any, Any]) -> Response[CurvesAnswer]:
    """Tell what episodes had after 1, 3, 7, 14, 28, 30, 60 and 90 days.

    Of an episode, or of all of a podcast, newest first. A day is 24 hours from the quarter hour of the publish date, or
    of the first download. What is not over yet is null.
    """
    resources = resources_of(request)
    now = resources.clock.now()
    query = Query.of(request)
    podcast_id, episode_id, origin = query.get(PODCAST_ID), query.get(EPISODE_ID), query.get(ORIGIN)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    if not query.is_given(PODCAST_ID) and not query.is_given(EPISODE_ID):
        query.refuse("podcast_id", "missing", "is required, or episode_id")
    query.finish()
    async with resources.database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        scope, owner_id = await find_scope(conn, podcast_id=podcast_id, episode_id=episode_id)
        if owner_id is None:
            raise AssertionError("a podcast or an episode was named")
        podcast = await find_podcast(conn, owner_id)
        if scope.episode_no is not None:
            heads = await get_heads(conn, [scope.episode_no])
        else:
            heads = await list_heads(conn, owner_id, after=after, limit=limit + 1)
        page = heads[:limit]
        launches = await read_launches(
            conn,
            [head.episode_no for head in page],
            days=MAX_DAYS,
            exact=CURVE_DAYS,
            origin=Origin(origin.value),
            strict=True,
        )
        counted_from = _counted_from(podcast, await first_day(conn, Scope(scope.podcast_nos)))
        curves = [
            _curve(head, launches.get(head.episode_no), origin, counted_from=counted_from, now=now) for head in page
        ]
        start, end = _span(curves, now)
        first, last = utc_days(start, end + dt.timedelta(microseconds=start == end))
        status = await read_status(conn, scope, first=first, last=last)
    more = heads[limit - 1] if len(heads) > limit else None
    cursor = None
    if more is not None:
        cursor = write_cursor(_CURVES, more.published_at or more.first_seen_at, more.episode_id)
    profile, rules = counted_by(status)
    answer = CurvesAnswer(
        data=curves,
        next_cursor=cursor,
        origin=origin.value,
        cutoff=status.cutoff_at,
        profile=profile,
        rules=rules,
        lists=await asyncio.to_thread(resources.lists.read),
        state=state_of(status, first, last, now=now),
        partial=is_partial(status, end),
        restated=status.restated,
    )
    return answer_with(request, answer)
