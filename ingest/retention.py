"""The job that lets hits, downloads, clicks and events go when their time is over, a day a transaction."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Mapping
from typing import Final

import asyncpg

from analytics_core.db.event_intake import drop_intake
from analytics_core.db.event_marks import drop_signals
from analytics_core.db.events import ID_DAYS, drop_event_days, drop_event_ids, drop_tenant_events
from analytics_core.db.pool import Connection
from analytics_core.db.retention import (
    Series,
    drop_clicks,
    drop_day,
    drop_segments,
    drop_tenant_downloads,
    drop_tenant_hits,
    list_download_days,
    list_hit_days,
    list_tenant_download_days,
    list_tenant_hit_days,
    note_lost_hits,
)
from analytics_core.keeping import DOWNLOAD_DAYS

__all__ = ("INTAKE_DAYS", "KEEP_DOWNLOADS", "KEEP_SEGMENTS_MONTHS", "SIGNAL_DAYS", "drop_old", "months_before")

KEEP_DOWNLOADS: Final = dt.timedelta(days=DOWNLOAD_DAYS)
"""How long downloads are kept after the day is final for every tenant."""

KEEP_SEGMENTS_MONTHS: Final = 12
"""How much longer than hits what is known of a spool's segments is kept: a file that comes back later lands again."""

SIGNAL_DAYS: Final = 180
"""Days for which it is kept what led a customer in: a conversion may be told 90 days late, and look back as many."""

INTAKE_DAYS: Final = 400
"""Days for which it is kept how many events came in and what became of them."""

_DAYS: Final = 1_000
_SEGMENTS: Final = 10_000
_CLICKS: Final = 10_000
_EVENT_IDS: Final = 10_000
_SIGNALS: Final = 10_000
_COUNTS: Final = 10_000


def months_before(day: dt.date, months: int) -> dt.date:
    """Go back some months; to a month's last day where it has no such day.

    >>> [str(months_before(dt.date(2026, 3, 31), months)) for months in (1, 13, 25)]
    ['2026-02-28', '2025-02-28', '2024-02-29']
    """
    number = day.year * 12 + day.month - 1 - months
    year, month = number // 12, number % 12 + 1
    return dt.date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


async def _drop_days(
    conn: Connection, series: Series, days: list[dt.date], *, before: dt.datetime, now: dt.datetime
) -> int:
    """Drop whole days until one is being read by somebody: then the rest has time until the next run."""
    dropped = 0
    for day in days:
        try:
            dropped += await drop_day(conn, series, day, before=before, now=now)
        except asyncpg.LockNotAvailableError:
            break
    return dropped


async def _drop_events(conn: Connection, *, horizon: dt.date, today: dt.date) -> Mapping[str, int]:
    """Let events go by when they were received, ids of those that cannot be sent again, signals, and counts."""
    days = 0
    try:
        while (gone := await drop_event_days(conn, before=horizon)) > 0:
            days += gone
    except asyncpg.LockNotAvailableError:
        # Somebody reads them: the rest has time until the next run.
        pass
    events = await drop_tenant_events(conn, today=today, limit=_DAYS)
    ids = 0
    last = today - dt.timedelta(days=ID_DAYS)
    while (gone := await drop_event_ids(conn, before=last, limit=_EVENT_IDS)) > 0:
        ids += gone
    signals = 0
    earliest = dt.datetime.combine(today - dt.timedelta(days=SIGNAL_DAYS), dt.time(), dt.UTC)
    while (gone := await drop_signals(conn, before=earliest, limit=_SIGNALS)) > 0:
        signals += gone
    counts = 0
    while (gone := await drop_intake(conn, before=today - dt.timedelta(days=INTAKE_DAYS), limit=_COUNTS)) > 0:
        counts += gone
    return {
        "days of events": days,
        "events": events,
        "ids of events": ids,
        "signals of customers": signals,
        "counts of events": counts,
    }


async def drop_old(conn: Connection, *, now: dt.datetime, hits_months: int) -> Mapping[str, int]:
    """Let go what is older than it is kept.

    Args:
        conn: As ingest, outside a transaction.
        now: Aware instant.
        hits_months: Months for which hits, clicks and events are kept, of tenants that do not have them go earlier.

    Returns:
        How much went: whole days of hits, of downloads and of events, and single rows.
    """
    today = now.astimezone(dt.UTC).date()
    horizon = months_before(today, hits_months)
    midnight = dt.datetime.combine(horizon, dt.time(), dt.UTC)
    final_before = now - KEEP_DOWNLOADS
    hit_days = await _drop_days(
        conn, "listener_events", await list_hit_days(conn, before=horizon, limit=_DAYS), before=midnight, now=now
    )
    await note_lost_hits(conn, before=horizon, now=now)
    download_days = await _drop_days(
        conn,
        "downloads",
        await list_download_days(conn, final_before=final_before, limit=_DAYS),
        before=final_before,
        now=now,
    )
    hits = downloads = clicks = 0
    for which in await list_tenant_hit_days(conn, today=today, limit=_DAYS):
        hits += await drop_tenant_hits(conn, which, now=now)
    for which in await list_tenant_download_days(conn, today=today, limit=_DAYS):
        downloads += await drop_tenant_downloads(conn, which, today=today, now=now)
    while (gone := await drop_clicks(conn, before=horizon, today=today, limit=_CLICKS)) > 0:
        clicks += gone
    segments = 0
    last = months_before(today, hits_months + KEEP_SEGMENTS_MONTHS)
    while (gone := await drop_segments(conn, before=dt.datetime.combine(last, dt.time(), dt.UTC), limit=_SEGMENTS)) > 0:
        segments += gone
    return {
        "days of hits": hit_days,
        "days of downloads": download_days,
        "hits": hits,
        "downloads": downloads,
        "clicks": clicks,
        "segments": segments,
        **await _drop_events(conn, horizon=horizon, today=today),
    }
