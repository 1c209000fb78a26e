"""``track``: the same method of both clients, since it never waits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, Protocol
from uuid import UUID

from castledger._delivery import Delivery
from castledger._events import Event, PropertyValue, encode_event

__all__ = ("track",)

_UTC: Final = dt.UTC
_now: Final = dt.datetime.now


class _Tracks(Protocol):
    """A client, as far as events go."""

    @property
    def _delivery(self) -> Delivery: ...


def track(
    self: _Tracks,
    type: str,  # noqa: A002 - the wire's own name
    *,
    event_id: UUID | str | None = None,
    occurred_at: dt.datetime | None = None,
    click_id: UUID | str | None = None,
    promo_code: str | None = None,
    link: str | None = None,
    customer_id: str | None = None,
    external_id: str | None = None,
    value_amount: int | None = None,
    currency: str | None = None,
    new_customer: bool | None = None,
    url: str | None = None,
    referrer: str | None = None,
    properties: Mapping[str, PropertyValue] | None = None,
) -> UUID | None:
    """Record that something happened; returns at once, and never raises unless the client is strict.

    The event is checked and written down here, and sent in the background. What it was made of may be changed
    afterwards.

    Args:
        type: ``page_view``, ``click``, ``promo_redeemed``, ``signup``, ``purchase``, or a name of your own: 1 to 64 of
            ``a`` to ``z``, ``0`` to ``9`` and ``_``, a letter first.
        event_id: Events of one id are one event, however often they are sent; by default a new one.
        occurred_at: An aware instant, at most 90 days ago and 24 hours ahead; by default now.
        click_id: What the parameter ``cl_click`` of the page's address said.
        promo_code: As it was entered, 1 to 64 characters.
        link: The slug of a link.
        customer_id: Your name for the customer, 1 to 128 characters; the ledger keeps a keyed hash of it.
        external_id: Your name for what happened, such as an order's number, 1 to 128 characters.
        value_amount: Whole minor units of ``currency``, 0 to 10^15: 4999 for 49.99.
        currency: ISO 4217, such as ``EUR``; beside ``value_amount`` and only there.
        new_customer: Whether it is the customer's first purchase.
        url: The page's address, at most 2048 characters.
        referrer: The page's before, likewise.
        properties: Up to 32 more: names of 1 to 64 letters, digits, ``_``, ``.`` and ``-``; texts of up to 512
            characters, finite numbers, booleans and ``None``.

    Returns:
        The event's id; ``None`` when it was refused, when there is no room for it, or when the client is closed or not
        enabled. ``stats()`` says how often, and why.

    Raises:
        EventRefused: A value is out of bounds, and the client is strict.
    """
    delivery = self._delivery
    if not delivery.is_taking:
        delivery.turn_away()
        return None
    try:
        event = Event(
            event_id,
            type,
            occurred_at,
            click_id,
            promo_code,
            link,
            customer_id,
            external_id,
            value_amount,
            currency,
            new_customer,
            url,
            referrer,
            properties,
        )
        payload = encode_event(event, ids=delivery.ids, now=_now(_UTC))
        is_to_wake = delivery.queue.put(payload)
        if is_to_wake is None:
            delivery.lose_newest()
            return None
        if is_to_wake:
            delivery.wake()
        taken: UUID = event.event_id
        return taken
    except Exception as error:
        delivery.refuse(error)
        return None
