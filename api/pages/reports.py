"""Reports on the page: asked for about a campaign, followed until they are made, fetched, and shared by links."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.response import Redirect, Stream

from analytics_core.db.campaigns import CampaignRow, find_campaign
from analytics_core.db.performances import RunHead, read_performance
from analytics_core.db.pool import Connection
from analytics_core.db.report_shares import list_shares
from analytics_core.errors import Conflict, NotFound
from analytics_core.passwords import MIN_CHARACTERS
from analytics_core.permissions import Permission
from analytics_core.reporting.files import Format, is_available
from api.auth import caller_of
from api.idempotency import Replayed
from api.limits import HEAVY_COST, REPORT_COST
from api.pages.campaign_forms import MAX_BYTES, campaign_id_of, show_filled
from api.pages.filling import REFUSED, Filled
from api.pages.sessions import is_https
from api.pages.views import is_fragment, show
from api.report_requests import create, make_share, report_in_path, revoke
from api.reports import send_file
from api.resources import resources_of
from api.schemas.reports import CreateReport, CreateShare, NewShare, Share
from api.scopes import path_id

__all__ = ("ask_for_report", "get_report_on_page", "revoke_share", "share_report", "show_new_report", "show_report")

_DAY: Final = dt.timedelta(days=1)
_MAX_DAYS: Final = 400
_MAX_SHARES: Final = 200
_PROPOSED_DAYS: Final = 30
_REPORT: Final = {"from": "First day", "to": "Last day", "format": "File", "run_id": "With conversions"}
_SHARE: Final = {"expires_at": "Good until", "max_views": "Views at most", "password": "Password"}
_SENT_TWICE: Final = (
    "this was sent twice: one link was made, and shown in answer to the first. Where you did not see it, take it back "
    "and make another"
)
_FORMATS: Final = (
    (Format.XLSX.value, "XLSX", "For a spreadsheet."),
    (Format.CSV.value, "CSV", "One table, for anything."),
    (Format.JSON.value, "JSON", "For programs."),
    (Format.PARQUET.value, "Parquet", "For databases."),
)


async def _read_run(conn: Connection, request: Request[Any, Any, Any], campaign_id: UUID) -> RunHead | None:
    """Read the attribution run that tells of a campaign; ``None`` where none that is ready does."""
    now = resources_of(request).clock.now()
    found = await read_performance(conn, caller_of(request).tenant.tenant_id, campaign_id, run_id=None, now=now)
    return found.run


async def _show_new(request: Request[Any, Any, Any], form: Filled | None = None) -> Response[Any]:
    wanted = campaign_id_of(request)
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        campaign = await find_campaign(conn, wanted)
        run = await _read_run(conn, request, wanted)
    if form is None:
        today = resources_of(request).clock.now().astimezone(dt.UTC).date()
        # Days that are over by preference: their report says the same whenever it is made.
        last = max(min(campaign.ends_on, today - _DAY), campaign.starts_on)
        first = max(campaign.starts_on, last - (_MAX_DAYS - 1) * _DAY)
        form = Filled(
            _REPORT, {"from": first.isoformat(), "to": last.isoformat(), "format": Format.XLSX.value, "run_id": "on"}
        )
    formats = [one for one in _FORMATS if is_available(Format(one[0]))]
    return show_filled(request, "new_report.html", form, campaign, run=run, formats=formats)


@get("/campaigns/{campaign_id:str}/reports/new", opt={"permission": Permission.REPORTS_WRITE})
async def show_new_report(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form of a report."""
    return await _show_new(request)


@post(
    "/campaigns/{campaign_id:str}/reports/new",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.REPORTS_WRITE, "cost": HEAVY_COST},
)
async def ask_for_report(request: Request[Any, Any, Any]) -> Response[Any]:
    """Have a sponsor report of the campaign made, and lead to where it is followed."""
    wanted, form = campaign_id_of(request), await Filled.read(request, _REPORT)
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        campaign = await find_campaign(conn, wanted)
    form.document.update(kind="sponsor", sponsor_id=str(campaign.sponsor_id), campaign_id=str(wanted))
    form.texts("format", "run_id")
    form.days("from")
    form.day_behind("to")
    report_id: UUID | str | None
    try:
        report_id = (await create(request, form.convert(CreateReport))).report_id
    except Replayed as done:
        report_id = done.stored.resource_id
    except REFUSED as error:
        return await _show_new(request, form.refuse(error))
    return Redirect(f"/reports/{report_id}", status_code=303)


async def _find_campaign(conn: Connection, campaign_id: UUID | None) -> CampaignRow | None:
    """Read the campaign that a report is about, where there is one and it is seen."""
    if campaign_id is None:
        return None
    try:
        return await find_campaign(conn, campaign_id)
    except NotFound:
        return None


def _origin(request: Request[Any, Any, Any]) -> str:
    """Name where the page is, as whoever looks at it reached it: for an installation that does not know its address."""
    return f"{'https' if is_https(request) else 'http'}://{request.headers.get('host', '')}"


async def _show(
    request: Request[Any, Any, Any], form: Filled | None = None, *, made: NewShare | None = None
) -> Response[Any]:
    caller, now = caller_of(request), resources_of(request).clock.now()
    may_write = Permission.REPORTS_WRITE in caller.permissions
    async with resources_of(request).database.tenant(caller.tenant) as conn:
        report = await report_in_path(conn, request)
        campaign = await _find_campaign(conn, report.params.campaign_id)
        shares = await list_shares(conn, report.report_id, after=None, limit=_MAX_SHARES) if may_write else []
    is_waiting = report.status in ("queued", "running")
    if is_fragment(request):
        # What stands around it is different once it is made: the page is loaded anew.
        return show(request, "report_state.html", status_code=200 if is_waiting else 205, report=report)
    if form is None:
        last = now.astimezone(dt.UTC).date() + _PROPOSED_DAYS * _DAY
        form = Filled(_SHARE, {"expires_at": last.isoformat()})
    return show(
        request,
        "report.html",
        status_code=form.status_code,
        tab="campaigns",
        report=report,
        campaign=campaign,
        is_waiting=is_waiting,
        shares=[Share.of(row, now=now) for row in reversed(shares)],
        may_write=may_write,
        form=form,
        made=made,
        min_password=MIN_CHARACTERS,
        address="" if made is None else made.url or f"{_origin(request)}/shared/{made.token}",
    )


@get("/reports/{report_id:str}", opt={"permission": Permission.REPORTS_READ})
async def show_report(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show how far a report is, its file, and the links to it."""
    return await _show(request)


@get("/reports/{report_id:str}/file", opt={"permission": Permission.REPORTS_READ, "cost": REPORT_COST})
async def get_report_on_page(request: Request[Any, Any, Any]) -> Stream:
    """Hand out a report's file."""
    tenant, database = caller_of(request).tenant, resources_of(request).database
    async with database.tenant(tenant) as conn:
        row = await report_in_path(conn, request)
    return await send_file(lambda: database.tenant(tenant), tenant, row)


@post(
    "/reports/{report_id:str}/shares",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.REPORTS_WRITE, "cost": REPORT_COST},
)
async def share_report(request: Request[Any, Any, Any]) -> Response[Any]:
    """Make a link to a report, and show it this once."""
    form = await Filled.read(request, _SHARE)
    form.end_of("expires_at")
    form.numbers("max_views")
    if form.fields.get("password"):
        # As it was typed: blanks around it are a part of it.
        form.document["password"] = form.fields["password"]
    try:
        made = await make_share(request, form.convert(CreateShare))
    except Conflict as error:
        if error.code == "idempotency_answer_gone":
            form.tell("", _SENT_TWICE)
            form.status_code = 409
            return await _show(request, form)
        return await _show(request, form.refuse(error))
    except REFUSED as error:
        return await _show(request, form.refuse(error))
    return await _show(request, made=made)


@post(
    "/report-shares/{share_id:str}/revoke",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.REPORTS_WRITE},
)
async def revoke_share(request: Request[Any, Any, Any]) -> Response[Any]:
    """Take a link to a report back, and lead to the report."""
    wanted = path_id(request, "share_id", what="link")
    # Taking it back twice is as once.
    await Filled.read(request, {}, once=False)
    return Redirect(f"/reports/{await revoke(request, wanted)}", status_code=303)
