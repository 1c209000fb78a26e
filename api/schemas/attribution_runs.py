"""The forms of attribution runs, of what they found, and of leaked codes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from analytics_core.attribution.parameters import Model, Parameters
from analytics_core.attribution.summaries import Summary
from analytics_core.attribution.words import METHODS
from analytics_core.db.attribution_results import TotalRow
from analytics_core.db.attribution_runs import RunRow

__all__ = (
    "AddAttributionRun",
    "AttributionResult",
    "AttributionRun",
    "CampaignCredit",
    "Credited",
    "FlightCredit",
    "ModelCredit",
)

_Models = Annotated[tuple[Annotated[str, msgspec.Meta(max_length=40)], ...], msgspec.Meta(min_length=1, max_length=20)]
_Moment = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
_DETERMINISTIC = "deterministic"


class AddAttributionRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be attributed: a sponsor's conversions that occurred in a range, by some models or all.

    `from` and `to` are dates (UTC) or instants with an offset, the second excluded. `params` are `half_life_days` of
    time decay (7) and `counting_days` of actions that count once a customer (30). What was received before `cutoff_at`
    is in it; that is now unless it is given, and is never ahead.
    """

    sponsor_id: UUID
    start: _Moment = msgspec.field(name="from")
    end: _Moment = msgspec.field(name="to")
    models: _Models = tuple(model.value for model in Model)
    params: dict[str, Any] = {}
    cutoff_at: _Moment | None = None


class AttributionRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run: `queued`, `running`, then `ready` or `failed`, and never changed from then on.

    `done_ppm` is how far it is, in millionths. `params_hash` is the same for the same models and parameters, and
    `code_version` names the rules and the software. `summary` has what was counted beside the credit, once it is ready.
    """

    run_id: UUID
    sponsor_id: UUID
    start: dt.datetime = msgspec.field(name="from")
    end: dt.datetime = msgspec.field(name="to")
    models: tuple[Model, ...]
    params: Parameters
    params_hash: str
    status: Literal["queued", "running", "ready", "failed"]
    done_ppm: int
    error: str | None
    cutoff_at: dt.datetime
    code_version: str
    summary: Summary | None
    created_at: dt.datetime
    finished_at: dt.datetime | None

    @classmethod
    def of(cls, row: RunRow) -> AttributionRun:
        """Show a stored run."""
        return cls(**_fields(row))


def _fields(row: RunRow) -> dict[str, Any]:
    renamed = {"start": row.starts_at, "end": row.ends_at, "params_hash": row.params_hash.hex()}
    same = {name: getattr(row, name) for name in AttributionRun.__struct_fields__ if name not in renamed}
    return renamed | same


class Credited(msgspec.Struct, frozen=True, kw_only=True):
    """Credit in one currency, null of conversions without a value.

    Conversions are in millionths, as one may be shared; `value_amount` is in minor units of the currency.
    """

    currency: str | None
    conversions_ppm: int
    new_customers_ppm: int
    value_amount: int


class ModelCredit(msgspec.Struct, frozen=True, kw_only=True):
    """What one model gave, and how it shares a conversion."""

    model: Model
    method: str
    credited: list[Credited]


class FlightCredit(msgspec.Struct, frozen=True, kw_only=True):
    """What a flight was given."""

    flight_id: UUID
    name: str
    deterministic: list[Credited]
    models: list[ModelCredit]


class CampaignCredit(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign was given: its flights' sums."""

    campaign_id: UUID
    name: str
    deterministic: list[Credited]
    models: list[ModelCredit]
    flights: list[FlightCredit]


class AttributionResult(msgspec.Struct, frozen=True, kw_only=True):
    """A run with what it found; null until it is ready.

    Each model shares the same conversions, all of them, so that one is to be held against another and never added to
    it. `deterministic` stands apart: each conversion whole to the flight that its own surest signal names.
    """

    run: AttributionRun
    deterministic: list[Credited] | None
    models: list[ModelCredit] | None
    campaigns: list[CampaignCredit] | None

    @classmethod
    def of(cls, row: RunRow, totals: Sequence[TotalRow]) -> AttributionResult:
        """Show a run with its sums by flight, in the order in which they are given."""
        run = AttributionRun.of(row)
        if row.summary is None:
            return cls(run=run, deterministic=None, models=None, campaigns=None)
        models = [model for model in row.models if model not in row.summary.insufficient]
        return cls(
            run=run,
            deterministic=_credited(totals, _DETERMINISTIC),
            models=_by_model(totals, models),
            campaigns=[
                CampaignCredit(
                    campaign_id=campaign_id,
                    name=rows[0].campaign,
                    deterministic=_credited(rows, _DETERMINISTIC),
                    models=_by_model(rows, models),
                    flights=[
                        FlightCredit(
                            flight_id=flight_id,
                            name=of_flight[0].flight,
                            deterministic=_credited(of_flight, _DETERMINISTIC),
                            models=_by_model(of_flight, models),
                        )
                        for flight_id, of_flight in _grouped(rows, "flight_id").items()
                    ],
                )
                for campaign_id, rows in _grouped(totals, "campaign_id").items()
            ],
        )


def _grouped(totals: Iterable[TotalRow], name: str) -> Mapping[UUID, list[TotalRow]]:
    found: dict[UUID, list[TotalRow]] = {}
    for row in totals:
        found.setdefault(getattr(row, name), []).append(row)
    return found


def _by_model(totals: Sequence[TotalRow], models: Iterable[Model]) -> list[ModelCredit]:
    return [
        ModelCredit(model=model, method=METHODS[model], credited=_credited(totals, model.value)) for model in models
    ]


def _credited(totals: Iterable[TotalRow], model: str) -> list[Credited]:
    """Add up currency by currency."""
    found: dict[str, list[TotalRow]] = {}
    for row in totals:
        if row.model == model:
            found.setdefault(row.currency, []).append(row)
    return [
        Credited(
            currency=currency or None,
            conversions_ppm=sum(row.conversions_ppm for row in rows),
            new_customers_ppm=sum(row.new_customers_ppm for row in rows),
            value_amount=sum(row.value_amount for row in rows),
        )
        for currency, rows in sorted(found.items())
    ]
