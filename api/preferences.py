"""What a report's query leaves open is as the tenant has set it."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from litestar import Request

from analytics_core.db.pool import Connection
from analytics_core.db.tenant_settings import read_effective
from analytics_core.reports import Interval
from analytics_core.tenant_settings import SETTINGS
from api.queries import Query
from api.ranges import FROM, INTERVAL, TZ

__all__ = ("read_report_query",)


async def read_report_query(request: Request[Any, Any, Any], conn: Connection) -> tuple[Query, int]:
    """Read the query of a report, and how many days it goes back where it does not say.

    Settings are read where something is left open to them, and nowhere else.

    Args:
        request: For a report.
        conn: In the transaction of the report.
    """
    query = Query.of(request)
    # By name: the route has copies of what it was declared with.
    has_interval = INTERVAL.name in [parameter.name for parameter in request.route_handler.opt["query"]]
    if all(query.is_given(one) for one in ((TZ, INTERVAL, FROM) if has_interval else (TZ, FROM))):
        return query, int(SETTINGS["range_days"].default)
    values = await read_effective(conn)
    query.assume(TZ, ZoneInfo(str(values["timezone"])))
    if has_interval:
        query.assume(INTERVAL, Interval(values["interval"]))
    return query, int(values["range_days"])
