"""One episode under several profiles, and why they differ: the part that the API and the page share."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

from analytics_core.comparing import Comparison
from analytics_core.db.analytics import Scope, read_status, sum_downloads
from analytics_core.db.comparisons import DayHits, count_hits, stream_hits
from analytics_core.db.episodes import EpisodeRow
from analytics_core.db.pool import Connection
from analytics_core.db.states import is_partial, state_of
from analytics_core.ids import format_hit_id
from analytics_core.profiles import Profile
from analytics_core.reports import Bucket
from analytics_core.verdicts import Verdict
from analytics_core.windows import Window
from api.errors import Fault, InvalidRequest
from api.schemas.comparisons import ComparedDay, ComparedPair, ComparedProfile, ComparisonAnswer, Difference

__all__ = ("MAX_COMPARED_DAYS", "MAX_COMPARED_HITS", "MAX_COMPARED_PROFILES", "compare_profiles")

MAX_COMPARED_DAYS: Final = 31
"""No comparison is longer."""

MAX_COMPARED_HITS: Final = 300_000
"""No comparison judges more hits."""

MAX_COMPARED_PROFILES: Final = 6
"""No more are compared at once."""

_DAY: Final = dt.timedelta(days=1)
_WHY: Final[Mapping[str, str]] = {
    Verdict.HEAD.label: "asked only whether the file is there",
    Verdict.LIVE.label: "belongs to a live stream",
    Verdict.UNPUBLISHED.label: "came before the episode was published",
    Verdict.NO_USER_AGENT.label: "did not say what it is",
    Verdict.BOT.label: "is a bot's",
    Verdict.WATCH.label: "is an Apple Watch's, whose telephone asks too",
    Verdict.PRELOAD.label: "was loaded ahead, unasked",
    Verdict.BLOCKED.label: "is from an address on the operator's block list",
    Verdict.DATACENTER.label: "is from a data centre",
    Verdict.VPN.label: "is from a VPN or a relay",
    Verdict.TINY_RANGE.label: "asked for too little",
    "probe": "asked for the first two bytes only",
    "playlist": "asked for a playlist, in which there is no sound",
    "window": "falls into the window of an earlier request",
    "referrer": "is a repeat: web sites are not told apart",
}
"""What a request is under the profile that does not count it, by reason."""


def _pairs(comparison: Comparison, profiles: Sequence[Profile]) -> list[ComparedPair]:
    totals = [sum(days) for days in comparison.downloads]
    pairs = []
    for one, other in combinations(range(len(profiles)), 2):
        reasons = [
            Difference(
                profiles[pair[0]].name,
                name,
                f"For {profiles[pair[1]].name} the request {_WHY[name]}.",
                reason.downloads,
                [format_hit_id(*hit) for hit in reason.hits],
            )
            for pair in ((one, other), (other, one))
            for name, reason in comparison.reasons[pair].items()
        ]
        reasons.sort(key=lambda reason: -reason.downloads)
        pairs.append(ComparedPair(profiles[one].name, profiles[other].name, totals[one] - totals[other], reasons))
    return pairs


def _days(
    comparison: Comparison,
    profiles: Sequence[Profile],
    start: dt.date,
    found: Mapping[dt.date, DayHits],
    counted: list[int],
) -> list[ComparedDay]:
    days = []
    for place, stored in enumerate(counted):
        day = start + place * _DAY
        hits = found.get(day, DayHits(day, 0, 0))
        is_gone = stored > 0 and hits.hits == 0
        downloads = {
            profile.name: figures[place] for profile, figures in zip(profiles, comparison.downloads, strict=True)
        }
        if is_gone:
            days.append(ComparedDay(day, None, stored, 0, 0, "hits_not_kept"))
        else:
            days.append(ComparedDay(day, downloads, stored, hits.hits, hits.late, None))
    return days


async def compare_profiles(
    conn: Connection,
    episode: EpisodeRow,
    profiles: Sequence[Profile],
    *,
    start: dt.date,
    end: dt.date,
    now: dt.datetime,
    max_hits: int = MAX_COMPARED_HITS,
) -> ComparisonAnswer:
    """Judge an episode's hits of some UTC days again.

    Args:
        conn: In a transaction of the tenant that sees one instant.
        episode: The episode.
        profiles: At most ``MAX_COMPARED_PROFILES``.
        start: First day.
        end: The day behind the last, at most ``MAX_COMPARED_DAYS`` later.
        now: Aware instant; it decides whether days are live.
        max_hits: No more are judged.

    Raises:
        InvalidRequest: There are more hits.
    """
    scope = Scope((episode.podcast_no,), episode.episode_no)
    status = await read_status(conn, scope, first=start, last=end - _DAY)
    # Rolling windows may have been opened the day before.
    is_rolling = any(profile.window is not Window.CALENDAR_DAY for profile in profiles)
    first = start - _DAY if is_rolling else start
    found = await count_hits(conn, episode.podcast_no, episode.episode_no, first=first, end=end)
    total = sum(day.hits for day in found)
    if total > max_hits:
        message = f"spans {total:,} hits, and at most {max_hits:,} are judged at once; ask for fewer days"
        raise InvalidRequest([Fault("to", "too_many_hits", message)])
    buckets = [
        Bucket(dt.datetime.combine(day, dt.time(), dt.UTC), dt.datetime.combine(day + _DAY, dt.time(), dt.UTC))
        for day in (start + place * _DAY for place in range((end - start).days))
    ]
    stored = {row.bucket: row.downloads for row in await sum_downloads(conn, scope, buckets)}
    comparison = Comparison(
        profiles,
        length_bytes=episode.enclosures[0].length_bytes if episode.enclosures else None,
        duration_s=episode.duration_s,
        start=start,
        days=len(buckets),
    )
    async for hits in stream_hits(conn, episode.podcast_no, episode.episode_no, first=first, end=end):
        await asyncio.to_thread(comparison.add, hits)
    comparison.finish()
    counted = [stored.get(place, 0) for place in range(len(buckets))]
    return ComparisonAnswer(
        episode_id=episode.episode_id,
        start=start,
        end=end,
        profiles=[
            ComparedProfile(
                profile.name,
                profile.rules_version,
                profile.summary,
                profile.window.value,
                sum(days),
                profile.differences,
            )
            for profile, days in zip(profiles, comparison.downloads, strict=True)
        ],
        data=_days(comparison, profiles, start, {day.day: day for day in found}, counted),
        pairs=_pairs(comparison, profiles),
        cutoff=status.cutoff_at,
        partial=is_partial(status, buckets[-1].end),
        state=state_of(status, start, end - _DAY, now=now),
    )
