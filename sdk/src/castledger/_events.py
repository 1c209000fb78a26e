"""An attribution event: what it may hold, checked and written down on the thread that tracks it.

Written down at once, so that whatever happens to the caller's objects later changes nothing, and so that what cannot be
sent is known where it was made. No I/O, and no clock beside the one that stamps an event.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import re
import secrets
import struct
import time
from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from castledger._errors import EventRefused

__all__ = (
    "MAX_EVENT_BYTES",
    "MAX_PROMO_CHARS",
    "SLUG",
    "TYPES",
    "Event",
    "EventIds",
    "PropertyValue",
    "encode_event",
)

PropertyValue: TypeAlias = str | int | float | bool | None
"""What a property of an event may be."""

TYPES: Final = frozenset(("page_view", "click", "promo_redeemed", "signup", "purchase"))
"""Types that the ledger knows; a custom name is taken too."""

MAX_EVENT_BYTES: Final = 32 * 1024
"""Of one event, written down; the collector refuses more."""

_CUSTOM_TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
# As a link's target is told it (22 characters of base64, the last of which holds two bits), or in hexadecimal.
_CLICK_ID: Final = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]|[0-9A-Fa-f]{8}(-?)(?:[0-9A-Fa-f]{4}\1){3}[0-9A-Fa-f]{12}")
SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# A host, perhaps a user before and a port behind it, and no blank or control character anywhere.
_URL: Final = re.compile(
    r"(?i:https?)://(?:[^\s/?#\\@\x00-\x1f]*@)?(?:[^\s/?#\\@:\[\]\x00-\x20\x7f]+|\[[0-9A-Fa-f:.]+\])"
    r"(?::[0-9]{0,5})?(?:[/?#][^\s\x00-\x20\x7f]*)?"
)
_PROPERTY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
MAX_PROMO_CHARS: Final = 64
_MAX_ID_CHARS: Final = 128
_MAX_URL_CHARS: Final = 2048
_MAX_AMOUNT: Final = 10**12
_MAX_PROPERTIES: Final = 32
_MAX_KNOWN_NAMES: Final = 1000
_MAX_PROPERTY_CHARS: Final = 512
# What JSON numbers keep on every side, and what a column of the database holds.
_MIN_INTEGER: Final = -(2**63)
_MAX_INTEGER: Final = 2**63 - 1
_LONGEST_AGO: Final = dt.timedelta(days=90)
_FURTHEST_AHEAD: Final = dt.timedelta(days=1)

# An id behind MessagePack's mark of 16 bytes: a decoder in C then reads it, in a fifth of the time that the class takes
# to be made by itself. Time, version and drawn bits; variant and number.
_pack_id: Final = struct.Struct(">HQQ").pack
_unpack: Final = msgspec.msgpack.Decoder(UUID).decode
# A program's names and currencies are the same every time.
_known_names: Final[set[str]] = set()
_known_currencies: Final[set[str]] = set()
_encode: Final = msgspec.json.Encoder().encode


class Event(msgspec.Struct, omit_defaults=True, gc=False):
    """One event as it goes over the wire; not checked before :func:`encode_event`."""

    event_id: Any
    type: Any
    occurred_at: Any
    click_id: Any = None
    promo_code: Any = None
    link: Any = None
    customer_id: Any = None
    external_id: Any = None
    value_amount: Any = None
    currency: Any = None
    new_customer: Any = None
    url: Any = None
    referrer: Any = None
    properties: Any = None


class EventIds:
    """Makes UUIDs of version 7: the time, and a number that begins somewhere and goes up.

    A fifth of what :func:`uuid.uuid4` takes, which asks the system for each. Ids need to be distinct, not secret: where
    each process begins is drawn by the system from 2^73 places. A forked process needs an object of its own.
    """

    def __init__(self) -> None:
        self._prefix = 7 << 12 | secrets.randbits(12)
        # Half of the 62 bits, so that it never runs into the next field.
        self._next = itertools.count(2 << 62 | secrets.randbits(61)).__next__

    def new(self) -> UUID:
        """Make an id; from any thread."""
        return _unpack(_pack_id(0xC410, time.time_ns() // 1_000_000 << 16 | self._prefix, self._next()))


def _refuse(field: str, code: str, message: str) -> EventRefused:
    return EventRefused(field, code, f"{field}: {message}")


def _wrong_type(field: str, expected: str, value: object) -> EventRefused:
    return _refuse(field, "type", f"is {expected}, not {type(value).__name__}")


def _event_id(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise _refuse("event_id", "invalid", "is a UUID; leave it out to have one made") from None


def _occurred_at(value: object, now: dt.datetime) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        raise _wrong_type("occurred_at", "an aware datetime", value)
    if value.utcoffset() is None:
        raise _refuse("occurred_at", "naive", "has no time zone; write datetime.now(timezone.utc)")
    if value - now > _FURTHEST_AHEAD:
        raise _refuse("occurred_at", "in_future", "is more than 24 hours ahead")
    if now - value > _LONGEST_AGO:
        raise _refuse("occurred_at", "too_old", "is more than 90 days ago")
    try:
        return value.astimezone(dt.UTC)
    except OverflowError:
        raise _refuse("occurred_at", "invalid", "is out of the calendar in UTC") from None


def _exact_text(field: str, value: object) -> str:
    """Take a text, also of a subclass such as an enumeration's, without running that class's own code."""
    if not isinstance(value, str):
        raise _wrong_type(field, "text", value)
    return str.__str__(value)


def _bounded_text(field: str, value: object, most: int) -> str:
    text = value if type(value) is str else _exact_text(field, value)
    if not text:
        raise _refuse(field, "empty", "is empty; leave it out instead")
    if len(text) > most:
        raise _refuse(field, "too_long", f"is longer than {most} characters")
    return text


def _label(field: str, value: object, most: int) -> str:
    text = _bounded_text(field, value, most)
    # The quick question first: what is printable has no control characters.
    if not text.isprintable() and _CONTROL.search(text):
        raise _refuse(field, "invalid", "holds a control character")
    return text


def _click_id(value: object) -> str:
    if isinstance(value, UUID):
        return value.hex
    text = value if type(value) is str else _exact_text("click_id", value)
    if _CLICK_ID.fullmatch(text) is None:
        raise _refuse("click_id", "invalid", "is no click id; pass what the parameter cl_click says, unchanged")
    return text


def _web_address(field: str, value: object) -> str:
    text = _bounded_text(field, value, _MAX_URL_CHARS)
    if _URL.fullmatch(text) is None:
        raise _refuse(field, "invalid", "is no web address: https:// or http://, a host, and no spaces")
    return text


def _custom_type(value: object) -> str:
    text = _exact_text("type", value)
    if text not in TYPES and _CUSTOM_TYPE.fullmatch(text) is None:
        raise _refuse("type", "invalid", "a custom name has 1 to 64 of a to z, 0 to 9 and _, a letter first")
    return text


def _link(value: object) -> str:
    slug = _exact_text("link", value).lower()
    if SLUG.fullmatch(slug) is None:
        raise _refuse("link", "invalid", "is the slug of a link")
    return slug


def _check_value(event: Event) -> None:
    amount, currency = event.value_amount, event.currency
    if type(amount) is int and 0 <= amount <= _MAX_AMOUNT and type(currency) is str and currency in _known_currencies:
        return
    if currency is None:
        raise _refuse("currency", "missing", "is missing beside value_amount")
    if amount is None:
        raise _refuse("value_amount", "missing", "is missing beside currency")
    if type(amount) is not int:
        if not isinstance(amount, int) or isinstance(amount, bool):
            raise _wrong_type("value_amount", "a whole number of minor units (4999 for 49.99)", amount)
        event.value_amount = amount = int.__int__(amount)
    if not 0 <= amount <= _MAX_AMOUNT:
        raise _refuse("value_amount", "out_of_range", "is not from 0 to 10^12 minor units")
    currency = currency if type(currency) is str else _exact_text("currency", currency)
    if _CURRENCY.fullmatch(currency) is None:
        raise _refuse("currency", "invalid", "is the ISO 4217 code of a currency, such as EUR")
    # There are 17,576 at most, and one or two in a program.
    _known_currencies.add(currency)
    event.currency = currency


def _property_value(field: str, value: object) -> PropertyValue:
    """Check what is not plain and short, and make subclasses plain, enumerations among them."""
    if isinstance(value, str):
        text = str.__str__(value)
        if len(text) > _MAX_PROPERTY_CHARS:
            raise _refuse(field, "too_long", f"is longer than {_MAX_PROPERTY_CHARS} characters")
        if "\0" in text:
            raise _refuse(field, "invalid", "holds NUL, which no text of a database may")
        return text
    if isinstance(value, int):
        number = int.__int__(value)
        if not _MIN_INTEGER <= number <= _MAX_INTEGER:
            raise _refuse(field, "out_of_range", "is a number beyond 64 bits; write it as text")
        return number
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refuse(field, "not_finite", "is not a finite number")
        return float.__float__(value)
    raise _wrong_type(field, "a text, a number, a boolean or None", value)


def _property_name(name: object) -> str:
    if not isinstance(name, str) or _PROPERTY.fullmatch(name) is None:
        # The name is not repeated: what breaks the rule may be a customer's data in the wrong place.
        raise _refuse("properties", "name", "a name has up to 64 letters, digits, _ . or -, a letter or _ first")
    name = str.__str__(name)
    if len(_known_names) < _MAX_KNOWN_NAMES:
        _known_names.add(name)
    return name


def _properties(given: object) -> dict[str, PropertyValue]:
    if type(given) is not dict and not isinstance(given, Mapping):
        raise _wrong_type("properties", "a mapping", given)
    if len(given) > _MAX_PROPERTIES:
        raise _refuse("properties", "too_many", f"holds more than {_MAX_PROPERTIES} names")
    checked: dict[str, PropertyValue] = {}
    for name, value in given.items():
        if type(name) is not str or name not in _known_names:
            name = _property_name(name)
        kind = type(value)
        if (
            (kind is str and len(value) <= _MAX_PROPERTY_CHARS and value.isprintable())
            or (kind is int and _MIN_INTEGER <= value <= _MAX_INTEGER)
            or kind is bool
            or value is None
        ):
            checked[name] = value
        else:
            checked[name] = _property_value(f"properties.{name}", value)
    return checked


def _unwritable(event: Event) -> EventRefused:
    """Find what could not be written; half of a surrogate pair is all that is left to be wrong with a text."""
    texts = {name: getattr(event, name) for name in event.__struct_fields__}
    texts |= {f"properties.{name}": value for name, value in (event.properties or {}).items()}
    for field, text in texts.items():
        if isinstance(text, str):
            try:
                text.encode()
            except UnicodeEncodeError:
                return _refuse(field, "invalid", "is no valid text: it holds half of a surrogate pair")
    return _refuse("event", "invalid", "does not serialise")


def encode_event(event: Event, *, ids: EventIds, now: dt.datetime) -> bytes:
    """Check an event, fill in its id and its time, and write it down; what was given is replaced by plain copies.

    Returns:
        JSON, at most ``MAX_EVENT_BYTES``.

    Raises:
        EventRefused: Names the first field that is out of bounds, and why; never quotes a value.

    >>> event = Event(UUID(int=1), "signup", None, promo_code="SAVE20")
    >>> encode_event(event, ids=EventIds(), now=dt.datetime(2026, 11, 30, tzinfo=dt.UTC)).decode()[51:]
    '"type":"signup","occurred_at":"2026-11-30T00:00:00Z","promo_code":"SAVE20"}'
    """
    if type(event.type) is not str or event.type not in TYPES:
        event.type = _custom_type(event.type)
    event.event_id = ids.new() if event.event_id is None else _event_id(event.event_id)
    event.occurred_at = now if event.occurred_at is None else _occurred_at(event.occurred_at, now)
    # What is right as a rule is found right here; calls cost more than all questions, on the caller's own time.
    if (text := event.promo_code) is not None and not (
        type(text) is str and 0 < len(text) <= MAX_PROMO_CHARS and text.isprintable()
    ):
        event.promo_code = _label("promo_code", text, MAX_PROMO_CHARS)
    if (text := event.customer_id) is not None and not (
        type(text) is str and 0 < len(text) <= _MAX_ID_CHARS and text.isprintable()
    ):
        event.customer_id = _label("customer_id", text, _MAX_ID_CHARS)
    if (text := event.external_id) is not None and not (
        type(text) is str and 0 < len(text) <= _MAX_ID_CHARS and text.isprintable()
    ):
        event.external_id = _label("external_id", text, _MAX_ID_CHARS)
    if event.value_amount is not None or event.currency is not None:
        _check_value(event)
    if event.properties is not None:
        event.properties = _properties(event.properties)
    if event.click_id is not None:
        event.click_id = _click_id(event.click_id)
    if event.link is not None:
        event.link = _link(event.link)
    if event.url is not None:
        event.url = _web_address("url", event.url)
    if event.referrer is not None:
        event.referrer = _web_address("referrer", event.referrer)
    if (flag := event.new_customer) is not None and type(flag) is not bool:
        raise _wrong_type("new_customer", "True or False", flag)
    try:
        payload = _encode(event)
    except UnicodeEncodeError:
        raise _unwritable(event) from None
    if len(payload) > MAX_EVENT_BYTES:
        raise _refuse("event", "too_large", f"is larger than {MAX_EVENT_BYTES // 1024} KB")
    return payload
