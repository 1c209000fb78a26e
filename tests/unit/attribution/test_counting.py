"""What conversions are worth, and which of them count."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from analytics_core.attribution.counting import Adjustment, Occurrence, Standing, count_one, last_word

NOON = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
WINDOW = dt.timedelta(days=30)
ADJUSTMENTS = st.lists(
    st.builds(
        lambda hour, number, amount: Adjustment(NOON + dt.timedelta(hours=hour), UUID(int=number), amount),
        st.integers(0, 3),
        st.integers(1, 9),
        st.none() | st.integers(0, 1_000),
    ),
    max_size=6,
    unique_by=lambda said: said.adjustment_id,
)
OCCURRENCES = st.lists(
    st.builds(
        lambda day, more, number, customer: Occurrence(
            NOON + dt.timedelta(days=day, microseconds=more), UUID(int=number), customer
        ),
        st.sampled_from([0, 1, 29, 30, 31, 59, 60, 61, 90]),
        st.integers(-1, 1),
        st.integers(1, 10**6),
        st.sampled_from(["ana", "bo", None]),
    ),
    max_size=14,
    unique_by=lambda one: one.conversion_id,
)


@given(st.none() | st.integers(0, 1_000), ADJUSTMENTS, st.randoms(use_true_random=False))
def test_the_last_word_is_the_same_in_any_order_and_again(
    value: int | None, said: list[Adjustment], chance: random.Random
) -> None:
    again = [*said, *said[:3]]
    chance.shuffle(again)
    assert last_word(value, again) == last_word(value, said)


@given(st.integers(0, 1_000), ADJUSTMENTS, st.none() | st.integers(0, 1_000))
def test_whatever_was_said_before_the_last_word_counts(value: int, said: list[Adjustment], amount: int | None) -> None:
    last = Adjustment(NOON + dt.timedelta(hours=4), UUID(int=1), amount)
    assert last_word(value, [*said, last]) == Standing(amount is None, amount)


def test_a_retraction_and_a_restatement_of_the_same_instant_go_by_what_came_later() -> None:
    gone, less = Adjustment(NOON, UUID(int=1), None), Adjustment(NOON, UUID(int=2), 700)
    assert last_word(900, [gone, less]) == Standing(False, 700)
    assert last_word(900, [less._replace(adjustment_id=UUID(int=0)), gone]) == Standing(True, None)
    assert last_word(None, []) == Standing(False, None)


@given(OCCURRENCES, st.randoms(use_true_random=False))
def test_one_counts_the_same_in_any_order_and_again(told: list[Occurrence], chance: random.Random) -> None:
    counted = count_one(told, WINDOW)
    again = [*told, *told[::2]]
    chance.shuffle(again)
    assert count_one(again, WINDOW) == counted
    assert count_one([one for one in told if one.conversion_id in counted], WINDOW) == counted


@given(OCCURRENCES)
def test_counted_ones_of_a_customer_lie_a_window_apart(told: list[Occurrence]) -> None:
    counted = count_one(told, WINDOW)
    assert counted >= {one.conversion_id for one in told if one.customer is None}
    for customer in ("ana", "bo"):
        all_ = sorted(one.occurred_at for one in told if one.customer == customer)
        kept = sorted(one.occurred_at for one in told if one.customer == customer and one.conversion_id in counted)
        assert kept[:1] == all_[:1]
        assert all(later - earlier >= WINDOW for earlier, later in itertools.pairwise(kept))
        # Whatever does not count lies in the window of one that does.
        assert all(any(first <= at < first + WINDOW for first in kept) for at in all_)


@given(OCCURRENCES)
def test_customers_do_not_keep_one_another_from_counting(told: list[Occurrence]) -> None:
    apart = [count_one([one for one in told if one.customer == customer], WINDOW) for customer in ("ana", "bo", None)]
    assert set.union(*apart) == count_one(told, WINDOW)


def test_a_purchase_that_was_retracted_makes_room_for_the_next() -> None:
    first = Occurrence(NOON, UUID(int=1), "ana")
    second = Occurrence(NOON + dt.timedelta(days=3), UUID(int=2), "ana")
    assert count_one([first, second], WINDOW) == {first.conversion_id}
    assert count_one([second], WINDOW) == {second.conversion_id}
