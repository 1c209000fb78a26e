"""From an event to a conversion: whose it is, what it is one of, and what a refund takes away.

Nothing here asks anybody: what events name was looked up before, a tenant at a time.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import msgspec

from analytics_core.attribution.counting import Adjustment, last_word
from analytics_core.conversions import (
    MAX_ANSWER,
    MAX_EXTERNAL_ID,
    AdjustmentKind,
    GivenConversion,
    adjustment_hash,
)
from analytics_core.promo_codes import Validity, fold_code, validity_at
from analytics_core.sponsors import name_key

__all__ = (
    "REFUND",
    "REFUND_WAITS",
    "CodeOwner",
    "Decision",
    "Known",
    "MarkedEvent",
    "Outcome",
    "Refund",
    "Refundable",
    "decide",
    "given_of",
    "has_signal",
    "is_marked",
    "next_look",
    "plan_refund",
    "possible_domains",
    "sponsor_named",
)

REFUND: Final = "refund"
"""The type of events that give money back."""

REFUND_WAITS: Final = dt.timedelta(days=90)
"""How long a refund waits for the purchase that it speaks of: as long as a collector takes events."""

_PAGE_VIEW: Final = "page_view"
_BEFORE: Final = frozenset({_PAGE_VIEW, "click", "promo_redeemed"})
"""What leads to conversions, and is none as a rule."""

_LEAST_WAIT: Final = dt.timedelta(seconds=10)
_MOST_WAIT: Final = dt.timedelta(hours=1)
_TICK: Final = dt.timedelta(microseconds=1)


class Outcome(enum.StrEnum):
    """What became of an event that was marked."""

    CONVERSION = "conversion"
    REPEATED = "repeated"
    DIFFERS = "differs"
    SIGNAL = "signal"
    REFUND = "refund"
    WAITING = "waiting"
    NO_PURCHASE = "no_purchase"
    OTHER_CURRENCY = "other_currency"
    BOT = "bot"
    UNKNOWN_SPONSOR = "unknown_sponsor"
    UNKNOWN_CLICK = "unknown_click"
    UNKNOWN_LINK = "unknown_link"
    UNKNOWN_CODE = "unknown_code"
    NO_SPONSOR = "no_sponsor"
    NO_ACTION = "no_action"
    GONE = "gone"
    REFUSED = "refused"


class MarkedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that may be a conversion; see :class:`analytics_core.db.events.StoredEvent`.

    Attributes:
        mark_no: Of the mark that it left.
        marked_at: When it landed.
    """

    mark_no: int
    tenant_no: int
    event_id: UUID
    type: str
    occurred_at: dt.datetime
    received_at: dt.datetime
    marked_at: dt.datetime
    click_id: UUID | None = None
    promo_code: str | None = None
    link: str | None = None
    customer_key: UUID | None = None
    external_id: str | None = None
    value_amount: int | None = None
    currency: str | None = None
    new_customer: bool | None = None
    page_host: str | None = None
    referrer_host: str | None = None
    properties: Mapping[str, Any] | None = None
    is_bot: bool = False

    @property
    def name(self) -> str:
        """By what its conversion is told from others."""
        return self.external_id or str(self.event_id)


class CodeOwner(NamedTuple):
    """Whose a promo code is, and when; ``valid_until`` is ``None`` for one without an end."""

    sponsor_id: UUID
    valid_from: dt.datetime
    valid_until: dt.datetime | None
    grace_days: int


class Known(NamedTuple):
    """What is known of all that a tenant's events name.

    Attributes:
        sponsors: By the id of a sponsor that is named, its own, or that of the one which it was merged into.
        names: The same by :func:`analytics_core.sponsors.name_key`.
        domains: Sponsors that are not archived by their domains, without ``www.``.
        clicks: Sponsors by the clicks on their links.
        links: Sponsors by the slugs of their links.
        codes: Owners of codes, as :func:`analytics_core.promo_codes.fold_code` writes these.
        actions: Actions that are not archived, by sponsor and type of event.
    """

    sponsors: Mapping[UUID, UUID]
    names: Mapping[UUID, UUID]
    domains: Mapping[str, Collection[UUID]]
    clicks: Mapping[UUID, UUID]
    links: Mapping[str, UUID]
    codes: Mapping[str, Sequence[CodeOwner]]
    actions: Mapping[tuple[UUID, str], UUID]


class Decision(NamedTuple):
    """What an event is, before it is known whether it was there already; no action unless it is a conversion."""

    outcome: Outcome
    sponsor_id: UUID | None = None
    action_id: UUID | None = None


class Told(Protocol):
    """An event, as it lands or as it is read again."""

    @property
    def type(self) -> str:
        """Its type."""

    @property
    def customer_key(self) -> UUID | None:
        """Whom it is about."""

    @property
    def click_id(self) -> UUID | None:
        """The click that it came of."""

    @property
    def link(self) -> str | None:
        """The slug of the link that it came of."""

    @property
    def promo_code(self) -> str | None:
        """As it was entered."""


def has_signal(event: Told) -> bool:
    """Tell whether an event says of somebody what may have led them in."""
    is_led = event.click_id is not None or event.link is not None or event.promo_code is not None
    return is_led and event.customer_key is not None


def is_marked(event: Told) -> bool:
    """Tell whether an event is looked at again: of pages only those that somebody known was led to."""
    return event.type != _PAGE_VIEW or has_signal(event)


def _property(event: MarkedEvent, name: str, longest: int) -> str | None:
    """Read a property that is a text of a bounded length; whatever else it is says nothing."""
    value = (event.properties or {}).get(name)
    text = value.strip() if isinstance(value, str) else ""
    return text if 0 < len(text) <= longest else None


def sponsor_named(event: MarkedEvent) -> UUID | str | None:
    """Read which sponsor an event names by its property ``sponsor``: an id, or a name."""
    text = _property(event, "sponsor", 200)
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        return text


def possible_domains(host: str) -> list[str]:
    """List the domains that a page may belong to, the nearest first.

    >>> possible_domains("a.shop.example")
    ['a.shop.example', 'shop.example']
    """
    labels = host.split(".")
    return [".".join(labels[at:]) for at in range(len(labels) - 1)]


def _owner_of_code(owners: Sequence[CodeOwner], at: dt.datetime) -> UUID | None:
    """Say whose a code is at a time: of who has it then, else of who had it not long ago; of one, or it is nobody's."""
    found: dict[Validity, set[UUID]] = {validity: set() for validity in Validity}
    for one in owners:
        validity = validity_at(at, valid_from=one.valid_from, valid_until=one.valid_until, grace_days=one.grace_days)
        found[validity].add(one.sponsor_id)
    valid = found[Validity.VALID] or found[Validity.LATE]
    return next(iter(valid)) if len(valid) == 1 else None


def _find_sponsor(event: MarkedEvent, known: Known) -> UUID | None:
    """Say whose an event is: of whom it names, else of what led to it, else of whose page it was on."""
    named = sponsor_named(event)
    if isinstance(named, UUID):
        return known.sponsors.get(named)
    if named is not None:
        return known.names.get(name_key(named))
    found = None
    if event.click_id is not None:
        found = known.clicks.get(event.click_id)
    if found is None and event.link is not None:
        found = known.links.get(event.link)
    if found is None and event.promo_code is not None:
        found = _owner_of_code(known.codes.get(fold_code(event.promo_code), ()), event.occurred_at)
    if found is None and event.page_host is not None:
        for domain in possible_domains(event.page_host):
            owners = known.domains.get(domain, ())
            if owners:
                return next(iter(owners)) if len(owners) == 1 else None
    return found


def _what_is_unknown(event: MarkedEvent) -> Outcome:
    """Say of an event that is nobody's what it names: the surest sign of whose it is, that is of no sponsor."""
    named = (
        (sponsor_named(event), Outcome.UNKNOWN_SPONSOR),
        (event.click_id, Outcome.UNKNOWN_CLICK),
        (event.link, Outcome.UNKNOWN_LINK),
        (event.promo_code, Outcome.UNKNOWN_CODE),
    )
    return next((outcome for sign, outcome in named if sign is not None), Outcome.NO_SPONSOR)


def decide(event: MarkedEvent, known: Known) -> Decision:
    """Decide what an event is.

    Args:
        event: As it landed.
        known: Of its tenant.

    Returns:
        A refund that names its purchase is ``waiting`` until it is known whether that is there.

    Source:
        ``docs/conversions.md``, "As events".
    """
    if event.is_bot:
        return Decision(Outcome.BOT)
    sponsor_id = _find_sponsor(event, known)
    if event.type == REFUND:
        return Decision(Outcome.NO_PURCHASE if event.external_id is None else Outcome.WAITING, sponsor_id)
    action_id = None if sponsor_id is None else known.actions.get((sponsor_id, event.type))
    if action_id is not None:
        return Decision(Outcome.CONVERSION, sponsor_id, action_id)
    if has_signal(event) and event.type in _BEFORE:
        return Decision(Outcome.SIGNAL, sponsor_id)
    return Decision(_what_is_unknown(event) if sponsor_id is None else Outcome.NO_ACTION, sponsor_id)


def given_of(event: MarkedEvent, action_id: UUID) -> GivenConversion:
    """Say an event as a conversion; its customer has a key already, and no name."""
    return GivenConversion(
        action_id=action_id,
        external_id=event.name,
        occurred_at=event.occurred_at,
        value_amount=event.value_amount,
        currency=event.currency,
        click_id=event.click_id,
        link=event.link,
        promo_code=event.promo_code,
        survey_answer=_property(event, "survey_answer", MAX_ANSWER),
        new_customer=event.new_customer,
        referrer_host=event.referrer_host,
    )


def next_look(event: MarkedEvent, now: dt.datetime) -> dt.datetime | None:
    """Say when a refund that waits for its purchase is looked at again; ``None`` when it has waited long enough.

    The longer it has waited, the less often.
    """
    waited = now - event.marked_at
    if waited >= REFUND_WAITS:
        return None
    return now + min(max(waited / 4, _LEAST_WAIT), _MOST_WAIT)


class Refundable(NamedTuple):
    """A conversion of the name that a refund speaks of, with all that was said of it so far."""

    conversion_id: UUID
    sponsor_id: UUID
    occurred_at: dt.datetime
    value_amount: int | None
    currency: str | None
    adjustments: Sequence[tuple[str | None, bytes, Adjustment]]
    """What senders call them, what they said, and what they are."""


class Refund(NamedTuple):
    """An adjustment that follows from a refund."""

    conversion_id: UUID
    kind: AdjustmentKind
    value_amount: int | None
    external_id: str
    said_hash: bytes
    adjusted_at: dt.datetime


def plan_refund(
    event: MarkedEvent, sponsor_id: UUID | None, found: Sequence[Refundable]
) -> tuple[Outcome, list[Refund]]:
    """Say what a refund does to the conversions that it speaks of.

    It takes its amount from what they are worth by then, so that several refunds of one purchase add up in whatever
    order they come in; what leaves nothing retracts them, and so does a refund without an amount.

    Args:
        event: Of type ``refund``; its external id is the purchase's.
        sponsor_id: Whose it is, where that is known.
        found: All conversions of the tenant under that name.
    """
    name = _property(event, "refund_id", MAX_EXTERNAL_ID) or str(event.event_id)
    said = adjustment_hash(AdjustmentKind.RESTATE, event.value_amount, None)
    meant = [one for one in found if sponsor_id in (None, one.sponsor_id)]
    # What a signup of the same name is worth nobody gives back.
    meant = [one for one in meant if one.value_amount is not None] or meant
    if not meant or len({one.sponsor_id for one in meant}) > 1:
        return Outcome.WAITING, []
    if event.value_amount is not None:
        meant = [one for one in meant if one.currency == event.currency]
        if not meant:
            return Outcome.OTHER_CURRENCY, []
    planned: list[Refund] = []
    outcomes: set[Outcome] = set()
    for one in meant:
        before = [hash_ for external_id, hash_, _ in one.adjustments if external_id == name]
        if before:
            outcomes.add(Outcome.REPEATED if before[0] == said else Outcome.DIFFERS)
            continue
        outcomes.add(Outcome.REFUND)
        adjustments = [adjustment for *_, adjustment in one.adjustments]
        standing = last_word(one.value_amount, adjustments)
        if standing.is_retracted:
            continue
        left = None if event.value_amount is None else (standing.value_amount or 0) - event.value_amount
        is_gone = left is None or left <= 0
        # Behind whatever was said before: it counts from what that left.
        last = max((adjustment.adjusted_at + _TICK for adjustment in adjustments), default=one.occurred_at)
        planned.append(
            Refund(
                conversion_id=one.conversion_id,
                kind=AdjustmentKind.RETRACT if is_gone else AdjustmentKind.RESTATE,
                value_amount=None if is_gone else left,
                external_id=name,
                said_hash=said,
                adjusted_at=max(event.occurred_at, one.occurred_at, last),
            )
        )
    for outcome in (Outcome.REFUND, Outcome.DIFFERS):
        if outcome in outcomes:
            return outcome, planned
    return Outcome.REPEATED, planned
