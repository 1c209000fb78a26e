"""Histories: what a customer did and said, and what that makes of each of its conversions."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from analytics_core.attribution.counting import Adjustment, Occurrence, Standing, count_one, last_word
from analytics_core.attribution.deterministic import surest
from analytics_core.attribution.leaks import Exposures, Leak, Limits, find_leak
from analytics_core.attribution.signals import Devices, KnownClick, Missing, Named, Said, name_flights
from analytics_core.attribution.touches import Candidate, Setback, Touch, consider

__all__ = ("MAX_OF_CUSTOMER", "Customer", "HeldConversion", "JudgedConversion", "Reason", "Status", "Terms", "judge")

MAX_OF_CUSTOMER: Final = 1_000
"""Conversions, or signals, under one customer's key. A key with more is many people's, such as all guests of a shop."""


class Status(enum.StrEnum):
    """What becomes of a conversion."""

    ATTRIBUTED = "attributed"
    UNATTRIBUTED = "unattributed"
    NOT_COUNTED = "not_counted"
    EXCLUDED = "excluded"
    RETRACTED = "retracted"


class Reason(enum.StrEnum):
    """Why a conversion is not attributed, where that is not its surest signal's own reason (:class:`Missing`)."""

    NO_SIGNAL = "no_signal"
    """Neither it nor anything that its customer did before names a flight."""
    OUTSIDE_WINDOW = "outside_window"
    """What names a flight came longer before it than the flight's window."""
    PRIOR_CUSTOMER = "prior_customer"
    """All campaigns that it could be credited to exclude those who were customers before."""
    COUNTED_BEFORE = "counted_before"
    """Its action counts once a customer, and did."""
    RETRACTED = "retracted"
    """It was none after all."""


class HeldConversion(NamedTuple):
    """A conversion as it is kept.

    Attributes:
        is_counted_once: Whether its action counts once a customer and window, rather than each time.
        value_amount: As it was told first.
        said: What it said that may name a flight.
        adjustments: What was said of it later.
    """

    conversion_id: UUID
    action_id: UUID
    is_counted_once: bool
    occurred_at: dt.datetime
    value_amount: int | None
    currency: str | None
    new_customer: bool | None
    referrer_host: str | None
    said: Said
    adjustments: Sequence[Adjustment] = ()


class Customer(NamedTuple):
    """A customer: all its conversions of one sponsor, and what it did besides.

    Attributes:
        key: ``None`` where it is not known; then there is one conversion, and nothing besides.
        is_part: Whether these are not all of its conversions, because there are too many.
        most: More conversions or signals are many people's.
    """

    key: UUID | None
    conversions: Sequence[HeldConversion]
    signals: Sequence[Said] = ()
    is_part: bool = False
    most: int = MAX_OF_CUSTOMER

    @property
    def is_shared(self) -> bool:
        """Whether many people have this key: each of its conversions stands for itself."""
        return self.is_part or max(len(self.conversions), len(self.signals)) > self.most


class Terms(NamedTuple):
    """By what conversions are judged.

    Attributes:
        clicks: Those that the customers' signals name, by id.
        counting_window: Of an action that counts once a customer, how long a conversion keeps others from counting.
    """

    devices: Devices
    clicks: Mapping[UUID, KnownClick]
    exposures: Exposures
    limits: Limits
    counting_window: dt.timedelta


class JudgedConversion(NamedTuple):
    """What becomes of a conversion.

    Attributes:
        standing: Whether it was one after all, and what it is worth now.
        reason: Why it is not attributed; ``None`` where it is.
        own: The signals that it brought itself, surest first.
        candidates: All touches that were looked at, in order of time.
        touches: Those of them that it is credited to, in order of time.
        surest: Of these the one that the conversion itself brought, by its surest signal; ``None`` where there is none.
        is_late_code: Whether its code was over, and within its grace.
        leak: What says that its code leaked.
    """

    conversion: HeldConversion
    standing: Standing
    status: Status
    reason: Reason | Missing | None
    own: Sequence[Named]
    candidates: Sequence[Candidate]
    touches: Sequence[Touch]
    surest: Touch | None
    is_late_code: bool
    leak: Leak | None


def judge(customer: Customer, terms: Terms, *, starts_at: dt.datetime, ends_at: dt.datetime) -> list[JudgedConversion]:
    """Say what becomes of each of a customer's conversions in a range.

    Args:
        customer: With all its earlier conversions, as they may decide.
        terms: By what it is judged.
        starts_at: Conversions from this instant,
        ends_at: to before this one.

    Returns:
        In order of time, and of ids where that is the same.

    Source:
        ``docs/methodology/attribution.md``.
    """
    if customer.is_shared:
        singles = [Customer(None, [conversion]) for conversion in customer.conversions]
        return [found for one in singles for found in judge(one, terms, starts_at=starts_at, ends_at=ends_at)]
    conversions = sorted(customer.conversions, key=lambda one: (one.occurred_at, one.conversion_id))
    standings = {one.conversion_id: _standing(one) for one in conversions}
    live = [one for one in conversions if not standings[one.conversion_id].is_retracted]
    counted = _counted(customer.key, live, terms.counting_window)
    first_us = live[0].said.at_us if live else None
    before = _touches_of(customer.signals, terms)
    judged = []
    for conversion in conversions:
        own = name_flights(conversion.said, terms.devices, terms.clicks, is_own=True)
        if starts_at <= conversion.occurred_at < ends_at:
            standing = standings[conversion.conversion_id]
            candidates = consider(conversion.said.at_us, [*before, *_named(own)])
            is_counted = conversion.conversion_id in counted
            judged.append(_judge_one(conversion, standing, own, candidates, terms, first_us, is_counted=is_counted))
        # What came with it is what its customer did before the next one, whatever became of it.
        before += [touch._replace(is_own=False) for touch in _named(own)]
    return judged


def _judge_one(
    conversion: HeldConversion,
    standing: Standing,
    own: Sequence[Named],
    candidates: Sequence[Candidate],
    terms: Terms,
    first_us: int | None,
    *,
    is_counted: bool,
) -> JudgedConversion:
    touches = [touch for touch, setback in candidates if setback is None]
    status: Status = Status.ATTRIBUTED
    reason: Reason | Missing | None = None
    if standing.is_retracted:
        status, reason, touches = Status.RETRACTED, Reason.RETRACTED, []
    elif not is_counted:
        status, reason, touches = Status.NOT_COUNTED, Reason.COUNTED_BEFORE, []
    elif not touches:
        status, reason = Status.UNATTRIBUTED, _why_none(own, candidates)
    elif conversion.new_customer is False or (first_us is not None and first_us < touches[0].at_us):
        touches = [touch for touch in touches if not terms.devices.flights[touch.flight_id].excludes_prior]
        if not touches:
            status, reason = Status.EXCLUDED, Reason.PRIOR_CUSTOMER
    # Of what does not count nobody asks how its code came.
    code = None if standing.is_retracted or not is_counted else _redeemed(own)
    leak = None
    if code is not None and code.touch is not None and code.promo_code_id is not None:
        leak = find_leak(
            conversion.referrer_host,
            is_exposed=terms.exposures.is_exposed(code.touch),
            is_over_limit=terms.limits.is_over(code.promo_code_id, conversion.occurred_at, conversion.conversion_id),
        )
    return JudgedConversion(
        conversion,
        standing,
        status,
        reason,
        own,
        candidates,
        touches,
        surest(conversion.said.at_us, touches),
        code is not None and code.is_late,
        leak,
    )


def _standing(conversion: HeldConversion) -> Standing:
    found = last_word(conversion.value_amount, conversion.adjustments)
    # What has no currency is worth nothing that could be added up, whatever was said of it later.
    return found if conversion.currency is not None else found._replace(value_amount=None)


def _redeemed(own: Sequence[Named]) -> Named | None:
    return next((named for named in own if named.promo_code_id is not None), None)


def _counted(key: UUID | None, live: Sequence[HeldConversion], window: dt.timedelta) -> set[UUID]:
    once = [
        Occurrence(one.occurred_at, one.conversion_id, None if key is None else (key, one.action_id))
        for one in live
        if one.is_counted_once
    ]
    return count_one(once, window) | {one.conversion_id for one in live if not one.is_counted_once}


def _named(named: Sequence[Named]) -> list[Touch]:
    return [one.touch for one in named if one.touch is not None]


def _touches_of(signals: Sequence[Said], terms: Terms) -> list[Touch]:
    return [touch for said in signals for touch in _named(name_flights(said, terms.devices, terms.clicks))]


def _why_none(own: Sequence[Named], candidates: Sequence[Candidate]) -> Reason | Missing:
    """Say why nothing competes: what the conversion's own surest signal lacks, else what is wrong with others."""
    if own:
        return own[0].missing or Reason.OUTSIDE_WINDOW
    if any(setback is Setback.OUTSIDE_WINDOW for _, setback in candidates):
        return Reason.OUTSIDE_WINDOW
    return Reason.NO_SIGNAL
