"""What the API and the page do alike to have reports made, and to share them."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import Any
from uuid import UUID

from litestar import Request

from analytics_core.db.pool import Connection
from analytics_core.db.report_shares import add_share, find_share, revoke_share
from analytics_core.db.report_subjects import find_missing, with_run
from analytics_core.db.reports import ReportRow, add_report, find_report, stored_params
from analytics_core.db.sponsors import require_unmerged
from analytics_core.errors import NotFound
from analytics_core.passwords import check_password
from analytics_core.reporting.files import is_available
from analytics_core.reporting.requests import ReportKind, ReportParams, find_faults
from analytics_core.reporting.shares import MAX_SHARED, new_token
from api.errors import Fault, InvalidRequest
from api.reports import check_file
from api.resources import resources_of
from api.schemas.reports import CreateReport, CreateShare, NewShare, Report, Share
from api.scopes import path_id
from api.writing import writing

__all__ = ("create", "make_share", "report_in_path", "revoke")


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


async def create(request: Request[Any, Any, Any], wanted: CreateReport) -> Report:
    """Have a report made.

    Raises:
        InvalidRequest: Something is wrong with what is wanted; all is listed.
        Conflict: As :func:`analytics_core.db.reports.add_report`.
    """
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


def _check_share(wanted: CreateShare, now: dt.datetime) -> None:
    if wanted.expires_at.tzinfo is None:
        raise InvalidRequest(
            [Fault("/expires_at", "naive_time", "has no offset; write 2026-12-01T12:00:00Z or …+01:00")]
        )
    if not now < wanted.expires_at <= now + MAX_SHARED:
        message = f"has to lie ahead, {MAX_SHARED.days} days at most"
        raise InvalidRequest([Fault("/expires_at", "out_of_range", message)])
    if wanted.password is not None:
        check_password(wanted.password)


async def make_share(request: Request[Any, Any, Any], wanted: CreateShare) -> NewShare:
    """Make a link to the report that the path names; its token is told this once.

    Raises:
        InvalidRequest, InvalidInput: Something is wrong with what is wanted.
        NotFound: There is no such report.
        Conflict, ReportExpired: It has no file, or as :func:`analytics_core.db.report_shares.add_share`.
    """
    resources = resources_of(request)
    now = resources.clock.now()
    _check_share(wanted, now)
    hashed = None if wanted.password is None else await resources.passwords.hash(wanted.password)
    token = new_token()
    async with writing(request, "report_share.create") as work:
        report = await report_in_path(work.conn, request)
        check_file(report)
        row = await add_share(
            work.conn,
            work.tenant,
            report.report_id,
            token=token,
            password_hash=hashed,
            expires_at=wanted.expires_at,
            max_views=wanted.max_views,
            by=work.caller.caller_id,
            now=now,
        )
        shown = Share.of(row, now=now)
        public_url = resources.settings.people.public_url
        answer = NewShare(share=shown, token=token, url=f"{public_url}/shared/{token}" if public_url else None)
        return work.done(answer, resource=row.share_id, after=shown, is_secret=True)


async def revoke(request: Request[Any, Any, Any], share_id: UUID) -> UUID:
    """Take a link back; returns the report that it led to.

    Raises:
        NotFound: There is none of this id.
    """
    async with writing(request, "report_share.revoke") as work:
        found = await find_share(work.conn, share_id)
        if found is None:
            raise NotFound("link")
        await revoke_share(work.conn, share_id, now=resources_of(request).clock.now())
        return work.done(found.report_id, resource=share_id, after=None, answer=None)
