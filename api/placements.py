"""What the API and the page do to placements alike."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response

from analytics_core.campaign_changes import refuse_placement
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
from analytics_core.db.campaigns import use_campaign
from analytics_core.db.flights import FlightRow, find_flight, use_flight
from analytics_core.db.placements import (
    PlacementFields,
    PlacementRow,
    add_placement,
    hold_placement,
    set_placement_status,
    use_episode,
)
from analytics_core.errors import Conflict, InvalidInput, NotFound
from api.campaigns import check, given_fields
from api.resources import resources_of
from api.schemas.placements import AddPlacement, Placement
from api.versions import answer_version
from api.writing import Work, writing

__all__ = ("answer_placement", "check_live", "check_position", "create", "take_step", "use_slot")


def answer_placement(row: PlacementRow) -> Response[Placement]:
    """Answer with a placement and its version."""
    return answer_version(Placement.of(row), version=row.version)


async def use_slot(
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


def check_position(position: Position, slot: AdSlotRow | None) -> None:
    """Make sure that what is in a slot is where the slot is.

    Raises:
        InvalidInput: ``not_the_slots``.
    """
    if slot is not None and position is not slot.position:
        raise InvalidInput("/position", f"has to be the slot's, which is {slot.position}", code="not_the_slots")


def check_live(fields: PlacementFields, flight: FlightRow) -> None:
    """Make sure that a placement is live while its flight counts.

    Raises:
        InvalidRequest: It is not.
    """
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


async def create(request: Request[Any, Any, Any], flight_id: UUID, given: AddPlacement) -> PlacementRow:
    """Place a flight in an episode.

    Raises:
        InvalidRequest, InvalidInput: Something is wrong with what is given.
        NotFound: There is no such flight, episode or slot.
        Conflict: As :func:`analytics_core.db.placements.add_placement`, or the slot is archived.
    """
    said = given_fields(given, leave=("episode_id", "ad_slot_id", "position", "live_from", "live_until"))
    async with writing(request, "placement.create") as work:
        flight = await _use_flight(work, flight_id)
        episode = await use_episode(work.conn, given.episode_id)
        slot = await use_slot(work, given.ad_slot_id, episode.podcast_id, given.slot_no, is_new=True)
        position = given.position or (None if slot is None else slot.position)
        if position is None:
            raise InvalidInput("/position", "is needed where no ad_slot_id is given", code="missing")
        check_position(position, slot)
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
        check_live(fields, flight)
        now = resources_of(request).clock.now()
        row = await add_placement(work.conn, work.tenant, flight, episode, slot, fields, now=now)
        return work.done(row, resource=row.placement_id, answer=answer_placement(row))


async def take_step(
    request: Request[Any, Any, Any], placement_id: UUID, step: str, *, version: int | None
) -> PlacementRow:
    """Move a placement on.

    Args:
        request: Which asks.
        placement_id: Which.
        step: One of :data:`analytics_core.campaigns.PLACEMENT_MOVES`.
        version: The one that it has to be at; ``None`` where that does not matter.

    Raises:
        NotFound: There is none of this id.
        Outdated: There is another version.
        Conflict: ``illegal_transition``, or ``not_yet``.
    """
    async with writing(request, f"placement.{step.replace('-', '_')}") as work:
        was = await hold_placement(work.conn, placement_id, version=version)
        status = PlacementStatus(move(PLACEMENT_MOVES, was.status, step, what="placement"))
        live_until = was.live_until
        if status is PlacementStatus.PULLED:
            live_until = min(was.live_until, next_quarter(resources_of(request).clock.now()))
            if live_until <= was.live_from:
                raise Conflict("not_yet", f"the placement is live from {was.live_from.isoformat()} on; move it instead")
        row = await set_placement_status(work.conn, was, status, live_until=live_until)
        return work.done(row, resource=placement_id, before=was, answer=answer_placement(row))
