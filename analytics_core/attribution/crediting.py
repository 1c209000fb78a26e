"""Crediting: what a model gives to every touch of a run's conversions, in columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.journeys import Journeys
from analytics_core.attribution.parameters import DEFAULT_PARAMETERS, Model, Parameters
from analytics_core.attribution.removal import RemovalEffects
from analytics_core.attribution.rounding import MILLION, split_rows
from analytics_core.attribution.weighing import WEIGHTS, terms_of

__all__ = ("Credits", "attribute")


class Credits(NamedTuple):
    """What a model gave to each touch of the journeys, in their order.

    Attributes:
        ppm: Parts of a million; a million in sum over the touches of a conversion.
        amounts: Of its value, in minor units; the value in sum.
    """

    ppm: NDArray[np.int32]
    amounts: NDArray[np.int64]


def attribute(
    journeys: Journeys,
    model: Model,
    parameters: Parameters = DEFAULT_PARAMETERS,
    *,
    effects: RemovalEffects | None = None,
) -> Credits:
    """Share conversions among their touches.

    Each conversion is shared by itself, so that journeys may be given all at once or portion by portion.

    Args:
        journeys: With the touches that compete, as :func:`~analytics_core.attribution.touches.competing` chooses them.
        model: By which.
        parameters: Of the run.
        effects: What :meth:`~analytics_core.attribution.removal.Transitions.effects` found over all journeys of the
            run; needed for Markov, and for no other.

    Returns:
        Both to be split once, from the same weights: money is not a rounding of rounded parts.

    Raises:
        ValueError: Effects are needed and missing.

    Source:
        ``docs/methodology/attribution.md``.

    >>> credits = attribute(Journeys.of_paths([[0, 1, 1], []], values=[10_000, 70]), Model.LINEAR)
    >>> credits.ppm.tolist(), credits.amounts.tolist()
    ([333334, 333333, 333333], [3334, 3333, 3333])
    """
    terms = terms_of(model, parameters, None if effects is None else effects.effects)
    weigh = WEIGHTS[model].rows
    ppm = np.empty(len(journeys.campaigns), np.int32)
    amounts = np.empty(len(journeys.campaigns), np.int64)
    for conversions, places, paths in journeys.blocks():
        weights = weigh(paths, terms)
        ppm[places] = split_rows(np.full(len(conversions), MILLION), weights)
        amounts[places] = split_rows(journeys.values[conversions], weights)
    return Credits(ppm, amounts)
