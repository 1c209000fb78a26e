"""What is remembered of targets: what was said, or nothing; much of it, and bounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.db.catalogue import OWNER_DTYPE
from analytics_core.db.copying import Keys
from ingest.known_targets import MOST_TARGETS, KnownTargets

# Few ends of keys and few beginnings: many share their set, and their halves with others.
KEY = st.tuples(st.sampled_from((0, 1, 2**63, 2**64 - 1)), st.integers(0, 9))
CALLS = st.lists(st.lists(KEY, unique=True, max_size=40), max_size=8)


def as_keys(keys: list[tuple[int, int]]) -> Keys:
    return np.array(keys, np.uint64).reshape(-1, 2)


def rows_of(episodes: list[int]) -> npt.NDArray[Any]:
    rows: npt.NDArray[Any] = np.zeros(len(episodes), OWNER_DTYPE)
    rows["episode_no"] = episodes
    rows["published_us"] = -rows["episode_no"].astype(np.int64)
    return rows


def random_keys(count: int, seed: int) -> Keys:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), np.uint64, endpoint=False)


@given(CALLS)
def test_what_is_found_is_what_was_said(calls: list[list[tuple[int, int]]]) -> None:
    known, said = KnownTargets(most=64), dict[tuple[int, int], int]()
    for keys in calls:
        rows, found = known.get(as_keys(keys))
        for key, row, is_found in zip(keys, rows, found.tolist(), strict=True):
            if is_found:
                assert (row["episode_no"], row["published_us"]) == (said[key], -said[key])
            else:
                assert row == np.zeros(1, OWNER_DTYPE)[0]
        new = [key for key, is_found in zip(keys, found.tolist(), strict=True) if not is_found]
        for key in new:
            said.setdefault(key, len(said) + 1)
        known.put(as_keys(new), rows_of([said[key] for key in new]))
        assert len(known) <= 64
    # A set has room for eight: none of those that came last is forgotten.
    if calls:
        _, found = known.get(as_keys(calls[-1]))
        shared = [sum(other[0] >> 61 == key[0] >> 61 for other in calls[-1]) for key in calls[-1]]
        assert all(is_found for is_found, many in zip(found.tolist(), shared, strict=True) if many <= 8)


def test_as_many_as_half_of_what_there_is_room_for_are_hardly_ever_forgotten() -> None:
    known, keys = KnownTargets(), random_keys(MOST_TARGETS // 2, 1)
    for at in range(0, len(keys), 30_000):
        part = keys[at : at + 30_000]
        known.put(part, rows_of(list(range(at, at + len(part)))))
    rows, found = known.get(keys)
    assert found.mean() > 0.95
    assert (rows["episode_no"][found] == np.flatnonzero(found)).all()


def test_more_than_there_is_room_for_push_out_what_was_not_used() -> None:
    known = KnownTargets(most=4096)
    used = random_keys(500, 2)
    known.put(used, rows_of(list(range(500))))
    for seed in range(3, 103):
        others = random_keys(500, seed)
        known.put(others, rows_of([0] * 500))
        known.get(used)
    assert len(known) <= 4096
    rows, found = known.get(used)
    assert found.mean() > 0.95
    assert (rows["episode_no"][found] == np.flatnonzero(found)).all()
    assert not known.get(random_keys(500, 3))[1].any()
