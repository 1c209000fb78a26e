"""Campaigns cut to a report's days: parts cost and count together what the whole does."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import get_args
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from analytics_core.deliveries import DayDelivery, FlightTerms, PlacementDelivery, Pricing, deliver_flight
from analytics_core.performances import DETERMINISTIC, ModelTotal
from analytics_core.reporting.campaigns import cut_campaign

FIRST = dt.date(2026, 11, 1)
DAYS = 30
LAST = FIRST + dt.timedelta(days=DAYS)
FLIGHT, PLACEMENT, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)


def instant(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def terms(pricing: Pricing, *, booked: int | None, price: int, starts_on: dt.date) -> FlightTerms:
    return FlightTerms(
        flight_id=FLIGHT,
        campaign_id=OTHER,
        sponsor_id=OTHER,
        insertion_order_id=OTHER,
        name="Flight",
        campaign_name="Campaign",
        status="active",
        campaign_status="active",
        pricing=pricing,
        price_amount=price,
        currency="EUR",
        starts_at=instant(starts_on),
        ends_at=instant(LAST),
        booked_impressions=booked,
        measurement_days=30,
        makegood_of=None,
    )


def placement(days: list[DayDelivery]) -> PlacementDelivery:
    return PlacementDelivery(
        placement_id=PLACEMENT,
        flight_id=FLIGHT,
        podcast_id=OTHER,
        podcast_title="Podcast",
        episode_id=OTHER,
        episode_title="Episode",
        position="mid",
        status="live",
        live_from=instant(FIRST),
        live_until=instant(LAST),
        days=days,
    )


def cut(terms_: FlightTerms, days: list[DayDelivery], start: dt.date, end: dt.date) -> tuple[int, int, int, int]:
    """Cut a campaign of one flight: what was delivered until the end, in the days, its cost, and what is paid for."""
    placements = [placement(days)]
    whole = deliver_flight(terms_, placements, now=instant(LAST))
    totals = [ModelTotal(DETERMINISTIC, FLIGHT, "EUR", 3_000_000, 0, 0)]
    (flight,), (part,), in_range, costs = cut_campaign(
        [whole], placements, totals, start=start, end=end, at=instant(end)
    )
    assert part.placement.delivered == flight.delivered
    assert in_range[FLIGHT] == part.in_range
    amount = costs[FLIGHT].amount
    assert amount is not None
    return flight.delivered, part.in_range, amount.amount, costs[FLIGHT].quantity or 0


_DELIVERED = st.lists(st.tuples(st.integers(0, DAYS - 1), st.integers(1, 2_000)), unique_by=lambda day: day[0]).map(
    lambda days: [DayDelivery(FIRST + dt.timedelta(days=day), count, 0) for day, count in sorted(days)]
)


@given(
    delivered=_DELIVERED,
    cuts=st.lists(st.integers(1, DAYS - 1), unique=True, max_size=4),
    pricing=st.sampled_from([one for one in get_args(Pricing) if one != "cpa"]),
    booked=st.one_of(st.none(), st.integers(1, 20_000)),
    price=st.integers(0, 100_000),
    starts=st.integers(0, DAYS - 1),
)
def test_parts_add_up_to_the_whole(
    delivered: list[DayDelivery], cuts: list[int], pricing: Pricing, booked: int | None, price: int, starts: int
) -> None:
    sold = terms(pricing, booked=booked, price=price, starts_on=FIRST + dt.timedelta(days=starts))
    edges = [FIRST, *(FIRST + dt.timedelta(days=day) for day in sorted(cuts)), LAST]
    parts = [cut(sold, delivered, start, end) for start, end in itertools.pairwise(edges)]
    whole = cut(sold, delivered, FIRST, LAST)
    assert whole[0] == whole[1] == sum(day.delivered for day in delivered)
    for place in (1, 2, 3):
        assert sum(part[place] for part in parts) == whole[place]
    assert all(part[2] >= 0 for part in parts)


@given(delivered=_DELIVERED, start=st.integers(0, DAYS - 2))
def test_conversions_that_are_paid_for_are_those_of_the_run(delivered: list[DayDelivery], start: int) -> None:
    sold = terms("cpa", booked=None, price=500, starts_on=FIRST)
    assert cut(sold, delivered, FIRST + dt.timedelta(days=start), LAST)[2] == 1_500
