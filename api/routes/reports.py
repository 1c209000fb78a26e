"""Reports: asked for here, made by ingest, fetched as files."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import Any, Final

from litestar import Request, delete, get, post
from litestar.response import Stream

from analytics_core.db.pool import Connection
from analytics_core.db.report_subjects import find_missing, with_run
from analytics_core.db.reports import ReportRow, add_report, find_report, stored_params
from analytics_core.db.reports import delete_report as remove_report
from analytics_core.db.reports import list_reports as read_reports
from analytics_core.db.sponsors import find_sponsor, require_unmerged
from analytics_core.errors import NotFound
from analytics_core.permissions import Permission
from analytics_core.reporting.files import MEDIA_TYPES, Format, is_available
from analytics_core.reporting.requests import ReportKind, ReportParams, find_faults
from api.auth import caller_of
from api.bodies import read_json
from api.errors import Fault, InvalidRequest
from api.limits import HEAVY_COST, REPORT_COST
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.reports import send_file
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.reports import CreateReport, Report
from api.scopes import SPONSOR_ID, path_id
from api.writing import writing

__all__ = ("create_report", "delete_report", "get_report", "get_report_file", "list_reports", "report_in_path")

_LIST: Final = "reports"
_CURSOR: Final = id_cursor(_LIST)


def _check(wanted: CreateReport) -> None:
    faults = [Fault(f"/{fault.name}", fault.code, fault.message) for fault in find_faults(wanted.kind, wanted.params)]
    if not is_available(wanted.format):
        message = "Parquet needs pyarrow, which is not installed here; ask for csv"
        faults.append(Fault("/format", "not_available", message))
    if faults:
        raise InvalidRequest(faults)


async def _settle(conn: Connection, kind: ReportKind, params: ReportParams, *, now: dt.datetime) -> ReportParams:
    """See that what a report is about is there, and choose the run that tells of conversions.

    Raises:
        InvalidRequest: Something is not there.
        Conflict: ``sponsor_merged``: another sponsor has what it is about.
    """
    if params.sponsor_id is not None:
        with contextlib.suppress(NotFound):
            await require_unmerged(conn, params.sponsor_id)
    missing = await find_missing(conn, params)
    if missing:
        raise InvalidRequest([Fault(f"/{fault.name}", fault.code, fault.message) for fault in missing])
    return await with_run(conn, kind, params, now=now)


async def report_in_path(conn: Connection, request: Request[Any, Any, Any]) -> ReportRow:
    """Find the report that a path names.

    Raises:
        NotFound: There is none, or the caller does not see it.
    """
    row = await find_report(conn, path_id(request, "report_id", what="report"))
    if row is None:
        raise NotFound("report")
    return row


@post(
    "/reports",
    tags=["reports"],
    status_code=202,
    opt={
        "permission": Permission.REPORTS_WRITE,
        "cost": HEAVY_COST,
        "bodies": {"application/json": CreateReport},
        "refusals": (409,),
    },
)
async def create_report(request: Request[Any, Any, Any]) -> Report:
    """Have a report made, within seconds as a rule; ask for it again until its `status` is `ready` or `failed`.

    Made again for the same days while nothing has changed, its CSV and JSON are the same bytes.
    """
    wanted = await read_json(request, CreateReport)
    _check(wanted)
    now = resources_of(request).clock.now()
    async with writing(request, "report.create") as work:
        params = await _settle(work.conn, wanted.kind, wanted.params, now=now)
        row = await add_report(
            work.conn,
            work.tenant,
            kind=wanted.kind.value,
            format=wanted.format.value,
            params=params,
            by=work.caller.caller_id,
            now=now,
        )
        on_record = {"kind": row.kind, "format": row.format, **stored_params(row.params)}
        return work.done(Report.of(row), resource=row.report_id, after=on_record)


@get(
    "/reports",
    tags=["reports"],
    opt={"permission": Permission.REPORTS_READ, "query": (SPONSOR_ID, LIMIT, _CURSOR)},
)
async def list_reports(request: Request[Any, Any, Any]) -> Page[Report]:
    """List reports in the order in which they were asked for; a sponsor's login sees those about its sponsor."""
    query = Query.of(request)
    sponsor_id, limit, after = query.get(SPONSOR_ID), query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        if sponsor_id is not None:
            await find_sponsor(conn, sponsor_id)
        rows = await read_reports(conn, sponsor_id=sponsor_id, after=after, limit=limit + 1)
    return page_of(rows, limit, Report.of, _LIST, lambda row: (row.created_at, row.report_id))


@get("/reports/{report_id:str}", tags=["reports"], opt={"permission": Permission.REPORTS_READ})
async def get_report(request: Request[Any, Any, Any]) -> Report:
    """Read how far a report is."""
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        return Report.of(await report_in_path(conn, request))


@get(
    "/reports/{report_id:str}/file",
    tags=["reports"],
    opt={
        "permission": Permission.REPORTS_READ,
        "cost": REPORT_COST,
        "files": tuple(MEDIA_TYPES[one] for one in Format),
        "refusals": (409, 410),
    },
)
async def get_report_file(request: Request[Any, Any, Any]) -> Stream:
    """Fetch a report's file; `Repr-Digest` has the SHA-256 of it.

    It is 409 `report_not_ready` while the report is not made, and 410 `report_expired` once the file is kept no longer,
    or `report_erased` where it named a podcast that was erased.
    """
    tenant, database = caller_of(request).tenant, resources_of(request).database
    async with database.reading(tenant) as conn:
        row = await report_in_path(conn, request)
    return await send_file(lambda: database.reading(tenant), tenant, row)


@delete("/reports/{report_id:str}", tags=["reports"], opt={"permission": Permission.REPORTS_WRITE})
async def delete_report(request: Request[Any, Any, Any]) -> None:
    """Delete a report, its file and all links to it; one that is being made is given up."""
    async with writing(request, "report.delete") as work:
        row = await report_in_path(work.conn, request)
        if not await remove_report(work.conn, row.report_id):
            raise NotFound("report")
        work.done(None, resource=row.report_id, before={"kind": row.kind, "format": row.format})
