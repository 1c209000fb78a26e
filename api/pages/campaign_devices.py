"""Promo codes, links, hosts and QR codes on the page: by what a campaign's listeners are recognised."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.response import Redirect, Stream

from analytics_core.db.campaigns import find_campaign
from analytics_core.db.flights import list_campaign_flights
from analytics_core.db.links import list_links
from analytics_core.db.promo_codes import CodeFilter, list_promo_codes
from analytics_core.permissions import Permission
from analytics_core.qr_codes import QrFormat
from analytics_core.reporting.files import plain_text
from api.auth import caller_of
from api.idempotency import Replayed
from api.limits import REPORT_COST
from api.links import create as create_link
from api.pages.campaign_forms import MAX_BYTES, campaign_id_of, chosen_flight, chosen_id, read_subject, show_filled
from api.pages.filling import REFUSED, Filled
from api.promo_codes import add as create_codes
from api.qr_codes import QR_QUERY, draw_link
from api.resources import resources_of
from api.schemas.links import AddLink
from api.schemas.promo_codes import AddPromoCodes
from api.schemas.vanity_hosts import AddVanityHost
from api.scopes import path_id
from api.vanity_hosts import create as create_host

__all__ = (
    "add_link",
    "add_promo_codes",
    "add_vanity_host",
    "get_codes_file",
    "get_qr_file",
    "show_new_link",
    "show_new_promo_codes",
    "show_new_vanity_host",
)

_MAX_LINKS: Final = 200
_PIECE: Final = 1_000
_CODES: Final = {
    "flight_id": "Flight",
    "code": "Code",
    "count": "How many",
    "prefix": "Beginning",
    "valid_from": "First day",
    "valid_until": "Last day",
    "grace_days": "Days of grace",
    "max_redemptions": "Redemptions at most",
}
_CODE_PLACES: Final = {"promo_code_taken": "code", "too_many_promo_codes": "count"}
_LINK: Final = {
    "flight_id": "Flight",
    "url": "Target",
    "slug": "Short name",
    "click_id": "Tell the target each click’s id",
}
_HOST: Final = {"link_id": "Link", "host": "Host"}


async def _show_codes(request: Request[Any, Any, Any], form: Filled) -> Response[Any]:
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        subject = await read_subject(conn, campaign_id_of(request))
    return show_filled(request, "new_promo_codes.html", form, subject.campaign, flights=subject.choices)


@get("/campaigns/{campaign_id:str}/promo-codes/new", opt={"permission": Permission.CAMPAIGNS_WRITE})
async def show_new_promo_codes(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form of promo codes."""
    return await _show_codes(request, Filled(_CODES, {"grace_days": "7"}))


@post(
    "/campaigns/{campaign_id:str}/promo-codes/new",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE},
)
async def add_promo_codes(request: Request[Any, Any, Any]) -> Response[Any]:
    """Give a flight the code that was agreed on, or some that are made, and lead back to the campaign."""
    wanted, form = campaign_id_of(request), await Filled.read(request, _CODES, places=_CODE_PLACES)
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        flight_id = chosen_flight(form, await read_subject(conn, wanted))
    form.texts("code", "prefix")
    form.numbers("count", "grace_days", "max_redemptions")
    form.begin_of("valid_from")
    form.end_of("valid_until")
    try:
        await create_codes(request, flight_id, form.convert(AddPromoCodes))
    except Replayed:
        pass
    except REFUSED as error:
        return await _show_codes(request, form.refuse(error))
    return Redirect(f"/campaigns/{wanted}#devices", status_code=303)


async def _show_link(request: Request[Any, Any, Any], form: Filled) -> Response[Any]:
    resources = resources_of(request)
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        subject = await read_subject(conn, campaign_id_of(request))
    return show_filled(
        request,
        "new_link.html",
        form,
        subject.campaign,
        flights=subject.choices,
        public_url=resources.settings.tracker.public_url.rstrip("/"),
    )


@get("/campaigns/{campaign_id:str}/links/new", opt={"permission": Permission.LINKS_WRITE})
async def show_new_link(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form of a link."""
    return await _show_link(request, Filled(_LINK, {"click_id": "on"}))


@post(
    "/campaigns/{campaign_id:str}/links/new",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.LINKS_WRITE},
)
async def add_link(request: Request[Any, Any, Any]) -> Response[Any]:
    """Make a link of a flight, and lead back to the campaign."""
    wanted, form = campaign_id_of(request), await Filled.read(request, _LINK, places={"slug_taken": "slug"})
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        form.document["flight_id"] = str(chosen_flight(form, await read_subject(conn, wanted)))
    form.texts("url", "slug")
    form.ticks("click_id")
    try:
        await create_link(request, form.convert(AddLink))
    except Replayed:
        pass
    except REFUSED as error:
        return await _show_link(request, form.refuse(error))
    return Redirect(f"/campaigns/{wanted}#devices", status_code=303)


async def _show_host(request: Request[Any, Any, Any], form: Filled) -> Response[Any]:
    resources = resources_of(request)
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        campaign = await find_campaign(conn, campaign_id_of(request))
        links = await list_links(conn, after=None, limit=_MAX_LINKS, campaign_id=campaign.campaign_id)
    return show_filled(
        request,
        "new_vanity_host.html",
        form,
        campaign,
        links=[(row.link_id, f"{row.slug}, to {row.url}"[:120]) for row in links if row.archived_at is None],
        tracker=urlsplit(resources.settings.tracker.public_url).hostname or "",
    )


@get("/campaigns/{campaign_id:str}/vanity-hosts/new", opt={"permission": Permission.CAMPAIGNS_WRITE})
async def show_new_vanity_host(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form of a host."""
    return await _show_host(request, Filled(_HOST))


@post(
    "/campaigns/{campaign_id:str}/vanity-hosts/new",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE},
)
async def add_vanity_host(request: Request[Any, Any, Any]) -> Response[Any]:
    """Have a host lead to one of the campaign's links, and lead back to the campaign."""
    wanted, form = campaign_id_of(request), await Filled.read(request, _HOST, places={"vanity_host_taken": "host"})
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        await find_campaign(conn, wanted)
    form.document["link_id"] = str(chosen_id(form, "link_id", what="link"))
    form.texts("host")
    try:
        await create_host(request, form.convert(AddVanityHost))
    except Replayed:
        pass
    except REFUSED as error:
        return await _show_host(request, form.refuse(error))
    return Redirect(f"/campaigns/{wanted}#devices", status_code=303)


@get("/links/{link_id:str}/qr", opt={"permission": Permission.LINKS_READ, "query": QR_QUERY})
async def get_qr_file(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Hand out a link's QR code as a file."""
    answer = await draw_link(request)
    kind = QrFormat.PNG if answer.media_type == "image/png" else QrFormat.SVG
    name = path_id(request, "link_id", what="link")
    answer.headers["Content-Disposition"] = f'attachment; filename="link-{name}.{kind}"'
    return answer


async def _write_codes(request: Request[Any, Any, Any], campaign_id: UUID) -> AsyncIterator[bytes]:
    """Write a campaign's codes as CSV, some at a time: no connection is held while a client takes its time."""
    database, tenant = resources_of(request).database, caller_of(request).tenant
    async with database.tenant(tenant) as conn:
        names = {row.flight_id: row.name for row in await list_campaign_flights(conn, campaign_id)}
    yield b"code,flight,valid_from,valid_until,redemptions,ended\r\n"
    after: tuple[dt.datetime, UUID] | None = None
    while True:
        async with database.tenant(tenant) as conn:
            rows = await list_promo_codes(conn, CodeFilter(campaign_id=campaign_id), after=after, limit=_PIECE)
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows(
            (
                row.code,
                plain_text(names.get(row.flight_id, "")),
                row.valid_from.isoformat(),
                row.valid_until.isoformat() if row.valid_until else "",
                row.redemptions,
                row.archived_at.isoformat() if row.archived_at else "",
            )
            for row in rows
        )
        yield text.getvalue().encode()
        if len(rows) < _PIECE:
            return
        after = rows[-1].created_at, rows[-1].promo_code_id


@get(
    "/campaigns/{campaign_id:str}/promo-codes.csv",
    opt={"permission": Permission.CAMPAIGNS_READ, "cost": REPORT_COST},
)
async def get_codes_file(request: Request[Any, Any, Any]) -> Stream:
    """Hand out a campaign's promo codes as a file, ended ones too."""
    wanted = campaign_id_of(request)
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        await find_campaign(conn, wanted)
    headers = {"Content-Disposition": f'attachment; filename="promo-codes-{wanted}.csv"'}
    return Stream(_write_codes(request, wanted), media_type="text/csv; charset=utf-8", headers=headers)
