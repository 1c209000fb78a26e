"""The job that makes the reports that were asked for."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import logging
from collections.abc import Mapping
from typing import Final

import msgspec

from analytics_core.clock import Clock
from analytics_core.db.pool import CONNECTION_LOST, Connection, Pool, open_pool, tenant_transaction
from analytics_core.db.report_figures import read_podcast_figures
from analytics_core.db.reports import (
    MAX_ATTEMPTS,
    WaitingReport,
    begin_report,
    fail_report,
    find_report,
    finish_report,
    list_waiting,
    note_progress,
    put_back,
)
from analytics_core.db.sponsor_figures import read_sponsor_figures
from analytics_core.errors import Unavailable
from analytics_core.reporting.documents import Document, ReportFailed
from analytics_core.reporting.files import Format, write_figures, write_file
from analytics_core.reporting.podcasts import write_podcast
from analytics_core.reporting.requests import ReportKind
from analytics_core.reporting.sponsors import write_delivery, write_sponsor
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings

__all__ = ("make_reports",)

_NAME: Final = "castledger-ingest"
_READ_PPM: Final = 600_000
_WRITTEN_PPM: Final = 900_000
_STOPPED: Final = "it was begun twice, and stopped both times before it was done: ask for a shorter range"
_OURS: Final = "it could not be made, twice, for a reason of ours: the operator finds it in the log of ingest"

_log = logging.getLogger("castledger.ingest")


async def _read(conn: Connection, report: WaitingReport, *, now: dt.datetime) -> Document | None:
    """Read the figures of a report in one snapshot; ``None`` when it was deleted."""
    row = await find_report(conn, report.report_id)
    if row is None:
        return None
    # Whose it is in this snapshot: a merge of sponsors may have been over since it was taken up.
    params, kind = msgspec.structs.replace(report.params, sponsor_id=row.sponsor_id), ReportKind(report.kind)
    if kind is ReportKind.PODCAST:
        return write_podcast(params, await read_podcast_figures(conn, params, now=now))
    figures = await read_sponsor_figures(conn, report.tenant, kind, params, now=now)
    return write_sponsor(params, figures) if kind is ReportKind.SPONSOR else write_delivery(params, figures)


async def make_reports(conn: Connection, database: DatabaseSettings, *, clock: Clock) -> Mapping[str, int]:
    """Make all reports that wait, one at a time, the oldest of each tenant in turn.

    Figures are read as the API reads them, in its role and in one snapshot of the tenant: what a report says is what
    the API would have answered.

    Args:
        conn: As ingest, outside a transaction.
        database: Where it is, for a connection in the API's role.
        clock: The time.

    Returns:
        How many were made, and how many failed.

    Raises:
        Unavailable: The database does not answer; what was begun is begun once more.
    """
    counts = {"made": 0, "failed": 0}
    waiting = await list_waiting(conn)
    if not waiting:
        return counts
    pool = await open_pool(database, Role.API, application_name=_NAME, max_size=1)
    try:
        while waiting:
            for report in waiting:
                outcome = await _make(conn, pool, report, clock=clock)
                if outcome is not None:
                    counts[outcome] += 1
            waiting = await list_waiting(conn)
    finally:
        pool.terminate()
    return counts


async def _make(conn: Connection, pool: Pool, waiting: WaitingReport, *, clock: Clock) -> str | None:
    """Make a report; tell what became of it, ``None`` when it is to be tried again or is not ours any more."""
    if waiting.attempts == MAX_ATTEMPTS:
        await fail_report(conn, waiting, error=_STOPPED, now=clock.now())
        return "failed"
    report = await begin_report(conn, waiting)
    if report is None:
        return None
    try:
        is_kept = await _try(conn, pool, report, clock=clock)
    except ReportFailed as error:
        await fail_report(conn, report, error=str(error), now=clock.now())
        return "failed"
    except (Unavailable, *CONNECTION_LOST):
        raise
    except Exception:
        # One report that cannot be made must not keep others from being made.
        _log.exception("report %s failed at attempt %d", report.report_id, report.attempts)
        if report.attempts < MAX_ATTEMPTS:
            await put_back(conn, report)
            return None
        await fail_report(conn, report, error=_OURS, now=clock.now())
        return "failed"
    return "made" if is_kept else None


async def _try(conn: Connection, pool: Pool, report: WaitingReport, *, clock: Clock) -> bool:
    async with tenant_transaction(pool, report.tenant, readonly=True, snapshot=True) as api:
        document = await _read(api, report, now=clock.now())
    if document is None:
        return False
    await note_progress(conn, report, done_ppm=_READ_PPM)
    wanted = Format(report.format)
    # In a thread: what else ingest does goes on meanwhile.
    content = await asyncio.to_thread(write_file, document, wanted)
    figures = None if wanted is Format.JSON else await asyncio.to_thread(write_figures, document)
    await note_progress(conn, report, done_ppm=_WRITTEN_PPM)
    cutoff_at = document.about.get("cutoff")
    return await finish_report(
        conn,
        report,
        content=content,
        figures=figures,
        sha256=hashlib.sha256(content).digest(),
        cutoff_at=cutoff_at if isinstance(cutoff_at, dt.datetime) else None,
        now=clock.now(),
    )
