"""Projections: what they have to agree with, and how often what comes about lies in their interval."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.projections import COVERAGE, PlacementCounts, Projection, project

NOW = dt.datetime(2026, 11, 20, 9, tzinfo=dt.UTC)
TODAY = NOW.date()
DAY = dt.timedelta(days=1)
MIDNIGHT = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)

Curve = Callable[[float], float]


def fading(decay: float) -> Curve:
    return lambda age: (1 + age) ** -decay


_PLACEMENTS = st.lists(
    st.builds(
        lambda podcast, quarter, length, counts: PlacementCounts(
            podcast,
            start := NOW.replace(hour=0) - 40 * DAY + quarter * dt.timedelta(minutes=15),
            start + length * dt.timedelta(minutes=15),
            {start.date() + place * DAY: count for place, count in enumerate(counts) if count},
        ),
        st.integers(0, 2),
        st.integers(0, 60 * 96),
        st.integers(1, 90 * 96),
        st.lists(st.integers(0, 5_000), max_size=30),
    ),
    max_size=5,
)


def until_now(placement: PlacementCounts) -> PlacementCounts:
    """Leave out what lies ahead, or beyond the live range."""
    last = min(TODAY, (placement.live_until - dt.timedelta(microseconds=1)).date())
    kept = {day: count for day, count in placement.downloads.items() if day <= last}
    return PlacementCounts(placement.podcast, placement.live_from, placement.live_until, kept)


def delivered(placements: Sequence[PlacementCounts]) -> int:
    return sum(sum(one.downloads.values()) for one in placements)


@given(_PLACEMENTS)
def test_an_interval_holds_its_middle_and_never_less_than_what_is_there(made: list[PlacementCounts]) -> None:
    placements = [until_now(one) for one in made]
    found = project(placements, now=NOW)
    if found is not None:
        assert delivered(placements) <= found.low <= found.mid <= found.high


@given(_PLACEMENTS, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_it(made: list[PlacementCounts], chance: random.Random) -> None:
    placements = [until_now(one) for one in made]
    shuffled = chance.sample(placements, len(placements))
    one, other = project(placements, now=NOW), project(shuffled, now=NOW)
    assert one == project(placements, now=NOW)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        # Sums of floating numbers in another order.
        assert other.mid == pytest.approx(one.mid, abs=1, rel=1e-4)


def test_what_is_over_is_what_it_was() -> None:
    placement = PlacementCounts("p", MIDNIGHT - 20 * DAY, MIDNIGHT - 5 * DAY, {TODAY - 10 * DAY: 700})
    assert project([placement], now=NOW) == Projection(700, 700, 700)


def test_nothing_is_said_before_anything_was_live() -> None:
    coming = PlacementCounts("p", MIDNIGHT + DAY, MIDNIGHT + 30 * DAY, {})
    begun = PlacementCounts("p", MIDNIGHT, MIDNIGHT + 30 * DAY, {TODAY: 90})
    assert project([], now=NOW) is None
    assert project([coming, begun], now=NOW) is None


def test_a_placement_to_come_is_like_those_of_its_podcast() -> None:
    def seen(podcast: str, level: float) -> PlacementCounts:
        start = MIDNIGHT - 20 * DAY
        counts = {start.date() + place * DAY: round(level * fading(1.2)(place + 0.5)) for place in range(20)}
        return PlacementCounts(podcast, start, MIDNIGHT, counts)

    small, large = seen("small", 1_000), seen("large", 50_000)

    def coming(podcast: str) -> int:
        placements = [small, large, PlacementCounts(podcast, MIDNIGHT + DAY, MIDNIGHT + 21 * DAY, {})]
        found = project(placements, now=NOW)
        assert found is not None
        return found.mid - delivered(placements)

    assert coming("small") == pytest.approx(delivered([small]), rel=0.1)
    assert coming("large") == pytest.approx(delivered([large]), rel=0.1)
    assert delivered([small]) < coming("another") < delivered([large])


def simulate(
    chance: np.random.Generator, *, ages: Sequence[int], level: float, curve: Curve, days: int
) -> tuple[list[PlacementCounts], int]:
    """Make placements of episodes of these ages whose downloads fade, vary by the day and the weekday, and go on.

    Returns:
        Them as they are at nine in the morning, and what they had in the end.
    """
    placements, truth = [], 0
    for age in ages:
        start = MIDNIGHT - age * DAY + int(chance.integers(0, 24)) * dt.timedelta(hours=1)
        end = MIDNIGHT + days * DAY
        height = level * math.exp(chance.normal(0, 0.3))
        counts: dict[dt.date, int] = {}
        at = start
        while at < end:
            until = min(dt.datetime.combine(at.date(), dt.time(), dt.UTC) + DAY, end)
            mean = height * curve(((at - start) + (until - start)) / 2 / DAY) * ((until - at) / DAY)
            mean *= 1 + 0.15 * math.cos(2 * math.pi * at.weekday() / 7)
            count = int(chance.poisson(mean * chance.gamma(30, 1 / 30)))
            truth += count
            if at.date() < TODAY:
                counts[at.date()] = count
            elif at.date() == TODAY:
                counts[TODAY] = int(chance.binomial(count, 0.3))
            at = until
        placements.append(PlacementCounts("p", start, end, counts))
    return placements, truth


@pytest.mark.parametrize(
    ("ages", "level", "curve", "days"),
    [
        ([14], 1_000, fading(1.2), 30),
        ([3], 1_000, fading(1.2), 30),
        ([21, 14, 7, -3], 1_000, fading(1.2), 40),
        ([21, 14, 7, -3], 20, fading(1.2), 40),
        ([60, 50, 40, 30, 20, 10, 5, 2, 1, 0], 500, fading(1.0), 60),
        ([20], 300, fading(0.0), 30),
        ([5], 3, fading(1.2), 30),
    ],
)
def test_the_interval_holds_what_comes_about_as_often_as_it_says(
    ages: list[int], level: float, curve: Curve, days: int
) -> None:
    chance = np.random.default_rng(7)
    held = 0
    rounds = 200
    for _ in range(rounds):
        placements, truth = simulate(chance, ages=ages, level=level, curve=curve, days=days)
        found = project(placements, now=NOW)
        assert found is not None
        held += found.low <= truth <= found.high
    # Within three standard errors of it, or more often.
    assert held / rounds >= COVERAGE - 3 * math.sqrt(COVERAGE * (1 - COVERAGE) / rounds)


def test_an_interval_narrows_as_days_go_by() -> None:
    chance = np.random.default_rng(11)
    widths = []
    for age in (2, 7, 21):
        found = [
            project(simulate(chance, ages=[age], level=1_000, curve=fading(1.2), days=30)[0], now=NOW)
            for _ in range(40)
        ]
        widths.append(sum((one.high - one.low) / one.mid for one in found if one is not None) / 40)
    assert widths[0] > 2 * widths[1] > 2 * widths[2]
