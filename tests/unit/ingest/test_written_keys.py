"""What is remembered of written downloads: never too little, seldom too much, and bounded."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.db.copying import pack_keys
from ingest.written_keys import MOST_KEYS, DayKeys, WrittenKeys

PAIRS = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.binary(min_size=16, max_size=16)), min_size=1, max_size=50)


@given(PAIRS)
def test_what_was_added_is_held(pairs: list[tuple[int, bytes]]) -> None:
    episodes = np.array([episode for episode, _ in pairs], np.int64)
    keys = pack_keys([key for _, key in pairs])
    written = DayKeys()
    written.add(episodes, keys)
    assert written.holds(episodes, keys).all()
    # The same listeners of another episode are others.
    assert not written.holds(episodes ^ 0x2AAAAAAA, keys).all()


def test_few_others_are_taken_for_held() -> None:
    random = np.random.default_rng(2026)
    written = DayKeys()
    # Eight million keys in eight portions, of consecutive episodes as real ones are.
    for portion in range(8):
        keys = random.integers(0, 2**64, (1_000_000, 2), np.uint64, endpoint=False)
        written.add(np.full(len(keys), portion, np.int64), keys)
    others = random.integers(0, 2**64, (100_000, 2), np.uint64, endpoint=False)
    assert written.holds(np.zeros(len(others), np.int64), others).mean() < 0.03


def test_a_day_that_is_too_large_is_taken_for_held_whole() -> None:
    written, nobody = DayKeys(), np.zeros((1, 2), np.uint64)
    written.count = MOST_KEYS - 1
    written.add(np.array([1]), nobody)
    assert written.holds(np.array([2]), nobody + np.uint64(7)).all()


def test_a_day_is_read_once_as_many_came_in_as_there_are_to_read() -> None:
    written = WrittenKeys(few=10)
    assert not written.is_worth_reading(1, 9)
    assert written.is_worth_reading(1, 1)
    keys = written.begin(1)
    keys.add(np.arange(100), np.zeros((100, 2), np.uint64))
    written.forget(1)
    assert written.of_day(1) is None
    assert not written.is_worth_reading(1, 99)
    assert written.is_worth_reading(1, 1)


def test_the_oldest_of_many_days_goes() -> None:
    written = WrittenKeys()
    for day in (3, 1, 2, 4):
        written.begin(day)
    assert [day for day in range(1, 5) if written.of_day(day) is not None] == [2, 3, 4]
