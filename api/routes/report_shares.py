"""Links to reports: made and taken back by a tenant, opened by whoever has one."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, get, post

from analytics_core.db.report_shares import add_share, find_share, revoke_share
from analytics_core.db.report_shares import list_shares as read_shares
from analytics_core.errors import NotFound
from analytics_core.passwords import check_password
from analytics_core.permissions import Permission
from analytics_core.reporting.files import MEDIA_TYPES, Format
from analytics_core.reporting.shares import MAX_SHARED, new_token
from api.auth import caller_of
from api.bodies import read_json
from api.errors import Fault, InvalidRequest
from api.limits import REPORT_COST
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Parameter, Query, whole_number
from api.reports import OpenedShare, as_private, check_file, open_share, send_file, use_view
from api.resources import resources_of
from api.routes.reports import report_in_path
from api.schemas.common import Page
from api.schemas.reports import CreateShare, NewShare, Share, SharedReport, UnlockShare
from api.scopes import path_id
from api.writing import writing

__all__ = (
    "create_report_share",
    "list_report_shares",
    "open_shared_report",
    "revoke_report_share",
    "unlock_shared_report",
)

_LIST: Final = "report_shares"
_CURSOR: Final = id_cursor(_LIST)
_FILES: Final = tuple(MEDIA_TYPES[one] for one in Format)
DOWNLOAD: Final = Parameter(
    "download",
    whole_number(0, 1),
    0,
    "1 for the file itself, which is a view; else what it is.",
    {"type": "integer", "minimum": 0, "maximum": 1, "default": 0},
)


def _check(wanted: CreateShare, now: dt.datetime) -> None:
    if wanted.expires_at.tzinfo is None:
        raise InvalidRequest(
            [Fault("/expires_at", "naive_time", "has no offset; write 2026-12-01T12:00:00Z or …+01:00")]
        )
    if not now < wanted.expires_at <= now + MAX_SHARED:
        message = f"has to lie ahead, {MAX_SHARED.days} days at most"
        raise InvalidRequest([Fault("/expires_at", "out_of_range", message)])
    if wanted.password is not None:
        check_password(wanted.password)


@post(
    "/reports/{report_id:str}/shares",
    tags=["reports"],
    opt={
        "permission": Permission.REPORTS_WRITE,
        "cost": REPORT_COST,
        "bodies": {"application/json": CreateShare},
        "refusals": (410,),
    },
)
async def create_report_share(request: Request[Any, Any, Any]) -> NewShare:
    """Make a link by which somebody without a login reads a report. Its token is shown this once.

    The report's file is kept for as long as the link is good.
    """
    wanted = await read_json(request, CreateShare)
    resources = resources_of(request)
    now = resources.clock.now()
    _check(wanted, now)
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
        share = Share.of(row, now=now)
        public_url = resources.settings.people.public_url
        answer = NewShare(share=share, token=token, url=f"{public_url}/shared/{token}" if public_url else None)
        return work.done(answer, resource=row.share_id, after=share, is_secret=True)


@get(
    "/reports/{report_id:str}/shares",
    tags=["reports"],
    # Not whoever reads reports: a sponsor's login does, and who else has a link is no business of it.
    opt={"permission": Permission.REPORTS_WRITE, "query": (LIMIT, _CURSOR)},
)
async def list_report_shares(request: Request[Any, Any, Any]) -> Page[Share]:
    """List the links to a report in the order in which they were made, ended ones too."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    resources = resources_of(request)
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        report = await report_in_path(conn, request)
        rows = await read_shares(conn, report.report_id, after=after, limit=limit + 1)
    now = resources.clock.now()
    return page_of(rows, limit, lambda row: Share.of(row, now=now), _LIST, lambda row: (row.created_at, row.share_id))


@delete("/report-shares/{share_id:str}", tags=["reports"], opt={"permission": Permission.REPORTS_WRITE})
async def revoke_report_share(request: Request[Any, Any, Any]) -> None:
    """Take a link back: from then on it opens nothing. One that has ended stays as it is."""
    wanted = path_id(request, "share_id", what="link")
    async with writing(request, "report_share.revoke") as work:
        if await find_share(work.conn, wanted) is None:
            raise NotFound("link")
        await revoke_share(work.conn, wanted, now=resources_of(request).clock.now())
        work.done(None, resource=wanted)


async def _answer(request: Request[Any, Any, Any], opened: OpenedShare, *, download: bool) -> Response[SharedReport]:
    share, report = opened.share, opened.report
    if download:
        await use_view(request, share)
        database = resources_of(request).database
        return as_private(await send_file(database.auth, share.tenant, report))
    if report.sha256 is None or report.size_bytes is None or report.finished_at is None:
        raise AssertionError("a report that has a file was made")
    shared = SharedReport(
        kind=report.kind,
        format=report.format,
        params=msgspec.to_builtins(report.params),
        cutoff=report.cutoff_at,
        sha256=report.sha256.hex(),
        size_bytes=report.size_bytes,
        finished_at=report.finished_at,
        expires_at=share.expires_at,
        views_left=None if share.max_views is None else share.max_views - share.views,
    )
    return as_private(Response(shared))


@get(
    "/shared/{token:str}",
    tags=["reports"],
    opt={"is_open": True, "cost": REPORT_COST, "query": (DOWNLOAD,), "files": _FILES, "refusals": (401, 410)},
)
async def open_shared_report(request: Request[Any, Any, Any]) -> Response[SharedReport]:
    """Read what a link leads to, without a login, or with `download=1` the report's file.

    A link that has ended is 410 `share_ended`; one with a password 401 `wrong_password`: send the password in a POST.
    """
    query = Query.of(request)
    download = query.get(DOWNLOAD) == 1
    query.finish()
    return await _answer(
        request, await open_share(request, request.path_params["token"], password=None), download=download
    )


@post(
    "/shared/{token:str}",
    tags=["reports"],
    status_code=200,
    opt={
        "is_open": True,
        # A POST so that the password is in no address; what it counts is told with the link.
        "changes_nothing": True,
        "cost": REPORT_COST,
        "query": (DOWNLOAD,),
        "files": _FILES,
        "bodies": {"application/json": UnlockShare},
        "refusals": (401, 410, 429),
    },
)
async def unlock_shared_report(request: Request[Any, Any, Any]) -> Response[SharedReport]:
    """Read what a link with a password leads to, or with `download=1` the report's file.

    After five wrong passwords the link is left alone for 15 minutes: 429 with `Retry-After`.
    """
    query = Query.of(request)
    download = query.get(DOWNLOAD) == 1
    query.finish()
    wanted = await read_json(request, UnlockShare)
    opened = await open_share(request, request.path_params["token"], password=wanted.password)
    return await _answer(request, opened, download=download)
