"""Pacing: what was expected by now, what is owed in the end, and ratios that have a meaning."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.pacing import (
    Pace,
    PaceState,
    Phase,
    cost_per_conversion,
    makegood_owed,
    pace_of,
    phase_of,
    return_on_cost,
    return_on_investment,
)

START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
END = START + dt.timedelta(days=10)
DAY = dt.timedelta(days=1)

_MOMENTS = st.integers(0, 40 * 96).map(lambda quarter: START - 10 * DAY + quarter * dt.timedelta(minutes=15))
_COUNTS = st.integers(0, 10**12)
_BOOKED = st.integers(1, 10**12)


def pace(delivered: int, days: float, *, booked: int = 1_000) -> Pace | None:
    return pace_of(delivered, booked=booked, starts_at=START, ends_at=END, now=START + days * DAY)


@pytest.mark.parametrize("days", [-5, 0])
def test_nothing_is_expected_before_the_start(days: float) -> None:
    assert pace(100, days) is None


@pytest.mark.parametrize(
    ("delivered", "days", "expected", "state"),
    [
        (449, 5, 500, PaceState.UNDER),
        (450, 5, 500, PaceState.ON_PACE),
        (550, 5, 500, PaceState.ON_PACE),
        (551, 5, 500, PaceState.OVER),
        (0, 1, 100, PaceState.UNDER),
        (899, 10, 1_000, PaceState.UNDER),
        (900, 400, 1_000, PaceState.ON_PACE),
    ],
)
def test_the_bounds_of_the_states_are_exact(delivered: int, days: float, expected: int, state: PaceState) -> None:
    found = pace(delivered, days)
    assert found is not None
    assert (found.expected, found.state) == (expected, state)
    assert found.index == Fraction(delivered, expected)


@given(_COUNTS, _BOOKED, _MOMENTS, _MOMENTS)
def test_what_is_expected_only_grows_up_to_the_booking(
    delivered: int, booked: int, one: dt.datetime, other: dt.datetime
) -> None:
    earlier, later = (
        pace_of(delivered, booked=booked, starts_at=START, ends_at=END, now=now) for now in sorted((one, other))
    )
    assert (earlier is None) == (min(one, other) <= START)
    if later is None:
        assert earlier is None
        return
    assert 0 < later.exact <= booked
    if earlier is not None:
        assert earlier.exact <= later.exact
        assert earlier.index >= later.index
    if max(one, other) >= END:
        assert later.index == Fraction(delivered, booked)


@given(_COUNTS, _BOOKED, _MOMENTS, st.integers(0, 5))
def test_a_make_good_is_owed_once_nothing_more_counts_and_never_more_than_is_missing(
    delivered: int, booked: int, now: dt.datetime, days: int
) -> None:
    owed = makegood_owed(delivered, booked=booked, ends_at=END, measurement_days=days, now=now)
    phase = phase_of(starts_at=START, ends_at=END, measurement_days=days, now=now)
    assert (owed is not None) == (phase is Phase.MEASURED)
    if owed is not None:
        assert owed == max(0, booked - delivered)


@pytest.mark.parametrize(
    ("days", "phase"),
    [
        (-0.1, Phase.NOT_STARTED),
        (0, Phase.RUNNING),
        (9.9, Phase.RUNNING),
        (10, Phase.MEASURING),
        (39.9, Phase.MEASURING),
        (40, Phase.MEASURED),
    ],
)
def test_phases_are_half_open(days: float, phase: Phase) -> None:
    assert phase_of(starts_at=START, ends_at=END, measurement_days=30, now=START + days * DAY) is phase


def test_what_cost_nothing_has_no_return_and_what_did_not_happen_no_price() -> None:
    assert return_on_cost(500, cost_amount=0) is None
    assert return_on_investment(500, cost_amount=0) is None
    assert cost_per_conversion(500, conversions_ppm=0) is None
    assert cost_per_conversion(0, conversions_ppm=1) == 0


@given(_COUNTS, st.integers(1, 10**12))
def test_both_returns_say_the_same(value: int, cost: int) -> None:
    roas, roi = return_on_cost(value, cost_amount=cost), return_on_investment(value, cost_amount=cost)
    assert roas is not None
    assert roi is not None
    assert roas - 1 == pytest.approx(roi, abs=1e-3, rel=1e-9)


@given(st.integers(0, 10**12), st.integers(1, 10**6))
def test_whole_conversions_share_the_cost(cost: int, conversions: int) -> None:
    price = cost_per_conversion(cost, conversions_ppm=conversions * 1_000_000)
    assert price is not None
    assert abs(price * conversions - cost) <= conversions / 2
