"""Time decay: the later a touch, the more it is given."""

from __future__ import annotations

import itertools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.models.paths import Path, Paths, Terms
from analytics_core.attribution.rounding import UNIT

__all__ = ("weigh", "weigh_rows")

_HALVINGS: Final = 60.0
"""After so many nothing is left of a weight."""

# The series of 2 to the power of -x, to the last bit for 0 to 1. Sums and products come out alike in Python and in
# numpy and on every machine; what libraries take for a power does not.
_LN2: Final = 0.6931471805599453
_SERIES: Final = tuple(itertools.accumulate(range(1, 19), lambda term, place: term * -_LN2 / place, initial=1.0))


def weigh(path: Path, terms: Terms) -> list[int]:
    """Weigh each touch by ``2 ** (-age / half_life)``, its age being that beside the latest touch.

    Ages beside the conversion would be longer by the same for all, which changes no share.

    Source:
        ``docs/methodology/attribution.md``, "Time decay"; Podscribe's "multi touch with time decay".

    >>> [weight / UNIT for weight in weigh(Path((0, 0, 0), (0, 7, 14)), Terms(7, np.zeros(0)))]
    [0.25, 0.5, 1.0]
    """
    return [_halve((path.at_us[-1] - at_us) / terms.half_life_us) for at_us in path.at_us]


def _halve(times: float) -> int:
    times = min(times, _HALVINGS)
    whole = math.floor(times)
    power = _SERIES[-1]
    for factor in reversed(_SERIES[:-1]):
        power = power * (times - whole) + factor
    return round(math.ldexp(power * UNIT, -whole))


def weigh_rows(paths: Paths, terms: Terms) -> NDArray[np.int64]:
    """Weigh as :func:`weigh` does, row by row."""
    ages = paths.at_us[:, -1:] - paths.at_us
    times = np.minimum(ages / terms.half_life_us, _HALVINGS)
    whole = np.floor(times)
    times -= whole
    power = np.full_like(times, _SERIES[-1])
    for factor in reversed(_SERIES[:-1]):
        power *= times
        power += factor
    weights: NDArray[np.int64] = np.rint(np.ldexp(power * UNIT, -whole.astype(np.int32))).astype(np.int64)
    return weights
