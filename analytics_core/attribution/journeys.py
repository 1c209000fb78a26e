"""Journeys: conversions with the touches that compete for them, in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics_core.attribution.models.paths import Paths

__all__ = ("Journeys",)

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
    """

    offsets: NDArray[np.int64]
    campaigns: NDArray[np.int32]
    at_us: NDArray[np.int64]
    values: NDArray[np.int64]

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
        return cls(offsets, campaigns, at_us, worth)

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
