"""Deliveries, performances and reach: sums that fit one another, and figures that are absent for a reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.deliveries import (
    CampaignPace,
    Charge,
    DayDelivery,
    Delivery,
    FlightDelivery,
    FlightTerms,
    PlacementDelivery,
    Pricing,
    add_charges,
    charge_flight,
    deliver_campaign,
    deliver_flight,
    pace_campaign,
    sum_booked,
    sum_days,
)
from analytics_core.money import CurrencyMismatch, Money
from analytics_core.performances import DETERMINISTIC, ModelTotal, conversions_of, figures_by_model
from analytics_core.reach import MonthReach, reach_of

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
MEASURED = dt.timedelta(days=30)


def make_terms(number: int = 0, *, start: int = 0, length: int = 20, **given: Any) -> FlightTerms:
    values: dict[str, Any] = {
        "flight_id": UUID(int=number),
        "campaign_id": UUID(int=1),
        "sponsor_id": UUID(int=2),
        "insertion_order_id": UUID(int=3),
        "name": "Flight",
        "campaign_name": "Campaign",
        "status": "active",
        "campaign_status": "active",
        "pricing": "cpm",
        "price_amount": 2_500,
        "currency": "EUR",
        "starts_at": START + start * DAY,
        "ends_at": START + (start + length) * DAY,
        "booked_impressions": 1_000,
        "measurement_days": 30,
        "makegood_of": None,
    }
    return FlightTerms(**(values | given))


def make_placement(terms: FlightTerms, days: Sequence[tuple[int, int]], *, status: str = "live") -> PlacementDelivery:
    """Make a placement that is live as long as it counts, with impressions by day since its start."""
    return PlacementDelivery(
        placement_id=UUID(int=9),
        flight_id=terms.flight_id,
        podcast_id=UUID(int=4),
        podcast_title=None,
        episode_id=UUID(int=5),
        episode_title=None,
        position="mid",
        status=status,
        live_from=terms.starts_at,
        live_until=terms.ends_at + MEASURED,
        days=[DayDelivery(terms.starts_at.date() + day * DAY, count, count // 2) for day, count in days],
    )


_DAYS = st.dictionaries(st.integers(0, 20), st.integers(1, 5_000), max_size=8).map(lambda found: sorted(found.items()))
_FLIGHTS = st.lists(
    st.tuples(
        st.builds(
            make_terms,
            start=st.integers(-60, 30),
            length=st.integers(1, 40),
            booked_impressions=st.none() | st.integers(1, 10_000),
            status=st.sampled_from(["planned", "active", "completed", "cancelled"]),
        ),
        st.lists(_DAYS, max_size=3),
    ),
    max_size=4,
)


def deliver(terms: FlightTerms, placements: Sequence[Sequence[tuple[int, int]]]) -> FlightDelivery:
    found = [make_placement(terms, days) for days in placements]
    return deliver_flight(terms, found, now=NOW)


@given(_FLIGHTS)
def test_a_campaign_is_the_sum_of_its_flights_and_absent_figures_have_a_reason(
    flown: list[tuple[FlightTerms, list[list[tuple[int, int]]]]],
) -> None:
    flights = [deliver(terms, placements) for terms, placements in flown]
    whole = deliver_campaign(flights)
    assert whole.delivered == sum(one.delivered for one in flights)
    both: list[Delivery] = [whole, *flights]
    for found in both:
        assert (found.pace is None) == (found.pace_reason is not None)
        assert (found.projected is None) == (found.projected_reason is not None)
        assert (found.makegood_owed is None) == (found.makegood_reason is not None)
        if found.projected is not None:
            assert found.delivered <= found.projected.low <= found.projected.mid <= found.projected.high
    begun = [one for one in flights if one.pace is not None]
    assert (whole.pace is None) == (not begun)
    if whole.pace is not None:
        assert whole.pace.delivered == sum(one.delivered for one in begun)
        indices = [one.pace.index for one in begun if one.pace is not None]
        assert min(indices) <= whole.pace.index <= max(indices)
    paced = pace_campaign([(one.terms, one.delivered) for one in flights], now=NOW)
    assert paced == CampaignPace(
        booked=whole.booked, delivered=whole.delivered, pace=whole.pace, pace_reason=whole.pace_reason
    )
    owed = [one.makegood_owed for one in flights if one.makegood_owed is not None]
    assert whole.makegood_owed == (sum(owed) if owed else None)


@given(st.lists(_DAYS, max_size=4))
def test_days_of_placements_add_up(placements: list[list[tuple[int, int]]]) -> None:
    rows = [make_placement(make_terms(), days) for days in placements]
    found = sum_days(rows)
    assert [row.day for row in found] == sorted({row.day for one in rows for row in one.days})
    assert sum(row.delivered for row in found) == sum(one.delivered for one in rows)
    assert sum(row.delivered_strict for row in found) == sum(one.delivered_strict for one in rows)


def test_a_placement_that_was_missed_has_nothing_more_to_deliver() -> None:
    terms = make_terms()
    missed = make_placement(terms, [], status="missed")
    assert deliver_flight(terms, [missed], now=NOW).projected_reason == "no_placements"
    heard = make_placement(terms, [(day, 40) for day in range(20)])
    alone = deliver_flight(terms, [heard], now=NOW)
    assert deliver_flight(terms, [heard, missed], now=NOW).projected == alone.projected


@pytest.mark.parametrize(
    ("pricing", "given_", "conversions", "charge"),
    [
        ("cpm", {}, None, Charge(quantity=600, amount=Money(1_500, "EUR"))),
        ("cpm", {"booked_impressions": 500}, None, Charge(quantity=500, amount=Money(1_250, "EUR"))),
        ("cpm", {"booked_impressions": None}, None, Charge(quantity=600, amount=Money(1_500, "EUR"))),
        ("cpm", {"status": "cancelled"}, None, Charge(quantity=600, amount=Money(1_500, "EUR"))),
        ("flat", {}, None, Charge(quantity=None, amount=Money(2_500, "EUR"))),
        ("flat", {"start": 30}, None, Charge(quantity=None, amount=Money(0, "EUR"))),
        ("flat", {"campaign_status": "cancelled"}, None, Charge(quantity=None, amount=Money(0, "EUR"))),
        ("flat", {"campaign_status": "draft"}, None, Charge(quantity=None, amount=Money(0, "EUR"))),
        ("cpa", {}, None, Charge(quantity=None, amount=None, reason="no_run")),
        ("cpa", {}, 0, Charge(quantity=0, amount=Money(0, "EUR"))),
        ("cpa", {"currency": "JPY"}, 2_000_000, Charge(quantity=2_000_000, amount=Money(5_000, "JPY"))),
    ],
)
def test_a_flight_costs_what_its_pricing_says(
    pricing: Pricing, given_: dict[str, Any], conversions: int | None, charge: Charge
) -> None:
    terms = make_terms(pricing=pricing, **given_)
    assert charge_flight(terms, delivered=600, conversions_ppm=conversions, now=NOW) == charge


def test_a_total_is_known_where_all_of_it_is_and_of_one_currency() -> None:
    known, unknown = Charge(quantity=1, amount=Money(5, "EUR")), Charge(quantity=None, amount=None, reason="no_run")
    assert add_charges([], "EUR") == Money(0, "EUR")
    assert add_charges([known, known], "EUR") == Money(10, "EUR")
    assert add_charges([known, unknown], "EUR") is None
    with pytest.raises(CurrencyMismatch):
        add_charges([known], "USD")


_TOTALS = st.lists(
    st.builds(
        ModelTotal,
        st.sampled_from([DETERMINISTIC, "linear", "last"]),
        st.integers(0, 2).map(lambda number: UUID(int=number)),
        st.sampled_from(["", "EUR", "USD"]),
        st.integers(0, 10**9),
        st.integers(0, 10**6),
        st.integers(0, 10**9),
    ),
    max_size=12,
)


@given(_TOTALS, st.none() | st.integers(0, 10**9))
def test_models_are_beside_one_another_and_every_value_is_told(totals: list[ModelTotal], cost: int | None) -> None:
    paid = None if cost is None else Money(cost, "EUR")
    found = figures_by_model(totals, ["linear", "last"], cost=paid, currency="EUR")
    assert [one.model for one in found] == [DETERMINISTIC, "linear", "last"]
    for one in found:
        mine = [total for total in totals if total.model == one.model]
        assert one.conversions_ppm == sum(total.conversions_ppm for total in mine)
        for value in one.values:
            assert value.amount == sum(total.value_amount for total in mine if total.currency == value.currency)
        assert {value.currency for value in one.values} == {total.currency for total in mine} - {""}
        assert (one.roas is None) == (one.roi is None) == (one.return_reason is not None)
        assert (one.cpa_amount is None) == (cost is None or not one.conversions_ppm)
    for flight in range(3):
        whole = conversions_of(totals, UUID(int=flight))
        assert whole == sum(
            total.conversions_ppm
            for total in totals
            if total.model == DETERMINISTIC and total.flight_id == UUID(int=flight)
        )


@pytest.mark.parametrize(
    ("cost", "currency", "reason"),
    [(None, "EUR", "no_cost"), (0, "EUR", "nothing_paid"), (5, "USD", "other_currencies"), (5, "EUR", None)],
)
def test_a_return_is_absent_where_it_would_have_no_meaning(cost: int | None, currency: str, reason: str | None) -> None:
    total = ModelTotal("last", UUID(int=0), currency, 1_000_000, 0, 10)
    paid = None if cost is None else Money(cost, "EUR")
    found = figures_by_model([total], ["last"], cost=paid, currency="EUR")[1]
    assert found.return_reason == reason
    assert found.roas == (2.0 if reason is None else None)


def test_a_cost_in_another_currency_is_an_error() -> None:
    with pytest.raises(ValueError, match="its own currency"):
        figures_by_model([], [], cost=Money(1, "USD"), currency="EUR")


def month(
    number: int, delivered: int, reach: int | None, *, of: int | None = None, is_final: bool = False
) -> MonthReach:
    return MonthReach(
        month=dt.date(2026, number, 1),
        delivered=delivered,
        reach=reach,
        impressions=of,
        is_final=is_final,
        computed_at=None if reach is None else NOW,
    )


@pytest.mark.parametrize(
    ("months", "reach", "frequency", "reason"),
    [
        ([], None, None, "no_impressions"),
        ([month(10, 0, 0, of=0)], None, None, "no_impressions"),
        ([month(10, 5, None)], None, None, "not_counted"),
        ([month(10, 6, 3, of=5)], 3, 1.6667, None),
        ([month(10, 6, 3, of=5, is_final=True)], None, None, "changed_since"),
        ([month(10, 6, 3, of=6, is_final=True)], 3, 2.0, None),
        ([month(10, 6, 3, of=6), month(11, 0, 0, of=0)], 3, 2.0, None),
        ([month(10, 6, 3, of=6), month(11, 1, 1, of=1)], None, None, "across_months"),
    ],
)
def test_reach_is_that_of_the_only_month(
    months: list[MonthReach], reach: int | None, frequency: float | None, reason: str | None
) -> None:
    found = reach_of(months)
    assert (found.reach, found.frequency, found.reason) == (reach, frequency, reason)


def test_a_makegood_brings_what_was_booked_before_and_books_nothing() -> None:
    short, good = make_terms(0), make_terms(1, start=22, length=2, booked_impressions=400, makegood_of=UUID(int=0))
    flights = [
        deliver_flight(short, [make_placement(short, [(3, 600)])], makegood_booked=400, now=NOW),
        deliver_flight(good, [make_placement(good, [(22, 200)])], now=NOW),
    ]
    found = deliver_campaign(flights)
    assert (found.booked, found.delivered, found.makegood_booked) == (1_000, 800, 400)
    assert found.pace is not None
    assert (found.pace.expected, found.pace.delivered, float(found.pace.index)) == (1_000, 800, 0.8)
    over = deliver_campaign(
        [
            deliver_flight(short, [make_placement(short, [(3, 600)])], now=NOW + 60 * DAY),
            deliver_flight(good, [make_placement(good, [(22, 200)])], now=NOW + 60 * DAY),
        ]
    )
    assert (over.makegood_owed, over.is_measured, found.is_measured) == (400, True, False)


def test_what_makes_good_a_cancelled_flight_stands_for_itself() -> None:
    gone, good = make_terms(0, status="cancelled"), make_terms(1, booked_impressions=400, makegood_of=UUID(int=0))
    found = deliver_campaign([deliver_flight(gone, [], now=NOW), deliver_flight(good, [], now=NOW)])
    assert found.booked == 400
    assert found.pace is not None
    assert found.pace.expected == 400


@given(
    st.lists(st.integers(1, 5_000), max_size=6), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 900)), max_size=6)
)
def test_makegoods_change_nothing_that_was_booked(sold: list[int], goods: list[tuple[int, int]]) -> None:
    flights = [
        deliver_flight(make_terms(number, booked_impressions=booked), [], now=NOW) for number, booked in enumerate(sold)
    ]
    makegoods = [
        deliver_flight(make_terms(100 + number, booked_impressions=booked, makegood_of=UUID(int=of)), [], now=NOW)
        for number, (of, booked) in enumerate(goods)
        if of < len(sold)
    ]
    assert sum_booked([*flights, *makegoods]) == (sum(sold) if sold else None)
    assert deliver_campaign([*makegoods, *flights]).pace == deliver_campaign(flights).pace


def test_a_campaign_without_flights_is_not_over() -> None:
    assert not deliver_campaign([]).is_measured
