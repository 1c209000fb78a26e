"""Conversions: ``client.conversions``. What sponsors want to happen, and that it happened."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict, Unpack
from uuid import UUID

from msgspec import UNSET, UnsetType

from castledger._nouns import AsyncNoun, Noun, pages, sends
from castledger._requests import Call, Moment, Paged, given, given_range, path_id
from castledger._sponsorship import Conversion, ConversionAction, ConversionVerdicts

__all__ = ("ActionFields", "AsyncConversions", "Category", "ConversionFields", "Conversions", "NewConversion")

Category: TypeAlias = Literal["lead", "signup", "trial", "purchase", "install", "custom"]
"""What kind of thing a sponsor wants to happen."""


class ActionFields(TypedDict, total=False):
    """What may be said of a conversion action beside its name and category."""

    event_type: str | None
    counting: Literal["every", "one"]
    default_value_amount: int | None
    currency: str | None


class ConversionFields(TypedDict, total=False):
    """What may be said of a conversion: when it was, what it is worth, and what it came of."""

    occurred_at: dt.datetime
    value_amount: int
    currency: str
    click_id: UUID | str
    link: str
    promo_code: str
    survey_answer: str
    customer_id: str
    new_customer: bool
    referrer: str


class NewConversion(ConversionFields):
    """A conversion, one of several."""

    action_id: UUID | str
    external_id: str


class Conversions(Noun):
    """Actions, their conversions, and adjustments of these."""

    @sends
    def create_action(
        self, *, sponsor_id: UUID | str, name: str, category: Category, **fields: Unpack[ActionFields]
    ) -> Call[ConversionAction]:
        """Add something that a sponsor wants to happen.

        Args:
            sponsor_id: Whose.
            name: What to call it; a sponsor has one of a name.
            category: What kind of thing.
            fields: As in :class:`ActionFields`: events of its ``event_type`` are conversions of it, and ``counting`` of
                ``one`` counts a customer's first in each window.
        """
        required = {"sponsor_id": sponsor_id, "name": name, "category": category}
        return Call(ConversionAction, "POST", "/conversion-actions", json={**required, **fields})

    @pages
    def actions(self, *, sponsor_id: UUID | str | None = None) -> Paged[ConversionAction]:
        """Go through actions, in the order in which they were added."""
        return Paged(ConversionAction, "/conversion-actions", given(sponsor_id=sponsor_id))

    @sends
    def get_action(self, action_id: UUID | str) -> Call[ConversionAction]:
        """Read one action."""
        return Call(ConversionAction, "GET", f"/conversion-actions/{path_id(action_id)}")

    @sends
    def update_action(
        self,
        action_id: UUID | str,
        *,
        version: int | None = None,
        name: str | UnsetType = UNSET,
        category: Category | UnsetType = UNSET,
        **fields: Unpack[ActionFields],
    ) -> Call[ConversionAction]:
        """Change what is given; conversions that there are keep what they are worth."""
        path = f"/conversion-actions/{path_id(action_id)}"
        changes = {"name": name, "category": category, **fields}
        return Call(ConversionAction, "PATCH", path, json=changes, version=version)

    @sends
    def archive_action(self, action_id: UUID | str, *, version: int | None = None) -> Call[ConversionAction]:
        """Put an action away: it gets no more conversions."""
        return Call(ConversionAction, "POST", f"/conversion-actions/{path_id(action_id)}/archive", version=version)

    @sends
    def create(
        self, *, action_id: UUID | str, external_id: str, **fields: Unpack[ConversionFields]
    ) -> Call[Conversion]:
        """Tell of a conversion; sent again with the same *external_id*, it is the same one.

        Args:
            action_id: What happened.
            external_id: Your own name for it, such as an order's number.
            fields: As in :class:`ConversionFields`.

        Raises:
            Conflict: ``conversion_differs``: it was told of otherwise; :meth:`adjust` changes it.
        """
        required = {"action_id": action_id, "external_id": external_id}
        return Call(Conversion, "POST", "/attribution/conversions", json={**required, **fields})

    @sends
    def create_many(self, conversions: Sequence[NewConversion]) -> Call[ConversionVerdicts]:
        """Tell of up to 500 conversions; each gets a verdict of its own, and none keeps another from being recorded."""
        return Call(ConversionVerdicts, "POST", "/attribution/conversions", json={"conversions": conversions})

    @pages
    def list(
        self,
        *,
        sponsor_id: UUID | str | None = None,
        action_id: UUID | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> Paged[Conversion]:
        """Go through conversions, in the order in which they occurred; retracted ones too."""
        params = given(sponsor_id=sponsor_id, action_id=action_id) | given_range(start, end)
        return Paged(Conversion, "/attribution/conversions", params)

    @sends
    def get(self, conversion_id: UUID | str) -> Call[Conversion]:
        """Read one conversion."""
        return Call(Conversion, "GET", f"/attribution/conversions/{path_id(conversion_id)}")

    @sends
    def adjust(
        self,
        conversion_id: UUID | str,
        *,
        kind: Literal["retract", "restate"],
        value_amount: int | None = None,
        external_id: str | None = None,
        reason: str | None = None,
        adjusted_at: dt.datetime | None = None,
    ) -> Call[Conversion]:
        """Say something of a conversion later, as after a refund; of several adjustments the latest counts.

        Args:
            conversion_id: Which.
            kind: That it was none after all, or that it was worth *value_amount*.
            value_amount: In the conversion's currency.
            external_id: Your own name for the adjustment: sent again, it is the same.
            reason: For people.
            adjusted_at: By default now.
        """
        fields = {
            "kind": kind,
            "value_amount": value_amount,
            "external_id": external_id,
            "reason": reason,
            "adjusted_at": adjusted_at,
        }
        return Call(Conversion, "POST", f"/attribution/conversions/{path_id(conversion_id)}/adjust", json=fields)

    @sends
    def answer_survey(self, *, action_id: UUID | str, external_id: str, answer: str) -> Call[Conversion]:
        """Tell where a customer heard of the sponsor, of a conversion that was told of."""
        fields = {"action_id": action_id, "external_id": external_id, "answer": answer}
        return Call(Conversion, "POST", "/attribution/survey-answers", json=fields)


class AsyncConversions(AsyncNoun, Conversions):
    """:class:`Conversions`, awaited."""
