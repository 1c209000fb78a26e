"""The forms of conversion actions."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.conversions import ActionCategory, Counting
from analytics_core.db.conversion_actions import ActionRow
from analytics_core.money import MAX_AMOUNT
from analytics_core.sponsors import MAX_NAME

__all__ = ("AddConversionAction", "ChangeConversionAction", "ConversionAction")

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_EventType = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,63}$")]
_Amount = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
_Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class AddConversionAction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that a sponsor wants to happen.

    With an `event_type`, events of this type are conversions of it. `counting` of `one` counts a customer's first in
    each window, `every` each. `default_value_amount` in minor units of `currency` is what a conversion is worth that
    does not say.
    """

    sponsor_id: UUID
    name: _Name
    category: ActionCategory
    event_type: _EventType | None = None
    counting: Counting = Counting.EVERY
    default_value_amount: _Amount | None = None
    currency: _Currency | None = None


class ChangeConversionAction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is. Conversions that there are keep what they are worth."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    category: ActionCategory | msgspec.UnsetType = msgspec.UNSET
    event_type: _EventType | msgspec.UnsetType | None = msgspec.UNSET
    counting: Counting | msgspec.UnsetType = msgspec.UNSET
    default_value_amount: _Amount | msgspec.UnsetType | None = msgspec.UNSET
    currency: _Currency | msgspec.UnsetType | None = msgspec.UNSET


class ConversionAction(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a sponsor wants to happen; `version` is raised by every change."""

    action_id: UUID
    sponsor_id: UUID
    name: str
    category: ActionCategory
    event_type: str | None
    counting: Counting
    default_value_amount: int | None
    currency: str | None
    version: int
    created_at: dt.datetime
    archived_at: dt.datetime | None

    @classmethod
    def of(cls, row: ActionRow) -> ConversionAction:
        """Show a stored action."""
        return cls(**msgspec.structs.asdict(row))
