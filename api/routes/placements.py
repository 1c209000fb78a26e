"""Placements: in which episodes a flight is heard, and when."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, patch, post
from msgspec.structs import replace

from analytics_core.campaign_changes import check_placement_change
from analytics_core.campaigns import (
    PlacementStatus,
)
from analytics_core.db.campaigns import find_campaign, use_campaign
from analytics_core.db.episodes import get_episode
from analytics_core.db.flights import find_flight, use_flight
from analytics_core.db.placements import (
    change_placement,
    find_placement,
    hold_placement,
)
from analytics_core.db.placements import list_placements as read_placements
from analytics_core.errors import Conflict, NotFound
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.campaigns import changed_fields, given_fields
from api.pagination import LIMIT, id_cursor, page_of
from api.placements import answer_placement, check_live, check_position, create, take_step, use_slot
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.placements import AddPlacement, ChangePlacement, Placement
from api.scopes import CAMPAIGN_ID, EPISODE_ID, FLIGHT_ID, PODCAST_ID, find_podcast, path_id
from api.versions import read_version
from api.writing import writing

__all__ = (
    "create_placement",
    "get_placement",
    "go_live",
    "list_placements",
    "miss_placement",
    "pull_placement",
    "update_placement",
    "verify_placement",
)

_LIST: Final = "placements"
_CURSOR: Final = id_cursor(_LIST)
_TAGS: Final = ["campaigns"]
_ENDED: Final = (PlacementStatus.MISSED, PlacementStatus.PULLED)


def _placement_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "placement_id", what="placement")


@post(
    "/flights/{flight_id:str}/placements",
    tags=_TAGS,
    opt={
        "permission": Permission.CAMPAIGNS_WRITE,
        "bodies": {"application/json": AddPlacement},
        "refusals": (404, 409),
    },
)
async def create_placement(request: Request[Any, Any, Any]) -> Response[Placement]:
    """Place a flight in an episode. Downloads that were counted before count for it as well, where it was live.

    Flights of a campaign that is over get none (409 `campaign_over`), except makegoods of one that is completed.
    """
    wanted = path_id(request, "flight_id", what="flight")
    return answer_placement(await create(request, wanted, await read_json(request, AddPlacement)))


@get(
    "/placements",
    tags=_TAGS,
    opt={
        "permission": Permission.CAMPAIGNS_READ,
        "query": (CAMPAIGN_ID, FLIGHT_ID, EPISODE_ID, PODCAST_ID, LIMIT, _CURSOR),
    },
)
async def list_placements(request: Request[Any, Any, Any]) -> Page[Placement]:
    """List placements in the order in which they were made."""
    query = Query.of(request)
    campaign_id, flight_id = query.get(CAMPAIGN_ID), query.get(FLIGHT_ID)
    episode_id, podcast_id = query.get(EPISODE_ID), query.get(PODCAST_ID)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        if campaign_id is not None:
            await find_campaign(conn, campaign_id)
        if flight_id is not None:
            await find_flight(conn, flight_id)
        if episode_id is not None and await get_episode(conn, episode_id) is None:
            raise NotFound("episode")
        if podcast_id is not None:
            await find_podcast(conn, podcast_id)
        rows = await read_placements(
            conn,
            after=after,
            limit=limit + 1,
            campaign_id=campaign_id,
            flight_id=flight_id,
            episode_id=episode_id,
            podcast_id=podcast_id,
        )
    return page_of(rows, limit, Placement.of, _LIST, lambda row: (row.created_at, row.placement_id))


@get("/placements/{placement_id:str}", tags=_TAGS, opt={"permission": Permission.CAMPAIGNS_READ})
async def get_placement(request: Request[Any, Any, Any]) -> Response[Placement]:
    """Read one placement."""
    wanted = _placement_id(request)
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        return answer_placement(await find_placement(conn, wanted))


@patch(
    "/placements/{placement_id:str}",
    tags=_TAGS,
    opt={
        "permission": Permission.CAMPAIGNS_WRITE,
        "bodies": {"application/json": ChangePlacement},
        "is_versioned": True,
        "refusals": (409,),
    },
)
async def update_placement(request: Request[Any, Any, Any]) -> Response[Placement]:
    """Change what is said of a placement that was not missed or pulled; what it delivered follows within seconds.

    Of a campaign that is completed only what changes no figure (409 `campaign_over`).
    """
    wanted, version = _placement_id(request), read_version(request)
    given = await read_json(request, ChangePlacement)
    fields = given_fields(given)
    async with writing(request, "placement.update") as work:
        # The flight before its placements, as everywhere.
        found = await find_placement(work.conn, wanted)
        campaign = await use_campaign(work.conn, found.campaign_id)
        flight = await use_flight(work.conn, found.flight_id)
        was = await hold_placement(work.conn, wanted, version=version)
        if was.status in _ENDED:
            raise Conflict("placement_over", f"the placement is {was.status}, and stays as it is; make another one")
        wished = replace(was, **fields)
        changed = changed_fields(was, wished)
        check_placement_change(campaign.status, changed, is_makegood=flight.makegood_of is not None)
        is_new = (wished.ad_slot_id, wished.slot_no) != (was.ad_slot_id, was.slot_no)
        slot = await use_slot(work, wished.ad_slot_id, was.podcast_id, wished.slot_no, is_new=is_new)
        if is_new or wished.position is not was.position:
            check_position(wished.position, slot)
        if not {"live_from", "live_until", "delivery"}.isdisjoint(changed):
            # The flight may have been moved since, which leaves what is live where it is.
            check_live(wished, flight)
        row = await change_placement(work.conn, was, slot, wished)
        return work.done(answer_placement(row), resource=wanted, before=was, after=row)


async def _step(request: Request[Any, Any, Any], step: str) -> Response[Placement]:
    wanted, version = _placement_id(request), read_version(request)
    return answer_placement(await take_step(request, wanted, step, version=version))


_STEP: Final[dict[str, Any]] = {"permission": Permission.CAMPAIGNS_WRITE, "is_versioned": True, "refusals": (409,)}


@post("/placements/{placement_id:str}/go-live", tags=_TAGS, status_code=200, opt=_STEP)
async def go_live(request: Request[Any, Any, Any]) -> Response[Placement]:
    """Say that it is in the episode. When downloads count is said by `live_from` and `live_until` alone."""
    return await _step(request, "go-live")


@post("/placements/{placement_id:str}/verify", tags=_TAGS, status_code=200, opt=_STEP)
async def verify_placement(request: Request[Any, Any, Any]) -> Response[Placement]:
    """Say that somebody has heard it."""
    return await _step(request, "verify")


@post("/placements/{placement_id:str}/miss", tags=_TAGS, status_code=200, opt=_STEP)
async def miss_placement(request: Request[Any, Any, Any]) -> Response[Placement]:
    """Say that it never ran: it has delivered nothing, and its place is free."""
    return await _step(request, "miss")


@post("/placements/{placement_id:str}/pull", tags=_TAGS, status_code=200, opt=_STEP)
async def pull_placement(request: Request[Any, Any, Any]) -> Response[Placement]:
    """Take it out: downloads count until the end of this quarter hour, and its place is free."""
    return await _step(request, "pull")
