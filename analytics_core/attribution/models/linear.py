"""Linear: each touch is given the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.models.paths import NO_TERMS, Path, Paths, Terms

__all__ = ("weigh", "weigh_rows")


def weigh(path: Path, _: Terms = NO_TERMS) -> list[int]:
    """Weigh all touches alike.

    Source:
        Podscribe's "multi touch"; ``docs/methodology/attribution.md``, "Linear".

    >>> weigh(Path((0, 1, 1), (1, 2, 3)))
    [1, 1, 1]
    """
    return [1] * len(path.campaigns)


def weigh_rows(paths: Paths, _: Terms = NO_TERMS) -> NDArray[np.int64]:
    """Weigh as :func:`weigh` does, row by row."""
    return np.ones(paths.campaigns.shape, np.int64)
