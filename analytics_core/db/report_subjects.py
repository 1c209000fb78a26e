"""Whether what a report is to be about is there, and which attribution run tells of its conversions."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString

import msgspec

from analytics_core.db.podcasts import get_number
from analytics_core.db.pool import Connection
from analytics_core.reporting.requests import FieldFault, ReportKind, ReportParams

__all__ = ("find_missing", "with_run")

_SPONSOR: Final[LiteralString] = """/* report_subjects.sponsor */
select true from app.sponsors where sponsor_id = $1"""

_CAMPAIGN: Final[LiteralString] = """/* report_subjects.campaign */
select sponsor_id from app.campaigns where campaign_id = $1"""

_RUN: Final[LiteralString] = """/* report_subjects.run */
select sponsor_id from app.attribution_runs where run_id = $1 and status = 'ready'"""

_RUN_OF_DAYS: Final[LiteralString] = """/* report_subjects.run_of_days */
select run_id, cutoff_at from app.attribution_runs
where sponsor_id = $1 and status = 'ready' and ($4::uuid is null and starts_at = $2 and ends_at = $3 or run_id = $4)
order by created_at desc, run_id desc limit 1"""


async def find_missing(conn: Connection, params: ReportParams) -> list[FieldFault]:
    """Find what a report is to be about that the transaction does not see.

    A campaign or run of another sponsor than the one that is named is as good as none.
    """
    missing = []
    if params.podcast_id is not None and await get_number(conn, params.podcast_id) is None:
        missing.append(FieldFault("podcast_id", "not_found", "names no podcast of yours"))
    if params.sponsor_id is not None and not await conn.fetchval(_SPONSOR, params.sponsor_id):
        missing.append(FieldFault("sponsor_id", "not_found", "names no sponsor of yours"))
    for name, query, what in (
        ("campaign_id", _CAMPAIGN, "campaign"),
        ("run_id", _RUN, "attribution run that is ready"),
    ):
        wanted = getattr(params, name)
        if wanted is None:
            continue
        of = await conn.fetchval(query, wanted)
        if of is None or params.sponsor_id not in (None, of):
            missing.append(FieldFault(name, "not_found", f"names no {what} of this sponsor"))
    return missing


async def with_run(conn: Connection, kind: ReportKind, params: ReportParams, *, now: dt.datetime) -> ReportParams:
    """Settle what tells of conversions in a sponsor's report: which run, and what was received until when.

    Both are chosen when the report is asked for, so that what it was asked for by says all of it.

    Args:
        conn: In a transaction of the tenant.
        kind: Of other reports nothing is settled.
        params: As they were given: without a run the latest of exactly these days is taken, if there is any.
        now: Aware instant.
    """
    if kind is not ReportKind.SPONSOR:
        return params
    first, end = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (params.start, params.end))
    run = await conn.fetchrow(_RUN_OF_DAYS, params.sponsor_id, first, end, params.run_id)
    run_id, cutoff_at = (None, now) if run is None else (run["run_id"], run["cutoff_at"])
    return msgspec.structs.replace(params, run_id=run_id, received_before=params.received_before or cutoff_at)
