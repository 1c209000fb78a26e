"""Attribution events that have landed."""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

import msgspec

from castledger._models.common import Instant

__all__ = ("EventBrowser", "LandedEvent")

_Property: TypeAlias = str | int | float | bool | None


class EventBrowser(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of who sent an event from a page.

    Attributes:
        networks: The lists that the address was found in.
        bot: Whether its user agent is a program's.
    """

    bot: bool
    app: str | None = None
    device: str | None = None
    country: str | None = None
    networks: tuple[str, ...] = ()


class LandedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An attribution event as the ledger keeps it.

    Attributes:
        occurred_at: By the sender's clock, corrected.
        received_at: When a collector took it.
        source: ``server``, ``browser`` or ``pixel``.
        customer_key: Stands for the customer: the same for all events of one, and nobody's name.
        value_amount: In the minor unit of ``currency``.
        utm: Campaign parameters of the page, without ``utm_``.
        browser: ``None`` for an event that a server sent.
    """

    event_id: UUID
    type: str
    occurred_at: Instant
    received_at: Instant
    source: str
    click_id: UUID | None = None
    promo_code: str | None = None
    link: str | None = None
    customer_key: str | None = None
    external_id: str | None = None
    value_amount: int | None = None
    currency: str | None = None
    new_customer: bool | None = None
    page_host: str | None = None
    page_path: str | None = None
    referrer_host: str | None = None
    utm: dict[str, str] = {}
    properties: dict[str, _Property] = {}
    browser: EventBrowser | None = None
