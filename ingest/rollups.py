"""The refresher: brings rollups to what the downloads say, for the days that writers marked."""

from __future__ import annotations

from typing import Final

from analytics_core.db.pool import Connection
from analytics_core.db.rollups import claim_episodes, recompute_days, take_marks

__all__ = ("MAX_EPISODES", "refresh_rollups")

MAX_EPISODES: Final = 200
"""Episodes that are recomputed in one transaction."""


async def refresh_rollups(conn: Connection, *, limit: int = MAX_EPISODES) -> int:
    """Recompute the marked days of some episodes.

    Each of the three steps is a statement of its own on purpose: ``analytics_core.db.rollups`` says why.

    Args:
        conn: As ingest, outside a transaction, with READ COMMITTED isolation.
        limit: Most episodes at once.

    Returns:
        The number of days recomputed; 0 when nothing was marked, or all of it is in other hands.
    """
    async with conn.transaction(isolation="read_committed"):
        episodes = await claim_episodes(conn, limit=limit)
        days = await take_marks(conn, episodes) if episodes else []
        if days:
            await recompute_days(conn, days)
        return len(days)
