"""Reach: sponsors' months whose impressions changed are counted anew, a month a transaction."""

from __future__ import annotations

import datetime as dt
from typing import Final

from analytics_core.clock import Clock
from analytics_core.db.pool import Connection
from analytics_core.db.reach import AT_MOST_EVERY, count_reach, list_due

__all__ = ("count_due_reach",)

_A_RUN: Final = 1_000


async def count_due_reach(
    conn: Connection, *, clock: Clock, final_after_days: int, at_most_every: dt.timedelta = AT_MOST_EVERY
) -> int:
    """Count the reach of sponsors' months that are due.

    Args:
        conn: As ingest, outside a transaction.
        clock: The time.
        final_after_days: Whole days after which days become final.
        at_most_every: Leave alone a month with very many impressions that was counted a shorter time ago.

    Returns:
        How many months were counted; others wait for the next run where there are very many.
    """
    due = await list_due(
        conn,
        now=clock.now(),
        final_after=dt.timedelta(days=final_after_days),
        at_most_every=at_most_every,
        limit=_A_RUN,
    )
    for month in due:
        async with conn.transaction():
            await count_reach(conn, month, now=clock.now())
    return len(due)
