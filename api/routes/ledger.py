"""The ledger of answers: of the whole installation, for its own tenant."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any, Final

from litestar import Request, get

from analytics_core.db.ledger import list_buckets, list_silent_trackers, read_complete_until
from analytics_core.errors import Forbidden
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.limits import REPORT_COST
from api.queries import Parameter, Query, choice
from api.ranges import HIT_FROM, HIT_TO, read_hit_range
from api.resources import resources_of
from api.schemas.ledger import LedgerAnswer, LedgerBucket, SilentTracker

__all__ = ("get_ledger",)

_SILENT_AFTER: Final = dt.timedelta(minutes=3)
_BY_THE_MINUTE: Final = dt.timedelta(days=1)


class LedgerInterval(enum.Enum):
    """How long a bucket is."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


INTERVAL: Final = Parameter(
    "interval",
    choice(LedgerInterval),
    LedgerInterval.HOUR,
    "How long a bucket is, in UTC; by the minute at most a day is shown.",
    {"type": "string", "enum": [interval.value for interval in LedgerInterval], "default": "hour"},
)


@get(
    "/ledger",
    tags=["ledger"],
    opt={
        "permission": Permission.LEDGER_READ,
        "cost": REPORT_COST,
        "query": (HIT_FROM, HIT_TO, INTERVAL),
        "refusals": (403,),
    },
)
async def get_ledger(request: Request[Any, Any, Any]) -> LedgerAnswer:
    """Show what became of every answer, by tracker and time.

    What trackers answered with a redirect has landed with a verdict, waits for its episode, is dead, or was lost by a
    reason; `balanced` says that nothing else became of any. It is about the whole installation, so only a key of its
    own tenant may see it.
    """
    resources = resources_of(request)
    query = Query.of(request)
    interval = query.get(INTERVAL)
    span = read_hit_range(query, now=resources.clock.now())
    if interval is LedgerInterval.MINUTE and query.is_good(HIT_FROM, HIT_TO) and span.end - span.start > _BY_THE_MINUTE:
        query.refuse("to", "range_too_long", "lies more than a day behind `from`, too long by the minute")
    query.finish()
    caller = caller_of(request)
    if not caller.is_installation:
        raise Forbidden("the ledger is of the whole installation: only a key of its own tenant may see it")
    async with resources.database.tenant(caller.tenant) as conn:
        rows = await list_buckets(conn, interval=interval.value, start=span.start, end=span.end)
        silent = await list_silent_trackers(conn, after=_SILENT_AFTER)
        cutoff = await read_complete_until(conn)
    data = [LedgerBucket.of(row) for row in rows]
    return LedgerAnswer(
        data=data,
        balanced=all(bucket.difference == 0 for bucket in data),
        cutoff=None if cutoff is None else cutoff.astimezone(dt.UTC),
        silent=[SilentTracker.of(row) for row in silent],
    )
