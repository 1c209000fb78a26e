"""Distinct listeners by time: as counted for good where that is known, else counted from downloads, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from analytics_core.db.analytics import ListenerRow, Scope, count_listeners
from analytics_core.db.listeners import listeners_of_buckets
from analytics_core.db.pool import Connection
from analytics_core.reports import Bucket, in_one_month

__all__ = ("MAX_COUNTED", "NoListeners", "read_audience")

NoListeners: TypeAlias = Literal["by", "across_months", "downloads_not_kept", "too_many_downloads"]
"""Why listeners cannot be told."""

MAX_COUNTED: Final = 500_000
"""Listeners of more downloads are not counted while somebody waits: it takes longer than half a second."""


async def read_audience(
    conn: Connection, scope: Scope, buckets: Sequence[Bucket], downloads: Sequence[int]
) -> tuple[list[int | None], NoListeners | None, bool]:
    """Tell how many distinct listeners each bucket had.

    Args:
        conn: In a transaction of the tenant.
        scope: Whose listeners.
        buckets: One after the other without a gap.
        downloads: Of each bucket, as the rollups say.

    Returns:
        By bucket, ``None`` where it cannot be said; a reason why not; and whether some are of before the latest
        downloads, as too many would have to be counted anew.
    """
    single = [in_one_month(*bucket) for bucket in buckets]
    found, old = await listeners_of_buckets(conn, scope, buckets)
    listeners = [0 if number == 0 else found.get(place) for place, number in enumerate(downloads)]
    reason: NoListeners | None = None
    open_ones = [place for place, people in enumerate(listeners) if single[place] and (people is None or place in old)]
    if open_ones:
        first, last = open_ones[0], open_ones[-1]
        missing: NoListeners = "too_many_downloads"
        counted: dict[int, ListenerRow] = {}
        if sum(downloads[first : last + 1]) <= MAX_COUNTED:
            # The rollup knows downloads whose rows are gone: whose they were cannot be told any more.
            missing = "downloads_not_kept"
            counted = {row.bucket + first: row for row in await count_listeners(conn, scope, buckets[first : last + 1])}
        for place in open_ones:
            row = counted.get(place)
            if row is not None and row.downloads >= downloads[place]:
                listeners[place] = row.listeners
                old.discard(place)
            elif listeners[place] is None:
                reason = missing
            elif downloads[place] == 0:
                old.discard(place)
    people = [number if single[place] else None for place, number in enumerate(listeners)]
    return people, reason if all(single) else "across_months", bool(old)
