"""Paths: what a model looks at. One conversion's touches, or many conversions' in rows of as many."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ("NO_TERMS", "Path", "Paths", "Terms")


class Path(NamedTuple):
    """The touches of one conversion, the earliest first; there is at least one.

    Attributes:
        campaigns: The number of each one's campaign.
        at_us: When each was, microseconds since 1970-01-01 UTC.
    """

    campaigns: tuple[int, ...]
    at_us: tuple[int, ...]


class Paths(NamedTuple):
    """The touches of conversions that have equally many: a row each, otherwise as :class:`Path`."""

    campaigns: NDArray[np.int32]
    at_us: NDArray[np.int64]


class Terms(NamedTuple):
    """What models go by beside the touches.

    Attributes:
        half_life_us: Of time decay, in microseconds.
        effects: By a campaign's number its removal effect, 0 to 1; empty but for Markov.
    """

    half_life_us: int
    effects: NDArray[np.float64]


NO_TERMS: Final = Terms(1, np.zeros(0))
"""For models that look at touches alone."""
