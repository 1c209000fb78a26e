"""Conversions: what may be said of one, and when two sayings are the same.

``docs/conversions.md`` is the contract. Nothing here raises for anything that a sender may write: what is said becomes
a conversion, or a list of what is wrong with it.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.event_rules import (
    FIELD_CHECKS,
    FIELD_RULES,
    MAX_AGE,
    MAX_AHEAD,
    EventFault,
    microseconds,
    read_click_id,
)
from analytics_core.money import MAX_AMOUNT
from analytics_core.referrers import referrer_host
from analytics_core.sponsors import name_key

__all__ = (
    "FIELDS",
    "FORGOTTEN",
    "MAX_ANSWER",
    "MAX_CONVERSIONS",
    "MAX_EXTERNAL_ID",
    "RESERVED_TYPES",
    "ActionCategory",
    "AdjustmentKind",
    "ConversionFields",
    "ConversionSource",
    "Counting",
    "GivenConversion",
    "adjustment_hash",
    "answer_key",
    "external_id_of",
    "judge_conversion",
    "said_hash",
)

MAX_ANSWER: Final = 200
"""Characters of an answer to a survey."""
MAX_CONVERSIONS: Final = 500
"""Conversions a request."""

RESERVED_TYPES: Final = frozenset({"page_view", "refund"})
"""Types of events that are never conversions: pages are too many, and refunds speak of another conversion."""

MAX_EXTERNAL_ID: Final = 128
"""Characters of a sender's own name for something."""

_HASH_BYTES: Final = 32
FORGOTTEN: Final = bytes(_HASH_BYTES)
"""In place of :func:`said_hash` of a conversion whose customer was erased: what it said first is not known any more."""

_Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_EXTERNAL_ID)]
_Instant: TypeAlias = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class ActionCategory(enum.StrEnum):
    """What kind of thing a sponsor wants to happen."""

    LEAD = "lead"
    SIGNUP = "signup"
    TRIAL = "trial"
    PURCHASE = "purchase"
    INSTALL = "install"
    CUSTOM = "custom"


class Counting(enum.StrEnum):
    """How often an action counts: each time, or once a customer and window."""

    EVERY = "every"
    ONE = "one"


class ConversionSource(enum.StrEnum):
    """How a conversion came in."""

    API = "api"
    EVENT = "event"
    CSV = "csv"


class AdjustmentKind(enum.StrEnum):
    """What is said of a conversion later: that it was none after all, or what it was worth."""

    RETRACT = "retract"
    RESTATE = "restate"


class ConversionFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A conversion as it is written; what is null is as if it were not there.

    `action_id` is what happened, `external_id` your own name for it, such as an order's number: sent again, it is the
    same conversion. `value_amount` is in minor units of `currency`, without which the action's default counts. What it
    came of is told by `click_id`, `link` (its slug), `promo_code` or `survey_answer`, as far as you know. `customer_id`
    is kept as a keyed hash.
    """

    action_id: UUID
    external_id: _Id
    occurred_at: _Instant | None = None
    value_amount: Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)] | None = None
    currency: Annotated[str, msgspec.Meta(min_length=3, max_length=3)] | None = None
    click_id: Annotated[str, msgspec.Meta(max_length=36)] | None = None
    link: str | None = None
    promo_code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    survey_answer: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ANSWER)] | None = None
    customer_id: _Id | None = None
    new_customer: bool | None = None
    referrer: Annotated[str, msgspec.Meta(max_length=2048)] | None = None


_TYPES: Final[Mapping[str, Any]] = {field.name: field.type for field in msgspec.structs.fields(ConversionFields)}
_REQUIRED: Final = frozenset({"action_id", "external_id"})
FIELDS: Final = tuple(_TYPES)
"""What may be said of a conversion."""

_RULES: Final[Mapping[str, str]] = {
    **FIELD_RULES,
    "action_id": "has to be the id of a conversion action",
    "survey_answer": f"has to have 1 to {MAX_ANSWER} characters, no control characters among them",
}
_CHECKS: Final = {**FIELD_CHECKS, "survey_answer": FIELD_CHECKS["promo_code"]}


class GivenConversion(msgspec.Struct, frozen=True, kw_only=True):
    """A conversion that somebody tells of, whatever the way.

    Attributes:
        action_id: What happened.
        external_id: The sender's own name for it, such as an order's number.
        occurred_at: ``None`` where nobody says; it is when it came in then.
        value_amount: Minor units of ``currency``; ``None`` where nobody says, as with ``currency``.
        click_id: The click that it came of.
        link: The slug of the link that it came of, in lower case.
        promo_code: As it was entered.
        survey_answer: To the question where the customer heard of the sponsor.
        customer_id: The sender's own name for the customer; never stored as it is.
        new_customer: Whether it was the customer's first, where the sender knows.
        referrer_host: The web site that led to the order.
    """

    action_id: UUID
    external_id: str
    occurred_at: dt.datetime | None = None
    value_amount: int | None = None
    currency: str | None = None
    click_id: UUID | None = None
    link: str | None = None
    promo_code: str | None = None
    survey_answer: str | None = None
    customer_id: str | None = None
    new_customer: bool | None = None
    referrer_host: str | None = None


def external_id_of(fields: object) -> str | None:
    """Read the name of a conversion, whatever else is wrong with it; ``None`` when it has none."""
    try:
        return msgspec.convert(fields["external_id"], _Id) if isinstance(fields, dict) else None
    except (KeyError, msgspec.ValidationError):
        return None


def judge_conversion(
    fields: object, *, now: dt.datetime, pointer: str = "", max_age: dt.timedelta = MAX_AGE
) -> GivenConversion | list[EventFault]:
    """Make a conversion of what is said, or tell all that is wrong with it.

    Args:
        fields: As JSON decodes it.
        now: When it came in.
        pointer: Where it stands.
        max_age: How long ago it may have happened.

    >>> now = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)
    >>> said = {"action_id": str(UUID(int=1)), "external_id": "order-77", "value_amount": 4999, "currency": "EUR"}
    >>> judge_conversion(said, now=now).value_amount
    4999
    >>> [fault.pointer for fault in judge_conversion({**said, "value_amount": -1, "colour": "red"}, now=now)]
    ['/colour', '/value_amount']
    """
    if not isinstance(fields, dict):
        return [EventFault(pointer, "invalid", "has to be an object")]
    try:
        given = msgspec.convert(fields, ConversionFields)
    except msgspec.ValidationError:
        return _find_faults(fields, pointer)
    late = (given.occurred_at or now) - now
    is_paired = (given.value_amount is None) is (given.currency is None)
    if not (is_paired and -max_age <= late <= MAX_AHEAD) or any(
        value is not None and not _is_good(name, value) for name, value in fields.items()
    ):
        return _find_faults(fields, pointer, late, max_age)
    return GivenConversion(
        action_id=given.action_id,
        external_id=given.external_id,
        occurred_at=None if given.occurred_at is None else given.occurred_at.astimezone(dt.UTC),
        value_amount=given.value_amount,
        currency=given.currency,
        click_id=None if given.click_id is None else read_click_id(given.click_id),
        link=None if given.link is None else given.link.lower(),
        promo_code=given.promo_code,
        survey_answer=given.survey_answer,
        customer_id=given.customer_id,
        new_customer=given.new_customer,
        referrer_host=referrer_host(given.referrer or "") or None,
    )


def _is_good(name: str, value: Any) -> bool:
    if name == "click_id":
        return read_click_id(value) is not None
    return name not in _CHECKS or _CHECKS[name](value)


def _find_faults(
    fields: Mapping[str, Any], pointer: str, late: dt.timedelta = dt.timedelta(0), max_age: dt.timedelta = MAX_AGE
) -> list[EventFault]:
    """List all that is wrong with a conversion, each field by itself.

    Args:
        late: By how much it lies ahead of when it came in, where its time could be read.
    """
    faults: list[EventFault] = []

    def blame(field: str, code: str, message: str) -> None:
        faults.append(EventFault(f"{pointer}/{field}", code, message))

    for name in fields:
        if name not in _TYPES:
            blame(str(name)[:40], "unknown_field", f"there is no such field; allowed: {', '.join(FIELDS)}")
    for name, kind in _TYPES.items():
        if name not in fields:
            if name in _REQUIRED:
                blame(name, "missing", "is required")
            continue
        try:
            value = msgspec.convert(fields[name], kind)
        except msgspec.ValidationError as error:
            is_naive = name == "occurred_at" and "timezone" in str(error)
            blame(name, "naive_time" if is_naive else "invalid", _RULES[name])
        else:
            if value is not None and not _is_good(name, value):
                blame(name, "invalid", _RULES[name])
    if (fields.get("value_amount") is None) is not (fields.get("currency") is None):
        missing = "currency" if fields.get("currency") is None else "value_amount"
        blame(missing, "missing", "value_amount and currency are given together, or neither is")
    if late > MAX_AHEAD:
        blame("occurred_at", "too_new", f"lies more than {MAX_AHEAD // dt.timedelta(hours=1)} hours ahead")
    elif late < -max_age:
        blame("occurred_at", "too_old", f"lies more than {max_age.days} days back")
    return faults


def _hash(parts: Iterable[object]) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(list(parts)), digest_size=_HASH_BYTES).digest()


def said_hash(given: GivenConversion, customer_key: UUID | None) -> bytes:
    """Hash all that was said of a conversion first: the same again is a repetition, anything else is a contradiction.

    Whoever it was said by, and to which way in, makes no difference; nor does the offset in which a time was written.

    Args:
        given: What was said.
        customer_key: Of the customer that was named; the name itself is not kept, not even hashed.
    """
    return _hash(
        (
            given.external_id,
            None if given.occurred_at is None else microseconds(given.occurred_at),
            given.value_amount,
            given.currency,
            given.click_id,
            given.link,
            given.promo_code,
            given.survey_answer,
            customer_key,
            given.new_customer,
            given.referrer_host,
        )
    )


def adjustment_hash(kind: AdjustmentKind, value_amount: int | None, adjusted_at: dt.datetime | None) -> bytes:
    """Hash what an adjustment says, but for its reason: the same under the same name is a repetition."""
    return _hash((kind, value_amount, None if adjusted_at is None else microseconds(adjusted_at)))


def answer_key(answer: str) -> UUID:
    """Make the key by which answers to a survey are compared: as names of sponsors are.

    >>> answer_key("The DAILY  Show") == answer_key("the daily show")
    True
    """
    return name_key(unicodedata.normalize("NFC", answer))
