"""The refresher: brings rollups to what the downloads say, for the days that writers marked."""

from __future__ import annotations

import datetime as dt
from typing import Final

from analytics_core.db.listeners import AT_MOST_EVERY, count_month, mark_listeners
from analytics_core.db.pool import Connection
from analytics_core.db.rollups import (
    claim_episodes,
    deliver_placements,
    recompute_days,
    sum_up,
    take_marks,
    take_placement_marks,
    take_sum_marks,
)

__all__ = ("MAX_EPISODES", "refresh_listeners", "refresh_rollups")

MAX_EPISODES: Final = 200
"""Episodes that are recomputed in one transaction."""


async def refresh_rollups(conn: Connection, *, limit: int = MAX_EPISODES) -> int:
    """Recompute the marked days of some episodes, and the sums that they belong to; deliver marked placements.

    Each of the steps is a statement of its own on purpose: ``analytics_core.db.rollups`` says why.

    Args:
        conn: As ingest, outside a transaction, with READ COMMITTED isolation.
        limit: Most episodes at once.

    Returns:
        The number of days recomputed or summed up, and of placements looked at; 0 when nothing was marked, or all of it
        is in other hands.
    """
    async with conn.transaction(isolation="read_committed"):
        claim = await claim_episodes(conn, limit=limit)
        if not claim.podcast_nos:
            return 0
        days = await take_marks(conn, claim)
        if days:
            await recompute_days(conn, days)
        # Those of this transaction, and of whoever else changed rollups.
        changed = await take_sum_marks(conn, claim)
        if changed:
            await sum_up(conn, changed)
        placements = await take_placement_marks(conn, claim)
        if placements:
            await deliver_placements(conn, placements)
        both = {*days, *changed}
        await mark_listeners(conn, both)
        return len(both) + len(placements)


async def refresh_listeners(conn: Connection, *, at_most_every: dt.timedelta | None = AT_MOST_EVERY) -> bool:
    """Count the listeners of one month of a podcast that has changed.

    Args:
        conn: As ingest, outside a transaction.
        at_most_every: As :func:`analytics_core.db.listeners.count_month` takes it.

    Returns:
        Whether there was one to be counted.
    """
    async with conn.transaction(isolation="read_committed"):
        return await count_month(conn, at_most_every=at_most_every)
