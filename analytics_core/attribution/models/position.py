"""Position: most of it goes to the two ends, the rest to what lies between."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.models.paths import NO_TERMS, Path, Paths, Terms

__all__ = ("weigh", "weigh_rows")


def weigh(path: Path, _: Terms = NO_TERMS) -> list[int]:
    """Weigh the first and the last touch 40 % each, and those between them alike with 20 % in all.

    Two touches have half each, and one has all.

    Source:
        ``docs/methodology/attribution.md``, "Position"; known elsewhere as U-shaped or 40-20-40.

    >>> weigh(Path((0,) * 3, (1, 2, 3))), weigh(Path((0,) * 4, (1, 2, 3, 4))), weigh(Path((0,) * 2, (1, 2)))
    ([2, 1, 2], [4, 1, 1, 4], [1, 1])
    """
    between = len(path.campaigns) - 2
    if between <= 0:
        return [1] * len(path.campaigns)
    return [2 * between, *[1] * between, 2 * between]


def weigh_rows(paths: Paths, _: Terms = NO_TERMS) -> NDArray[np.int64]:
    """Weigh as :func:`weigh` does, row by row."""
    weights = np.ones(paths.campaigns.shape, np.int64)
    between = paths.campaigns.shape[1] - 2
    if between > 0:
        weights[:, (0, -1)] = 2 * between
    return weights
