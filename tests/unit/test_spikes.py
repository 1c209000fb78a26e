"""The spike guard's rules: floods that are planted are found, and what only looks like one is not."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from itertools import permutations
from random import Random
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from analytics_core.spikes import (
    DEFAULT_LIMITS,
    Cell,
    Dimension,
    Found,
    Pair,
    SpikeLimits,
    find_rises,
    rises,
    single_agent,
)
from castledger_server.demo.schedule import plan

_COUNT = st.integers(0, 500)
# Some days over and over: of days drawn one by one it would take long to have enough.
_PAIRS = st.lists(st.builds(Pair, _COUNT, _COUNT), min_size=1, max_size=5).map(
    lambda some: (some * 21)[: 14 + len(some)]
)
_CELLS = st.lists(
    st.builds(Cell, st.sampled_from(["", "A", "B"]), st.sampled_from([0, 1, 2]), st.sampled_from([0, 5]), _COUNT),
    max_size=12,
    unique_by=lambda cell: cell[:3],
)
_KEYS: Final[tuple[tuple[Dimension, str | int], ...]] = (
    ("agent", ""),
    ("agent", "A"),
    ("agent", "B"),
    ("network", 1),
    ("network", 2),
    ("country", 5),
)
_FIRST: Final = dt.date(2026, 11, 1)


@given(_PAIRS, st.integers(0, 10_000))
def test_a_release_raises_all_alike_and_is_no_flood(hours: list[Pair], times: int) -> None:
    own, others = sum(pair.own for pair in hours), sum(pair.others for pair in hours)
    assume(others)
    assert rises(Pair(times * own, times * others), hours) is None


@given(_PAIRS, st.lists(st.builds(Pair, _COUNT, _COUNT), max_size=30), _COUNT, _COUNT, st.randoms())
def test_the_order_of_days_says_nothing(
    same_hour: list[Pair], hours: list[Pair], own: int, others: int, random: Random
) -> None:
    now = Pair(own, others)
    expected = rises(now, same_hour, hours)
    random.shuffle(same_hour)
    random.shuffle(hours)
    assert rises(now, same_hour, hours) == expected


@given(_PAIRS, _COUNT, _COUNT, _COUNT)
def test_a_larger_flood_is_one_as_well(hours: list[Pair], own: int, more: int, others: int) -> None:
    if rises(Pair(own, others), hours) is not None:
        assert rises(Pair(own + more, others), hours) is not None


@given(_PAIRS, _COUNT)
def test_others_that_rise_with_it_never_make_it_a_flood(hours: list[Pair], own: int) -> None:
    flagged = [rises(Pair(own, others), hours) is not None for others in range(1, 2_000, 97)]
    assert flagged == sorted(flagged, reverse=True)


@given(_PAIRS, _COUNT)
def test_too_few_downloads_or_days_say_nothing(hours: list[Pair], others: int) -> None:
    assert rises(Pair(DEFAULT_LIMITS.floor - 1, others), hours) is None
    assert rises(Pair(10**6, others), hours[: DEFAULT_LIMITS.least_days - 1]) is None


@given(_CELLS, st.lists(_PAIRS, min_size=len(_KEYS), max_size=len(_KEYS)), st.randoms())
def test_the_order_of_cells_says_nothing_and_no_download_is_in_two_floods(
    cells: list[Cell], histories: list[list[Pair]], random: Random
) -> None:
    history = dict(zip(_KEYS, histories, strict=True))
    found = find_rises(cells, history, {})
    assert sum(one.downloads for one in found) <= sum(cell.downloads for cell in cells)
    left = list(cells)
    for one in found:
        held = [cell for cell in left if one.holds(cell)]
        assert one.downloads == sum(cell.downloads for cell in held)
        left = [cell for cell in left if cell not in held]
    random.shuffle(cells)
    assert find_rises(cells, history, {}) == found


def test_one_flood_is_one_spike_about_what_makes_it() -> None:
    usual = [Cell("A", 1, 5, 20), Cell("A", 2, 5, 20), Cell("B", 1, 5, 40)]
    quiet = {
        ("agent", "A"): [Pair(40, 40)] * 20,
        ("agent", "B"): [Pair(40, 40)] * 20,
        ("network", 9): [Pair(0, 80)] * 20,
        ("country", 7): [Pair(0, 80)] * 20,
        ("country", 5): [Pair(80, 0)] * 20,
    }
    keys: dict[tuple[Dimension, str | int], list[Pair]] = quiet  # type: ignore[assignment]  # of literals
    for cells in permutations([*usual, Cell("A", 9, 7, 400)]):
        assert find_rises(cells, keys, {}) == [Found("agent", "A", 9, None, 400, 40)]
    # Of agents that vary it is the network's, and where that is not known the country's.
    varied = [Cell(f"X{n}", 9, 7, 30) for n in range(20)]
    assert find_rises([*usual, *varied], keys, {}) == [Found("network", None, 9, None, 600, 0)]
    unknown = [cell._replace(asn=0) for cell in varied]
    assert find_rises([*usual, *unknown], keys, {}) == [Found("country", None, None, 7, 600, 0)]


def test_a_podcast_of_one_country_may_have_a_release() -> None:
    assert rises(Pair(5_000, 3), [Pair(50, 0)] * 28) is None
    assert rises(Pair(5_000, 60), [Pair(50, 1)] * 28) is None


def test_releases_of_before_say_what_a_release_looks_like() -> None:
    """An app that loads by itself has more of a release's hour than of others, whenever the next one comes."""
    quiet, release = Pair(3, 7), Pair(900, 300)
    hours = [*[quiet] * 668, *[release] * 4]
    assert rises(release, [quiet] * 28, hours) is None
    assert rises(release, [quiet] * 28, [quiet] * 672) == 129
    assert rises(Pair(9_000, 300), [quiet] * 28, hours) == 900


def test_a_flood_of_the_week_before_hides_no_other() -> None:
    flood, quiet = Pair(900, 90), Pair(10, 90)
    assert rises(flood, [*[quiet] * 26, flood, flood]) is not None


def test_a_single_agent_is_named_where_it_makes_the_rise() -> None:
    found = Found("agent", "Chrome", None, None, 500, 100)
    assert single_agent(found, {"Chrome/91": 400, "Chrome/120": 60}) == "Chrome/91"
    assert single_agent(found, {"Chrome/91": 300, "Chrome/120": 160}) is None
    assert single_agent(found, {"": 500}) is None
    assert single_agent(found, {}) is None


class _Month:
    """A believable month of a podcast, hour by hour: listeners' downloads by app and country."""

    def __init__(self, seed: int, users: int) -> None:
        self.hours: dict[int, Counter[tuple[str, int]]] = {hour: Counter() for hour in range(35 * 24)}
        start_us = int(dt.datetime.combine(_FIRST, dt.time(), dt.UTC).timestamp()) * 1_000_000
        seen = set()
        for request in plan(seed=seed, users=users, first_day=_FIRST, days=35).requests:
            hour = (request.at_us - start_us) // 3_600_000_000
            key = (hour // 24, request.episode, request.address, request.agent)
            if request.verdict == "eligible" and key not in seen:
                seen.add(key)
                country = ord(request.country[0]) << 8 | ord(request.country[1])
                self.hours[hour][request.app, country] += 1

    def look(self, hour: int, limits: SpikeLimits, flood: dict[tuple[str, int], int] | None = None) -> list[Found]:
        now = self.hours[hour] + Counter(flood or {})
        before = range(hour % 24, hour, 24)[-limits.days :]
        keys: list[tuple[Dimension, str | int]] = [("agent", app) for app, _ in now]
        keys += [("country", country) for _, country in now]
        same = {key: [self._pair(key, at) for at in before] for key in keys}
        every = {key: [self._pair(key, at) for at in range(before[0] // 24 * 24, hour // 24 * 24)] for key in keys}
        cells = [Cell(app, 0, country, downloads) for (app, country), downloads in now.items()]
        return find_rises(cells, same, every, limits)

    def _pair(self, key: tuple[Dimension, str | int], hour: int) -> Pair:
        place = 0 if key[0] == "agent" else 1
        own = sum(downloads for what, downloads in self.hours[hour].items() if what[place] == key[1])
        return Pair(own, sum(self.hours[hour].values()) - own)


@pytest.fixture(scope="module")
def month() -> _Month:
    return _Month(seed=7, users=1500)


def test_a_clean_month_has_no_flood_even_where_few_are_enough(month: _Month) -> None:
    sensitive = SpikeLimits(floor=8)
    looked = range(20 * 24, 35 * 24)
    assert max(sum(month.hours[hour].values()) for hour in looked) > 10 * sensitive.floor
    assert {hour: found for hour in looked if (found := month.look(hour, sensitive))} == {}


@pytest.mark.parametrize("hour", range(20 * 24, 35 * 24, 13))
def test_a_flood_in_a_clean_month_is_found(month: _Month, hour: int) -> None:
    (found,) = month.look(hour, DEFAULT_LIMITS, {("Earwig", 0x4445): 80})
    assert (found.kind, found.app, found.downloads) == ("agent", "Earwig", 80)
