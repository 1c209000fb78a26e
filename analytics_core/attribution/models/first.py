"""First touch: all of it goes to what introduced the customer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.models.paths import NO_TERMS, Path, Paths, Terms

__all__ = ("weigh", "weigh_rows")


def weigh(path: Path, _: Terms = NO_TERMS) -> list[int]:
    """Weigh the earliest touch alone.

    Source:
        Podscribe's "first touch"; ``docs/methodology/attribution.md``, "First and last".

    >>> weigh(Path((0, 1, 1), (1, 2, 3)))
    [1, 0, 0]
    """
    return [1] + [0] * (len(path.campaigns) - 1)


def weigh_rows(paths: Paths, _: Terms = NO_TERMS) -> NDArray[np.int64]:
    """Weigh as :func:`weigh` does, row by row."""
    weights = np.zeros(paths.campaigns.shape, np.int64)
    weights[:, 0] = 1
    return weights
