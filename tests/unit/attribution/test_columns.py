"""Columns say of every conversion what is said of it by itself, to the last millionth and cent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.attribution.crediting import attribute
from analytics_core.attribution.explaining import credit
from analytics_core.attribution.journeys import Journeys
from analytics_core.attribution.models.paths import Path, Paths
from analytics_core.attribution.parameters import DEFAULT_PARAMETERS, MAX_DAYS, Model, Parameters
from analytics_core.attribution.removal import RemovalEffects
from analytics_core.attribution.rounding import MAX_VALUE, UNIT, split, split_rows
from analytics_core.attribution.touches import MAX_TOUCHES, competing
from analytics_core.attribution.weighing import WEIGHTS, terms_of
from tests.journeys import (
    DAY_US,
    MODELS,
    NOON,
    Converted,
    conversions,
    effects_by_id,
    gathered,
    made_effects,
    parameters,
)

WEIGHTS_OF_ROWS = st.integers(1, 12).flatmap(
    lambda width: st.lists(
        st.lists(
            st.one_of(st.integers(0, 4), st.integers(0, UNIT), st.integers(UNIT - 3, UNIT)),
            min_size=width,
            max_size=width,
        ).filter(any),
        min_size=1,
        max_size=6,
    )
)


@given(conversions, MODELS, parameters, made_effects)
def test_credits_in_columns_are_those_of_each_conversion(
    found: list[Converted], model: Model, chosen: Parameters, effects: RemovalEffects
) -> None:
    journeys = gathered(found)
    credits_ = attribute(journeys, model, chosen, effects=effects)
    for place, one in enumerate(found):
        kept = competing(NOON, one.touches)
        expected = credit(kept, one.value, model, chosen, effects=effects_by_id(effects))
        first, last = journeys.offsets[place : place + 2]
        assert credits_.ppm[first:last].tolist() == [given_.credit_ppm for given_ in expected]
        assert credits_.amounts[first:last].tolist() == [given_.value_amount for given_ in expected]


@given(WEIGHTS_OF_ROWS, st.data())
def test_rows_are_split_as_one_is(rows: list[list[int]], data: st.DataObject) -> None:
    size = st.one_of(st.integers(0, 20), st.integers(0, MAX_VALUE), st.integers(MAX_VALUE - 20, MAX_VALUE))
    values = [data.draw(size) for _ in rows]
    expected = [split(value, weights) for value, weights in zip(values, rows, strict=True)]
    assert split_rows(np.array(values), np.array(rows)).tolist() == expected
    assert [sum(parts) for parts in expected] == values


def test_a_share_that_floating_point_rounds_up_is_split_exactly() -> None:
    value, weights = 999_999_999_453_497, [40, 1, 33, 10, 3]
    assert int(value * (weights[0] / sum(weights))) == value * weights[0] // sum(weights) + 1
    assert split_rows(np.array([value]), np.array([weights])).tolist() == [split(value, weights)]


def test_the_most_that_there_may_be_is_split_exactly() -> None:
    # As many touches as may compete, weights of a whole unit and odd ones beside them, and the largest value.
    weights = [UNIT - place % 7 for place in range(MAX_TOUCHES)]
    (found,) = split_rows(np.array([MAX_VALUE]), np.array([weights])).tolist()
    assert found == split(MAX_VALUE, weights)
    assert sum(found) == MAX_VALUE


@given(
    st.lists(st.integers(0, MAX_DAYS * DAY_US), min_size=1, max_size=40).map(sorted),
    st.integers(1, MAX_DAYS),
)
def test_time_weighs_alike_in_columns(ages: list[int], half_life_days: int) -> None:
    terms = terms_of(Model.TIME_DECAY, Parameters(half_life_days=half_life_days), None)
    campaigns = (0,) * len(ages)
    one = WEIGHTS[Model.TIME_DECAY].one(Path(campaigns, tuple(ages)), terms)
    rows = WEIGHTS[Model.TIME_DECAY].rows(Paths(np.array([campaigns], np.int32), np.array([ages])), terms)
    assert rows.tolist() == [one]
    assert one[-1] == UNIT


@given(st.lists(st.lists(st.integers(0, 5), max_size=9), max_size=30))
def test_blocks_hold_each_touch_once(paths: list[list[int]]) -> None:
    journeys = Journeys.of_paths(paths)
    seen = [place for _, places, _ in journeys.blocks() for place in places.ravel().tolist()]
    assert sorted(seen) == list(range(sum(len(path) for path in paths)))
    for chosen, places, rows in journeys.blocks():
        assert rows.campaigns.tolist() == [paths[conversion] for conversion in chosen.tolist()]
        assert places.shape == rows.at_us.shape


def test_portions_are_credited_as_the_whole_is() -> None:
    paths = [[place % 3, 0, place % 2][: 1 + place % 3] for place in range(60)]
    worth = [place * 7 for place in range(60)]
    whole = attribute(Journeys.of_paths(paths, worth), Model.POSITION)
    portions = [
        attribute(Journeys.of_paths(paths[at : at + 7], worth[at : at + 7]), Model.POSITION) for at in range(0, 60, 7)
    ]
    assert np.concatenate([portion.amounts for portion in portions]).tolist() == whole.amounts.tolist()
    assert np.concatenate([portion.ppm for portion in portions]).tolist() == whole.ppm.tolist()


def test_many_conversions_of_one_length_come_in_several_blocks() -> None:
    journeys = Journeys.of_paths([[0, 1, 2]] * 50_000, [10] * 50_000)
    assert len(list(journeys.blocks())) > 1
    assert attribute(journeys, Model.LINEAR).amounts.reshape(-1, 3).tolist() == [[4, 3, 3]] * 50_000


@pytest.mark.parametrize("model", Model)
def test_no_conversions_have_no_credits(model: Model) -> None:
    nothing = RemovalEffects(np.zeros(0), 1.0, 100, 0)
    assert attribute(Journeys.of_paths([]), model, effects=nothing).ppm.tolist() == []
    assert attribute(Journeys.of_paths([[], []]), model, effects=nothing).amounts.tolist() == []


def test_campaigns_that_would_not_be_missed_share_alike_beside_others() -> None:
    effects = RemovalEffects(np.array([0.0, 0.0, 0.5]), 1.0, 100, 0)
    credits_ = attribute(Journeys.of_paths([[0, 1], [1, 2]], [101, 101]), Model.MARKOV, effects=effects)
    assert credits_.amounts.tolist() == [51, 50, 0, 101]


def test_markov_in_columns_needs_the_effects() -> None:
    with pytest.raises(ValueError, match="removal effects of the run"):
        attribute(Journeys.of_paths([[0]]), Model.MARKOV, DEFAULT_PARAMETERS)
