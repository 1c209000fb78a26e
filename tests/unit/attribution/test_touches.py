"""Which touches compete for a conversion, and which of them is the surest."""

from __future__ import annotations

import random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.attribution.deterministic import surest
from analytics_core.attribution.touches import MAX_TOUCHES, Setback, Signal, Touch, competing, consider
from tests.journeys import DAY_US, NOON, touches

CLICK = Touch(NOON - DAY_US, Signal.CLICK, UUID(int=7), UUID(int=1), 30 * DAY_US)
TOUCHES = st.lists(touches, max_size=14)


@given(TOUCHES, st.integers(0, 2**32))
def test_order_and_repetition_make_no_difference(told: list[Touch], seed: int) -> None:
    chance = random.Random(seed)
    again = [*told, *chance.sample(told, len(told) // 2)]
    chance.shuffle(again)
    assert competing(NOON, again) == competing(NOON, told)
    assert surest(NOON, again) == surest(NOON, told)


@given(TOUCHES)
def test_those_that_compete_compete_alone_as_well(told: list[Touch]) -> None:
    chosen = competing(NOON, told)
    assert competing(NOON, chosen) == chosen
    assert all(0 <= NOON - touch.at_us <= touch.window_us for touch in chosen)
    assert len({(touch.at_us, touch.flight_id) for touch in chosen}) == len(chosen)
    assert chosen == sorted(chosen, key=lambda touch: touch.at_us)


@given(TOUCHES)
def test_every_touch_is_told_of(told: list[Touch]) -> None:
    found = consider(NOON, told)
    assert sorted(candidate.touch for candidate in found) == sorted(told)
    for touch, setback in found:
        assert (setback is Setback.LATER) == (touch.at_us > NOON)
        assert (setback is Setback.OUTSIDE_WINDOW) == (NOON - touch.at_us > touch.window_us)


@given(TOUCHES, touches.filter(lambda touch: not 0 <= NOON - touch.at_us <= touch.window_us))
def test_a_touch_outside_its_window_changes_nothing(told: list[Touch], outside: Touch) -> None:
    assert competing(NOON, [*told, outside]) == competing(NOON, told)


@pytest.mark.parametrize(
    ("age", "setback"),
    [
        (-1, Setback.LATER),
        (0, None),
        (30 * DAY_US, None),
        (30 * DAY_US + 1, Setback.OUTSIDE_WINDOW),
    ],
)
def test_both_ends_of_a_window_are_inside(age: int, setback: Setback | None) -> None:
    (found,) = consider(NOON, [CLICK._replace(at_us=NOON - age)])
    assert found.setback is setback


def test_at_one_instant_the_surest_of_a_flight_is_left_and_the_surer_flight_is_the_last_touch() -> None:
    other = UUID(int=3)
    told = [
        CLICK,
        CLICK._replace(signal=Signal.CODE),
        CLICK._replace(flight_id=other, signal=Signal.SURVEY),
        CLICK._replace(flight_id=other, signal=Signal.VANITY),
    ]
    assert [(touch.flight_id, touch.signal) for touch in competing(NOON, told)] == [
        (other, Signal.VANITY),
        (CLICK.flight_id, Signal.CLICK),
    ]


def test_of_too_many_touches_the_latest_compete() -> None:
    told = [CLICK._replace(at_us=NOON - age) for age in range(MAX_TOUCHES + 2)]
    found = consider(NOON, told)
    assert [candidate.setback for candidate in found[:3]] == [Setback.TOO_MANY, Setback.TOO_MANY, None]
    assert len(competing(NOON, told)) == MAX_TOUCHES


def test_the_surest_own_signal_has_all_of_a_conversion() -> None:
    own = [CLICK._replace(at_us=NOON, signal=signal, flight_id=UUID(int=signal), is_own=True) for signal in Signal]
    for place, signal in enumerate(Signal):
        found = surest(NOON, own[place:])
        assert found is not None
        assert found.signal is signal
    assert surest(NOON, []) is None


def test_of_two_own_signals_that_are_as_sure_the_later_decides() -> None:
    early = CLICK._replace(is_own=True)
    late = early._replace(at_us=NOON - 1, flight_id=UUID(int=3))
    assert surest(NOON, [late, early]) == late


def test_what_a_customer_did_before_is_not_deterministic() -> None:
    code = CLICK._replace(at_us=NOON, signal=Signal.CODE, is_own=True)
    # Known at the same instant from elsewhere, and surer, of the same flight.
    known = code._replace(signal=Signal.VANITY, is_own=False)
    assert surest(NOON, [CLICK]) is None
    assert surest(NOON, [CLICK, known, code]) == code


@given(TOUCHES)
def test_no_own_signal_in_its_window_is_surer_than_the_surest(told: list[Touch]) -> None:
    own = [touch for touch in told if touch.is_own and 0 <= NOON - touch.at_us <= touch.window_us]
    found = surest(NOON, told)
    assert (found is None) == (not own)
    if found is not None:
        assert found in own
        assert found.signal == min(touch.signal for touch in own)
