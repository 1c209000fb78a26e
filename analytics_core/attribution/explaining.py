"""Explaining: one conversion, its touches, what each model gave to each of them, and why others gave nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np

from analytics_core.attribution.models.paths import Path
from analytics_core.attribution.parameters import DEFAULT_PARAMETERS, Model, Parameters
from analytics_core.attribution.rounding import MILLION, split
from analytics_core.attribution.touches import Candidate, Touch, consider
from analytics_core.attribution.weighing import WEIGHTS, terms_of

__all__ = ("Credit", "Explanation", "credit", "explain")


class Credit(NamedTuple):
    """What a model gave to a touch.

    Attributes:
        share: Before rounding; one in sum over the touches of a conversion.
        credit_ppm: Parts of a million; a million in sum.
        value_amount: Of the conversion's value, in minor units, which it is in sum; ``None`` where it has none.
    """

    share: float
    credit_ppm: int
    value_amount: int | None


class Explanation(NamedTuple):
    """One conversion.

    Attributes:
        candidates: All touches that were looked at, in their order, each with the reason why it does not compete.
        touches: Those that compete, the earliest first; none where the conversion is unattributed.
        credits: By model, one for each of *touches*.
    """

    candidates: list[Candidate]
    touches: list[Touch]
    credits: dict[Model, list[Credit]]


def credit(
    touches: Sequence[Touch],
    value_amount: int | None,
    model: Model,
    parameters: Parameters = DEFAULT_PARAMETERS,
    *,
    effects: Mapping[UUID, float] | None = None,
) -> list[Credit]:
    """Share a conversion among its touches: the reference that columns are tested against.

    Args:
        touches: Those that compete, the earliest first.
        value_amount: What the conversion is worth, in minor units; ``None`` where it has no value.
        model: By which.
        parameters: Of the run.
        effects: By a campaign's id its removal effect in the run; needed for Markov, and for no other. One that is not
            named has none.

    Returns:
        One for each touch; none for none.

    Raises:
        ValueError: Effects are needed and missing.
    """
    if not touches:
        return []
    numbers = {campaign: number for number, campaign in enumerate(sorted({touch.campaign_id for touch in touches}))}
    found = None if effects is None else np.array([effects.get(campaign, 0.0) for campaign in numbers])
    path = Path(tuple(numbers[touch.campaign_id] for touch in touches), tuple(touch.at_us for touch in touches))
    weights = WEIGHTS[model].one(path, terms_of(model, parameters, found))
    whole = sum(weights)
    amounts = [None] * len(weights) if value_amount is None else split(value_amount, weights)
    return [
        Credit(weight / whole, ppm, amount)
        for weight, ppm, amount in zip(weights, split(MILLION, weights), amounts, strict=True)
    ]


def explain(
    converted_at_us: int,
    value_amount: int | None,
    touches: Iterable[Touch],
    models: Iterable[Model],
    parameters: Parameters = DEFAULT_PARAMETERS,
    *,
    effects: Mapping[UUID, float] | None = None,
) -> Explanation:
    """Tell of one conversion what every model gives to whom, and why others get nothing.

    Args:
        converted_at_us: When it was, microseconds since 1970-01-01 UTC.
        value_amount: What it is worth, in minor units; ``None`` where it has no value.
        touches: All that are known, as :func:`~analytics_core.attribution.touches.consider` takes them.
        models: By which.
        parameters: Of the run.
        effects: As :func:`credit` takes them.

    Raises:
        ValueError: Effects are needed and missing.

    >>> from analytics_core.attribution.touches import Signal
    >>> ours, theirs = UUID(int=1), UUID(int=2)
    >>> told = [Touch(at, Signal.CLICK, ours, campaign, 9) for at, campaign in ((1, ours), (5, theirs), (8, ours))]
    >>> found = explain(12, 10_001, told, [Model.LAST, Model.LINEAR])
    >>> [candidate.setback and candidate.setback.value for candidate in found.candidates]
    ['outside_window', None, None]
    >>> {model.value: [given.value_amount for given in row] for model, row in found.credits.items()}
    {'last': [0, 10001], 'linear': [5001, 5000]}
    """
    candidates = consider(converted_at_us, touches)
    chosen = [touch for touch, setback in candidates if setback is None]
    given = {model: credit(chosen, value_amount, model, parameters, effects=effects) for model in models}
    return Explanation(candidates, chosen, given)
