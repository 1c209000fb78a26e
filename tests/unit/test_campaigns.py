"""The rules of orders, campaigns, flights and placements: which steps there are, and when what is live."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.campaigns import (
    CAMPAIGN_MOVES,
    ORDER_MOVES,
    PLACEMENT_MOVES,
    QUARTER,
    CampaignStatus,
    Delivery,
    FlightStatus,
    Move,
    OrderStatus,
    PlacementStatus,
    allowed,
    check_campaign_days,
    check_flight_times,
    check_live_range,
    default_live_range,
    flight_status,
    floor_quarter,
    move,
    next_quarter,
)
from analytics_core.errors import Conflict, InvalidInput

_DAY = dt.date(2026, 11, 1)
_START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
_INSTANTS = st.timedeltas(dt.timedelta(days=-2_000), dt.timedelta(days=5_000)).map(lambda later: _START + later)
_QUARTERS = st.integers(0, 4_000).map(lambda number: _START + number * QUARTER)
_MOVES: list[tuple[Mapping[str, Move], type[OrderStatus] | type[CampaignStatus] | type[PlacementStatus]]] = [
    (ORDER_MOVES, OrderStatus),
    (CAMPAIGN_MOVES, CampaignStatus),
    (PLACEMENT_MOVES, PlacementStatus),
]

EDGES = {
    "order": {("draft", "open"), ("open", "closed"), ("draft", "cancelled"), ("open", "cancelled")},
    "campaign": {
        *(("draft", "scheduled"), ("draft", "active"), ("scheduled", "active"), ("active", "paused")),
        *(("paused", "active"), ("active", "completed"), ("paused", "completed")),
        *((state, "cancelled") for state in ("draft", "scheduled", "active", "paused")),
    },
    "placement": {
        *(("planned", "live"), ("planned", "verified"), ("live", "verified"), ("planned", "missed")),
        *(("live", "missed"), ("live", "pulled"), ("verified", "pulled")),
    },
}


def test_these_are_all_steps_that_there_are() -> None:
    for (moves, _), edges in zip(_MOVES, EDGES.values(), strict=True):
        assert {(source, step.target) for step in moves.values() for source in step.sources} == edges


@pytest.mark.parametrize(("moves", "states"), _MOVES)
def test_every_step_is_taken_or_refused_with_those_that_are_possible(
    moves: Mapping[str, Move], states: type[OrderStatus] | type[CampaignStatus] | type[PlacementStatus]
) -> None:
    assert {source for step in moves.values() for source in step.sources} <= {state.value for state in states}
    for state in states:
        possible = allowed(moves, state)
        for name, step in moves.items():
            if name in possible:
                assert states(move(moves, state, name, what="thing")) == step.target
                continue
            with pytest.raises(Conflict) as refused:
                move(moves, state, name, what="thing")
            assert refused.value.code == "illegal_transition"
            assert all(one in str(refused.value) for one in possible)


@given(at=_INSTANTS)
def test_a_quarter_hour_holds_its_instants(at: dt.datetime) -> None:
    begins = floor_quarter(at)
    assert begins <= at < begins + QUARTER
    assert begins.minute % 15 == begins.second == begins.microsecond == 0
    assert next_quarter(at) in (begins, begins + QUARTER)
    assert next_quarter(at) >= at


@given(
    start=_QUARTERS,
    quarters=st.integers(1, 500),
    measured=st.integers(0, 90),
    published=st.none() | _INSTANTS,
    delivery=st.sampled_from(Delivery),
)
def test_what_is_live_by_default_is_allowed(
    start: dt.datetime, quarters: int, measured: int, published: dt.datetime | None, delivery: Delivery
) -> None:
    end = start + quarters * QUARTER
    over = end + dt.timedelta(days=measured) if delivery is Delivery.BAKED_IN else end
    if published is not None and floor_quarter(published) >= over:
        with pytest.raises(InvalidInput, match="when the flight was over"):
            default_live_range(
                delivery, starts_at=start, ends_at=end, measurement_days=measured, published_at=published
            )
        return
    begins, until = default_live_range(
        delivery, starts_at=start, ends_at=end, measurement_days=measured, published_at=published
    )
    assert begins == (start if published is None else max(start, floor_quarter(published)))
    assert until == over
    check_live_range(begins, until, delivery=delivery, starts_at=start, ends_at=end, measurement_days=measured)
    for wrong in ((begins - QUARTER, until), (begins, until + QUARTER), (until, begins)):
        if wrong[0] < start or wrong[1] > over or wrong[1] <= wrong[0]:
            with pytest.raises(InvalidInput):
                check_live_range(*wrong, delivery=delivery, starts_at=start, ends_at=end, measurement_days=measured)


@given(start=_QUARTERS, quarters=st.integers(1, 500), now=_QUARTERS, is_makegood=st.booleans())
def test_flights_follow_campaign_and_clock(
    start: dt.datetime, quarters: int, now: dt.datetime, is_makegood: bool
) -> None:
    end = start + quarters * QUARTER
    found = {status: flight_status(status, start, end, now=now, is_makegood=is_makegood) for status in CampaignStatus}
    by_the_clock = FlightStatus.PLANNED if now < start else FlightStatus.ACTIVE if now < end else FlightStatus.COMPLETED
    assert found[CampaignStatus.DRAFT] is found[CampaignStatus.SCHEDULED] is FlightStatus.PLANNED
    assert found[CampaignStatus.CANCELLED] is FlightStatus.CANCELLED
    assert found[CampaignStatus.ACTIVE] is by_the_clock
    assert found[CampaignStatus.PAUSED] is (
        FlightStatus.PAUSED if by_the_clock is FlightStatus.ACTIVE else by_the_clock
    )
    # What is owed is made good after the end.
    assert found[CampaignStatus.COMPLETED] is (by_the_clock if is_makegood else FlightStatus.COMPLETED)


@pytest.mark.parametrize(
    ("starts", "ends", "makegood", "code"),
    [
        ("2026-11-01T00:00:00+00:00", "2026-12-01T00:00:00+00:00", False, None),
        ("2026-10-31T23:45:00+00:00", "2026-11-02T00:00:00+00:00", False, "outside_campaign"),
        ("2026-11-01T00:00:00+00:00", "2026-12-01T00:15:00+00:00", False, "outside_campaign"),
        ("2026-11-01T00:00:00+00:00", "2026-12-01T00:15:00+00:00", True, None),
        ("2026-11-02T00:00:00+00:00", "2026-11-02T00:00:00+00:00", False, "ends_before_start"),
        ("2026-11-02T00:00:01+00:00", "2026-11-03T00:00:00+00:00", False, "not_a_quarter_hour"),
        # Nor is a time at the ends of the calendar one of UTC.
        ("0001-01-01T00:00:00+14:00", "2026-11-03T00:00:00+00:00", False, "out_of_range"),
        ("2026-11-02T00:00:00+00:00", "9999-12-31T23:45:00-12:00", True, "out_of_range"),
        # On the quarter hour, in Kathmandu as well.
        ("2026-11-02T05:45:00+05:45", "2026-11-03T00:00:00+00:00", False, None),
    ],
)
def test_a_flight_is_on_quarter_hours_inside_its_campaign(
    starts: str, ends: str, makegood: bool, code: str | None
) -> None:
    times = dt.datetime.fromisoformat(starts), dt.datetime.fromisoformat(ends)
    if code is None:
        check_flight_times(*times, starts_on=_DAY, ends_on=dt.date(2026, 11, 30), is_makegood=makegood)
        return
    with pytest.raises(InvalidInput) as refused:
        check_flight_times(*times, starts_on=_DAY, ends_on=dt.date(2026, 11, 30), is_makegood=makegood)
    assert refused.value.code == code


def test_a_campaign_ends_after_it_starts() -> None:
    check_campaign_days(_DAY, _DAY)
    for days in ((_DAY, dt.date(2026, 10, 31)), (_DAY, dt.date(2036, 1, 1)), (dt.date(1970, 1, 1), _DAY)):
        with pytest.raises(InvalidInput):
            check_campaign_days(*days)
