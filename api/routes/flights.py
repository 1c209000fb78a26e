"""Flights of campaigns."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, patch, post
from msgspec.structs import replace

from analytics_core.campaign_changes import check_flight_change, refuse_flight
from analytics_core.campaigns import FlightStatus, check_flight_times, next_quarter
from analytics_core.db.campaigns import CampaignRow, find_campaign, use_campaign
from analytics_core.db.flights import (
    FlightFields,
    FlightRow,
    add_flight,
    change_flight,
    end_placements,
    find_flight,
    hold_flight,
    set_flight_status,
    settle_flights,
)
from analytics_core.db.flights import list_flights as read_flights
from analytics_core.db.links import refill_links
from analytics_core.db.placements import move_placements
from analytics_core.errors import Conflict, InvalidInput, NotFound
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.campaigns import changed_fields, check, given_fields
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.campaigns import AddFlight, ChangeFlight, Flight
from api.schemas.common import Page
from api.scopes import CAMPAIGN_ID, path_id
from api.versions import answer_version, read_version
from api.writing import Work, writing

__all__ = ("cancel_flight", "create_flight", "get_flight", "list_flights", "update_flight")

_LIST: Final = "flights"
_CURSOR: Final = id_cursor(_LIST)
_TAGS: Final = ["campaigns"]


def _show(row: FlightRow) -> Response[Flight]:
    return answer_version(Flight.of(row), version=row.version)


def _flight_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "flight_id", what="flight")


def _check_times(fields: FlightFields, campaign: CampaignRow, *, is_makegood: bool) -> None:
    check(
        lambda: check_flight_times(
            fields.starts_at,
            fields.ends_at,
            starts_on=campaign.starts_on,
            ends_on=campaign.ends_on,
            is_makegood=is_makegood,
        )
    )


async def _check_makegood(work: Work, campaign: CampaignRow, makegood_of: UUID | None) -> None:
    """Make sure that what is made good is a flight of the same campaign, and no makegood itself.

    Raises:
        NotFound: There is no such flight.
        InvalidInput: ``makegood_invalid``.
    """
    if makegood_of is None:
        return
    owed = await find_flight(work.conn, makegood_of)
    if owed.campaign_id != campaign.campaign_id:
        raise NotFound("flight of this campaign")
    if owed.makegood_of is not None:
        raise InvalidInput(
            "/makegood_of", "is a makegood itself: name the flight that it is for", code="makegood_invalid"
        )


@post(
    "/campaigns/{campaign_id:str}/flights",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_WRITE, "bodies": {"application/json": AddFlight}, "refusals": (409,)},
)
async def create_flight(request: Request[Any, Any, Any]) -> Response[Flight]:
    """Add a flight to a campaign that is not over; to one that is, only a makegood."""
    wanted = path_id(request, "campaign_id", what="campaign")
    given = await read_json(request, AddFlight)
    fields = FlightFields(**given_fields(given, leave=("makegood_of",)))
    async with writing(request, "flight.create") as work:
        campaign = await use_campaign(work.conn, wanted)
        is_makegood = given.makegood_of is not None
        await _check_makegood(work, campaign, given.makegood_of)
        refuse_flight(campaign.status, is_makegood=is_makegood)
        _check_times(fields, campaign, is_makegood=is_makegood)
        now = resources_of(request).clock.now()
        row = await add_flight(work.conn, work.tenant, campaign, fields, makegood_of=given.makegood_of, now=now)
        return work.done(_show(row), resource=row.flight_id, after=row)


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
        return _show(await find_flight(conn, wanted))


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
        _check_times(wished, campaign, is_makegood=is_makegood)
        now = resources_of(request).clock.now()
        await change_flight(work.conn, was, wished)
        await move_placements(work.conn, was, wished, now=now)
        await settle_flights(work.conn, campaign, now=now)
        if wished.name != was.name:
            await refill_links(work.conn, was.campaign_id)
        row = await find_flight(work.conn, wanted)
        return work.done(_show(row), resource=wanted, before=was, after=row)


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
    async with writing(request, "flight.cancel") as work:
        was = await hold_flight(work.conn, wanted, version=version)
        if was.status in (FlightStatus.CANCELLED, FlightStatus.COMPLETED):
            raise Conflict("illegal_transition", f"the flight is {was.status}, which is its end")
        await set_flight_status(work.conn, wanted, FlightStatus.CANCELLED)
        await end_placements(work.conn, wanted, at=next_quarter(resources_of(request).clock.now()))
        row = await find_flight(work.conn, wanted)
        return work.done(_show(row), resource=wanted, before=was, after=row)
