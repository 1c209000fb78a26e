"""Attribution events as a tenant reads them: in the order in which they were received."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection

__all__ = ("LIST_EVENTS", "EventRow", "list_events")

_TIMEOUT_S: Final = 30.0


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is read; see :class:`analytics_core.db.events.StoredEvent`.

    Attributes:
        app: Of a browser's agent; ``None`` without one, as is *device*.
    """

    received_at: dt.datetime
    occurred_at: dt.datetime
    event_id: UUID
    source: int
    type: str
    click_id: UUID | None
    promo_code: str | None
    link: str | None
    customer_key: UUID | None
    external_id: str | None
    value_amount: int | None
    currency: str | None
    new_customer: bool | None
    page_host: str | None
    page_path: str | None
    referrer_host: str | None
    utm: dict[str, str] | None
    properties: dict[str, Any] | None
    country: int
    networks: int
    is_bot: bool
    app: str | None
    device: str | None


# Not knowing how long the range is, a plan for any would rather sort all of it.
_FOR_THESE: Final[LiteralString] = """/* events.for_these_values */
select set_config('plan_cache_mode', 'force_custom_plan', true)"""

# Behind a place there may be more of the same instant: those before it are left out by the second condition.
LIST_EVENTS: Final[LiteralString] = """/* events.list */
select received_at, occurred_at, event_id, source, type, click_id, promo_code, link, customer_key, external_id,
    value_amount, currency, new_customer, page_host, page_path, referrer_host, utm, properties, country, networks,
    is_bot, app, device
from api.attribution_events
where received_at >= $1 and received_at < $2 and (received_at, event_id) > ($1, $3)
    and ($4::text is null or type = $4)
order by received_at, event_id limit $5"""

_FIRST: Final = UUID(int=0)


async def list_events(
    conn: Connection,
    *,
    start: dt.datetime,
    end: dt.datetime,
    kind: str | None,
    after: tuple[dt.datetime, UUID] | None,
    limit: int,
) -> list[EventRow]:
    """List a tenant's events, in a transaction of it.

    Args:
        conn: As the API.
        start: Of the first that are received.
        end: Behind the last.
        kind: Only events of this type.
        after: Behind which event.
        limit: How many at most.
    """
    at, event_id = (start, _FIRST) if after is None or after[0] < start else after
    await conn.execute(_FOR_THESE)
    rows = await conn.fetch(LIST_EVENTS, at, end, event_id, kind, limit, timeout=_TIMEOUT_S)
    return [msgspec.convert(dict(row), EventRow) for row in rows]
