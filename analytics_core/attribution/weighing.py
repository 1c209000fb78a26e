"""Weighing: which function is which model, and what it goes by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.models import first, last, linear, markov, position, shapley, time_decay
from analytics_core.attribution.models.paths import NO_TERMS, Path, Paths, Terms
from analytics_core.attribution.parameters import Model, Parameters

__all__ = ("WEIGHTS", "Weights", "terms_of")

_DAY_US: Final = 86_400_000_000


class Weights(NamedTuple):
    """How a model weighs the touches of one conversion, and those of many; both say the same."""

    one: Callable[[Path, Terms], list[int]]
    rows: Callable[[Paths, Terms], NDArray[np.int64]]


WEIGHTS: Final[Mapping[Model, Weights]] = MappingProxyType(
    {
        Model.FIRST: Weights(first.weigh, first.weigh_rows),
        Model.LAST: Weights(last.weigh, last.weigh_rows),
        Model.LINEAR: Weights(linear.weigh, linear.weigh_rows),
        Model.POSITION: Weights(position.weigh, position.weigh_rows),
        Model.TIME_DECAY: Weights(time_decay.weigh, time_decay.weigh_rows),
        Model.SHAPLEY: Weights(shapley.weigh, shapley.weigh_rows),
        Model.MARKOV: Weights(markov.weigh, markov.weigh_rows),
    }
)


def terms_of(model: Model, parameters: Parameters, effects: NDArray[np.float64] | None) -> Terms:
    """Say what a model goes by.

    Args:
        model: Which one.
        parameters: Of the run.
        effects: By a campaign's number its removal effect, 0 to 1; needed for Markov, and for no other.

    Raises:
        ValueError: They are needed and missing.
    """
    if model is Model.MARKOV and effects is None:
        raise ValueError("the Markov model needs the removal effects of the run")
    return Terms(parameters.half_life_days * _DAY_US, NO_TERMS.effects if effects is None else effects)
