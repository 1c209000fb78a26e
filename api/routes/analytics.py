"""Downloads by time, and what a day's figures are made of."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from litestar import Request, get

from analytics_core.db.analytics import (
    MAX_SUMS,
    FigureRow,
    ListenerRow,
    count_listeners,
    read_status,
    sum_downloads,
)
from analytics_core.profiles import DEFAULT_PROFILE
from analytics_core.reports import Bucket, in_one_month, plan_buckets, slice_days, utc_days
from api.auth import caller_of
from api.errors import Fault, InvalidRequest
from api.explanations import is_partial, read_day, state_of
from api.queries import Parameter, Query, choice, utc_day
from api.ranges import FROM, INTERVAL, TO, TZ, read_range
from api.resources import resources_of
from api.schemas.analytics import (
    DayExplanation,
    Dimension,
    DownloadsAnswer,
    Figure,
)
from api.scopes import EPISODE_ID, PODCAST_ID, find_scope

__all__ = ("explain_day", "get_downloads")

BY: Final[Parameter[Dimension | None]] = Parameter(
    "by",
    choice(Dimension),
    None,
    "What to break the figures down by; keys are episode ids, names, country codes or hosts, empty where unknown.",
    {"type": "string", "enum": [dimension.value for dimension in Dimension]},
)
DAY: Final[Parameter[dt.date | None]] = Parameter(
    "day", utc_day, None, "The day, in UTC.", {"type": "string", "format": "date"}, required=True
)
Reason = Literal["by", "across_months", "downloads_not_kept"]


def _sparse(rows: Sequence[FigureRow], buckets: Sequence[Bucket], tz: ZoneInfo) -> list[Figure]:
    return [
        Figure(buckets[row.bucket].start.astimezone(tz), row.key, row.downloads, row.downloads_strict, None)
        for row in rows
        if row.downloads
    ]


def _dense(
    rows: Sequence[FigureRow], listeners: Sequence[ListenerRow], buckets: Sequence[Bucket], tz: ZoneInfo
) -> tuple[list[Figure], Reason | None]:
    """Fill every bucket, and say why some have no figure of listeners."""
    figures = {row.bucket: row for row in rows}
    counted = {row.bucket: row for row in listeners}
    reason: Reason | None = None
    filled: list[Figure] = []
    for number, bucket in enumerate(buckets):
        figure = figures.get(number) or FigureRow(number, "", 0, 0)
        found = counted.get(number) or ListenerRow(number, 0, 0)
        people: int | None = found.listeners
        if not in_one_month(bucket.start, bucket.end):
            people, reason = None, "across_months"
        elif found.downloads < figure.downloads:
            # The rollup knows downloads whose rows are gone: whose they were cannot be told any more.
            people, reason = None, reason or "downloads_not_kept"
        filled.append(Figure(bucket.start.astimezone(tz), None, figure.downloads, figure.downloads_strict, people))
    return filled, reason


@get("/analytics/downloads", tags=["analytics"], opt={"query": (PODCAST_ID, EPISODE_ID, FROM, TO, INTERVAL, BY, TZ)})
async def get_downloads(request: Request[Any, Any, Any]) -> DownloadsAnswer:
    """Count downloads and listeners by time.

    Of an episode, of a podcast, or of all podcasts when neither is given. Downloads are deduplicated by UTC day; `tz`
    only regroups them.
    """
    resources = resources_of(request)
    now = resources.clock.now()
    query = Query.of(request)
    podcast_id, episode_id, by, tz = query.get(PODCAST_ID), query.get(EPISODE_ID), query.get(BY), query.get(TZ)
    interval = query.get(INTERVAL)
    wanted = read_range(query, now=now)
    query.finish()
    buckets = plan_buckets(*wanted, interval=interval, tz=tz)
    first, last = utc_days(*wanted)
    listeners: list[ListenerRow] = []
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        scope, _ = await find_scope(conn, podcast_id=podcast_id, episode_id=episode_id)
        # First, so that what it says holds for figures that are read after it.
        status = await read_status(conn, scope, first=first, last=last)
        rows = await sum_downloads(conn, scope, list(slice_days(buckets)), by=None if by is None else by.value)
        if by is None and any(in_one_month(*bucket) for bucket in buckets):
            listeners = await count_listeners(conn, scope, buckets)
    if len(rows) > MAX_SUMS:
        message = f"makes more than {MAX_SUMS} rows here; ask for a shorter range or a longer interval"
        raise InvalidRequest([Fault("by", "too_many_rows", message)])
    reason: Reason | None = "by"
    if by is None:
        figures, reason = _dense(rows, listeners, buckets, tz)
    else:
        figures = _sparse(rows, buckets, tz)
    return DownloadsAnswer(
        data=figures,
        cutoff=status.cutoff_at,
        profile=DEFAULT_PROFILE.name,
        rules=DEFAULT_PROFILE.rules_version,
        lists=await asyncio.to_thread(resources.lists.read),
        state=state_of(status, first, last, now=now),
        partial=is_partial(status, wanted.end),
        tz=tz.key,
        interval=interval.value,
        start=wanted.start.astimezone(tz),
        end=wanted.end.astimezone(tz),
        listeners_reason=reason,
    )


@get("/analytics/explain", tags=["analytics"], opt={"query": (PODCAST_ID, EPISODE_ID, DAY)})
async def explain_day(request: Request[Any, Any, Any]) -> DayExplanation:
    """Explain a UTC day: how many hits there were, what became of them, and which are downloads.

    Of an episode, or of a podcast with its hits that wait for their episode.
    """
    resources = resources_of(request)
    query = Query.of(request)
    podcast_id, episode_id, day = query.get(PODCAST_ID), query.get(EPISODE_ID), query.get(DAY)
    if not query.is_given(PODCAST_ID) and not query.is_given(EPISODE_ID):
        query.refuse("podcast_id", "missing", "is required, or episode_id")
    query.finish()
    if day is None:
        raise AssertionError("a required parameter is there")
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        scope, owner_id = await find_scope(conn, podcast_id=podcast_id, episode_id=episode_id)
        if owner_id is None:
            raise AssertionError("a podcast or an episode was named")
        return await read_day(
            conn, scope, podcast_id=owner_id, episode_id=episode_id, day=day, now=resources.clock.now()
        )
