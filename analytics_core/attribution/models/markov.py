"""Markov: each campaign is given by how many conversions would be lost without it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.models.paths import Path, Paths, Terms
from analytics_core.attribution.models.shapley import last_of_campaigns, last_of_campaigns_in_rows
from analytics_core.attribution.rounding import UNIT

__all__ = ("weigh", "weigh_rows")


def weigh(path: Path, terms: Terms) -> list[int]:
    """Weigh the distinct campaigns by their removal effects; alike where none has any.

    Source:
        E. Anderl, I. Becker, F. von Wangenheim, J. H. Schumann, Mapping the customer journey, 2016, for the effects
        (:mod:`analytics_core.attribution.removal`); ``docs/methodology/attribution.md``, "Markov".

    >>> [weight / UNIT for weight in weigh(Path((1, 0, 1), (1, 2, 3)), Terms(1, np.array([0.75, 0.375])))]
    [0.0, 1.0, 0.5]
    """
    marks = last_of_campaigns(path)
    effects = [float(terms.effects[campaign]) for campaign in path.campaigns]
    # Beside the largest of the path, so that those of rare campaigns, small as they are, are told apart as well.
    largest = max(effects)
    if not largest:
        return marks
    return [mark * round(effect / largest * UNIT) for mark, effect in zip(marks, effects, strict=True)]


def weigh_rows(paths: Paths, terms: Terms) -> NDArray[np.int64]:
    """Weigh as :func:`weigh` does, row by row."""
    marks = last_of_campaigns_in_rows(paths)
    effects = terms.effects[paths.campaigns]
    largest = effects.max(axis=1, keepdims=True)
    weights = np.rint(effects / np.where(largest > 0, largest, 1.0) * UNIT).astype(np.int64)
    return marks * np.where(largest > 0, weights, 1)
