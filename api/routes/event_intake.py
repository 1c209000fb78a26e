"""What came in as events, and what became of it."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from litestar import Request, get

from analytics_core.db.event_intake import count_outcomes, count_undecided, list_intake
from analytics_core.db.sponsors import find_sponsor
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.pagination import LIMIT
from api.queries import Parameter, Query, utc_day
from api.resources import resources_of
from api.schemas.event_intake import IntakeAnswer
from api.scopes import SPONSOR_ID

__all__ = ("get_intake",)

_DEFAULT_DAYS: Final = 30
_MAX_DAYS: Final = 92
_DAY: Final = {"type": "string", "format": "date"}

_FROM: Final[Parameter[dt.date | None]] = Parameter(
    "from", utc_day, None, f"The first UTC day of receipt. By default {_DEFAULT_DAYS} days before `to`.", _DAY
)
_TO: Final[Parameter[dt.date | None]] = Parameter(
    "to", utc_day, None, f"The UTC day behind the last, at most {_MAX_DAYS} later. By default tomorrow.", _DAY
)


@get(
    "/attribution/intake",
    tags=["conversions"],
    opt={"permission": Permission.ATTRIBUTION_READ, "query": (SPONSOR_ID, _FROM, _TO, LIMIT)},
)
async def get_intake(request: Request[Any, Any, Any]) -> IntakeAnswer:
    """Tell what became of the events that came in: by day, type, sponsor and outcome, each event once.

    Whoever wonders why an event is no conversion finds the reason here, with how many share it. With `sponsor_id` it is
    of those that were found to be this sponsor's; those of nobody are there without it.
    """
    query = Query.of(request)
    sponsor_id, limit = query.get(SPONSOR_ID), query.get(LIMIT)
    given, until = query.get(_FROM), query.get(_TO)
    if until is None:
        until = resources_of(request).clock.now().astimezone(dt.UTC).date() + dt.timedelta(days=1)
    first = until - dt.timedelta(days=_DEFAULT_DAYS) if given is None else given
    if query.is_good(_FROM, _TO):
        if until <= first:
            query.refuse("to", "reversed_range", "has to lie behind `from`")
        elif (until - first).days > _MAX_DAYS:
            query.refuse("to", "range_too_long", f"lies more than {_MAX_DAYS} days behind `from`")
    query.finish()
    tenant = caller_of(request).tenant
    async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
        if sponsor_id is not None:
            await find_sponsor(conn, sponsor_id)
        rows, rows_in_all = await list_intake(conn, first=first, until=until, sponsor_id=sponsor_id, limit=limit)
        totals = await count_outcomes(conn, first=first, until=until, sponsor_id=sponsor_id)
        undecided = await count_undecided(conn) if tenant.sponsor_ids is None else None
    return IntakeAnswer.of(rows, rows_in_all=rows_in_all, totals=totals, undecided=undecided, first=first, until=until)
