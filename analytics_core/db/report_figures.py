"""What reports are made of, read as the API reads it, so that their totals are the API's."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from analytics_core.db.analytics import FigureRow, Scope, StatusRow, read_status, sum_downloads
from analytics_core.db.audience import read_audience
from analytics_core.db.episodes import get_heads
from analytics_core.db.podcasts import get_podcast
from analytics_core.db.pool import Connection
from analytics_core.db.rankings import rank_keys
from analytics_core.db.states import counted_by, is_partial, state_of
from analytics_core.ids import EpisodeNo
from analytics_core.reporting.documents import MAX_ROWS, ReportFailed
from analytics_core.reporting.podcasts import Counted, DayFigure, EpisodeFigure, PodcastFigures, ValueFigure
from analytics_core.reporting.requests import ReportParams
from analytics_core.reports import Bucket, Interval, plan_buckets, start_of_day, utc_days

__all__ = ("counted_of", "read_podcast_figures", "span_of")


def span_of(params: ReportParams) -> Bucket:
    """Return the instants between which a report's days lie, in UTC."""
    tz = ZoneInfo(params.tz)
    return Bucket(start_of_day(params.start, tz), start_of_day(params.end, tz))


def counted_of(status: StatusRow, span: Bucket, *, now: dt.datetime) -> Counted:
    """Say by what the figures of a range were counted.

    Hits that came after the range are none of it: where all from before its end have landed, that end is the cutoff,
    and a report of days that are over stays the same whatever comes later.
    """
    profile, rules = counted_by(status)
    return Counted(
        cutoff_at=None if status.cutoff_at is None else min(status.cutoff_at, span.end),
        profile=profile,
        rules=rules,
        state=state_of(status, *utc_days(*span), now=now).value,
        is_partial=is_partial(status, span.end),
        restated=status.restated,
    )


async def _rank(conn: Connection, scope: Scope, span: Bucket, by: str) -> list[ValueFigure]:
    ranking = await rank_keys(conn, scope, span, by=by, limit=MAX_ROWS)
    return [ValueFigure(row.key, row.downloads, row.downloads_strict) for row in ranking.keys]


async def _rank_episodes(conn: Connection, scope: Scope, span: Bucket) -> list[EpisodeFigure]:
    ranked = await _rank(conn, scope, span, "episode")
    heads = {
        str(int(head.episode_no)): head for head in await get_heads(conn, [EpisodeNo(int(row.value)) for row in ranked])
    }
    return [
        EpisodeFigure(head.episode_id, head.title, head.published_at, row.downloads, row.downloads_strict)
        for row in ranked
        for head in [heads[row.value]]
    ]


async def read_podcast_figures(conn: Connection, params: ReportParams, *, now: dt.datetime) -> PodcastFigures:
    """Read what a podcast's report is made of.

    Args:
        conn: As the API, in a snapshot of the tenant.
        params: With the podcast's id.
        now: Aware instant.

    Raises:
        ReportFailed: The podcast is gone.
    """
    if params.podcast_id is None:
        raise AssertionError("a podcast's report names it")
    podcast = await get_podcast(conn, params.podcast_id)
    if podcast is None:
        raise ReportFailed("its podcast is not there any more")
    scope, tz, span = Scope((podcast.podcast_no,)), ZoneInfo(params.tz), span_of(params)
    first, last = utc_days(*span)
    # First, so that what it says holds for figures that are read after it.
    status = await read_status(conn, scope, first=first, last=last)
    buckets = plan_buckets(*span, interval=Interval.DAY, tz=tz)
    sums = {row.bucket: row for row in await sum_downloads(conn, scope, buckets)}
    rows = [sums.get(place) or FigureRow(place, "", 0, 0) for place in range(len(buckets))]
    people, reason, _ = await read_audience(conn, scope, buckets, [row.downloads for row in rows])
    downloads, strict = sum(row.downloads for row in rows), sum(row.downloads_strict for row in rows)
    (all_people,), why_not, _ = await read_audience(conn, scope, [span], [downloads])
    return PodcastFigures(
        title=podcast.title,
        counted=counted_of(status, span, now=now),
        days=[
            DayFigure(bucket.start.astimezone(tz).date(), row.downloads, row.downloads_strict, listeners)
            for bucket, row, listeners in zip(buckets, rows, people, strict=True)
        ],
        downloads=downloads,
        downloads_strict=strict,
        listeners=all_people,
        listeners_reasons=frozenset(one for one in (reason, why_not) if one is not None),
        episodes=await _rank_episodes(conn, scope, span),
        apps=await _rank(conn, scope, span, "app"),
        countries=await _rank(conn, scope, span, "country"),
    )
