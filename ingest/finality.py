"""Finality: a tenant's day becomes final once, by a stored mark, when nothing more can be expected of it."""

from __future__ import annotations

import datetime as dt

from analytics_core.db.hits import lock_finality, mark_final
from analytics_core.db.pool import Connection
from analytics_core.db.segments import read_cutoff

__all__ = ("finalise_days",)


async def finalise_days(conn: Connection, *, now: dt.datetime, after_days: int) -> int:
    """Mark days as final that are old enough and wholly landed.

    Args:
        conn: As ingest, outside a transaction.
        now: Aware instant.
        after_days: Whole days that have to lie between a day's end and *now*.

    Returns:
        How many tenants' days became final; 0 while the spool still holds hits of such days.
    """
    last = now.astimezone(dt.UTC).date() - dt.timedelta(days=after_days + 1)
    async with conn.transaction():
        await lock_finality(conn, exclusive=True)
        cutoff = await read_cutoff(conn)
        if cutoff is None:
            return 0
        # What is behind the cutoff may still bring hits of its day.
        last = min(last, cutoff.astimezone(dt.UTC).date() - dt.timedelta(days=1))
        return await mark_final(conn, until=last, now=now)
