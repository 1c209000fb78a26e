"""Skew: a hit whose time cannot be right is kept under the time at which it was received."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ("MAX_AHEAD_US", "MAX_BEHIND_US", "settle_times")

MAX_AHEAD_US: Final = 24 * 3_600_000_000
"""A hit may be that far ahead of whoever reads it: clocks differ, but not by days."""

MAX_BEHIND_US: Final = 3_653 * 24 * 3_600_000_000
"""A hit may be that old, ten years: a spool that was found again still counts where it belongs."""


def settle_times(at_us: npt.NDArray[np.int64], received_us: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Say under which times hits are kept.

    Args:
        at_us: As recorded, microseconds since 1970-01-01 UTC; any 64 bits.
        received_us: When they were read, by the reader's clock.

    Returns:
        The recorded times, with *received_us* in place of those too far from it; and which ones those are.

    Source:
        ``docs/methodology.md``, "Times".

    >>> times, is_skewed = settle_times(np.array([0, 1_790_000_000_000_000]), 1_790_000_000_000_001)
    >>> times.tolist(), is_skewed.tolist()
    ([1790000000000001, 1790000000000000], [True, False])
    """
    # Bounds are compared, not distances: a distance from a time of any 64 bits may not fit into 64.
    is_skewed = (at_us > received_us + MAX_AHEAD_US) | (at_us < received_us - MAX_BEHIND_US)
    return np.where(is_skewed, np.int64(received_us), at_us), is_skewed
