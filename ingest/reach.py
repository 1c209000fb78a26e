"""Reach: sponsors' months whose impressions changed are counted anew, a month a transaction."""

from __future__ import annotations

import datetime as dt
from typing import Final

from analytics_core.clock import Clock
from analytics_core.db.pool import Connection
from analytics_core.db.reach import count_reach, list_due

__all__ = ("count_due_reach",)

_A_RUN: Final = 1_000


async def count_due_reach(conn: Connection, *, clock: Clock, final_after_days: int) -> int:
    """Count the reach of sponsors' months that are due.

    Args:
        conn: As ingest, outside a transaction.
        clock: The time.
        final_after_days: Whole days after which days become final.

    Returns:
        How many months were counted; others wait for the next run where there are very many.
    """
    due = await list_due(conn, now=clock.now(), final_after=dt.timedelta(days=final_after_days), limit=_A_RUN)
    for month in due:
        async with conn.transaction():
            await count_reach(conn, month, now=clock.now())
    return len(due)
