"""An episode's hits as comparisons take them: all of some days, in the order of time, a few thousand at a time.

Those of accepted spikes (``HitFlag.SPIKE``) are left out: no profile counts them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Final, LiteralString

import msgspec

from analytics_core.comparing import StoredHit
from analytics_core.db.pool import Connection
from analytics_core.hits import HitFlag, HitKind
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.rejudging import StoredFacts

__all__ = ("STREAM_HITS", "DayHits", "count_hits", "stream_hits", "stream_values")

_TIMEOUT_S: Final = 30.0
_PIECE: Final = 5_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_US: Final = dt.timedelta(microseconds=1)


class DayHits(msgspec.Struct, frozen=True):
    """How many hits a UTC day has; ``late`` of them came when it was final and are in no stored figure."""

    day: dt.date
    hits: int
    late: int


# 2048 is HitFlag.REPLACED: under no profile does a hit count whose day another source counts.
_COUNT: Final[LiteralString] = """/* comparisons.count */
select (e.occurred_at at time zone 'UTC')::date as day, count(*) as hits,
    count(*) filter (where e.flags & $6 <> 0) as late
from api.listener_events e
where e.occurred_at >= $3 and e.occurred_at < $4 and e.podcast_no = $1 and e.episode_no = $2 and e.kind = $5
    and e.flags & (1024 | 2048) = 0
group by 1 order by 1"""

# 4096 is HitFlag.PLAYLIST.
STREAM_HITS: Final[LiteralString] = """/* comparisons.stream */
select e.occurred_at, e.segment_no, e.ordinal, e.listener_key, e.verdict_bits, e.range_kind, e.range_first,
    e.range_last, e.agent_kind, e.networks, e.referrer, e.flags & 4096 <> 0 as is_playlist
from api.listener_events e
where e.occurred_at >= $3 and e.occurred_at < $4 and e.podcast_no = $1 and e.episode_no = $2 and e.kind = $5
    and e.flags & (1024 | 2048) = 0
order by e.occurred_at, e.segment_no, e.ordinal"""
"""What :func:`stream_hits` asks, for whoever looks at how it is answered: a cursor's statement is in no log."""


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def stream_values(
    podcast_no: PodcastNo, episode_no: EpisodeNo, *, first: dt.date, end: dt.date
) -> tuple[PodcastNo, EpisodeNo, dt.datetime, dt.datetime, int]:
    """Return the values of ``STREAM_HITS``."""
    return podcast_no, episode_no, _midnight(first), _midnight(end), int(HitKind.REQUEST)


async def count_hits(
    conn: Connection, podcast_no: PodcastNo, episode_no: EpisodeNo, *, first: dt.date, end: dt.date
) -> list[DayHits]:
    """Count an episode's hits by UTC day, *end* excluded; a day without any has no row."""
    values = stream_values(podcast_no, episode_no, first=first, end=end)
    rows = await conn.fetch(_COUNT, *values, int(HitFlag.LATE), timeout=_TIMEOUT_S)
    return [DayHits(*row) for row in rows]


async def stream_hits(
    conn: Connection, podcast_no: PodcastNo, episode_no: EpisodeNo, *, first: dt.date, end: dt.date
) -> AsyncIterator[list[StoredHit]]:
    """Read an episode's hits in the order of time, *end* excluded, piece by piece; clicks are not among them.

    Args:
        conn: In a transaction of the tenant.
        podcast_no: The episode's podcast.
        episode_no: The episode.
        first: First UTC day.
        end: UTC day behind the last.
    """
    values = stream_values(podcast_no, episode_no, first=first, end=end)
    cursor = await conn.cursor(STREAM_HITS, *values, timeout=_TIMEOUT_S)
    while rows := await cursor.fetch(_PIECE, timeout=_TIMEOUT_S):
        yield [
            StoredHit((at - _EPOCH) // _US, segment_no, ordinal, listener, StoredFacts(*facts))
            for at, segment_no, ordinal, listener, *facts in rows
        ]
