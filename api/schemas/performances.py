"""The form of a campaign's performance, model by model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from analytics_core.db.performances import Performance, RunHead
from analytics_core.deliveries import NoAmount
from analytics_core.performances import A_WHOLE, ModelFigures, NoReturn
from analytics_core.reach import NoReach, reach_of

__all__ = ("Cutoffs", "PerformanceAnswer", "ShownModel", "ShownRun", "ShownValue")


class ShownRun(msgspec.Struct, frozen=True, kw_only=True):
    """The attribution run that conversions are taken from: of those in its range, what was received before `cutoff`.

    `insufficient` names models that had too little to say anything by, and why: there are no figures of these.
    """

    run_id: UUID
    start: dt.datetime = msgspec.field(name="from")
    end: dt.datetime = msgspec.field(name="to")
    cutoff: dt.datetime
    insufficient: Mapping[str, str]

    @classmethod
    def of(cls, run: RunHead) -> ShownRun:
        """Show a run."""
        return cls(
            run_id=run.run_id,
            start=run.starts_at,
            end=run.ends_at,
            cutoff=run.cutoff_at,
            insufficient=run.insufficient,
        )


class ShownValue(msgspec.Struct, frozen=True):
    """What conversions were worth in one currency."""

    value_amount: int
    currency: str


class ShownModel(msgspec.Struct, frozen=True, kw_only=True):
    """What one model gives the campaign; `deterministic` gives each conversion whole to its surest signal.

    `conversions` and `new_customers` have parts of one where a model shares conversions. `values` has a sum a currency.
    `cpa_amount` is the cost by conversions, `roas` what they were worth by the cost, `roi` the same less the cost; all
    are null where they have no meaning: `return_reason` is `no_cost` where that is not known, `nothing_paid`, or
    `other_currencies` where some of the value is in another currency than the cost.
    """

    model: str
    conversions: float
    new_customers: float
    values: Sequence[ShownValue]
    cpa_amount: int | None
    roas: float | None
    roi: float | None
    return_reason: NoReturn | None

    @classmethod
    def of(cls, found: ModelFigures) -> ShownModel:
        """Show what a model gives."""
        return cls(
            model=found.model,
            conversions=found.conversions_ppm / A_WHOLE,
            new_customers=found.new_customers_ppm / A_WHOLE,
            values=[ShownValue(value.amount, value.currency) for value in found.values],
            cpa_amount=found.cpa_amount,
            roas=found.roas,
            roi=found.roi,
            return_reason=found.return_reason,
        )


class Cutoffs(msgspec.Struct, frozen=True, kw_only=True):
    """Until when what is in: hits and clicks that have landed, conversions that were received, listeners counted."""

    downloads: dt.datetime | None
    conversions: dt.datetime | None
    reach: dt.datetime | None


class PerformanceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a campaign beside what it costs, one set of figures a model; models are never added.

    `models` are those of `run` that said something, none without one. `cost_amount` is null with a `cost_reason` where
    conversions are paid for and no run counted them. `reach` is null with a `reach_reason`, as `GET …/reach` tells it.
    `model` is the one that was agreed on.
    """

    campaign_id: UUID
    sponsor_id: UUID
    name: str
    status: str
    model: str
    budget_amount: int
    currency: str
    impressions: int
    reach: int | None
    frequency: float | None
    reach_reason: NoReach | None
    clicks: int
    cost_amount: int | None
    cost_reason: NoAmount | None
    models: Sequence[ShownModel]
    run: ShownRun | None
    cutoffs: Cutoffs

    @classmethod
    def of(cls, found: Performance, *, cutoff: dt.datetime | None) -> PerformanceAnswer:
        """Show what came of a campaign."""
        head, whole = found.head, reach_of(found.months)
        counted = [month.computed_at for month in found.months if month.computed_at is not None]
        return cls(
            campaign_id=head.campaign_id,
            sponsor_id=head.sponsor_id,
            name=head.name,
            status=head.status,
            model=head.model,
            budget_amount=head.budget_amount,
            currency=head.currency,
            impressions=found.impressions,
            reach=whole.reach,
            frequency=whole.frequency,
            reach_reason=whole.reason,
            clicks=found.clicks,
            cost_amount=None if found.cost is None else found.cost.amount,
            cost_reason="no_run" if found.cost is None else None,
            models=[ShownModel.of(one) for one in found.models],
            run=None if found.run is None else ShownRun.of(found.run),
            cutoffs=Cutoffs(
                downloads=cutoff,
                conversions=None if found.run is None else found.run.cutoff_at,
                reach=max(counted, default=None),
            ),
        )
