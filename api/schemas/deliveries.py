"""The forms of deliveries: how flights and campaigns stand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from analytics_core.db.deliveries import DeliveredCampaign, DeliveredFlight
from analytics_core.deliveries import (
    DayDelivery,
    Delivery,
    FlightDelivery,
    NoMakegood,
    NoPace,
    NoProjection,
    PlacementDelivery,
    sum_days,
)
from analytics_core.flight_alerts import FlightAlert
from analytics_core.pacing import Pace, PaceState, Phase, measured_until
from analytics_core.projections import Projection

__all__ = ("CampaignDeliveryAnswer", "FlightDeliveryAnswer", "FlightFigures", "PlacementFigures", "pace_figures")

_PLACES: Final = 4


class _Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What flights and campaigns have alike."""

    booked: int | None
    delivered: int
    delivered_strict: int
    expected: int | None
    index: float | None
    state: PaceState | None
    pace_reason: NoPace | None
    projected: Projection | None
    projected_reason: NoProjection | None
    makegood_owed: int | None
    makegood_reason: NoMakegood | None
    makegood_booked: int


def pace_figures(pace: Pace | None, reason: NoPace | None) -> dict[str, Any]:
    """Show how something stands beside what was due, or why that has no meaning."""
    return {
        "expected": None if pace is None else pace.expected,
        "index": None if pace is None else float(round(pace.index, _PLACES)),
        "state": None if pace is None else pace.state,
        "pace_reason": reason,
    }


def _figures(found: Delivery, booked: int | None) -> dict[str, Any]:
    return {
        "booked": booked,
        "delivered": found.delivered,
        "delivered_strict": found.delivered_strict,
        **pace_figures(found.pace, found.pace_reason),
        "projected": found.projected,
        "projected_reason": found.projected_reason,
        "makegood_owed": found.makegood_owed,
        "makegood_reason": found.makegood_reason,
        "makegood_booked": found.makegood_booked,
    }


class FlightFigures(_Figures, frozen=True, kw_only=True):
    """How a flight stands: booked, delivered, expected so far, and how it will end.

    An impression is a counted download of a placed episode inside the placement's live range; the strict ones are among
    them. `expected` is the part of `booked` that belongs to the time gone by, `index` is `delivered` by it, and `state`
    is `under` below 0.9 and `over` above 1.1. They are null with a `pace_reason`: `not_started`, `no_booking` or
    `cancelled`. `phase` is `not_started`, `running`, `measuring` while downloads still count, or `measured`.

    `projected` is what there will be once nothing more counts, between `low` and `high` nine times out of ten; null
    with a `projected_reason`: `no_placements`, `too_early` until a placement was live for half a day before today, or
    `cancelled`. `makegood_owed` is what is missing from the booking, null with a `makegood_reason` before it is
    certain: `not_over`, `no_booking` or `cancelled`; `makegood_booked` is what other flights were booked for instead.
    """

    flight_id: UUID
    campaign_id: UUID
    name: str
    status: str
    phase: Phase
    starts_at: dt.datetime
    ends_at: dt.datetime
    measured_until: dt.datetime
    makegood_of: UUID | None


def _parts(rows: Sequence[PlacementDelivery]) -> dict[str, Any]:
    return {"placements": [PlacementFigures.of(row) for row in rows], "days": sum_days(rows)}


def _flight(found: FlightDelivery) -> dict[str, Any]:
    terms = found.terms
    return _figures(found, terms.booked_impressions) | {
        "flight_id": terms.flight_id,
        "campaign_id": terms.campaign_id,
        "name": terms.name,
        "status": terms.status,
        "phase": found.phase,
        "starts_at": terms.starts_at,
        "ends_at": terms.ends_at,
        "measured_until": measured_until(terms.ends_at, terms.measurement_days),
        "makegood_of": terms.makegood_of,
    }


class PlacementFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A placement and what it delivered; titles are null to whoever may not read the podcast."""

    placement_id: UUID
    flight_id: UUID
    podcast_id: UUID
    podcast_title: str | None
    episode_id: UUID
    episode_title: str | None
    position: str
    status: str
    live_from: dt.datetime
    live_until: dt.datetime
    delivered: int
    delivered_strict: int

    @classmethod
    def of(cls, row: PlacementDelivery) -> PlacementFigures:
        """Show a placement."""
        return cls(
            **{name: getattr(row, name) for name in row.__struct_fields__ if name != "days"},
            delivered=row.delivered,
            delivered_strict=row.delivered_strict,
        )


class FlightDeliveryAnswer(FlightFigures, frozen=True, kw_only=True):
    """How a flight stands, by placement, and by UTC day with an impression.

    `cutoff` is until when every hit has landed. `behind_since` is since when it was seen that the flight delivers too
    little and is not projected to make up for it, null once it has caught up; `told_at` is when owners, admins and
    sales were last written to about it. A sponsor's login sees neither.
    """

    behind_since: dt.datetime | None
    told_at: dt.datetime | None
    placements: Sequence[PlacementFigures]
    days: Sequence[DayDelivery]
    cutoff: dt.datetime | None

    @classmethod
    def of(cls, found: DeliveredFlight, alert: FlightAlert, cutoff: dt.datetime | None) -> FlightDeliveryAnswer:
        """Show a flight."""
        return cls(
            **_flight(found.delivery),
            behind_since=alert.behind_since,
            told_at=alert.told_at,
            **_parts(found.placements),
            cutoff=cutoff,
        )


class CampaignDeliveryAnswer(_Figures, frozen=True, kw_only=True):
    """How a campaign stands: the sums of its flights, by flight, by placement, and by UTC day with an impression.

    `booked`, `expected`, `index` and `makegood_owed` are about flights with a booking that were not cancelled, the
    index about those that have begun; `delivered` is of all. A makegood adds to what was delivered, and nothing to what
    was booked. The bounds of `projected` are the sums of theirs.
    """

    campaign_id: UUID
    sponsor_id: UUID
    insertion_order_id: UUID
    name: str
    status: str
    starts_on: dt.date
    ends_on: dt.date
    flights: Sequence[FlightFigures]
    placements: Sequence[PlacementFigures]
    days: Sequence[DayDelivery]
    cutoff: dt.datetime | None

    @classmethod
    def of(cls, found: DeliveredCampaign, cutoff: dt.datetime | None) -> CampaignDeliveryAnswer:
        """Show a campaign."""
        head = found.head
        return cls(
            campaign_id=head.campaign_id,
            sponsor_id=head.sponsor_id,
            insertion_order_id=head.insertion_order_id,
            name=head.name,
            status=head.status,
            starts_on=head.starts_on,
            ends_on=head.ends_on,
            **_figures(found.delivery, found.delivery.booked),
            flights=[FlightFigures(**_flight(one)) for one in found.delivery.flights],
            **_parts(found.placements),
            cutoff=cutoff,
        )
