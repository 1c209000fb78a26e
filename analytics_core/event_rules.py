"""What an event may say: its fields one by one, and those that only make sense together.

``docs/events.md`` is the contract. Nothing here raises for anything that a sender may write: an event becomes a record,
or a list of what is wrong with it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.errors import InvalidInput
from analytics_core.events import EventRecord, EventSource
from analytics_core.links import parse_click_id
from analytics_core.money import MAX_AMOUNT

__all__ = (
    "FIELDS",
    "FIELD_CHECKS",
    "FIELD_RULES",
    "MAX_AGE",
    "MAX_AHEAD",
    "EventFault",
    "Reception",
    "event_id_of",
    "judge_event",
    "microseconds",
    "read_click_id",
)

MAX_AGE: Final = dt.timedelta(days=90)
"""Older events are refused: for as long as they are accepted, their ids are remembered."""

MAX_AHEAD: Final = dt.timedelta(hours=24)
"""Events that are said to happen later than this are refused."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_MAX_AGE_US: Final = MAX_AGE // _MICROSECOND
_MAX_AHEAD_US: Final = MAX_AHEAD // _MICROSECOND
_HEX_LENGTHS: Final = (32, 36)

_KNOWN_TYPES: Final = frozenset({"page_view", "click", "promo_redeemed", "signup", "purchase"})
_TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LINK: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# A host, perhaps a user in front and a port behind it, and no blank or control character anywhere.
_URL: Final = re.compile(
    r"(?i:https?)://(?:[^\s/?#\\@\x00-\x1f\x7f-\x9f]*@)?"
    r"(?:[^\s/?#\\@:\[\]\x00-\x1f\x7f-\x9f]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
    r"(?:[/?#][^\s\x00-\x1f\x7f-\x9f]*)?"
)

# Patterns are not among these constraints: as such they take ten times as long as all else that is judged of an event.
_Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Url: TypeAlias = Annotated[str, msgspec.Meta(max_length=2048)]
# What lies beyond has no room in MessagePack, and no other reader of JSON would keep it exactly.
_Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=512)]
_Value: TypeAlias = _Text | _Whole | float | bool | None
_Properties: TypeAlias = Annotated[dict[str, _Value], msgspec.Meta(max_length=32)]


class _Event(msgspec.Struct, kw_only=True, gc=False):
    """An event as it is written. A field that is null is one that is not there."""

    event_id: UUID
    type: str
    occurred_at: Annotated[dt.datetime, msgspec.Meta(tz=True)] | None = None
    click_id: Annotated[str, msgspec.Meta(max_length=36)] | None = None
    promo_code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    link: str | None = None
    customer_id: _Id | None = None
    external_id: _Id | None = None
    value_amount: Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)] | None = None
    currency: Annotated[str, msgspec.Meta(min_length=3, max_length=3)] | None = None
    new_customer: bool | None = None
    url: _Url | None = None
    referrer: _Url | None = None
    properties: _Properties | None = None


def _is_type(text: str) -> bool:
    return text in _KNOWN_TYPES or _TYPE.fullmatch(text) is not None


def _is_label(text: str) -> bool:
    # The first is quick, and says no to a few more than the second.
    return text.isprintable() or _CONTROL.search(text) is None


def _is_currency(text: str) -> bool:
    return text.isascii() and text.isalpha() and text.isupper()


def _is_link(text: str) -> bool:
    return _LINK.fullmatch(text) is not None


def _is_url(text: str) -> bool:
    return _URL.fullmatch(text) is not None


def _is_property(name: str, value: object) -> bool:
    return _NAME.fullmatch(name) is not None and not (isinstance(value, str) and "\0" in value)


def _are_properties(properties: Mapping[str, object]) -> bool:
    return all(_is_property(name, value) for name, value in properties.items())


FIELD_CHECKS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "type": _is_type,
    "promo_code": _is_label,
    "link": _is_link,
    "customer_id": _is_label,
    "external_id": _is_label,
    "currency": _is_currency,
    "url": _is_url,
    "referrer": _is_url,
    "properties": _are_properties,
}
"""What a field has to meet beyond its type."""

_TYPES: Final[Mapping[str, Any]] = {field.name: field.type for field in msgspec.structs.fields(_Event)}
FIELDS: Final = frozenset(_TYPES)
"""What an event may say; whatever else it says is ignored."""

_REQUIRED: Final = ("event_id", "type")
FIELD_RULES: Final[Mapping[str, str]] = {
    "event_id": "has to be a UUID",
    "type": "has to be a name of 1 to 64 letters a to z, digits and underscores that begins with a letter",
    "occurred_at": "has to be a time with its offset from UTC, such as 2026-11-30T05:59:58Z",
    "click_id": "has to be the id of a click: a UUID, or what a link's target gets as `cl_click`",
    "promo_code": "has to have 1 to 64 characters, no control characters among them",
    "link": "has to be a link's slug: 1 to 64 letters, digits and hyphens, with no hyphen at an end",
    "customer_id": "has to have 1 to 128 characters, no control characters among them",
    "external_id": "has to have 1 to 128 characters, no control characters among them",
    "value_amount": "has to be a whole number of minor units from 0 to 10^12, such as 4999 for 49.99",
    "currency": "has to be a currency of ISO 4217 in three capital letters, such as EUR",
    "new_customer": "has to be true or false",
    "url": "has to be an http or https URL of at most 2048 characters",
    "referrer": "has to be an http or https URL of at most 2048 characters",
    "properties": "has to be an object of at most 32 names",
}
"""What is said of a field that meets neither."""

_NAME_RULE: Final = "has 1 to 64 letters, digits, `_`, `.` and `-`, and begins with a letter or `_`"
_VALUE_RULE: Final = "has to be a text of at most 512 characters without NUL, a finite number, true, false or null"


class EventFault(msgspec.Struct, frozen=True):
    """One thing that is wrong with an event, or with what carries events.

    Attributes:
        pointer: Where, as RFC 6901 has it.
        code: Stable word for programs.
        message: For people.
    """

    pointer: str
    code: str
    message: str


class Reception(NamedTuple):
    """How events came in.

    Attributes:
        tenant_no: Whose they are.
        source: Who sent them.
        received_us: When, in microseconds since 1970-01-01 UTC.
        agent: ``User-Agent`` of a browser.
        correction_us: What is added to the times of a sender whose clock is wrong.
        is_replayed: Whether the time of receipt is the request's own; then no event is too old.
    """

    tenant_no: int
    source: EventSource
    received_us: int
    agent: str = ""
    correction_us: int = 0
    is_replayed: bool = False


def microseconds(at: dt.datetime) -> int:
    """Write an aware time as microseconds since 1970-01-01 UTC.

    >>> microseconds(dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")))
    0
    """
    return (at - _EPOCH) // _MICROSECOND


def event_id_of(fields: object) -> UUID | None:
    """Read an event's id, whatever else is wrong with it; ``None`` when it has none."""
    try:
        return msgspec.convert(fields["event_id"], UUID) if isinstance(fields, dict) else None
    except (KeyError, msgspec.ValidationError):
        return None


def judge_event(
    fields: Mapping[str, Any], reception: Reception, *, pointer: str = ""
) -> EventRecord | list[EventFault]:
    """Make a record of an event, or tell all that is wrong with it.

    Args:
        fields: What it says, as JSON decodes it; unknown fields are ignored.
        reception: How it came in.
        pointer: Where it stands.

    >>> event_id = UUID("018f2f1e-7d3c-7c4e-9b1a-2f3d4c5b6a79")
    >>> reception = Reception(1, EventSource.SERVER, received_us=0)
    >>> judge_event({"event_id": str(event_id), "type": "signup"}, reception).type
    'signup'
    >>> judge_event({"event_id": str(event_id), "type": "Sign up"}, reception, pointer="/events/0")[0].pointer
    '/events/0/type'
    """
    try:
        event = msgspec.convert(fields, _Event)
    except msgspec.ValidationError:
        return _find_faults(fields, pointer)
    for name, value in fields.items():
        is_good = FIELD_CHECKS.get(name)
        if is_good is not None and value is not None and not is_good(value):
            return _find_faults(fields, pointer)
    received_us = reception.received_us
    occurred_us = received_us
    if event.occurred_at is not None:
        occurred_us = (event.occurred_at - _EPOCH) // _MICROSECOND + reception.correction_us
    click_id = None if event.click_id is None else read_click_id(event.click_id)
    is_paired = (event.value_amount is None) is (event.currency is None)
    ahead_us = occurred_us - received_us
    if reception.is_replayed:
        ahead_us = max(ahead_us, 0)
    is_timely = -_MAX_AGE_US <= ahead_us <= _MAX_AHEAD_US
    if not is_paired or not is_timely or (click_id is None and event.click_id is not None):
        return _find_faults(fields, pointer, ahead_us)
    return EventRecord(
        tenant_no=reception.tenant_no,
        event_id=event.event_id,
        type=event.type,
        occurred_us=occurred_us,
        source=reception.source,
        click_id=click_id,
        promo_code=event.promo_code,
        link=None if event.link is None else event.link.lower(),
        customer_id=event.customer_id,
        external_id=event.external_id,
        value_amount=event.value_amount,
        currency=event.currency,
        new_customer=event.new_customer,
        url=event.url,
        referrer=event.referrer,
        properties=event.properties or {},
        agent=reception.agent,
    )


def read_click_id(text: str) -> UUID | None:
    """Read the id of a click, as a UUID or as a link's target gets it; ``None`` when it is neither."""
    try:
        return UUID(text) if len(text) in _HEX_LENGTHS else parse_click_id(text)
    except (ValueError, InvalidInput):
        return None


def _find_faults(fields: Mapping[str, Any], pointer: str, late_us: int = 0) -> list[EventFault]:
    """List all that is wrong with an event, each field by itself.

    Args:
        late_us: By how much its time lies ahead of when it was received, where it could be read.
    """
    faults: list[EventFault] = []

    def blame(field: str, code: str, message: str) -> None:
        faults.append(EventFault(f"{pointer}/{field}", code, message))

    for name, kind in _TYPES.items():
        if name not in fields:
            if name in _REQUIRED:
                blame(name, "missing", "is required")
        elif name == "properties" and isinstance(fields[name], dict):
            faults += _find_property_faults(fields[name], f"{pointer}/properties")
        else:
            try:
                value = msgspec.convert(fields[name], kind)
            except msgspec.ValidationError as error:
                is_naive = name == "occurred_at" and "timezone" in str(error)
                blame(name, "naive_time" if is_naive else "invalid", FIELD_RULES[name])
            else:
                if name in FIELD_CHECKS and value is not None and not FIELD_CHECKS[name](value):
                    blame(name, "invalid", FIELD_RULES[name])
    click_id = fields.get("click_id")
    if isinstance(click_id, str) and len(click_id) <= 36 and read_click_id(click_id) is None:
        blame("click_id", "invalid", FIELD_RULES["click_id"])
    if (fields.get("value_amount") is None) is not (fields.get("currency") is None):
        missing = "currency" if fields.get("currency") is None else "value_amount"
        blame(missing, "missing", "value_amount and currency are given together, or neither is")
    if late_us > _MAX_AHEAD_US:
        blame("occurred_at", "too_new", f"lies more than {MAX_AHEAD.total_seconds() / 3600:.0f} hours ahead")
    elif late_us < -_MAX_AGE_US:
        blame("occurred_at", "too_old", f"lies more than {MAX_AGE.days} days back")
    return faults


def _find_property_faults(properties: Mapping[str, Any], pointer: str) -> list[EventFault]:
    if len(properties) > 32:
        return [EventFault(pointer, "too_many", FIELD_RULES["properties"])]
    faults = []
    for name, value in properties.items():
        # Of a name that is no name only the beginning is told.
        place = f"{pointer}/{name[:64].replace('~', '~0').replace('/', '~1')}"
        if not _is_property(name, None):
            faults.append(EventFault(place, "invalid", f"its name {_NAME_RULE}"))
            continue
        try:
            is_good = _is_property(name, msgspec.convert(value, _Value))
        except msgspec.ValidationError:
            is_good = False
        if not is_good:
            faults.append(EventFault(place, "invalid", _VALUE_RULE))
    return faults
