"""Campaigns: what a sponsor was promised, and the steps from a draft to its end."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, patch, post
from msgspec.structs import replace

from analytics_core.campaigns import (
    CampaignStatus,
    FlightStatus,
)
from analytics_core.db.campaigns import (
    add_campaign,
    find_campaign,
    hold_campaign,
)
from analytics_core.db.campaigns import list_campaigns as read_campaigns
from analytics_core.db.flights import add_flight, list_campaign_flights
from analytics_core.db.insertion_orders import find_order
from analytics_core.db.sponsors import find_sponsor
from analytics_core.permissions import Permission
from analytics_core.sponsors import MAX_NAME
from api.auth import caller_of
from api.bodies import read_json
from api.campaigns import answer_campaign, change, create, given_fields, take_step, use_open_order
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Parameter, Query, choice
from api.resources import resources_of
from api.schemas.campaigns import AddCampaign, Campaign, ChangeCampaign, DuplicateCampaign
from api.schemas.common import Page
from api.scopes import INSERTION_ORDER_ID, SPONSOR_ID, path_id
from api.versions import read_version
from api.writing import writing

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


def _campaign_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "campaign_id", what="campaign")


@post(
    "/campaigns",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_WRITE, "bodies": {"application/json": AddCampaign}, "refusals": (404, 409)},
)
async def create_campaign(request: Request[Any, Any, Any]) -> Response[Campaign]:
    """Make a campaign, as a draft: under an order, or with an open order of its own name and sponsor."""
    return answer_campaign(await create(request, await read_json(request, AddCampaign)))


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
        return answer_campaign(await find_campaign(conn, wanted))


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
    return answer_campaign(await change(request, wanted, await read_json(request, ChangeCampaign), version=version))


async def _step(request: Request[Any, Any, Any], step: str) -> Response[Campaign]:
    wanted, version = _campaign_id(request), read_version(request)
    return answer_campaign(await take_step(request, wanted, step, version=version))


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
        order = await use_open_order(work, (await find_campaign(work.conn, wanted)).insertion_order_id)
        was = await hold_campaign(work.conn, wanted)
        name = named or f"{was.name[: MAX_NAME - 7]} (copy)"
        row = await add_campaign(work.conn, work.tenant, order, replace(was, name=name), now=now)
        for flight in await list_campaign_flights(work.conn, wanted):
            if flight.status is not FlightStatus.CANCELLED and flight.makegood_of is None:
                await add_flight(work.conn, work.tenant, row, flight, makegood_of=None, now=now)
        row = await find_campaign(work.conn, row.campaign_id)
        return work.done(answer_campaign(row), resource=row.campaign_id, before={"copied_from": wanted}, after=row)
