"""Removal effects: how many conversions would be lost without a campaign, by a Markov chain of order one.

The chain goes from the start along each path's campaigns to a conversion or to nothing, each step as often as it was
seen. Without a campaign, whoever would come to it is lost.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.journeys import Journeys
from analytics_core.errors import CastledgerError

__all__ = ("MAX_CAMPAIGNS", "MIN_CONVERTING_PATHS", "InsufficientData", "RemovalEffects", "Transitions")

MIN_CONVERTING_PATHS: Final = 100
"""Fewer paths that led to a conversion say nothing about campaigns."""

MAX_CAMPAIGNS: Final = 2_000
"""Campaigns of a chain: the time it takes grows with their third power, 2,000 take a second or two and 150 MB."""


class InsufficientData(CastledgerError):
    """There are too few paths for an answer, or too many campaigns for one.

    Args:
        reason: What there is, and what is needed.
    """

    code = "insufficient_data"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class RemovalEffects(NamedTuple):
    """What a chain says.

    Attributes:
        effects: By a campaign's number the part of all conversions that would be lost without it, 0 to 1; 0 for a
            campaign that no path has.
        probability: That a path leads to a conversion.
        converting_paths: How many did,
        null_paths: and how many did not.
    """

    effects: NDArray[np.float64]
    probability: float
    converting_paths: int
    null_paths: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """The effects of all campaigns, so that they add up to one: how the model as published shares a total.

        Credits of ours add up by conversion instead: each goes to its own campaigns alone.
        """
        shares: NDArray[np.float64] = self.effects / self.effects.sum()
        return shares


class Transitions:
    """Counts the steps of paths, portion by portion, in any order.

    Args:
        campaigns: How many campaigns there are; they are numbered from 0.

    Raises:
        InsufficientData: There are more than :data:`MAX_CAMPAIGNS`.

    >>> chain = Transitions(2)
    >>> chain.add(Journeys.of_paths([[0], [0, 1]] * 50))
    >>> chain.add_null(Journeys.of_paths([[1]] * 50))
    >>> found = chain.effects()
    >>> [round(effect, 9) for effect in found.effects.tolist()], round(found.probability, 9)
    ([0.75, 0.5], 0.666666667)
    """

    def __init__(self, campaigns: int) -> None:
        if campaigns > MAX_CAMPAIGNS:
            raise InsufficientData(f"there are {campaigns:,} campaigns, and at most {MAX_CAMPAIGNS:,} can be compared")
        self._campaigns = campaigns
        self._starts = np.zeros(campaigns, np.int64)
        self._steps = np.zeros((campaigns, campaigns), np.int64)
        self._conversions = np.zeros(campaigns, np.int64)
        self._nulls = np.zeros(campaigns, np.int64)

    def add(self, journeys: Journeys) -> None:
        """Count paths that led to a conversion; those without a touch are none."""
        self._conversions += self._count(journeys)

    def add_null(self, journeys: Journeys) -> None:
        """Count paths of customers who did not convert; those without a touch are none."""
        self._nulls += self._count(journeys)

    def _count(self, journeys: Journeys) -> NDArray[np.int64]:
        """Count starts and steps.

        Returns:
            By campaign, how many paths end with it.
        """
        campaigns, size = journeys.campaigns, self._campaigns
        starts, ends = journeys.offsets[:-1], journeys.offsets[1:]
        is_path = ends > starts
        self._starts += np.bincount(campaigns[starts[is_path]], minlength=size)
        # A step from each touch to the next, but where a path ends.
        is_step = np.ones(len(campaigns), np.bool_)
        is_step[ends[is_path] - 1] = False
        places = np.flatnonzero(is_step)
        keys = campaigns[places].astype(np.int64) * size + campaigns[places + 1]
        self._steps += np.bincount(keys, minlength=size * size).reshape(size, size)
        return np.bincount(campaigns[ends[is_path] - 1], minlength=size)

    def effects(self) -> RemovalEffects:
        """Solve the chain.

        From a campaign ``j`` a path converts with probability ``c[j]``, and it comes by ``j`` with probability
        ``f[j]``. What is lost without ``j`` are the paths that come by it and convert, ``f[j] * c[j]`` of all: one
        inverse of the chain's matrix gives both for all campaigns.

        Raises:
            InsufficientData: Fewer than :data:`MIN_CONVERTING_PATHS` paths led to a conversion.

        Source:
            E. Anderl, I. Becker, F. von Wangenheim, J. H. Schumann, Mapping the customer journey: Lessons learned from
            graph-based online attribution modeling, 2016, order one. J. G. Kemeny, J. L. Snell, Finite Markov Chains,
            1960, 3.5.7 for ``f``.
        """
        converting = int(self._conversions.sum())
        if converting < MIN_CONVERTING_PATHS:
            raise InsufficientData(
                f"{converting:,} paths led to a conversion, and fewer than {MIN_CONVERTING_PATHS} say nothing"
            )
        # Campaigns that no path has would make the matrix singular.
        left = self._steps.sum(axis=1) + self._conversions + self._nulls
        known = np.flatnonzero(left)
        total = left[known].astype(np.float64)
        steps = self._steps[np.ix_(known, known)] / total[:, np.newaxis]
        visits = np.linalg.inv(np.eye(len(known)) - steps)
        start = self._starts[known] / self._starts.sum()
        converts = visits @ (self._conversions[known] / total)
        comes_by = (start @ visits) / np.diagonal(visits)
        probability = float(start @ converts)
        effects = np.zeros(self._campaigns)
        effects[known] = np.clip(comes_by * converts / probability, 0.0, 1.0)
        return RemovalEffects(effects, probability, converting, int(self._nulls.sum()))
