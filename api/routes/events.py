"""Attribution events that have landed."""

from __future__ import annotations

import re
from typing import Any, Final

from litestar import Request, get

from analytics_core.db.event_lists import list_events as read_events
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.limits import REPORT_COST
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Parameter, Query, Refusal
from api.ranges import HIT_FROM, HIT_TO, read_hit_range
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.events import Event

__all__ = ("list_events",)

_LIST: Final = "events"
_CURSOR: Final = id_cursor(_LIST)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def _type(text: str) -> str | None:
    if not _NAME.fullmatch(text):
        raise Refusal("invalid", "is no type of events: 1 to 64 letters, digits and _, such as purchase")
    return text


TYPE: Final[Parameter[str | None]] = Parameter(
    "type",
    _type,
    None,
    "Only events of this type.",
    {"type": "string", "pattern": f"^{_NAME.pattern}$", "examples": ["purchase"]},
)


@get(
    "/attribution/events",
    tags=["events"],
    opt={
        "permission": Permission.EVENTS_READ,
        "cost": REPORT_COST,
        "query": (HIT_FROM, HIT_TO, TYPE, LIMIT, _CURSOR),
    },
)
async def list_events(request: Request[Any, Any, Any]) -> Page[Event]:
    """List events in the order in which collectors received them.

    `from` and `to` are about when they were received, too: an event may be sent days after it occurred, and whoever
    reads on where the last page ended misses none.
    """
    resources = resources_of(request)
    query = Query.of(request)
    kind, limit, after = query.get(TYPE), query.get(LIMIT), query.get(_CURSOR)
    wanted = read_hit_range(query, now=resources.clock.now())
    query.finish()
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        rows = await read_events(conn, start=wanted.start, end=wanted.end, kind=kind, after=after, limit=limit + 1)
    return page_of(rows, limit, Event.of, _LIST, lambda row: (row.received_at, row.event_id))
