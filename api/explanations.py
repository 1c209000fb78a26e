"""What a day's figures are made of, and how settled figures are: the part that the API and the page share."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any
from uuid import UUID

from analytics_core.db.analytics import Scope, StatusRow, read_status
from analytics_core.db.explain import DayCounts, count_day
from analytics_core.db.pool import Connection
from analytics_core.db.states import State, counted_by, is_partial, state_of
from analytics_core.verdicts import Evidence, Verdict
from api.schemas.analytics import DayExplanation, VerdictFigure
from api.tags import tag_of

__all__ = ("read_day", "version_tag")


def version_tag(
    status: StatusRow, span: tuple[dt.datetime, dt.datetime], state: State, partial: bool, *parts: Any
) -> str | None:
    """Make the tag of figures of a range from what decides about them.

    Args:
        status: Of the range.
        span: The range; it moves with the clock where the request leaves it open.
        state: As the answer says.
        partial: As the answer says.
        parts: What else the answer follows from.

    Returns:
        ``None`` while hits have landed that are not summed up: figures may change then without a new version.
    """
    if status.is_dirty:
        return None
    cutoff = status.cutoff_at if status.cutoff_at is None or status.cutoff_at < span[1] else True
    return tag_of(
        counted_by(status),
        status.version,
        cutoff,
        status.final_days,
        status.restated,
        span,
        state,
        partial,
        *parts,
    )


def _verdict_figures(counts: DayCounts) -> list[VerdictFigure]:
    """Sum a day up by deciding verdict, eligible hits by evidence too; eligible first, then by precedence."""
    hits: Counter[tuple[Verdict, int]] = Counter()
    for row in counts.hits:
        verdict = Verdict(row.verdict)
        hits[verdict, -row.evidence if verdict is Verdict.ELIGIBLE else 0] += row.hits
    downloads = {-row.evidence: row.downloads for row in counts.downloads}
    for evidence in downloads:
        hits.setdefault((Verdict.ELIGIBLE, evidence), 0)
    return [
        VerdictFigure(
            verdict=verdict.label,
            evidence=Evidence(-evidence).label if verdict is Verdict.ELIGIBLE else None,
            hits=number,
            downloads=downloads.get(evidence, 0) if verdict is Verdict.ELIGIBLE else 0,
        )
        for (verdict, evidence), number in sorted(hits.items())
    ]


async def read_day(
    conn: Connection, scope: Scope, *, podcast_id: UUID, episode_id: UUID | None, day: dt.date, now: dt.datetime
) -> DayExplanation:
    """Explain a UTC day of a podcast, or of one episode of it.

    Args:
        conn: In a transaction of the tenant.
        scope: The podcast or episode, by its numbers.
        podcast_id: The podcast.
        episode_id: The episode, when it is about one.
        day: In UTC.
        now: Aware instant; it decides whether the day is live.
    """
    # First, so that what it says holds for figures that are read after it.
    status = await read_status(conn, scope, first=day, last=day)
    counts = await count_day(conn, scope, day=day)
    verdicts = _verdict_figures(counts)
    hits = sum(row.hits for row in verdicts)
    eligible = sum(row.hits for row in verdicts if row.verdict == Verdict.ELIGIBLE.label)
    left_out = sum(row.left_out for row in counts.hits if row.verdict == Verdict.ELIGIBLE)
    downloads, strict = counts.counted or (
        sum(row.downloads for row in counts.downloads),
        sum(row.downloads for row in counts.downloads if row.evidence > Evidence.PROBE),
    )
    is_gone = counts.counted is not None
    profile, rules = counted_by(status)
    end = dt.datetime.combine(day, dt.time(), dt.UTC) + dt.timedelta(days=1)
    return DayExplanation(
        podcast_id=podcast_id,
        episode_id=episode_id,
        day=day,
        hits=None if is_gone else hits,
        hits_reason="hits_not_kept" if is_gone else None,
        downloads=downloads,
        downloads_strict=strict,
        repeats=None if is_gone else eligible - left_out - downloads,
        left_out=None if is_gone else left_out,
        verdicts=verdicts,
        cutoff=status.cutoff_at,
        profile=profile,
        rules=rules,
        partial=is_partial(status, end),
        state=state_of(status, day, day, now=now),
        restated=status.restated,
    )
