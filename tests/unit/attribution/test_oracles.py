"""Shapley and Markov beside what others compute, before rounding.

``coopgt`` takes the mean over all orders in which players may come, of any game: Shapley's own definition.
``do-attribution`` takes a campaign out of the matrix of transitions, for each of them anew.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import coopgt.shapley_value
import pytest
from do_attribution import MarkovAttribution
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_core.attribution.journeys import Journeys
from analytics_core.attribution.models import shapley
from analytics_core.attribution.models.paths import Path
from analytics_core.attribution.removal import MIN_CONVERTING_PATHS, Transitions

PLAYERS = 5
PATHS = st.lists(
    st.tuples(st.lists(st.integers(1, PLAYERS), min_size=1, max_size=7), st.integers(0, 10_000)),
    min_size=1,
    max_size=12,
)
WALKS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=7), max_size=14)


@given(PATHS)
@settings(max_examples=40)
def test_shapley_is_the_mean_over_all_orders(paths: list[tuple[list[int], int]]) -> None:
    worth = {
        tuple(subset): sum(value for path, value in paths if set(path) <= set(subset))
        for size in range(PLAYERS + 1)
        for subset in itertools.combinations(range(1, PLAYERS + 1), size)
    }
    ours = dict.fromkeys(range(1, PLAYERS + 1), 0.0)
    for path, value in paths:
        weights = shapley.weigh(Path(tuple(path), tuple(range(len(path)))))
        for campaign, weight in zip(path, weights, strict=True):
            ours[campaign] += value * weight / sum(weights)
    theirs = coopgt.shapley_value.calculate(worth, number_of_players=PLAYERS)
    assert list(ours.values()) == pytest.approx(theirs.tolist(), abs=1e-9, rel=1e-12)


def compare(
    converting: Sequence[Sequence[int]], nulls: Sequence[Sequence[int]], *, campaigns: int, times: int = 1
) -> None:
    """Compare with paths that were seen several times; theirs takes how often, and ours sees them."""
    chain = Transitions(campaigns)
    for _ in range(times):
        chain.add(Journeys.of_paths(converting))
        chain.add_null(Journeys.of_paths(nulls))
    ours = chain.effects()
    theirs = MarkovAttribution(order=1, removal_strategy="redirect_to_null").fit(
        [" > ".join(f"c{campaign}" for campaign in path) for path in (*converting, *nulls)],
        [1] * len(converting) + [0] * len(nulls),
        weights=[float(times)] * (len(converting) + len(nulls)),
    )
    assert ours.probability == pytest.approx(theirs["total_conversion_probability"], abs=1e-9)
    for figures, name in ((ours.effects, "removal_effects"), (ours.shares, "attribution")):
        said = [theirs[name].get(f"c{campaign}", 0.0) for campaign in range(campaigns)]
        assert figures.tolist() == pytest.approx(said, abs=1e-9)


@given(WALKS.filter(bool), WALKS)
@settings(max_examples=40)
def test_removal_effects_are_those_of_a_chain_without_the_campaign(
    converting: list[list[int]], nulls: list[list[int]]
) -> None:
    compare(converting, nulls, campaigns=6, times=MIN_CONVERTING_PATHS)


def test_many_campaigns_and_paths_agree_as_well() -> None:
    chance = random.Random(9)
    walks = [[min(int(chance.expovariate(0.1)), 59) for _ in range(chance.randint(1, 10))] for _ in range(3_000)]
    compare(walks[:400], walks[400:], campaigns=60)
