"""The form of a conversion's path: what led to it, and what each model made of that."""

from __future__ import annotations

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec

from analytics_core.attribution.parameters import Model
from analytics_core.db.attribution_results import SignalWord, StatusWord

__all__ = ("ConversionPath", "Deterministic", "OtherSignal", "PathAdjustment", "PathCredit", "PathModel", "PathTouch")


class PathCredit(msgspec.Struct, frozen=True, kw_only=True):
    """What a model gave to a touch; `value_amount` is null where the conversion has no value."""

    model: Model
    credit_ppm: int
    value_amount: int | None


class PathTouch(msgspec.Struct, frozen=True, kw_only=True):
    """A touch that the conversion is credited to, and what each model gave to it.

    `signal` is by what the flight was recognised: a `click` on a link, a `vanity` link that was named, a promo `code`,
    an answer to a `survey`. Where `is_day_only`, the customer was erased, and `occurred_at` is the touch's day.
    """

    signal: SignalWord
    occurred_at: dt.datetime
    is_day_only: bool
    campaign_id: UUID
    campaign: str
    flight_id: UUID
    flight: str
    credits: list[PathCredit]


class OtherSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that counted nothing, and why, as a word and in words; it names no flight where its ids are null."""

    signal: SignalWord
    occurred_at: dt.datetime
    campaign_id: UUID | None
    campaign: str | None
    flight_id: UUID | None
    flight: str | None
    reason: str
    explanation: str


class PathAdjustment(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of the conversion later; the last word counts. `is_in_run` tells whether the run knew it."""

    kind: Literal["retract", "restate"]
    value_amount: int | None
    reason: str | None
    adjusted_at: dt.datetime
    is_in_run: bool


class PathModel(msgspec.Struct, frozen=True, kw_only=True):
    """How a model shares a conversion; `insufficient` says why it did not."""

    model: Model
    method: str
    insufficient: str | None


class Deterministic(msgspec.Struct, frozen=True, kw_only=True):
    """The flight that has the whole conversion by its own surest signal."""

    signal: SignalWord
    campaign_id: UUID
    campaign: str
    flight_id: UUID
    flight: str


class ConversionPath(msgspec.Struct, frozen=True, kw_only=True):
    """A conversion as a run found it, and all that led to it.

    `told_amount` is its value as it was told first, `value_amount` what it was worth at the run's `cutoff_at`, and
    `refunded_amount` the difference where it is less. `touches` are those that it is credited to, in order of time:
    of each model their credit is a million, and their money the value to the cent. `others` counted nothing; they are
    looked up now, so that what was entered since the run may show among them. `reason` is why it is not attributed,
    `explanation` the same in words, and `leak` what says that its promo code leaked.
    """

    conversion_id: UUID
    run_id: UUID
    sponsor_id: UUID
    action_id: UUID
    external_id: str
    occurred_at: dt.datetime
    cutoff_at: dt.datetime
    currency: str | None
    told_amount: int | None
    value_amount: int | None
    refunded_amount: int | None
    new_customer: bool | None
    status: StatusWord
    reason: str | None
    explanation: str
    deterministic: Deterministic | None
    is_late_code: bool
    leak: str | None
    leak_explanation: str | None
    models: list[PathModel]
    touches: list[PathTouch]
    others: list[OtherSignal]
    adjustments: list[PathAdjustment]
