"""Markov: each campaign is given by how many conversions would be lost without it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.models.paths import Path, Paths, Terms
from analytics_core.attribution.models.shapley import last_of_campaigns, last_of_campaigns_in_rows

__all__ = ("weigh", "weigh_rows")


def weigh(path: Path, terms: Terms) -> list[int]:
    """Weigh the distinct campaigns by their removal effects; alike where none has any.

    Source:
        E. Anderl, I. Becker, F. von Wangenheim, J. H. Schumann, Mapping the customer journey, 2016, for the effects
        (:mod:`analytics_core.attribution.removal`); ``docs/methodology/attribution.md``, "Markov".

    >>> weigh(Path((1, 0, 1), (1, 2, 3)), Terms(1, np.array([3, 2])))
    [0, 3, 2]
    """
    marks = last_of_campaigns(path)
    weights = [mark * int(terms.effects[campaign]) for mark, campaign in zip(marks, path.campaigns, strict=True)]
    return weights if any(weights) else marks


def weigh_rows(paths: Paths, terms: Terms) -> NDArray[np.int64]:
    """Weigh as :func:`weigh` does, row by row."""
    marks = last_of_campaigns_in_rows(paths)
    weights = marks * terms.effects[paths.campaigns]
    return np.where(weights.any(axis=1, keepdims=True), weights, marks)
