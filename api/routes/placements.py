"""Placements: in which episodes a flight is heard, and when."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, patch, post
from msgspec.structs import replace

from analytics_core.campaign_changes import check_placement_change, refuse_placement
from analytics_core.campaigns import (
    PLACEMENT_MOVES,
    PlacementStatus,
    Position,
    check_live_range,
    default_live_range,
    move,
    next_quarter,
)
from analytics_core.db.ad_slots import AdSlotRow, hold_slot
from analytics_core.db.campaigns import find_campaign, use_campaign
from analytics_core.db.episodes import get_episode
from analytics_core.db.flights import FlightRow, find_flight, use_flight
from analytics_core.db.placements import (
    PlacementFields,
    PlacementRow,
    add_placement,
    change_placement,
    find_placement,
    hold_placement,
    set_placement_status,
    use_episode,
)
from analytics_core.db.placements import list_placements as read_placements
from analytics_core.errors import Conflict, InvalidInput, NotFound
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.campaigns import changed_fields, check, given_fields
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.placements import AddPlacement, ChangePlacement, Placement
from api.scopes import CAMPAIGN_ID, EPISODE_ID, FLIGHT_ID, PODCAST_ID, find_podcast, path_id
from api.versions import answer_version, read_version
from api.writing import Work, writing

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


def _show(row: PlacementRow) -> Response[Placement]:
    return answer_version(Placement.of(row), version=row.version)


def _placement_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "placement_id", what="placement")


async def _use_flight(work: Work, flight_id: UUID) -> FlightRow:
    """Read a flight that gets a placement, with its campaign before it, as everywhere.

    Raises:
        NotFound: The tenant has none of this id.
        Conflict: ``flight_cancelled``, or ``campaign_over``.
    """
    campaign = await use_campaign(work.conn, (await find_flight(work.conn, flight_id)).campaign_id)
    flight = await use_flight(work.conn, flight_id)
    refuse_placement(campaign.status, is_makegood=flight.makegood_of is not None)
    return flight


async def _find_slot(
    work: Work, ad_slot_id: UUID | None, podcast_id: UUID, slot_no: int, *, is_new: bool
) -> AdSlotRow | None:
    """Find a slot that stays as it is.

    Raises:
        NotFound: The podcast has none of this id.
        Conflict: ``ad_slot_archived``.
        InvalidInput: ``slot_no_invalid``: it has no such place.
    """
    if ad_slot_id is None:
        if slot_no != 1:
            raise InvalidInput("/slot_no", "is a place of a slot: name ad_slot_id as well", code="slot_no_invalid")
        return None
    slot = await hold_slot(work.conn, ad_slot_id)
    if slot.podcast_id != podcast_id:
        raise NotFound("ad slot of this podcast")
    if slot.archived_at is not None and is_new:
        raise Conflict("ad_slot_archived", "this slot is archived; take another one")
    if slot_no > slot.per_episode and is_new:
        raise InvalidInput("/slot_no", f"the slot has {slot.per_episode} places", code="slot_no_invalid")
    return slot


def _check_position(position: Position, slot: AdSlotRow | None) -> None:
    """Make sure that what is in a slot is where the slot is.

    Raises:
        InvalidInput: ``not_the_slots``.
    """
    if slot is not None and position is not slot.position:
        raise InvalidInput("/position", f"has to be the slot's, which is {slot.position}", code="not_the_slots")


def _check(fields: PlacementFields, flight: FlightRow) -> None:
    check(
        lambda: check_live_range(
            fields.live_from,
            fields.live_until,
            delivery=fields.delivery,
            starts_at=flight.starts_at,
            ends_at=flight.ends_at,
            measurement_days=flight.measurement_days,
        )
    )


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
    given = await read_json(request, AddPlacement)
    said = given_fields(given, leave=("episode_id", "ad_slot_id", "position", "live_from", "live_until"))
    async with writing(request, "placement.create") as work:
        flight = await _use_flight(work, wanted)
        episode = await use_episode(work.conn, given.episode_id)
        slot = await _find_slot(work, given.ad_slot_id, episode.podcast_id, given.slot_no, is_new=True)
        position = given.position or (None if slot is None else slot.position)
        if position is None:
            raise InvalidInput("/position", "is needed where no ad_slot_id is given", code="missing")
        _check_position(position, slot)
        live_from, live_until = given.live_from, given.live_until
        if live_from is None or live_until is None:
            begins, until = default_live_range(
                given.delivery,
                starts_at=flight.starts_at,
                ends_at=flight.ends_at,
                measurement_days=flight.measurement_days,
                published_at=episode.published_at,
            )
            live_from, live_until = live_from or begins, live_until or until
        fields = PlacementFields(**said, position=position, live_from=live_from, live_until=live_until)
        _check(fields, flight)
        now = resources_of(request).clock.now()
        row = await add_placement(work.conn, work.tenant, flight, episode, slot, fields, now=now)
        return work.done(_show(row), resource=row.placement_id, after=row)


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
        return _show(await find_placement(conn, wanted))


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
        slot = await _find_slot(work, wished.ad_slot_id, was.podcast_id, wished.slot_no, is_new=is_new)
        if is_new or wished.position is not was.position:
            _check_position(wished.position, slot)
        if not {"live_from", "live_until", "delivery"}.isdisjoint(changed):
            # The flight may have been moved since, which leaves what is live where it is.
            _check(wished, flight)
        row = await change_placement(work.conn, was, slot, wished)
        return work.done(_show(row), resource=wanted, before=was, after=row)


async def _step(request: Request[Any, Any, Any], step: str) -> Response[Placement]:
    wanted, version = _placement_id(request), read_version(request)
    async with writing(request, f"placement.{step.replace('-', '_')}") as work:
        was = await hold_placement(work.conn, wanted, version=version)
        status = PlacementStatus(move(PLACEMENT_MOVES, was.status, step, what="placement"))
        live_until = was.live_until
        if status is PlacementStatus.PULLED:
            live_until = min(was.live_until, next_quarter(resources_of(request).clock.now()))
            if live_until <= was.live_from:
                raise Conflict("not_yet", f"the placement is live from {was.live_from.isoformat()} on; move it instead")
        row = await set_placement_status(work.conn, was, status, live_until=live_until)
        return work.done(_show(row), resource=wanted, before=was, after=row)


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
