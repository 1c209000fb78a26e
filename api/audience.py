"""Distinct listeners by time: as counted for good where that is known, else counted from downloads, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from analytics_core.db.analytics import Scope, count_listeners
from analytics_core.db.listeners import listeners_of_buckets
from analytics_core.db.pool import Connection
from analytics_core.reports import Bucket, in_one_month
from api.schemas.analytics import NoListeners

__all__ = ("MAX_COUNTED", "read_audience")

MAX_COUNTED: Final = 500_000
"""Listeners of more downloads are not counted while somebody waits: it takes longer than half a second."""


async def read_audience(
    conn: Connection, scope: Scope, buckets: Sequence[Bucket], downloads: Sequence[int]
) -> tuple[list[int | None], NoListeners | None]:
    """Tell how many distinct listeners each bucket had.

    Args:
        conn: In a transaction of the tenant.
        scope: Whose listeners.
        buckets: One after the other without a gap.
        downloads: Of each bucket, as the rollups say.

    Returns:
        By bucket, ``None`` where it cannot be said, and the first reason why not.
    """
    single = [in_one_month(*bucket) for bucket in buckets]
    found = await listeners_of_buckets(conn, scope, buckets)
    listeners = [0 if number == 0 else found.get(place) for place, number in enumerate(downloads)]
    reason: NoListeners | None = None
    open_ones = [place for place, people in enumerate(listeners) if people is None and single[place]]
    if open_ones:
        first, last = open_ones[0], open_ones[-1]
        if sum(downloads[first : last + 1]) > MAX_COUNTED:
            reason = "too_many_downloads"
        else:
            counted = {row.bucket: row for row in await count_listeners(conn, scope, buckets[first : last + 1])}
            for place in open_ones:
                row = counted.get(place - first)
                if row is not None and row.downloads >= downloads[place]:
                    listeners[place] = row.listeners
                else:
                    # The rollup knows downloads whose rows are gone: whose they were cannot be told any more.
                    reason = "downloads_not_kept"
    people = [number if single[place] else None for place, number in enumerate(listeners)]
    return people, reason if all(single) else "across_months"
