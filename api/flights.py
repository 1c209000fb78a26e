"""What the API and the page do to flights alike."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response

from analytics_core.campaign_changes import refuse_flight
from analytics_core.campaigns import FlightStatus, check_flight_times, next_quarter
from analytics_core.db.campaigns import CampaignRow, use_campaign
from analytics_core.db.flights import (
    FlightFields,
    FlightRow,
    add_flight,
    end_placements,
    find_flight,
    hold_flight,
    set_flight_status,
)
from analytics_core.errors import Conflict, InvalidInput, NotFound
from api.campaigns import check, given_fields
from api.resources import resources_of
from api.schemas.campaigns import AddFlight, Flight
from api.versions import answer_version
from api.writing import Work, writing

__all__ = ("answer_flight", "cancel", "check_times", "create")


def answer_flight(row: FlightRow) -> Response[Flight]:
    """Answer with a flight and its version."""
    return answer_version(Flight.of(row), version=row.version)


def check_times(fields: FlightFields, campaign: CampaignRow, *, is_makegood: bool) -> None:
    """Make sure that a flight is inside of its campaign.

    Raises:
        InvalidRequest: It is not.
    """
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


async def create(request: Request[Any, Any, Any], campaign_id: UUID, given: AddFlight) -> FlightRow:
    """Add a flight to a campaign that is not over; to one that is, only a makegood.

    Raises:
        InvalidRequest: Something is wrong with what is given; all is listed.
        NotFound: There is no such campaign, or no flight that is to be made good.
        Conflict: ``campaign_over``.
    """
    fields = FlightFields(**given_fields(given, leave=("makegood_of",)))
    async with writing(request, "flight.create") as work:
        campaign = await use_campaign(work.conn, campaign_id)
        is_makegood = given.makegood_of is not None
        await _check_makegood(work, campaign, given.makegood_of)
        refuse_flight(campaign.status, is_makegood=is_makegood)
        check_times(fields, campaign, is_makegood=is_makegood)
        now = resources_of(request).clock.now()
        row = await add_flight(work.conn, work.tenant, campaign, fields, makegood_of=given.makegood_of, now=now)
        return work.done(row, resource=row.flight_id, answer=answer_flight(row))


async def cancel(request: Request[Any, Any, Any], flight_id: UUID, *, version: int | None) -> FlightRow:
    """Cancel a flight with what it is placed in.

    Raises:
        NotFound: There is none of this id.
        Outdated: There is another version.
        Conflict: ``illegal_transition``.
    """
    async with writing(request, "flight.cancel") as work:
        was = await hold_flight(work.conn, flight_id, version=version)
        if was.status in (FlightStatus.CANCELLED, FlightStatus.COMPLETED):
            raise Conflict("illegal_transition", f"the flight is {was.status}, which is its end")
        await set_flight_status(work.conn, flight_id, FlightStatus.CANCELLED)
        await end_placements(work.conn, flight_id, at=next_quarter(resources_of(request).clock.now()))
        row = await find_flight(work.conn, flight_id)
        return work.done(row, resource=flight_id, before=was, answer=answer_flight(row))
