"""Vectors of attribution: what touches are given, with where each is from."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from analytics_core.attribution.crediting import attribute
from analytics_core.attribution.explaining import credit
from analytics_core.attribution.journeys import Journeys
from analytics_core.attribution.models import markov, shapley
from analytics_core.attribution.models.paths import Path as Journey
from analytics_core.attribution.parameters import DEFAULT_PARAMETERS, Model, Parameters
from analytics_core.attribution.removal import MAX_CAMPAIGNS, InsufficientData, RemovalEffects, Transitions
from analytics_core.attribution.touches import Signal, Touch
from analytics_core.attribution.weighing import terms_of
from tests.journeys import DAY_US, NOON

FILE = Path(__file__).parents[2] / "vectors" / "attribution.toml"
VECTORS = tomllib.loads(FILE.read_text("utf-8"))["vector"]
ALONE = [
    pytest.param(vector, model, id=f"{model} {place}")
    for place, vector in enumerate(VECTORS)
    for model in Model
    if "touches" in vector and model.value in vector
]
TOGETHER = [pytest.param(vector, id=f"{place}") for place, vector in enumerate(VECTORS) if "paths" in vector]


@pytest.mark.parametrize(("vector", "model"), ALONE)
def test_a_conversions_touches_are_given_what_the_vector_says(vector: dict[str, Any], model: Model) -> None:
    names = sorted({touch.get("campaign", "A") for touch in vector["touches"]})
    touches = [
        Touch(
            NOON - touch["days"] * DAY_US,
            Signal.CLICK,
            UUID(int=place),
            UUID(int=names.index(touch.get("campaign", "A"))),
            90 * DAY_US,
        )
        for place, touch in enumerate(vector["touches"])
    ]
    parameters = Parameters(half_life_days=vector.get("half_life", 7))
    given = credit(touches, vector["value"], model, parameters)
    assert [one.value_amount for one in given] == vector[model.value]
    assert sum(one.credit_ppm for one in given) == 1_000_000
    journeys = Journeys(
        np.array([0, len(touches)]),
        np.array([touch.campaign_id.int for touch in touches], np.int32),
        np.array([touch.at_us for touch in touches]),
        np.array([vector["value"]]),
    )
    assert attribute(journeys, model, parameters).amounts.tolist() == vector[model.value]


def paths_of(vector: dict[str, Any], outcome: str) -> list[list[str]]:
    return [row["path"] for row in vector["paths"] for _ in range(row.get(outcome, 0))]


def solve(vector: dict[str, Any], names: list[str]) -> RemovalEffects:
    chain = Transitions(len(names))
    numbered = {
        outcome: [[names.index(name) for name in path] for path in paths_of(vector, outcome)]
        for outcome in ("conversions", "nulls")
    }
    chain.add(Journeys.of_paths(numbered["conversions"]))
    chain.add_null(Journeys.of_paths(numbered["nulls"]))
    return chain.effects()


def test_more_campaigns_than_can_be_solved_have_no_answer() -> None:
    Transitions(MAX_CAMPAIGNS)
    with pytest.raises(InsufficientData, match="2,001 campaigns, and at most 2,000"):
        Transitions(MAX_CAMPAIGNS + 1)


@pytest.mark.parametrize("vector", TOGETHER)
def test_paths_are_given_what_the_vector_says(vector: dict[str, Any]) -> None:
    names = sorted({name for row in vector["paths"] for name in row["path"]})
    parts: dict[str, Fraction] = defaultdict(Fraction)
    for path in paths_of(vector, "conversions"):
        numbers = tuple(names.index(name) for name in path)
        weights = shapley.weigh(Journey(numbers, tuple(range(len(path)))))
        for name, weight in zip(path, weights, strict=True):
            parts[name] += Fraction(weight, sum(weights))
    assert {name: parts[name] for name in names} == vector["shapley"]
    if vector.get("insufficient"):
        with pytest.raises(InsufficientData, match="paths led to a conversion, and fewer than 100") as refused:
            solve(vector, names)
        assert refused.value.code == "insufficient_data"
        return
    found = solve(vector, names)
    total = len(paths_of(vector, "conversions"))
    said = {key: [float(Fraction(vector[key][name])) for name in names] for key in ("removal_effects", "shares")}
    assert found.probability == pytest.approx(float(Fraction(vector["probability"])), abs=1e-12)
    assert found.effects == pytest.approx(said["removal_effects"], abs=1e-12)
    assert found.shares == pytest.approx(said["shares"], abs=1e-12)
    assert found.shares * total == pytest.approx([float(vector["credits"][name]) for name in names], abs=1e-9)
    terms = terms_of(Model.MARKOV, DEFAULT_PARAMETERS, found.effects)
    shared = dict.fromkeys(names, 0.0)
    for path in paths_of(vector, "conversions"):
        weights = markov.weigh(Journey(tuple(names.index(name) for name in path), tuple(range(len(path)))), terms)
        for name, weight in zip(path, weights, strict=True):
            shared[name] += weight / sum(weights)
    assert [shared[name] for name in names] == pytest.approx(
        [float(vector["by_conversion"][name]) for name in names], abs=1e-9
    )
