"""Links to reports: made and taken back by a tenant, opened by whoever has one."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, get, post

from analytics_core.db.report_shares import list_shares as read_shares
from analytics_core.permissions import Permission
from analytics_core.reporting.files import MEDIA_TYPES, Format
from api.auth import caller_of
from api.bodies import read_json
from api.limits import REPORT_COST
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Parameter, Query, whole_number
from api.report_requests import make_share, report_in_path, revoke
from api.reports import OpenedShare, as_private, open_share, send_file, use_view
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.reports import CreateShare, NewShare, Share, SharedReport, UnlockShare
from api.scopes import path_id

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
    return await make_share(request, await read_json(request, CreateShare))


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
    await revoke(request, path_id(request, "share_id", what="link"))


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
