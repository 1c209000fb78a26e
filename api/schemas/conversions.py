"""The forms of conversions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import msgspec

from analytics_core.conversions import (
    MAX_ANSWER,
    MAX_CONVERSIONS,
    AdjustmentKind,
    ConversionSource,
)
from analytics_core.db.conversions import AdjustmentRow, ConversionRow, standing_of
from analytics_core.money import MAX_AMOUNT
from api.errors import Fault

__all__ = (
    "AdjustConversion",
    "AnswerSurvey",
    "Conversion",
    "ConversionAdjustment",
    "ConversionVerdict",
    "ConversionVerdicts",
    "SendConversions",
)

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
_Amount = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
_Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class SendConversions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several conversions, each as it would be sent alone, and with a verdict of its own, whatever it is."""

    conversions: Annotated[list[Any], msgspec.Meta(max_length=MAX_CONVERSIONS)]


class AdjustConversion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of a conversion later.

    To `retract` it is to say that it was none; to `restate` it, that it was worth `value_amount` in the end, in the
    conversion's currency. `external_id` is your own name for the change, such as a refund's number: sent again, it is
    the same. `adjusted_at` is now where it is left out; of several changes the latest counts.
    """

    kind: AdjustmentKind
    value_amount: _Amount | None = None
    external_id: _Name | None = None
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    adjusted_at: _Instant | None = None


class AnswerSurvey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a customer answered when asked where they heard of the sponsor, after the conversion was sent."""

    action_id: UUID
    external_id: _Name
    answer: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ANSWER)]


class ConversionAdjustment(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a conversion later."""

    adjustment_id: UUID
    kind: AdjustmentKind
    value_amount: int | None
    external_id: str | None
    reason: str | None
    adjusted_at: dt.datetime
    received_at: dt.datetime


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """A conversion as it was said first, and what it is worth after its `adjustments`.

    `effective_value_amount` is null for one that was retracted, and where nobody ever named a value. `customer_key`
    stands for the customer: the same for all that is known of one, of this tenant alone, and nobody's name. `source` is
    the way in: `api`, `event`, or the `csv` of a shop.
    """

    conversion_id: UUID
    action_id: UUID
    sponsor_id: UUID
    external_id: str
    source: ConversionSource
    occurred_at: dt.datetime
    received_at: dt.datetime
    value_amount: int | None
    currency: str | None
    click_id: UUID | None
    link: str | None
    promo_code: str | None
    survey_answer: str | None
    customer_key: UUID | None
    new_customer: bool | None
    referrer_host: str | None
    is_retracted: bool
    effective_value_amount: int | None
    adjustments: list[ConversionAdjustment]

    @classmethod
    def of(cls, row: ConversionRow, adjustments: Sequence[AdjustmentRow]) -> Conversion:
        """Show a stored conversion with what was said of it later, in the order in which it counts."""
        standing = standing_of(row.value_amount, adjustments)
        return cls(
            **msgspec.structs.asdict(row),
            is_retracted=standing.is_retracted,
            effective_value_amount=standing.value_amount,
            adjustments=[
                ConversionAdjustment(
                    adjustment_id=one.adjustment_id,
                    kind=one.kind,
                    value_amount=one.value_amount,
                    external_id=one.external_id,
                    reason=one.reason,
                    adjusted_at=one.adjusted_at,
                    received_at=one.received_at,
                )
                for one in adjustments
            ],
        )


class ConversionVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one conversion of several.

    `status` is 201 for a new one, 200 for one that was there already and says the same; 404 `not_found` where there is
    no such action, 409 `action_archived` or `conversion_differs`, 422 with all that is wrong in `errors`.
    """

    external_id: str | None
    status: int
    conversion_id: UUID | None = None
    code: str | None = None
    errors: list[Fault] = []


class ConversionVerdicts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of several conversions, in their order, and how many of each kind there were."""

    results: list[ConversionVerdict]
    created: int
    repeated: int
    refused: int
