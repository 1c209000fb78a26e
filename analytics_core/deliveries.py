"""Deliveries: what flights were to deliver, what they did, what that costs, and how it will end.

All of it follows from terms, placements and their days as they are stored; an impression is a counted download of a
placed episode inside the placement's live range, so that they can be added up over placements and flights.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.money import Money, price_conversions, price_impressions, sum_money
from analytics_core.pacing import Pace, Phase, makegood_owed, pace_of, phase_of
from analytics_core.projections import PlacementCounts, Projection, project

__all__ = (
    "CampaignDelivery",
    "CampaignPace",
    "Charge",
    "DayDelivery",
    "Delivery",
    "FlightDelivery",
    "FlightTerms",
    "NoAmount",
    "NoMakegood",
    "NoPace",
    "NoProjection",
    "PlacementDelivery",
    "Pricing",
    "add_charges",
    "charge_flight",
    "deliver_campaign",
    "deliver_flight",
    "pace_campaign",
    "sold_flights",
    "sum_booked",
    "sum_days",
)

Pricing: TypeAlias = Literal["cpm", "flat", "cpa"]
NoPace: TypeAlias = Literal["no_booking", "not_started", "cancelled"]
NoProjection: TypeAlias = Literal["no_placements", "too_early", "cancelled"]
NoMakegood: TypeAlias = Literal["no_booking", "not_over", "cancelled"]
NoAmount: TypeAlias = Literal["no_run"]

_CANCELLED: Final = "cancelled"
_COMPLETED: Final = "completed"
_DRAFT: Final = "draft"
_MISSED: Final = "missed"


class FlightTerms(msgspec.Struct, frozen=True, kw_only=True):
    """A flight as it was agreed.

    Attributes:
        status: Its own.
        campaign_status: That of its campaign.
        booked_impressions: ``None`` where none were.
        price_amount: For a thousand impressions, the whole flight, or a conversion, as *pricing* says.
        measurement_days: How long after its end downloads still count.
        makegood_of: The flight whose shortfall it makes good.
    """

    flight_id: UUID
    campaign_id: UUID
    sponsor_id: UUID
    insertion_order_id: UUID
    name: str
    campaign_name: str
    status: str
    campaign_status: str
    pricing: Pricing
    price_amount: int
    currency: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    booked_impressions: int | None
    measurement_days: int
    makegood_of: UUID | None

    @property
    def is_cancelled(self) -> bool:
        """Tell whether nothing more is promised; what was over before its campaign was cancelled stays sold."""
        return self.status == _CANCELLED or (self.campaign_status == _CANCELLED and self.status != _COMPLETED)

    def phase(self, now: dt.datetime) -> Phase:
        """Tell where the flight is."""
        return phase_of(starts_at=self.starts_at, ends_at=self.ends_at, measurement_days=self.measurement_days, now=now)


class DayDelivery(msgspec.Struct, frozen=True):
    """Impressions of a UTC day; the strict ones are among them."""

    day: dt.date
    delivered: int
    delivered_strict: int


class PlacementDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A placement and its days; titles are ``None`` to whoever may not read them."""

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
    days: Sequence[DayDelivery] = ()

    @property
    def delivered(self) -> int:
        """Count its impressions."""
        return sum(day.delivered for day in self.days)

    @property
    def delivered_strict(self) -> int:
        """Count the strict ones."""
        return sum(day.delivered_strict for day in self.days)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How something stands that was to deliver impressions.

    Attributes:
        pace: ``None`` where *pace_reason* says why.
        projected: Impressions once nothing more counts; ``None`` where *projected_reason* says why.
        makegood_owed: What is missing from the booking; ``None`` where *makegood_reason* says why.
        makegood_booked: Impressions that other flights were booked for to make it good.
    """

    delivered: int
    delivered_strict: int
    pace: Pace | None
    pace_reason: NoPace | None
    projected: Projection | None
    projected_reason: NoProjection | None
    makegood_owed: int | None
    makegood_reason: NoMakegood | None
    makegood_booked: int


class FlightDelivery(Delivery, frozen=True, kw_only=True):
    """How a flight stands."""

    terms: FlightTerms
    phase: Phase


class CampaignDelivery(Delivery, frozen=True, kw_only=True):
    """How a campaign stands: the sums of its flights.

    A makegood brings what was booked before: what it delivers counts, and its booking is nobody's twice. What was
    delivered is of all flights; the pace is of those that were booked, not cancelled, and have begun. Bounds
    of the projection are the sums of the flights' bounds, which are rather too far apart than too near, with what those
    delivered that were cancelled; there is none where that of any flight is missing.

    Attributes:
        booked: Of flights with a booking that were not cancelled, without makegoods of these; ``None`` without any.
    """

    booked: int | None
    flights: Sequence[FlightDelivery]

    @property
    def is_measured(self) -> bool:
        """Tell whether nothing more counts: there were flights, and all that were not cancelled are measured."""
        phases = {one.phase for one in self.flights if not one.terms.is_cancelled}
        return phases == {Phase.MEASURED}


class CampaignPace(msgspec.Struct, frozen=True, kw_only=True):
    """How a campaign stands, as :class:`CampaignDelivery` has it, as far as it follows from sums of its flights."""

    booked: int | None
    delivered: int
    pace: Pace | None
    pace_reason: NoPace | None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What a flight costs by what is known.

    Attributes:
        quantity: Impressions or millionths of conversions that are paid for; ``None`` for a flat fee, and where the
            amount is.
        amount: ``None`` where *reason* says why.
    """

    quantity: int | None
    amount: Money | None
    reason: NoAmount | None = None


def sum_days(placements: Iterable[PlacementDelivery]) -> list[DayDelivery]:
    """Add the days of placements up, in order; a day without an impression has no row."""
    delivered: Counter[dt.date] = Counter()
    strict: Counter[dt.date] = Counter()
    for placement in placements:
        for row in placement.days:
            delivered[row.day] += row.delivered
            strict[row.day] += row.delivered_strict
    return [DayDelivery(day, delivered[day], strict[day]) for day in sorted(delivered)]


def deliver_flight(
    terms: FlightTerms, placements: Sequence[PlacementDelivery], *, makegood_booked: int = 0, now: dt.datetime
) -> FlightDelivery:
    """Tell how a flight stands.

    Args:
        terms: Of the flight.
        placements: All of its own, with all their days.
        makegood_booked: What others were booked for to make it good.
        now: Aware instant.
    """
    delivered = sum(placement.delivered for placement in placements)
    pace, pace_reason = _pace(terms, delivered, now)
    projected, projected_reason = _projected(terms, placements, now)
    owed, makegood_reason = _makegood(terms, delivered, now)
    return FlightDelivery(
        terms=terms,
        phase=terms.phase(now),
        delivered=delivered,
        delivered_strict=sum(placement.delivered_strict for placement in placements),
        pace=pace,
        pace_reason=pace_reason,
        projected=projected,
        projected_reason=projected_reason,
        makegood_owed=owed,
        makegood_reason=makegood_reason,
        makegood_booked=makegood_booked,
    )


def _pace(terms: FlightTerms, delivered: int, now: dt.datetime) -> tuple[Pace | None, NoPace | None]:
    if terms.is_cancelled:
        return None, "cancelled"
    if terms.booked_impressions is None:
        return None, "no_booking"
    pace = pace_of(
        delivered, booked=terms.booked_impressions, starts_at=terms.starts_at, ends_at=terms.ends_at, now=now
    )
    return pace, "not_started" if pace is None else None


def _projected(
    terms: FlightTerms, placements: Sequence[PlacementDelivery], now: dt.datetime
) -> tuple[Projection | None, NoProjection | None]:
    if terms.is_cancelled:
        return None, "cancelled"
    counted = [
        PlacementCounts(
            placement.podcast_id,
            placement.live_from,
            placement.live_until,
            {row.day: row.delivered for row in placement.days},
        )
        for placement in placements
        if placement.status != _MISSED
    ]
    if not counted:
        return None, "no_placements"
    found = project(counted, now=now)
    return found, "too_early" if found is None else None


def _makegood(terms: FlightTerms, delivered: int, now: dt.datetime) -> tuple[int | None, NoMakegood | None]:
    if terms.is_cancelled:
        return None, "cancelled"
    if terms.booked_impressions is None:
        return None, "no_booking"
    owed = makegood_owed(
        delivered,
        booked=terms.booked_impressions,
        ends_at=terms.ends_at,
        measurement_days=terms.measurement_days,
        now=now,
    )
    return owed, "not_over" if owed is None else None


def sold_flights(flights: Sequence[FlightDelivery]) -> list[FlightDelivery]:
    """List the flights that were booked and not cancelled, without those that make good another one of them."""
    return [one for one, is_sold in zip(flights, _are_sold([one.terms for one in flights]), strict=True) if is_sold]


def sum_booked(flights: Sequence[FlightDelivery]) -> int | None:
    """Add up what was sold of flights; ``None`` where nothing was booked."""
    sold = [one.terms.booked_impressions or 0 for one in sold_flights(flights)]
    return sum(sold) if sold else None


def deliver_campaign(flights: Sequence[FlightDelivery]) -> CampaignDelivery:
    """Add the flights of a campaign up."""
    sold = sold_flights(flights)
    paced = _add_paces([(one.terms, one.delivered, one.pace) for one in flights])
    over = [one.makegood_owed for one in sold if one.makegood_owed is not None]
    projected, projected_reason = _sum_of_projections(flights)
    return CampaignDelivery(
        booked=paced.booked,
        delivered=paced.delivered,
        delivered_strict=sum(one.delivered_strict for one in flights),
        pace=paced.pace,
        pace_reason=paced.pace_reason,
        projected=projected,
        projected_reason=projected_reason,
        makegood_owed=sum(over) if over else None,
        makegood_reason=None if over else ("not_over" if sold else "no_booking"),
        makegood_booked=sum(one.makegood_booked for one in flights),
        flights=flights,
    )


def pace_campaign(flights: Iterable[tuple[FlightTerms, int]], *, now: dt.datetime) -> CampaignPace:
    """Tell how a campaign stands by what each of its flights delivered in all."""
    return _add_paces([(terms, delivered, _pace(terms, delivered, now)[0]) for terms, delivered in flights])


def _are_sold(flights: Sequence[FlightTerms]) -> list[bool]:
    promised = [one.booked_impressions is not None and not one.is_cancelled for one in flights]
    ids = {one.flight_id for one, is_promised in zip(flights, promised, strict=True) if is_promised}
    return [is_promised and one.makegood_of not in ids for one, is_promised in zip(flights, promised, strict=True)]


def _add_paces(flights: Sequence[tuple[FlightTerms, int, Pace | None]]) -> CampaignPace:
    are_sold = _are_sold([terms for terms, _, _ in flights])
    sold = [(terms, pace) for (terms, _, pace), is_sold in zip(flights, are_sold, strict=True) if is_sold]
    begun = [pace for _, pace in sold if pace is not None]
    short = {terms.flight_id for terms, pace in sold if pace is not None}
    made_good = sum(delivered for terms, delivered, _ in flights if terms.makegood_of in short)
    return CampaignPace(
        booked=sum(terms.booked_impressions or 0 for terms, _ in sold) if sold else None,
        delivered=sum(delivered for _, delivered, _ in flights),
        pace=_sum_of_paces(begun, made_good) if begun else None,
        pace_reason=None if begun else ("not_started" if sold else "no_booking"),
    )


def _sum_of_paces(paces: Sequence[Pace], made_good: int) -> Pace:
    return Pace(sum(one.delivered for one in paces) + made_good, sum((one.exact for one in paces), Fraction()))


def _sum_of_projections(flights: Sequence[FlightDelivery]) -> tuple[Projection | None, NoProjection | None]:
    low = mid = high = 0
    for one in flights:
        found = one.projected
        if one.projected_reason == "cancelled":
            found = Projection(one.delivered, one.delivered, one.delivered)
        if found is None:
            return None, one.projected_reason
        low, mid, high = low + found.low, mid + found.mid, high + found.high
    return (Projection(low, mid, high), None) if flights else (None, "no_placements")


def charge_flight(
    terms: FlightTerms, *, delivered: int, conversions_ppm: int | None = None, now: dt.datetime
) -> Charge:
    """Price a flight by what is known.

    Impressions are paid for by the thousand up to the booking, conversions one by one. A flat fee is owed once the
    flight has begun, and none for one that was cancelled or is still a draft.

    Args:
        terms: Of the flight.
        delivered: Its impressions.
        conversions_ppm: Millionths of the conversions that it is given for sure; ``None`` where nobody counted them.
        now: Aware instant.
    """
    match terms.pricing:
        case "cpm":
            cap = terms.booked_impressions
            return Charge(
                quantity=delivered if cap is None else min(delivered, cap),
                amount=Money(price_impressions(delivered, cpm_amount=terms.price_amount, cap=cap), terms.currency),
            )
        case "flat":
            is_owed = now >= terms.starts_at and not terms.is_cancelled and terms.campaign_status != _DRAFT
            return Charge(quantity=None, amount=Money(terms.price_amount if is_owed else 0, terms.currency))
        case "cpa":
            if conversions_ppm is None:
                return Charge(quantity=None, amount=None, reason="no_run")
            return Charge(
                quantity=conversions_ppm,
                amount=Money(price_conversions(conversions_ppm, price_amount=terms.price_amount), terms.currency),
            )


def add_charges(charges: Iterable[Charge], currency: str) -> Money | None:
    """Add charges up; ``None`` where one of them is not known.

    Raises:
        CurrencyMismatch: One is of another currency.
    """
    amounts = []
    for charge in charges:
        if charge.amount is None:
            return None
        amounts.append(charge.amount)
    return sum_money(amounts, currency)
