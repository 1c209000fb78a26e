"""Events as tests see them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec

__all__ = ("RecordedEvent", "find_events")


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it goes over the wire; what was not given is ``None``."""

    event_id: UUID
    type: str
    occurred_at: dt.datetime | None = None
    click_id: str | None = None
    promo_code: str | None = None
    link: str | None = None
    customer_id: str | None = None
    external_id: str | None = None
    value_amount: int | None = None
    currency: str | None = None
    new_customer: bool | None = None
    url: str | None = None
    referrer: str | None = None
    properties: dict[str, str | int | float | bool | None] | None = None


def find_events(events: Iterable[RecordedEvent], fields: dict[str, Any]) -> list[RecordedEvent]:
    """Find the events whose fields are all as given.

    Raises:
        TypeError: A name is no field of an event; a slip must not look like an event that is missing.
    """
    unknown = sorted(fields.keys() - set(RecordedEvent.__struct_fields__))
    if unknown:
        raise TypeError(f"find: an event has no field {', '.join(unknown)}")
    return [event for event in events if all(getattr(event, name) == value for name, value in fields.items())]
