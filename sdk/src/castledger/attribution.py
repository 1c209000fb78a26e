"""What came of it: ``client.attribution``, events and runs; ``client.conversions``, what was bought."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, Unpack
from uuid import UUID

from msgspec import UNSET, UnsetType

from castledger._models import LandedEvent
from castledger._nouns import AsyncNoun, Noun, pages, sends
from castledger._requests import Call, Moment, Paged, given, given_range, path_id
from castledger._sponsorship import (
    AttributionResult,
    AttributionRun,
    Conversion,
    ConversionAction,
    ConversionVerdicts,
    Model,
    SurveyOption,
    TakenRedemptions,
)

__all__ = (
    "ActionFields",
    "AsyncAttribution",
    "AsyncConversions",
    "Attribution",
    "Category",
    "ConversionFields",
    "Conversions",
    "NewConversion",
)

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


class Attribution(Noun):
    """What came of podcasts: attribution events, and what each model makes of conversions."""

    @pages
    def events(
        self,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        type: str | None = None,  # noqa: A002 - the event's field is called so
    ) -> Paged[LandedEvent]:
        """Go through events that have landed, in the order in which collectors received them.

        Args:
            start: A date (UTC) or an aware instant; by default a day before *end*. Of when an event was received.
            end: Likewise, itself excluded, at most 31 days later; by default the end of today.
            type: Only events of this type, such as ``purchase``.
        """
        return Paged(LandedEvent, "/attribution/events", given(type=type) | given_range(start, end))

    @sends
    def create_run(
        self,
        *,
        sponsor_id: UUID | str,
        start: Moment,
        end: Moment,
        models: Sequence[Model] | None = None,
        params: Mapping[str, Any] | None = None,
        cutoff_at: Moment | None = None,
    ) -> Call[AttributionRun]:
        """Have a sponsor's conversions attributed that occurred from *start* to before *end*; :meth:`wait` for it.

        Args:
            sponsor_id: Whose.
            start: A date (UTC) or an aware instant.
            end: Likewise.
            models: All unless given.
            params: ``half_life_days`` and ``counting_days``.
            cutoff_at: What was received before is in it; by default now.
        """
        more = {"models": models, "params": params, "cutoff_at": cutoff_at}
        fields = {name: value for name, value in more.items() if value is not None}
        required = {"sponsor_id": sponsor_id, **given_range(start, end)}
        return Call(AttributionRun, "POST", "/attribution/runs", json={**required, **fields})

    @pages
    def runs(self, *, sponsor_id: UUID | str | None = None) -> Paged[AttributionRun]:
        """Go through runs, in the order in which they were asked for."""
        return Paged(AttributionRun, "/attribution/runs", given(sponsor_id=sponsor_id))

    @sends
    def get_run(self, run_id: UUID | str) -> Call[AttributionResult]:
        """Read a run, with what it gave to campaigns and flights once it is ready."""
        return Call(AttributionResult, "GET", f"/attribution/runs/{path_id(run_id)}")

    @sends
    def wait(self, run_id: UUID | str, *, timeout: float = 300.0) -> Call[AttributionResult]:
        """Wait until a run is ready or has failed, which its ``status`` says.

        Raises:
            TimeoutError: It is neither after *timeout* seconds.
        """
        return Call(AttributionResult, "GET", f"/attribution/runs/{path_id(run_id)}", patience_s=timeout)

    @sends
    def path(self, conversion_id: UUID | str, *, run_id: UUID | str | None = None) -> Call[dict[str, Any]]:
        """Explain a conversion: what led to it, what each model gave to that, and why; as the API writes it."""
        return Call(dict[str, Any], "GET", f"/attribution/paths/{path_id(conversion_id)}", params=given(run_id=run_id))

    @sends
    def leakage(
        self, sponsor_id: UUID | str, *, start: Moment | None = None, end: Moment | None = None
    ) -> Call[dict[str, Any]]:
        """Tell which promo codes have leaked; as the API writes it."""
        params = given(sponsor_id=sponsor_id) | given_range(start, end)
        return Call(dict[str, Any], "GET", "/attribution/leakage", params=params)

    @sends
    def intake(
        self, *, sponsor_id: UUID | str | None = None, start: dt.date | None = None, end: dt.date | None = None
    ) -> Call[dict[str, Any]]:
        """Tell what became of the events that came in, by day, and why some are no conversion; as the API writes it."""
        params = given(sponsor_id=sponsor_id) | given_range(start, end)
        return Call(dict[str, Any], "GET", "/attribution/intake", params=params)


class AsyncAttribution(AsyncNoun, Attribution):
    """:class:`Attribution`, awaited."""


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
    def create_survey_option(self, flight_id: UUID | str, *, answer: str) -> Call[SurveyOption]:
        """Have an answer to the question where somebody heard of the sponsor stand for a flight.

        Raises:
            Conflict: ``answer_taken``: it stands for another one.
        """
        return Call(SurveyOption, "POST", f"/flights/{path_id(flight_id)}/survey-options", json={"answer": answer})

    @pages
    def survey_options(self, flight_id: UUID | str) -> Paged[SurveyOption]:
        """Go through the answers that stand for a flight; deleted ones too."""
        return Paged(SurveyOption, f"/flights/{path_id(flight_id)}/survey-options")

    @sends
    def delete_survey_option(self, survey_option_id: UUID | str) -> Call[None]:
        """Have an answer stand for nothing any more."""
        return Call(type(None), "DELETE", f"/survey-options/{path_id(survey_option_id)}")

    @sends
    def answer_survey(self, *, action_id: UUID | str, external_id: str, answer: str) -> Call[Conversion]:
        """Tell where a customer heard of the sponsor, of a conversion that was told of."""
        fields = {"action_id": action_id, "external_id": external_id, "answer": answer}
        return Call(Conversion, "POST", "/attribution/survey-answers", json=fields)

    @sends
    def take_redemptions(
        self,
        orders: bytes,
        *,
        action_id: UUID | str,
        tz: str | None = None,
        currency: str | None = None,
        dry_run: bool = False,
    ) -> Call[TakenRedemptions]:
        """Take a shop's list of orders with promo codes, as CSV: all of it or nothing.

        Args:
            orders: Columns ``external_id``, ``occurred_at`` and ``code``, and what else is known.
            action_id: What they are conversions of.
            tz: Whose times those without an offset are.
            currency: Of values that name none.
            dry_run: Only say what would become of it.

        Raises:
            ValidationError: ``errors`` says what is wrong by line and column.
        """
        params = given(action_id=action_id, tz=tz, currency=currency, dry_run="true" if dry_run else None)
        path = "/attribution/redemptions"
        return Call(TakenRedemptions, "POST", path, params=params, content=orders, content_type="text/csv")


class AsyncConversions(AsyncNoun, Conversions):
    """:class:`Conversions`, awaited."""
