"""Conversions on the page: what a sponsor wants to happen, lists of orders that tell of it, and their attribution."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from analytics_core.conversions import ActionCategory, Counting
from analytics_core.db.campaigns import CampaignRow, find_campaign
from analytics_core.db.conversion_actions import list_actions
from analytics_core.db.sponsors import find_sponsor
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.money import CURRENCIES
from analytics_core.permissions import Permission
from analytics_core.redemptions import MAX_BYTES as MAX_FILE
from analytics_core.reports import find_time_zone
from api.attribution_runs import MAX_DAYS
from api.attribution_runs import create as create_run
from api.auth import caller_of
from api.conversion_actions import create as create_action
from api.errors import InvalidRequest, Refused
from api.idempotency import Replayed
from api.limits import HEAVY_COST, REPORT_COST
from api.pages.campaign_forms import MAX_BYTES, campaign_id_of, chosen_id, show_filled
from api.pages.campaigns import show_one
from api.pages.filling import REFUSED, Filled
from api.pages.words import sentence
from api.redemptions import open_list, take_redemptions
from api.resources import resources_of
from api.schemas.attribution_runs import AddAttributionRun
from api.schemas.conversion_actions import AddConversionAction
from api.schemas.redemptions import TakenRedemptions

__all__ = ("add_action", "attribute_campaign", "show_new_action", "show_redemptions", "upload_redemptions")

_MAX_KEPT: Final = 512 * 1024
"""Bytes of a list that the page keeps from a look at it until it is taken."""
_MAX_FORM: Final = MAX_FILE + MAX_BYTES
_MAX_LINES: Final = 50
_MAX_ACTIONS: Final = 200
_DAY: Final = dt.timedelta(days=1)
_ACTION: Final = {
    "name": "Name",
    "category": "Kind",
    "counting": "Counting",
    "default_value_amount": "Worth",
    "currency": "Currency",
    "event_type": "Type of its events",
}
_ACTION_PLACES: Final = {"action_name_taken": "name", "event_type_taken": "event_type"}
_COUNTINGS: Final = (
    (Counting.EVERY.value, "Every one", "As for purchases."),
    (Counting.ONE.value, "Once a customer", "The first in each window, as for sign-ups."),
)
_CATEGORIES: Final = {
    ActionCategory.PURCHASE: "Purchase",
    ActionCategory.SIGNUP: "Sign-up",
    ActionCategory.TRIAL: "Trial",
    ActionCategory.LEAD: "Lead",
    ActionCategory.INSTALL: "App installed",
    ActionCategory.CUSTOM: "Something else",
}
_ORDERS: Final = {"orders": "File", "action_id": "These orders are", "currency": "Currency", "tz": "Time zone"}


async def _show_action(request: Request[Any, Any, Any], form: Filled | None = None) -> Response[Any]:
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        campaign = await find_campaign(conn, campaign_id_of(request))
        sponsor = await find_sponsor(conn, campaign.sponsor_id)
    proposed = {"category": "purchase", "counting": "every", "currency": campaign.currency}
    return show_filled(
        request,
        "new_conversion_action.html",
        Filled(_ACTION, proposed) if form is None else form,
        campaign,
        sponsor=sponsor,
        countings=_COUNTINGS,
        categories=[(kind.value, words) for kind, words in _CATEGORIES.items()],
    )


@get("/campaigns/{campaign_id:str}/conversion-actions/new", opt={"permission": Permission.ATTRIBUTION_WRITE})
async def show_new_action(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form of a conversion action."""
    return await _show_action(request)


@post(
    "/campaigns/{campaign_id:str}/conversion-actions/new",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.ATTRIBUTION_WRITE},
)
async def add_action(request: Request[Any, Any, Any]) -> Response[Any]:
    """Say what the campaign's sponsor wants to happen, and lead back to the campaign."""
    wanted, form = campaign_id_of(request), await Filled.read(request, _ACTION, places=_ACTION_PLACES)
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        campaign = await find_campaign(conn, wanted)
    form.document["sponsor_id"] = str(campaign.sponsor_id)
    form.texts("name", "category", "counting", "event_type")
    if form.typed("default_value_amount"):
        currency = form.typed("currency").upper()
        if currency in CURRENCIES:
            form.document["currency"] = currency
            form.amount("default_value_amount", currency)
        else:
            form.blame("currency", "has to be three letters of ISO 4217, such as EUR")
    try:
        await create_action(request, form.convert(AddConversionAction))
    except Replayed:
        pass
    except REFUSED as error:
        return await _show_action(request, form.refuse(error))
    return Redirect(f"/campaigns/{wanted}#conversions", status_code=303)


async def _show_orders(
    request: Request[Any, Any, Any],
    form: Filled,
    *,
    taken: TakenRedemptions | None = None,
    kept: str = "",
    lines: list[tuple[str, str, str]] | None = None,
    count: int = 0,
) -> Response[Any]:
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        campaign = await find_campaign(conn, campaign_id_of(request))
        actions = await list_actions(conn, after=None, limit=_MAX_ACTIONS, sponsor_id=campaign.sponsor_id)
    return show_filled(
        request,
        "redemptions.html",
        form,
        campaign,
        actions=[(row.action_id, row.name) for row in actions if row.archived_at is None],
        taken=taken,
        kept=kept,
        lines=lines or [],
        count=count,
    )


@get("/campaigns/{campaign_id:str}/redemptions", opt={"permission": Permission.ATTRIBUTION_WRITE})
async def show_redemptions(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form of a list of orders."""
    return await _show_orders(request, Filled(_ORDERS, {"action_id": request.query_params.get("action_id", "")}))


async def _read_file(form: Filled) -> bytes:
    """Read the list that was chosen, or that which the page kept from a look at it."""
    file = form.files.get("orders")
    data = await file.read() if file is not None else b""
    if not data and form.typed("kept"):
        try:
            data = base64.b64decode(form.typed("kept"), validate=True)
        except ValueError as error:
            raise Refused(400, "malformed_form", "the form cannot be read") from error
    if not data:
        raise InvalidInput("/orders", "is missing, or empty")
    return data


def _lines(error: InvalidRequest) -> list[tuple[str, str, str]]:
    """Tell what is wrong with a list line by line; nothing of what is wrong with the form itself."""
    places = [fault.pointer.split("/") for fault in error.faults]
    return [
        (place[1], "/".join(place[2:]), sentence(fault.message))
        for place, fault in zip(places, error.faults, strict=True)
        if len(place) > 1 and place[1].isdigit()
    ][:_MAX_LINES]


async def _take(request: Request[Any, Any, Any], form: Filled, campaign: CampaignRow) -> tuple[TakenRedemptions, bytes]:
    action_id = chosen_id(form, "action_id", what="conversion action")
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        actions = await list_actions(conn, after=None, limit=_MAX_ACTIONS, sponsor_id=campaign.sponsor_id)
    if action_id not in {row.action_id for row in actions}:
        raise NotFound("conversion action of this sponsor")
    currency, zone = form.typed("currency").upper() or None, form.typed("tz")
    if currency is not None and currency not in CURRENCIES:
        raise InvalidInput("/currency", "has to be three letters of ISO 4217, such as EUR")
    tz = find_time_zone(zone) if zone else None
    if zone and tz is None:
        raise InvalidInput("/tz", "is no known time zone; use a name such as Europe/Berlin")
    data = await _read_file(form)
    listed = open_list(data, action_id=action_id, currency=currency, tz=tz)
    return await take_redemptions(request, listed, action_id, is_dry_run=form.typed("do") != "take"), data


@post(
    "/campaigns/{campaign_id:str}/redemptions",
    request_max_body_size=_MAX_FORM,
    status_code=200,
    opt={"permission": Permission.ATTRIBUTION_WRITE, "cost": HEAVY_COST},
)
async def upload_redemptions(request: Request[Any, Any, Any]) -> Response[Any]:
    """Say what would become of a list of orders, or take it; what is wrong with it is told line by line."""
    try:
        # A list that is sent again changes nothing by itself.
        form = await Filled.read(request, _ORDERS, once=False)
    except HTTPException as error:
        if error.status_code != 413:
            raise
        form = Filled(_ORDERS)
        form.tell("orders", f"is larger than {MAX_FILE // 1024 // 1024} MiB: send it in parts")
        form.status_code = 413
        return await _show_orders(request, form)
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        campaign = await find_campaign(conn, campaign_id_of(request))
    try:
        taken, data = await _take(request, form, campaign)
    except Refused as error:
        form.tell("orders", f"cannot be read: {error}")
        form.status_code = error.status
        return await _show_orders(request, form)
    except InvalidRequest as error:
        lines = _lines(error)
        if lines:
            count = len(error.faults)
            form.tell(
                "orders", f"cannot be taken: {count} thing{'s are' if count > 1 else ' is'} wrong with it, listed below"
            )
            form.status_code = 422
            return await _show_orders(request, form, lines=lines, count=count)
        return await _show_orders(request, form.refuse(error))
    except REFUSED as error:
        return await _show_orders(request, form.refuse(error))
    kept = base64.b64encode(data).decode() if taken.is_dry_run and len(data) <= _MAX_KEPT else ""
    return await _show_orders(request, form, taken=taken, kept=kept)


def _days_to_attribute(campaign: CampaignRow, today: dt.date) -> tuple[dt.date, dt.date]:
    """Choose the conversions that tell of a campaign: from its first day until nothing can have led to them any more.

    Returns:
        The first day, and the one behind the last.
    """
    end = min(today, campaign.ends_on + campaign.window_days * _DAY) + _DAY
    return max(campaign.starts_on, end - MAX_DAYS * _DAY), end


@post(
    "/campaigns/{campaign_id:str}/attribution-runs",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.ATTRIBUTION_WRITE, "cost": REPORT_COST},
)
async def attribute_campaign(request: Request[Any, Any, Any]) -> Response[Any]:
    """Ask for the conversions of the campaign's time to be attributed, by all models."""
    wanted = campaign_id_of(request)
    await Filled.read(request, {})
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        campaign = await find_campaign(conn, wanted)
    today = resources_of(request).clock.now().astimezone(dt.UTC).date()
    first, end = _days_to_attribute(campaign, today)
    if first >= end:
        return await show_one(request, wanted, fault="It has not begun: there is nothing to attribute yet.")
    asked = AddAttributionRun(sponsor_id=campaign.sponsor_id, start=first.isoformat(), end=end.isoformat())
    try:
        await create_run(request, asked)
    except Replayed:
        pass
    except REFUSED as error:
        return await show_one(request, wanted, fault=sentence(str(error)))
    return Redirect(f"/campaigns/{wanted}#conversions", status_code=303)
