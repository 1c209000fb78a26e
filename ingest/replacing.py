"""Another source for a podcast's day: an imported log counts instead of trackers, or they do again.

Both sources' hits stay. Which of them counts is a row that whoever lands hits reads; to change it is a restatement of
the day, all or nothing, with its record, and can be changed back: the day's figures are then those of before.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from analytics_core.clock import Clock
from analytics_core.db.day_sources import choose_source, flag_replaced_hits
from analytics_core.db.hits import HitSource
from analytics_core.db.pool import Connection
from analytics_core.db.restatements import Origin
from analytics_core.db.restating import NotRestated, RestatedDay, hold_day, replace_downloads
from ingest.restatements import DayOutcome, Told, read_committed, restate_days

__all__ = ("change_source", "change_sources")


async def change_source(
    conn: Connection, tenant_no: int, day: dt.date, podcast_nos: Sequence[int], *, source: HitSource
) -> RestatedDay | NotRestated | None:
    """Have *source* count for podcasts of a UTC day that two sources tell of.

    A day that is not final is changed as well: who lands hits on it waits, and finds the new source. On a final day
    only those wait who land hits of these podcasts.

    Args:
        conn: As ingest, in a transaction with READ COMMITTED isolation.
        tenant_no: Whose podcasts.
        day: Which day.
        podcast_nos: Those that are noted to have two sources; others stay as they are.
        source: Whose hits count from here on.

    Returns:
        What changed, ``None`` when nothing did, or why it cannot be; then nothing was changed.
    """
    held = await hold_day(conn, tenant_no, day, open_too=True)
    if isinstance(held, NotRestated):
        return held
    if not held:
        return None
    await choose_source(conn, tenant_no, day, podcast_nos, source=source)
    flagged = await flag_replaced_hits(conn, tenant_no, day, podcast_nos)
    return await replace_downloads(conn, tenant_no, day, hits=flagged) if flagged else None


async def change_sources(
    conn: Connection,
    tenant_no: int,
    days: Mapping[dt.date, Sequence[int]],
    *,
    source: HitSource,
    reason: str,
    origin: Origin,
    clock: Clock,
    dry_run: bool = False,
    tell: Told | None = None,
) -> list[DayOutcome]:
    """Have *source* count on some days, as :func:`ingest.restatements.restate_days` restates them.

    Args:
        conn: As ingest, outside a transaction.
        tenant_no: Whose days.
        days: UTC days with the numbers of their podcasts; at least one.
        source: Whose hits count from here on.
        reason: For people.
        origin: Who changes it.
        clock: Tells when it began and when it was done.
        dry_run: Find out what would change, and change nothing.
        tell: Called with each day that changed or cannot be changed, once it is done.

    Raises:
        Unavailable: A day's rows were in use all the time.
    """

    async def remake(conn: Connection, tenant_no: int, day: dt.date) -> RestatedDay | NotRestated | None:
        return await change_source(conn, tenant_no, day, days[day], source=source)

    return await restate_days(
        conn,
        tenant_no,
        sorted(days),
        remake,
        isolation=read_committed,
        reason=reason,
        origin=origin,
        clock=clock,
        dry_run=dry_run,
        tell=tell,
    )
