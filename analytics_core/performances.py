"""Performances: what came of a campaign beside what it cost, one set of figures a model, never added over models.

Credits are millionths of conversions. Values of other currencies than the campaign's are told by themselves; where
there are any, there is no return on cost, which would leave them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.money import Money
from analytics_core.pacing import cost_per_conversion, return_on_cost, return_on_investment

__all__ = (
    "A_WHOLE",
    "DETERMINISTIC",
    "ModelFigures",
    "ModelTotal",
    "NoReturn",
    "conversions_of",
    "figures_by_model",
)

NoReturn: TypeAlias = Literal["no_cost", "nothing_paid", "other_currencies"]

A_WHOLE: Final = 1_000_000
"""One conversion, as credits are counted."""
DETERMINISTIC: Final = "deterministic"
"""What gives each conversion whole to its surest signal; beside the models, and first among them."""


class ModelTotal(msgspec.Struct, frozen=True):
    """What a model gave a flight, of conversions of one currency; the empty one is that of those without a value."""

    model: str
    flight_id: UUID
    currency: str
    conversions_ppm: int
    new_customers_ppm: int
    value_amount: int


class ModelFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a model gives, and what follows with what was paid.

    Attributes:
        values: A sum a currency, in the order of their codes.
        cpa_amount: Minor units of the currency of the cost; ``None`` without a conversion, or where the cost is not
            known.
        roas: Value by cost.
        roi: Value less cost, by cost.
        return_reason: Why there is neither.
    """

    model: str
    conversions_ppm: int
    new_customers_ppm: int
    values: Sequence[Money]
    cpa_amount: int | None
    roas: float | None
    roi: float | None
    return_reason: NoReturn | None


def conversions_of(totals: Iterable[ModelTotal], flight_id: UUID) -> int:
    """Count the conversions that a flight has for sure, in millionths, whatever their currency."""
    return sum(
        total.conversions_ppm for total in totals if total.model == DETERMINISTIC and total.flight_id == flight_id
    )


def figures_by_model(
    totals: Iterable[ModelTotal], models: Sequence[str], *, cost: Money | None, currency: str
) -> list[ModelFigures]:
    """Tell what each model gives, :data:`DETERMINISTIC` first and the others in their order.

    Args:
        totals: Of the flights in question.
        models: What the run worked out; one that gives nothing has figures of nothing.
        cost: What was paid; ``None`` where it is not known.
        currency: Of the campaign.

    Raises:
        ValueError: The cost is of another currency.
    """
    if cost is not None and cost.currency != currency:
        raise ValueError("a campaign is paid in its own currency")
    found = list(totals)
    return [
        _figures([total for total in found if total.model == model], model, cost=cost, currency=currency)
        for model in (DETERMINISTIC, *models)
    ]


def _figures(totals: Sequence[ModelTotal], model: str, *, cost: Money | None, currency: str) -> ModelFigures:
    conversions = sum(total.conversions_ppm for total in totals)
    values: dict[str, Money] = {}
    for total in totals:
        if total.currency:
            values[total.currency] = values.get(total.currency, Money(0, total.currency)) + Money(
                total.value_amount, total.currency
            )
    reason: NoReturn | None = None
    if cost is None:
        reason = "no_cost"
    elif any(money.amount for code, money in values.items() if code != currency):
        reason = "other_currencies"
    elif not cost.amount:
        reason = "nothing_paid"
    value = values.get(currency, Money(0, currency)).amount
    is_known = cost is not None and reason is None
    return ModelFigures(
        model=model,
        conversions_ppm=conversions,
        new_customers_ppm=sum(total.new_customers_ppm for total in totals),
        values=[values[code] for code in sorted(values)],
        cpa_amount=None if cost is None else cost_per_conversion(cost.amount, conversions_ppm=conversions),
        roas=return_on_cost(value, cost_amount=cost.amount) if cost is not None and is_known else None,
        roi=return_on_investment(value, cost_amount=cost.amount) if cost is not None and is_known else None,
        return_reason=reason,
    )
