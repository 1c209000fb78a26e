"""Campaigns in a report: how they stood at its end, and what of it was in its days."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from analytics_core.deliveries import (
    Charge,
    FlightDelivery,
    FlightTerms,
    PlacementDelivery,
    charge_flight,
    deliver_flight,
)
from analytics_core.money import Money
from analytics_core.performances import ModelTotal, conversions_of

__all__ = ("CampaignPart", "PlacementPart", "cost_in_range", "cut_campaign")

_MOMENT = dt.timedelta(microseconds=1)


class PlacementPart(msgspec.Struct, frozen=True):
    """A placement as it stood at a report's end, and its impressions in the report's days."""

    placement: PlacementDelivery
    in_range: int


class CampaignPart(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign as it stood at a report's end.

    Attributes:
        flights: As they stood then.
        in_range: Impressions of each flight in the report's days; those without any are not there.
        costs: What each flight cost in these days; its amount is ``None`` where nobody counted the conversions that are
            paid for.
        clicks: On the flights' links, in these days.
        redemptions: Of the flights' codes, in these days.
    """

    campaign_id: UUID
    name: str
    status: str
    starts_on: dt.date
    ends_on: dt.date
    model: str
    currency: str
    flights: Sequence[FlightDelivery]
    placements: Sequence[PlacementPart]
    in_range: Mapping[UUID, int]
    costs: Mapping[UUID, Charge]
    clicks: int = 0
    redemptions: int = 0

    @property
    def cost(self) -> Money | None:
        """What the campaign cost in the report's days; ``None`` where that of a flight is not known."""
        amounts = [charge.amount for charge in self.costs.values()]
        known = [amount for amount in amounts if amount is not None]
        return sum(known, Money(0, self.currency)) if len(known) == len(amounts) else None


def cost_in_range(
    terms: FlightTerms,
    *,
    delivered: int,
    before: int,
    conversions_ppm: int | None,
    start: dt.datetime,
    at: dt.datetime,
) -> Charge:
    """Say what a flight cost in some days: what it had cost at their end less what it had cost when they began.

    So parts of a flight cost together what the whole does, to the cent, up to what was booked.

    Args:
        terms: Of the flight.
        delivered: Impressions until the end.
        before: Those of them from before the start.
        conversions_ppm: Of the days; ``None`` where nobody counted them.
        start: Aware instant at which the days begin.
        at: Aware instant up to which they are known, itself excluded.
    """
    # Both just before: a fee is owed in the days in which its flight begins, and not in those that end then.
    last = charge_flight(terms, delivered=delivered, conversions_ppm=conversions_ppm, now=at - _MOMENT)
    if terms.pricing == "cpa" or last.amount is None:
        return last
    first = charge_flight(terms, delivered=before, now=start - _MOMENT)
    if first.amount is None:
        raise AssertionError("what is not paid by conversions has a price")
    quantity = None if last.quantity is None else last.quantity - (first.quantity or 0)
    return Charge(quantity=quantity, amount=last.amount - first.amount)


def cut_campaign(
    flights: Sequence[FlightDelivery],
    placements: Sequence[PlacementDelivery],
    totals: Sequence[ModelTotal] | None,
    *,
    start: dt.date,
    end: dt.date,
    at: dt.datetime,
) -> tuple[list[FlightDelivery], list[PlacementPart], dict[UUID, int], dict[UUID, Charge]]:
    """Cut flights and placements off at a report's end.

    Args:
        flights: Of a campaign, as they stand.
        placements: Of these flights, with all their days.
        totals: Of the attribution run; ``None`` without one.
        start: The report's first day.
        end: The day behind its last.
        at: Up to when hits have landed, or the report's end: as of then it is told how flights stand.

    Returns:
        Flights and placements as they stood, impressions by flight in the days, and what they cost in them.
    """
    cut = [msgspec.structs.replace(one, days=[day for day in one.days if day.day < end]) for one in placements]
    parts = [PlacementPart(one, sum(day.delivered for day in one.days if day.day >= start)) for one in cut]
    in_range: Counter[UUID] = Counter()
    for part in parts:
        in_range[part.placement.flight_id] += part.in_range
    stood, costs = [], {}
    for flight in flights:
        terms = flight.terms
        own = [one for one in cut if one.flight_id == terms.flight_id]
        one = deliver_flight(terms, own, makegood_booked=flight.makegood_booked, now=at)
        stood.append(one)
        costs[terms.flight_id] = cost_in_range(
            terms,
            delivered=one.delivered,
            before=one.delivered - in_range[terms.flight_id],
            conversions_ppm=None if totals is None else conversions_of(totals, terms.flight_id),
            start=dt.datetime.combine(start, dt.time(), dt.UTC),
            at=at,
        )
    return stood, parts, dict(in_range), costs
