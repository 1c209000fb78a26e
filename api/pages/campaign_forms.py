"""What all forms of a campaign do alike: read it with its flights, and show the form under its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from litestar import Request, Response

from analytics_core.campaigns import FlightStatus
from analytics_core.db.campaigns import CampaignRow, find_campaign
from analytics_core.db.flights import FlightRow, list_campaign_flights
from analytics_core.db.pool import Connection
from analytics_core.errors import NotFound
from api.pages.filling import Filled
from api.pages.views import show
from api.queries import Refusal, identifier
from api.scopes import path_id

__all__ = ("MAX_BYTES", "Subject", "campaign_id_of", "chosen_flight", "chosen_id", "read_subject", "show_filled")

MAX_BYTES = 65_536
"""Of a form without a file."""


class Subject(NamedTuple):
    """What a form is about: a campaign, and its flights."""

    campaign: CampaignRow
    flights: Sequence[FlightRow]

    @property
    def choices(self) -> list[tuple[UUID, str]]:
        """The flights that were not cancelled, to be chosen from."""
        return [(row.flight_id, row.name) for row in self.flights if row.status is not FlightStatus.CANCELLED]


def campaign_id_of(request: Request[Any, Any, Any]) -> UUID:
    """Return the campaign that the path names.

    Raises:
        NotFound: It names none.
    """
    return path_id(request, "campaign_id", what="campaign")


async def read_subject(conn: Connection, campaign_id: UUID) -> Subject:
    """Read what a form is about.

    Raises:
        NotFound: The transaction sees no such campaign.
    """
    return Subject(await find_campaign(conn, campaign_id), await list_campaign_flights(conn, campaign_id))


def chosen_id(form: Filled, name: str, *, what: str) -> UUID:
    """Return what was chosen from a list.

    Raises:
        NotFound: It is no id.
    """
    try:
        return identifier(form.typed(name))
    except Refusal as error:
        raise NotFound(what) from error


def chosen_flight(form: Filled, subject: Subject) -> UUID:
    """Return the flight that was chosen.

    Raises:
        NotFound: It is none of the campaign's.
    """
    flight_id = chosen_id(form, "flight_id", what="flight of this campaign")
    if flight_id not in {row.flight_id for row in subject.flights}:
        raise NotFound("flight of this campaign")
    return flight_id


def show_filled(
    request: Request[Any, Any, Any], template: str, form: Filled, campaign: CampaignRow, **context: Any
) -> Response[Any]:
    """Show a form of a campaign, with what was refused."""
    return show(
        request, template, status_code=form.status_code, tab="campaigns", form=form, campaign=campaign, **context
    )
