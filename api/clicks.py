"""Clicks as a request asks for them: a range, cut into buckets, of some links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from litestar import Request

from analytics_core.db.clicks import Clicks
from analytics_core.reports import Bucket, Interval, plan_buckets
from api.queries import Query
from api.ranges import FROM, INTERVAL, TO, TZ, read_range
from api.resources import resources_of
from api.schemas.clicks import ClicksAnswer

__all__ = ("CLICK_QUERY", "ClickPlan", "read_plan")

CLICK_QUERY: Final = (FROM, TO, INTERVAL, TZ)
"""What every route that counts clicks knows."""


class ClickPlan(NamedTuple):
    """Over which buckets clicks are counted."""

    buckets: Sequence[Bucket]
    interval: Interval
    tz: ZoneInfo

    def answer(self, found: Clicks) -> ClicksAnswer:
        """Show what was counted."""
        return ClicksAnswer.of(found, self.buckets, interval=self.interval, tz=self.tz)


def read_plan(request: Request[Any, Any, Any]) -> ClickPlan:
    """Read over which buckets a request wants clicks counted.

    Raises:
        InvalidRequest: Parameters are wrong, or others than :data:`CLICK_QUERY` are given.
    """
    query = Query.of(request)
    interval, tz = query.get(INTERVAL), query.get(TZ)
    wanted = read_range(query, now=resources_of(request).clock.now())
    query.finish()
    return ClickPlan(plan_buckets(*wanted, interval=interval, tz=tz), interval, tz)
