"""The forms of attribution events as they are read."""

from __future__ import annotations

import datetime as dt
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.countries import unpack_country
from analytics_core.db.event_lists import EventRow
from analytics_core.events import EventSource
from analytics_core.network_classes import NetworkClass

__all__ = ("Browser", "Event")

_Property: TypeAlias = str | int | float | bool | None
_SOURCES: dict[int, Literal["server", "browser", "pixel"]] = {
    EventSource.SERVER: "server",
    EventSource.BROWSER: "browser",
    EventSource.PIXEL: "pixel",
}


class Browser(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of who sent an event from a page; of a server nothing is told.

    `networks` are the lists that the address was found in; `bot` says that its user agent is a program's.
    """

    app: str | None
    device: str | None
    country: str | None
    networks: list[str]
    bot: bool


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An attribution event.

    `occurred_at` is by the sender's clock, corrected; `received_at` is when a collector took it. `customer_key` stands
    for the customer: the same for all events of one, of this tenant alone, and nobody's name. `value_amount` is in the
    minor unit of `currency`. Of the page and of the page before it the host, and of the first its path and `utm`
    parameters without their `utm_`, are kept; nothing else.
    """

    event_id: UUID
    type: str
    occurred_at: dt.datetime
    received_at: dt.datetime
    source: Literal["server", "browser", "pixel"]
    click_id: UUID | None
    promo_code: str | None
    link: str | None
    customer_key: str | None
    external_id: str | None
    value_amount: int | None
    currency: str | None
    new_customer: bool | None
    page_host: str | None
    page_path: str | None
    referrer_host: str | None
    utm: dict[str, str]
    properties: dict[str, _Property]
    browser: Browser | None

    @classmethod
    def of(cls, row: EventRow) -> Event:
        """Show an event."""
        return cls(
            event_id=row.event_id,
            type=row.type,
            occurred_at=row.occurred_at.astimezone(dt.UTC),
            received_at=row.received_at.astimezone(dt.UTC),
            source=_SOURCES[row.source],
            click_id=row.click_id,
            promo_code=row.promo_code,
            link=row.link,
            customer_key=row.customer_key.hex if row.customer_key else None,
            external_id=row.external_id,
            value_amount=row.value_amount,
            currency=row.currency,
            new_customer=row.new_customer,
            page_host=row.page_host,
            page_path=row.page_path,
            referrer_host=row.referrer_host,
            utm=row.utm or {},
            properties=row.properties or {},
            browser=None if row.source == EventSource.SERVER else _browser(row),
        )


def _browser(row: EventRow) -> Browser:
    return Browser(
        app=row.app or None,
        device=row.device or None,
        country=unpack_country(row.country),
        networks=[str(one.name).lower() for one in NetworkClass if one & row.networks],
        bot=row.is_bot,
    )
