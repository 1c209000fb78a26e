"""Flights of campaigns."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, patch, post
from msgspec.structs import replace

from analytics_core.campaign_changes import check_flight_change, refuse_flight
from analytics_core.db.campaigns import find_campaign, use_campaign
from analytics_core.db.flights import (
    change_flight,
    find_flight,
    hold_flight,
    settle_flights,
)
from analytics_core.db.flights import list_flights as read_flights
from analytics_core.db.links import refill_links
from analytics_core.db.placements import move_placements
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.campaigns import changed_fields, given_fields
from api.flights import answer_flight, cancel, check_times, create
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.campaigns import AddFlight, ChangeFlight, Flight
from api.schemas.common import Page
from api.scopes import CAMPAIGN_ID, path_id
from api.versions import read_version
from api.writing import writing

__all__ = ("cancel_flight", "create_flight", "get_flight", "list_flights", "update_flight")

_LIST: Final = "flights"
_CURSOR: Final = id_cursor(_LIST)
_TAGS: Final = ["campaigns"]


def _flight_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "flight_id", what="flight")


@post(
    "/campaigns/{campaign_id:str}/flights",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_WRITE, "bodies": {"application/json": AddFlight}, "refusals": (409,)},
)
async def create_flight(request: Request[Any, Any, Any]) -> Response[Flight]:
    """Add a flight to a campaign that is not over; to one that is, only a makegood."""
    wanted = path_id(request, "campaign_id", what="campaign")
    return answer_flight(await create(request, wanted, await read_json(request, AddFlight)))


@get("/flights", tags=_TAGS, opt={"permission": Permission.CAMPAIGNS_READ, "query": (CAMPAIGN_ID, LIMIT, _CURSOR)})
async def list_flights(request: Request[Any, Any, Any]) -> Page[Flight]:
    """List flights in the order in which they were made."""
    query = Query.of(request)
    campaign_id, limit, after = query.get(CAMPAIGN_ID), query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        if campaign_id is not None:
            await find_campaign(conn, campaign_id)
        rows = await read_flights(conn, after=after, limit=limit + 1, campaign_id=campaign_id)
    return page_of(rows, limit, Flight.of, _LIST, lambda row: (row.created_at, row.flight_id))


@get("/flights/{flight_id:str}", tags=_TAGS, opt={"permission": Permission.CAMPAIGNS_READ})
async def get_flight(request: Request[Any, Any, Any]) -> Response[Flight]:
    """Read one flight."""
    wanted = _flight_id(request)
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        return answer_flight(await find_flight(conn, wanted))


@patch(
    "/flights/{flight_id:str}",
    tags=_TAGS,
    opt={
        "permission": Permission.CAMPAIGNS_WRITE,
        "bodies": {"application/json": ChangeFlight},
        "is_versioned": True,
        "refusals": (409,),
    },
)
async def update_flight(request: Request[Any, Any, Any]) -> Response[Flight]:
    """Change what is said of a flight of a campaign that is not over.

    Once it has begun, `starts_at` and `price_amount` stay what they are (409 `flight_begun`). Placements that are live
    when the flight is, as nobody has said anything else, and are not live yet move with it.
    """
    wanted, version = _flight_id(request), read_version(request)
    fields = given_fields(await read_json(request, ChangeFlight))
    async with writing(request, "flight.update") as work:
        # The campaign before its flights, as everywhere.
        campaign = await use_campaign(work.conn, (await find_flight(work.conn, wanted)).campaign_id)
        was = await hold_flight(work.conn, wanted, version=version)
        is_makegood = was.makegood_of is not None
        wished = replace(was, **fields)
        check_flight_change(was.status, changed_fields(was, wished))
        refuse_flight(campaign.status, is_makegood=is_makegood)
        check_times(wished, campaign, is_makegood=is_makegood)
        now = resources_of(request).clock.now()
        await change_flight(work.conn, was, wished)
        await move_placements(work.conn, was, wished, now=now)
        await settle_flights(work.conn, campaign, now=now)
        if wished.name != was.name:
            await refill_links(work.conn, was.campaign_id)
        row = await find_flight(work.conn, wanted)
        return work.done(answer_flight(row), resource=wanted, before=was, after=row)


@post(
    "/flights/{flight_id:str}/cancel",
    tags=_TAGS,
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE, "is_versioned": True, "refusals": (409,)},
)
async def cancel_flight(request: Request[Any, Any, Any]) -> Response[Flight]:
    """Cancel a flight.

    Placements that have not begun are missed, the others are pulled: what they delivered until now stays.
    """
    wanted, version = _flight_id(request), read_version(request)
    return answer_flight(await cancel(request, wanted, version=version))
