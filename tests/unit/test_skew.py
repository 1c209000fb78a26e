"""Times that cannot be right are replaced, all others are left alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.skew import MAX_AHEAD_US, MAX_BEHIND_US, settle_times

ANY = st.integers(-(2**63), 2**63 - 1)
RECEIVED = st.integers(946_684_800_000_000, 4_102_444_800_000_000)
NEAR = st.integers(-MAX_BEHIND_US, MAX_AHEAD_US)


@given(st.lists(ANY), RECEIVED)
def test_a_time_is_kept_or_replaced_and_never_too_far_off(times: list[int], received: int) -> None:
    settled, is_skewed = settle_times(np.array(times, np.int64), received)
    for time, kept, skewed in zip(times, settled.tolist(), is_skewed.tolist(), strict=True):
        assert -MAX_BEHIND_US <= kept - received <= MAX_AHEAD_US
        assert kept == (received if skewed else time)
        assert skewed is not (-MAX_BEHIND_US <= time - received <= MAX_AHEAD_US)


@given(st.lists(NEAR), RECEIVED)
def test_what_is_settled_stays_settled(offsets: list[int], received: int) -> None:
    times = np.array(offsets, np.int64) + received
    once, is_skewed = settle_times(times, received)
    assert not is_skewed.any()
    assert once.tolist() == times.tolist()


@given(st.lists(ANY), RECEIVED, st.integers(0, 2**32))
def test_each_hit_is_settled_for_itself(times: list[int], received: int, seed: int) -> None:
    column = np.array(times, np.int64)
    order = np.random.default_rng(seed).permutation(len(times))
    assert settle_times(column[order], received)[0].tolist() == settle_times(column, received)[0][order].tolist()
