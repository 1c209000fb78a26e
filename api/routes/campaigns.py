"""Campaigns: what a sponsor was promised, and the steps from a draft to its end."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post
from msgspec.structs import replace

from analytics_core.campaign_changes import check_campaign_change
from analytics_core.campaigns import (
    CAMPAIGN_MOVES,
    CampaignStatus,
    FlightStatus,
    OrderStatus,
    check_campaign_days,
    move,
    next_quarter,
)
from analytics_core.db.campaigns import (
    CampaignFields,
    CampaignRow,
    add_campaign,
    change_campaign,
    count_trackable,
    find_campaign,
    hold_campaign,
    set_campaign_status,
)
from analytics_core.db.campaigns import list_campaigns as read_campaigns
from analytics_core.db.flights import add_flight, end_placements, list_campaign_flights, settle_flights
from analytics_core.db.insertion_orders import OrderRow, add_order, find_order, use_order
from analytics_core.db.links import refill_links
from analytics_core.db.sponsors import find_sponsor, lock_sponsor, refuse_archived
from analytics_core.errors import Conflict, InvalidInput
from analytics_core.permissions import Permission
from analytics_core.sponsors import MAX_NAME
from analytics_core.utm_templates import parse_utm_template
from api.auth import caller_of
from api.bodies import read_json
from api.campaigns import changed_fields, check, given_fields
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Parameter, Query, choice
from api.resources import resources_of
from api.schemas.campaigns import AddCampaign, Campaign, ChangeCampaign, DuplicateCampaign
from api.schemas.common import Page
from api.scopes import INSERTION_ORDER_ID, SPONSOR_ID, path_id
from api.versions import answer_version, read_version
from api.writing import Work, writing

__all__ = (
    "activate_campaign",
    "cancel_campaign",
    "complete_campaign",
    "create_campaign",
    "duplicate_campaign",
    "get_campaign",
    "list_campaigns",
    "pause_campaign",
    "resume_campaign",
    "schedule_campaign",
    "update_campaign",
)

_LIST: Final = "campaigns"
_CURSOR: Final = id_cursor(_LIST)
_TAGS: Final = ["campaigns"]
_STATUS: Final[Parameter[CampaignStatus | None]] = Parameter(
    "status", choice(CampaignStatus), None, "Only in this state.", {"type": "string", "enum": list(CampaignStatus)}
)


def _show(row: CampaignRow) -> Response[Campaign]:
    return answer_version(Campaign.of(row), version=row.version)


def _campaign_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "campaign_id", what="campaign")


def _check_owner(given: AddCampaign) -> None:
    if given.insertion_order_id is None and (given.sponsor_id is None or given.currency is None):
        missing = "sponsor_id" if given.sponsor_id is None else "currency"
        raise InvalidInput(f"/{missing}", "is needed where no insertion_order_id is given", code="missing")


async def _use_order(work: Work, order_id: UUID) -> OrderRow:
    """Read an order that stays as it is. Its sponsor is locked before it, as a merge does it."""
    refuse_archived(await lock_sponsor(work.conn, (await find_order(work.conn, order_id)).sponsor_id))
    return await use_order(work.conn, order_id)


async def _take_order(work: Work, given: AddCampaign, name: str, *, now: dt.datetime) -> OrderRow:
    """Find the order that a campaign comes under, or make one.

    Raises:
        NotFound, Conflict: There is no such order or sponsor, or nothing comes under it any more.
        InvalidInput: The order is another sponsor's, or in another currency.
    """
    if given.insertion_order_id is None:
        if given.sponsor_id is None or given.currency is None:
            raise AssertionError("it was checked that both are given")
        refuse_archived(await lock_sponsor(work.conn, given.sponsor_id))
        return await add_order(
            work.conn,
            work.tenant,
            sponsor_id=given.sponsor_id,
            name=name,
            reference=None,
            currency=given.currency,
            status=OrderStatus.OPEN,
            now=now,
        )
    if given.sponsor_id is not None:
        await find_sponsor(work.conn, given.sponsor_id)
    order = await _use_order(work, given.insertion_order_id)
    for field in ("sponsor_id", "currency"):
        said, known = getattr(given, field), getattr(order, field)
        if said not in (None, known):
            raise InvalidInput(
                f"/{field}", f"is not the order's, which is {known}; leave it out", code="not_the_orders"
            )
    return order


@post(
    "/campaigns",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_WRITE, "bodies": {"application/json": AddCampaign}, "refusals": (404, 409)},
)
async def create_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """Make a campaign, as a draft: under an order, or with an open order of its own name and sponsor."""
    given = await read_json(request, AddCampaign)
    said = given_fields(given, leave=("insertion_order_id", "sponsor_id", "utm"))
    said.pop("currency")
    fields = CampaignFields(**said, utm=given.utm.as_mapping())
    check(
        lambda: _check_owner(given),
        lambda: check_campaign_days(given.starts_on, given.ends_on),
        lambda: parse_utm_template(fields.utm),
    )
    async with writing(request, "campaign.create") as work:
        now = resources_of(request).clock.now()
        order = await _take_order(work, given, fields.name, now=now)
        row = await add_campaign(work.conn, work.tenant, order, fields, now=now)
        return work.done(_show(row), resource=row.campaign_id, after=row)


@get(
    "/campaigns",
    tags=_TAGS,
    opt={
        "permission": Permission.CAMPAIGNS_READ,
        "query": (SPONSOR_ID, INSERTION_ORDER_ID, _STATUS, LIMIT, _CURSOR),
    },
)
async def list_campaigns(request: Request[Any, Any, Any]) -> Page[Campaign]:
    """List campaigns in the order in which they were made."""
    query = Query.of(request)
    sponsor_id, order_id, status = query.get(SPONSOR_ID), query.get(INSERTION_ORDER_ID), query.get(_STATUS)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        if sponsor_id is not None:
            await find_sponsor(conn, sponsor_id)
        if order_id is not None:
            await find_order(conn, order_id)
        rows = await read_campaigns(
            conn, after=after, limit=limit + 1, sponsor_id=sponsor_id, insertion_order_id=order_id, status=status
        )
    return page_of(rows, limit, Campaign.of, _LIST, lambda row: (row.created_at, row.campaign_id))


@get("/campaigns/{campaign_id:str}", tags=_TAGS, opt={"permission": Permission.CAMPAIGNS_READ})
async def get_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """Read one campaign."""
    wanted = _campaign_id(request)
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        return _show(await find_campaign(conn, wanted))


@patch(
    "/campaigns/{campaign_id:str}",
    tags=_TAGS,
    opt={
        "permission": Permission.CAMPAIGNS_WRITE,
        "bodies": {"application/json": ChangeCampaign},
        "is_versioned": True,
        "refusals": (409,),
    },
)
async def update_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """Change what is said of a campaign that is not over. Its days go on holding all of its flights.

    Once it has begun, `pricing` and `starts_on` stay what they are (409 `campaign_begun`).
    """
    wanted, version = _campaign_id(request), read_version(request)
    given = await read_json(request, ChangeCampaign)
    fields = given_fields(given, leave=("utm",))
    if not isinstance(given.utm, msgspec.UnsetType):
        fields["utm"] = template = given.utm.as_mapping()
        check(lambda: parse_utm_template(template))
    async with writing(request, "campaign.update") as work:
        was = await hold_campaign(work.conn, wanted, version=version)
        wished = replace(was, **fields)
        check_campaign_change(was.status, changed_fields(was, wished))
        check(lambda: check_campaign_days(wished.starts_on, wished.ends_on))
        await _check_flights(work, wished)
        row = await change_campaign(work.conn, was, wished)
        if (row.utm, row.name) != (was.utm, was.name):
            await refill_links(work.conn, wanted)
        return work.done(_show(row), resource=wanted, before=was, after=row)


async def _check_flights(work: Work, wished: CampaignRow) -> None:
    """Make sure that a campaign's flights are inside of its days.

    Raises:
        Conflict: ``flights_outside``.
    """
    first = dt.datetime.combine(wished.starts_on, dt.time(), dt.UTC)
    until = dt.datetime.combine(wished.ends_on, dt.time(), dt.UTC) + dt.timedelta(days=1)
    outside = [
        flight.name
        for flight in await list_campaign_flights(work.conn, wished.campaign_id)
        if flight.status is not FlightStatus.CANCELLED
        and (flight.starts_at < first or (flight.ends_at > until and flight.makegood_of is None))
    ]
    if outside:
        raise Conflict(
            "flights_outside", f"flights would be outside of the campaign: {', '.join(outside[:5])}; change them first"
        )


async def _require_trackable(work: Work, campaign: CampaignRow) -> None:
    missing = (await count_trackable(work.conn, campaign.campaign_id)).missing
    if missing:
        raise Conflict("not_trackable", f"the campaign has no {', no '.join(missing)}: nobody could tell what it does")


async def _step(request: Request[Any, Any, Any], step: str) -> Response[Campaign]:
    wanted, version = _campaign_id(request), read_version(request)
    async with writing(request, f"campaign.{step}") as work:
        now = resources_of(request).clock.now()
        was = await hold_campaign(work.conn, wanted, version=version)
        status = CampaignStatus(move(CAMPAIGN_MOVES, was.status, step, what="campaign"))
        today = now.astimezone(dt.UTC).date()
        if step in ("schedule", "activate", "resume") and was.ends_on < today:
            raise Conflict("campaign_over", f"the campaign ended on {was.ends_on}; give it another ends_on first")
        if step == "activate" and was.starts_on > today:
            raise Conflict("not_yet", f"the campaign starts on {was.starts_on}; schedule it, and it begins by itself")
        if step in ("schedule", "activate"):
            await _require_trackable(work, was)
        await set_campaign_status(work.conn, wanted, status, now=now)
        await settle_flights(work.conn, await find_campaign(work.conn, wanted), now=now)
        if status is CampaignStatus.CANCELLED:
            for flight in await list_campaign_flights(work.conn, wanted):
                await end_placements(work.conn, flight.flight_id, at=next_quarter(now))
        row = await find_campaign(work.conn, wanted)
        return work.done(_show(row), resource=wanted, before=was, after=row)


_STEP: Final[dict[str, Any]] = {"permission": Permission.CAMPAIGNS_WRITE, "is_versioned": True, "refusals": (409,)}


@post("/campaigns/{campaign_id:str}/schedule", tags=_TAGS, status_code=200, opt=_STEP)
async def schedule_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """Have a draft begin by itself on its first day.

    It needs a flight, a placement, and a promo code or a link of a flight (409 `not_trackable`).
    """
    return await _step(request, "schedule")


@post("/campaigns/{campaign_id:str}/activate", tags=_TAGS, status_code=200, opt=_STEP)
async def activate_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """Begin now, on its first day or later.

    It needs a flight, a placement, and a promo code or a link of a flight (409 `not_trackable`).
    """
    return await _step(request, "activate")


@post("/campaigns/{campaign_id:str}/pause", tags=_TAGS, status_code=200, opt=_STEP)
async def pause_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """Pause a campaign. What is placed is heard on, and downloads go on counting."""
    return await _step(request, "pause")


@post("/campaigns/{campaign_id:str}/resume", tags=_TAGS, status_code=200, opt=_STEP)
async def resume_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """Go on with a campaign that was paused."""
    return await _step(request, "resume")


@post("/campaigns/{campaign_id:str}/complete", tags=_TAGS, status_code=200, opt=_STEP)
async def complete_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """End a campaign before its last day. Downloads of what is baked in go on counting as long as they are measured."""
    return await _step(request, "complete")


@post("/campaigns/{campaign_id:str}/cancel", tags=_TAGS, status_code=200, opt=_STEP)
async def cancel_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """Cancel a campaign with those of its flights that are not completed.

    Placements that have not begun are missed, the others are pulled: what they delivered until now stays.
    """
    return await _step(request, "cancel")


@post(
    "/campaigns/{campaign_id:str}/duplicate",
    tags=_TAGS,
    opt={
        "permission": Permission.CAMPAIGNS_WRITE,
        "bodies": {"application/json": DuplicateCampaign},
        "refusals": (409,),
    },
)
async def duplicate_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """Make a draft with the same fields and flights, under the same order.

    It has no placements, codes, links, makegoods or results, and no flights that were cancelled.
    """
    wanted = _campaign_id(request)
    named = given_fields(await read_json(request, DuplicateCampaign))["name"]
    async with writing(request, "campaign.duplicate") as work:
        now = resources_of(request).clock.now()
        order = await _use_order(work, (await find_campaign(work.conn, wanted)).insertion_order_id)
        was = await hold_campaign(work.conn, wanted)
        name = named or f"{was.name[: MAX_NAME - 7]} (copy)"
        row = await add_campaign(work.conn, work.tenant, order, replace(was, name=name), now=now)
        for flight in await list_campaign_flights(work.conn, wanted):
            if flight.status is not FlightStatus.CANCELLED and flight.makegood_of is None:
                await add_flight(work.conn, work.tenant, row, flight, makegood_of=None, now=now)
        row = await find_campaign(work.conn, row.campaign_id)
        return work.done(_show(row), resource=row.campaign_id, before={"copied_from": wanted}, after=row)
