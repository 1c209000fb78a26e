"""What may be changed of campaigns, flights and placements in which state, and what moves with a flight.

What was agreed upon is not changed once it has begun, and what is over keeps its figures: what is new then is a flight,
a makegood or a campaign of its own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from analytics_core.campaigns import CampaignStatus, Delivery, FlightStatus, default_live_range
from analytics_core.errors import Conflict, InvalidInput

__all__ = (
    "CAMPAIGN_FIELDS",
    "FLIGHT_FIELDS",
    "PLACEMENT_FIELDS",
    "FlightTimes",
    "check_campaign_change",
    "check_flight_change",
    "check_placement_change",
    "moved_live_range",
    "refuse_flight",
    "refuse_placement",
    "state_for",
)

_NEW: Final = frozenset({CampaignStatus.DRAFT, CampaignStatus.SCHEDULED})
_OPEN: Final = _NEW | {CampaignStatus.ACTIVE, CampaignStatus.PAUSED}
_TOLD: Final = _OPEN | {CampaignStatus.COMPLETED}

CAMPAIGN_FIELDS: Final[Mapping[str, frozenset[CampaignStatus]]] = MappingProxyType(
    {
        **dict.fromkeys(("starts_on", "pricing"), _NEW),
        **dict.fromkeys(
            ("name", "ends_on", "budget_amount", "model", "window_days", "excludes_prior_customers", "utm"), _OPEN
        ),
    }
)
"""In which states of a campaign each of its fields may be changed."""

_PLANNED: Final = frozenset({FlightStatus.PLANNED})
_NOT_CANCELLED: Final = frozenset(FlightStatus) - {FlightStatus.CANCELLED}

FLIGHT_FIELDS: Final[Mapping[str, frozenset[FlightStatus]]] = MappingProxyType(
    {
        **dict.fromkeys(("starts_at", "price_amount"), _PLANNED),
        **dict.fromkeys(("name", "ends_at", "booked_impressions", "window_days", "measurement_days"), _NOT_CANCELLED),
    }
)
"""In which states of a flight each of its fields may be changed, as long as its campaign is not over."""

PLACEMENT_FIELDS: Final[Mapping[str, frozenset[CampaignStatus]]] = MappingProxyType(
    {
        **dict.fromkeys(("ad_slot_id", "slot_no", "position", "delivery", "live_from", "live_until"), _OPEN),
        **dict.fromkeys(("offset_s", "host_read", "aircheck_url"), _TOLD),
    }
)
"""In which states of the campaign each field of a placement may be changed: what changes no figure for longer."""


def state_for(campaign: CampaignStatus, *, is_makegood: bool) -> CampaignStatus:
    """Tell as what a campaign is for a flight of it: one that owes something is not over for what makes it good."""
    return CampaignStatus.ACTIVE if is_makegood and campaign is CampaignStatus.COMPLETED else campaign


def refuse_flight(campaign: CampaignStatus, *, is_makegood: bool) -> None:
    """Refuse to add or to change a flight of a campaign that is over.

    Raises:
        Conflict: ``campaign_over``.
    """
    if state_for(campaign, is_makegood=is_makegood) not in _OPEN:
        raise Conflict("campaign_over", f"the campaign is {campaign}, and gets nothing but makegoods once it is")


def refuse_placement(campaign: CampaignStatus, *, is_makegood: bool) -> None:
    """Refuse to place a flight of a campaign that is over: it would be delivered, and paid, after the fact.

    Raises:
        Conflict: ``campaign_over``.
    """
    if state_for(campaign, is_makegood=is_makegood) not in _OPEN:
        raise Conflict("campaign_over", f"the campaign is {campaign}, and gets no placements: place a makegood of it")


def _fixed(
    fields: Mapping[str, frozenset[CampaignStatus]] | Mapping[str, frozenset[FlightStatus]], status: str
) -> set[str]:
    return {name for name, states in fields.items() if status not in states}


def check_campaign_change(status: CampaignStatus, changed: Collection[str]) -> None:
    """Make sure that what is to be different of a campaign may be.

    >>> check_campaign_change(CampaignStatus.ACTIVE, ["ends_on"])

    Args:
        status: Of the campaign.
        changed: The fields that would say something else than before.

    Raises:
        Conflict: ``campaign_over``, or ``campaign_begun``.
    """
    if status not in _OPEN:
        raise Conflict("campaign_over", f"the campaign is {status}, and stays as it is; duplicate it")
    if fixed := sorted(_fixed(CAMPAIGN_FIELDS, status).intersection(changed)):
        raise Conflict(
            "campaign_begun",
            f"the campaign is {status}: {', '.join(fixed)} cannot be changed any more; duplicate it, and end this one",
        )


def check_flight_change(status: FlightStatus, changed: Collection[str]) -> None:
    """Make sure that what is to be different of a flight may be; of its campaign :func:`refuse_flight` knows.

    Raises:
        Conflict: ``flight_cancelled``, or ``flight_begun``.
    """
    if status is FlightStatus.CANCELLED:
        raise Conflict("flight_cancelled", "this flight is cancelled, and stays as it is; make another one")
    if fixed := sorted(_fixed(FLIGHT_FIELDS, status).intersection(changed)):
        raise Conflict(
            "flight_begun",
            f"the flight has begun, and is {status}: {', '.join(fixed)} cannot be changed any more; end it, and make "
            "another one",
        )


def check_placement_change(campaign: CampaignStatus, changed: Collection[str], *, is_makegood: bool) -> None:
    """Make sure that what is to be different of a placement may be.

    Raises:
        Conflict: ``campaign_over``.
    """
    state = state_for(campaign, is_makegood=is_makegood)
    if fixed := sorted(_fixed(PLACEMENT_FIELDS, state).intersection(changed)):
        raise Conflict(
            "campaign_over",
            f"the campaign is {campaign}: {', '.join(fixed)} cannot be changed any more, as figures stay",
        )


class FlightTimes(Protocol):
    """When a flight is, and how long its downloads count."""

    @property
    def starts_at(self) -> dt.datetime:
        """Its first instant."""
        ...

    @property
    def ends_at(self) -> dt.datetime:
        """The instant behind its last."""
        ...

    @property
    def measurement_days(self) -> int:
        """How long what is baked in counts after its end."""
        ...


def moved_live_range(
    live_from: dt.datetime,
    live_until: dt.datetime,
    *,
    delivery: Delivery,
    published_at: dt.datetime | None,
    was: FlightTimes,
    becomes: FlightTimes,
    now: dt.datetime,
) -> tuple[dt.datetime, dt.datetime]:
    """Tell when a planned placement is live once its flight is at another time.

    One that was live when its flight was, as nobody had said anything else, follows it, unless it is live already.

    Raises:
        Conflict: ``placements_outside``: its episode was published when the flight would be over.
    """

    def default(times: FlightTimes) -> tuple[dt.datetime, dt.datetime]:
        return default_live_range(
            delivery,
            starts_at=times.starts_at,
            ends_at=times.ends_at,
            measurement_days=times.measurement_days,
            published_at=published_at,
        )

    if live_from <= now:
        return live_from, live_until
    try:
        if default(was) != (live_from, live_until):
            return live_from, live_until
    except InvalidInput:
        # Nobody could have left it to the flight.
        return live_from, live_until
    try:
        return default(becomes)
    except InvalidInput as error:
        raise Conflict(
            "placements_outside",
            "an episode in which the flight is placed was published when the flight would be over: move the placement "
            "first, or have it be missed",
        ) from error
