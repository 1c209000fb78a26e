"""Journeys: conversions with the touches that compete for them, in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics_core.attribution.models.paths import Paths
from analytics_core.attribution.touches import MAX_TOUCHES

__all__ = ("Journeys", "gather")

_BLOCK: Final = 1 << 16
"""Touches that are looked at together: as many as a processor's cache holds with what is computed of them."""


class Journeys(NamedTuple):
    """Conversions and their touches.

    Attributes:
        offsets: Conversion ``i`` has the touches from ``offsets[i]`` to before ``offsets[i + 1]``, the earliest first;
            a conversion with none is unattributed.
        campaigns: Of each touch the number of its campaign, from 0. Numbers are in the order of the campaigns' ids.
        at_us: Of each touch when it was, microseconds since 1970-01-01 UTC.
        values: Of each conversion, in minor units; 0 for one without a value.
        chosen: Of each touch its place in the columns that :func:`gather` was given.
    """

    offsets: NDArray[np.int64]
    campaigns: NDArray[np.int32]
    at_us: NDArray[np.int64]
    values: NDArray[np.int64]
    chosen: NDArray[np.int64]

    @classmethod
    def of_paths(cls, paths: Sequence[Sequence[int]], values: ArrayLike | None = None) -> Journeys:
        """Make journeys of campaigns' numbers alone, one touch a microsecond.

        >>> Journeys.of_paths([[0, 1], [], [1]]).offsets.tolist()
        [0, 2, 2, 3]
        """
        lengths = [len(path) for path in paths]
        offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        campaigns = np.array([campaign for path in paths for campaign in path], np.int32)
        at_us = np.array([place for length in lengths for place in range(length)], np.int64)
        worth = np.zeros(len(paths), np.int64) if values is None else np.asarray(values, np.int64)
        return cls(offsets, campaigns, at_us, worth, np.arange(len(campaigns)))

    def blocks(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], Paths]]:
        """Take conversions with equally many touches together, a bounded number at a time.

        Yields:
            Which conversions they are, the places of their touches a row each, and these as models look at them.
            Conversions without a touch are in none.
        """
        lengths = np.diff(self.offsets)
        order = np.argsort(lengths, kind="stable")
        counts = np.bincount(lengths)
        ends = np.cumsum(counts)
        for length in np.flatnonzero(counts):
            if length == 0:
                continue
            alike = order[ends[length] - counts[length] : ends[length]]
            step = max(_BLOCK // int(length), 1)
            for first in range(0, len(alike), step):
                conversions = alike[first : first + step]
                places = self.offsets[conversions][:, np.newaxis] + np.arange(length)
                yield conversions, places, Paths(self.campaigns[places], self.at_us[places])


def gather(
    *,
    converted_at_us: NDArray[np.int64],
    values: NDArray[np.int64],
    conversions: NDArray[np.int64],
    at_us: NDArray[np.int64],
    signals: NDArray[np.int8],
    flights: NDArray[np.int32],
    campaigns: NDArray[np.int32],
    window_us: NDArray[np.int64],
) -> Journeys:
    """Find the touches that compete for each conversion, as :func:`analytics_core.attribution.touches.consider` does.

    Args:
        converted_at_us: Of each conversion when it was, microseconds since 1970-01-01 UTC.
        values: Of each conversion, in minor units; 0 for one without a value.
        conversions: Of each touch, in any order, the place of the conversion in the columns above. A touch that may
            compete for several is there for each.
        at_us: Of each touch when it was.
        signals: Of each touch its :class:`~analytics_core.attribution.touches.Signal`.
        flights: Of each touch the number of its flight, numbers being in the order of the flights' ids.
        campaigns: Of each touch the number of its campaign, likewise.
        window_us: Of each touch its flight's window.
    """
    age = converted_at_us[conversions] - at_us
    eligible = np.flatnonzero((age >= 0) & (age <= window_us))
    # Of one flight at one instant the surest.
    order = np.lexsort((-signals[eligible], flights[eligible], at_us[eligible], conversions[eligible]))
    sorted_ = eligible[order]
    following = sorted_[1:]
    before = sorted_[:-1]
    kept = np.ones(len(sorted_), np.bool_)
    kept[:-1] = (
        (conversions[before] != conversions[following])
        | (at_us[before] != at_us[following])
        | (flights[before] != flights[following])
    )
    sorted_ = sorted_[kept]
    # Of several flights at one instant the surer later.
    sorted_ = sorted_[np.lexsort((flights[sorted_], -signals[sorted_], at_us[sorted_], conversions[sorted_]))]
    counts = np.bincount(conversions[sorted_], minlength=len(converted_at_us))
    ends = np.cumsum(counts)
    if len(counts) and counts.max() > MAX_TOUCHES:
        sorted_ = sorted_[ends[conversions[sorted_]] - np.arange(len(sorted_)) <= MAX_TOUCHES]
        ends = np.cumsum(np.minimum(counts, MAX_TOUCHES))
    offsets = np.concatenate((np.zeros(1, np.int64), ends))
    return Journeys(offsets, campaigns[sorted_], at_us[sorted_], values, sorted_)
