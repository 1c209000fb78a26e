"""What a run leaves open: read, refused, hashed."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.attribution.parameters import (
    DEFAULT_PARAMETERS,
    Model,
    Parameters,
    parameters_hash,
    parse_models,
    parse_parameters,
)
from analytics_core.errors import InvalidInput
from tests.journeys import parameters

CHOSEN = st.lists(st.sampled_from(Model), min_size=1, max_size=7, unique=True)


@pytest.mark.parametrize(
    ("given_", "path", "reason"),
    [
        ([], "/params", "table of parameters"),
        ({"half_life": 7}, "/params/half_life", "there are half_life_days, counting_days"),
        ({"half_life_days": 0}, "/params/half_life_days", "1 to 90"),
        ({"half_life_days": 91}, "/params/half_life_days", "1 to 90"),
        ({"half_life_days": 7.5}, "/params/half_life_days", "whole number"),
        ({"half_life_days": "7"}, "/params/half_life_days", "whole number"),
        ({"half_life_days": True}, "/params/half_life_days", "whole number"),
        ({"half_life_days": 7, "counting_days": None}, "/params/counting_days", "whole number"),
        ({"x" * 500: 7}, "/params/" + "x" * 40, "no such parameter"),
    ],
)
def test_what_is_no_parameter_is_refused_with_its_place(given_: object, path: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as refused:
        parse_parameters(given_)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("names", "path"), [([], "/models"), (["last", "u_shaped"], "/models/1"), (["LAST"], "/models/0")]
)
def test_what_is_no_model_is_refused_with_those_that_are(names: list[str], path: str) -> None:
    with pytest.raises(
        InvalidInput, match="there are first, last, linear, position, time_decay, shapley, markov"
    ) as refused:
        parse_models(names)
    assert refused.value.path == path


@given(parameters)
def test_parameters_are_read_as_they_are_written(chosen: Parameters) -> None:
    assert parse_parameters(msgspec.to_builtins(chosen)) == chosen
    assert parse_parameters({}) == DEFAULT_PARAMETERS


@given(CHOSEN, parameters, CHOSEN, parameters, st.randoms(use_true_random=False))
def test_choices_have_one_hash_exactly_when_they_are_the_same(
    models: list[Model], chosen: Parameters, others: list[Model], other: Parameters, chance: random.Random
) -> None:
    again = [*models, models[0]]
    chance.shuffle(again)
    named = parameters_hash(models, chosen)
    assert len(named) == 32
    assert parameters_hash(again, parse_parameters(msgspec.to_builtins(chosen))) == named
    assert (parameters_hash(others, other) == named) == (set(others) == set(models) and other == chosen)
