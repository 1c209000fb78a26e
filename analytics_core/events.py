"""Attribution events: what one that was accepted leaves in the spool."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias
from uuid import UUID

import msgspec

__all__ = ("EventRecord", "EventSource", "PropertyValue", "decode_record", "encode_record")

PropertyValue: TypeAlias = str | int | float | bool | None
"""What a property of an event may be."""


class EventSource(enum.IntEnum):
    """Who sent an event."""

    SERVER = 0
    BROWSER = 1
    PIXEL = 2


class EventRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True, omit_defaults=True):
    """One accepted event; when it was received, and from which address, stands in its row of the spool.

    A later version may append fields: those that a reader does not know are ignored.

    Attributes:
        tenant_no: Whose it is.
        event_id: Chosen by the sender; a tenant's events of one id are one event.
        type: One of the known types, or the tenant's own.
        occurred_us: Microseconds since 1970-01-01 UTC, the sender's clock corrected.
        source: Who sent it.
        click_id: The click that it came of, as its link's target was told.
        promo_code: As it was entered.
        link: The slug of a link.
        customer_id: The sender's own name for the customer; never stored as it is.
        external_id: The sender's own name for what happened, such as an order's number.
        value_amount: Minor units of ``currency``.
        currency: ISO 4217, upper case.
        new_customer: Whether it was the customer's first purchase, where the sender knows.
        url: The page on which it happened.
        referrer: The page before.
        properties: Whatever else the sender told.
        agent: ``User-Agent`` of a browser, cut like a hit's.
    """

    tenant_no: int
    event_id: UUID
    type: str
    occurred_us: int
    source: EventSource = EventSource.SERVER
    click_id: UUID | None = None
    promo_code: str | None = None
    link: str | None = None
    customer_id: str | None = None
    external_id: str | None = None
    value_amount: int | None = None
    currency: str | None = None
    new_customer: bool | None = None
    url: str | None = None
    referrer: str | None = None
    properties: dict[str, PropertyValue] = {}
    agent: str = ""


_encoder: Final = msgspec.msgpack.Encoder(uuid_format="bytes")
_decoder: Final = msgspec.msgpack.Decoder(EventRecord)


def encode_record(record: EventRecord) -> bytes:
    """Write a record as the text of its row of the spool (MessagePack)."""
    return _encoder.encode(record)


def decode_record(text: bytes | memoryview) -> EventRecord:
    """Read what :func:`encode_record` wrote.

    Raises:
        msgspec.MsgspecError: It is something else.
    """
    return _decoder.decode(text)
