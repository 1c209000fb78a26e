"""Downloads by time, and what a day's figures are made of."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from litestar import Request, Response, get

from analytics_core.db.analytics import (
    MAX_SUMS,
    FigureRow,
    Scope,
    read_status,
    sum_downloads,
)
from analytics_core.db.audience import NoListeners, read_audience
from analytics_core.db.episodes import get_heads
from analytics_core.db.pool import Connection
from analytics_core.db.rankings import rank_keys
from analytics_core.db.states import counted_by, is_partial, state_of
from analytics_core.ids import EpisodeNo
from analytics_core.permissions import Permission
from analytics_core.reports import Bucket, plan_buckets, utc_days
from api.auth import caller_of
from api.errors import Fault, InvalidRequest
from api.explanations import read_day, version_tag
from api.limits import REPORT_COST
from api.preferences import read_report_query
from api.queries import Parameter, Query, Refusal, choice, utc_day, whole_number
from api.ranges import FROM, INTERVAL, TO, TZ, read_range
from api.resources import resources_of
from api.schemas.analytics import (
    DayExplanation,
    Dimension,
    DownloadsAnswer,
    Figure,
)
from api.scopes import EPISODE_ID, PODCAST_ID, find_scope
from api.tags import answer_unchanged, answer_with

__all__ = ("explain_day", "get_downloads")

MAX_VALUES: Final = 1_000
"""No more values of a dimension are named."""


def _dimension(text: str) -> Dimension:
    if "," in text:
        raise Refusal("too_many_dimensions", "names more than 1 dimension; figures are broken down by one at a time")
    return choice(Dimension)(text)


BY: Final[Parameter[Dimension | None]] = Parameter(
    "by",
    _dimension,
    None,
    "What to break the figures down by; keys are episode ids, names, codes of places or hosts, empty where unknown.",
    {"type": "string", "enum": [dimension.value for dimension in Dimension]},
)
TOP: Final = Parameter(
    "limit",
    whole_number(1, MAX_VALUES),
    MAX_VALUES,
    "With `by`: how many values to name, those with the most downloads in the range; all others are one row `other`.",
    {"type": "integer", "minimum": 1, "maximum": MAX_VALUES, "default": MAX_VALUES},
)
DAY: Final[Parameter[dt.date | None]] = Parameter(
    "day", utc_day, None, "The day, in UTC.", {"type": "string", "format": "date"}, required=True
)


class _Broken(NamedTuple):
    """Figures broken down: rows of the named values, and what all values have together where more have any.

    Attributes:
        totals: By bucket; empty when all values are named.
        names: Of keys that are numbers.
        others: How many values are not named.
    """

    rows: Sequence[FigureRow]
    totals: Sequence[FigureRow]
    names: Mapping[str, str]
    others: int

    def figures(self, buckets: Sequence[Bucket], tz: ZoneInfo) -> list[Figure]:
        """List the figures by bucket, in the order of keys, the others last; none where there are no downloads."""
        found: dict[int, list[FigureRow]] = {}
        for row in self.rows:
            if row.downloads:
                found.setdefault(row.bucket, []).append(row)
        totals = {row.bucket: row for row in self.totals}
        figures: list[Figure] = []
        for number in sorted(found.keys() | totals.keys()):
            start = buckets[number].start.astimezone(tz)
            rows = found.get(number, [])
            figures += sorted(
                (
                    Figure(start, self.names.get(row.key, row.key), row.downloads, row.downloads_strict, None)
                    for row in rows
                ),
                key=lambda figure: figure.key or "",
            )
            total = totals.get(number)
            if total is not None and (rest := total.downloads - sum(row.downloads for row in rows)):
                strict = total.downloads_strict - sum(row.downloads_strict for row in rows)
                figures.append(Figure(start, "other", rest, strict, None, self.others))
        return figures


async def _break_down(
    conn: Connection, scope: Scope, buckets: Sequence[Bucket], *, by: Dimension, limit: int
) -> _Broken:
    """Read the figures of the values with the most downloads over the whole range, and of all values together."""
    ranking = await rank_keys(conn, scope, Bucket(buckets[0].start, buckets[-1].end), by=by.value, limit=limit)
    keys = [row.key for row in ranking.keys]
    rows = await sum_downloads(conn, scope, buckets, by=by.value, keys=keys) if keys else []
    others = ranking.values - len(keys)
    totals = await sum_downloads(conn, scope, buckets) if others else []
    names: dict[str, str] = {}
    if by is Dimension.EPISODE:
        heads = await get_heads(conn, [EpisodeNo(int(key)) for key in keys])
        names = {str(int(head.episode_no)): str(head.episode_id) for head in heads}
    return _Broken(rows, totals, names, others)


def _dense(
    downloads: Sequence[FigureRow], listeners: Sequence[int | None], buckets: Sequence[Bucket], tz: ZoneInfo
) -> list[Figure]:
    """Put buckets, their downloads and their listeners together."""
    return [
        Figure(bucket.start.astimezone(tz), None, row.downloads, row.downloads_strict, people)
        for bucket, row, people in zip(buckets, downloads, listeners, strict=True)
    ]


@get(
    "/analytics/downloads",
    tags=["analytics"],
    opt={
        "permission": Permission.ANALYTICS_READ,
        "cost": REPORT_COST,
        "is_tagged": True,
        "query": (PODCAST_ID, EPISODE_ID, FROM, TO, INTERVAL, BY, TOP, TZ),
    },
)
async def get_downloads(request: Request[Any, Any, Any]) -> Response[DownloadsAnswer]:
    """Count downloads and listeners by time.

    Of an episode, of a podcast, or of all podcasts when neither is given. Downloads are deduplicated by UTC day; `tz`
    only regroups them. Under `by` the values with the most downloads are named, and the others are one row a bucket.
    """
    resources = resources_of(request)
    now = resources.clock.now()
    lists = await asyncio.to_thread(resources.lists.read)
    async with resources.database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        query, days = await read_report_query(request, conn)
        podcast_id, episode_id, by, tz = query.get(PODCAST_ID), query.get(EPISODE_ID), query.get(BY), query.get(TZ)
        interval, top = query.get(INTERVAL), query.get(TOP)
        if query.is_given(TOP) and not query.is_given(BY):
            query.refuse("limit", "without_by", "goes with `by` alone: without it there is nothing to be named")
        wanted = read_range(query, now=now, days=days)
        query.finish()
        buckets = plan_buckets(*wanted, interval=interval, tz=tz)
        first, last = utc_days(*wanted)
        scope, _ = await find_scope(conn, podcast_id=podcast_id, episode_id=episode_id)
        status = await read_status(conn, scope, first=first, last=last)
        state, partial = state_of(status, first, last, now=now), is_partial(status, wanted.end)
        asked = (tz.key, interval.value)
        tag = version_tag(status, wanted, state, partial, status.is_counting, lists, asked)
        if (unchanged := answer_unchanged(request, tag)) is not None:
            return unchanged
        reason: NoListeners | None = "by"
        if by is not None:
            broken = await _break_down(conn, scope, buckets, by=by, limit=top)
            if len(broken.rows) > MAX_SUMS:
                message = f"makes more than {MAX_SUMS} rows here; ask for a shorter range, a longer interval or fewer"
                raise InvalidRequest([Fault("by", "too_many_rows", message)])
            figures = broken.figures(buckets, tz)
        else:
            found = {row.bucket: row for row in await sum_downloads(conn, scope, buckets)}
            rows = [found.get(number) or FigureRow(number, "", 0, 0) for number in range(len(buckets))]
            listeners, reason, is_old = await read_audience(conn, scope, buckets, [row.downloads for row in rows])
            partial = partial or is_old
            figures = _dense(rows, listeners, buckets, tz)
    profile, rules = counted_by(status)
    answer = DownloadsAnswer(
        data=figures,
        cutoff=status.cutoff_at,
        profile=profile,
        rules=rules,
        lists=lists,
        state=state,
        partial=partial,
        restated=status.restated,
        tz=tz.key,
        interval=interval.value,
        start=wanted.start.astimezone(tz),
        end=wanted.end.astimezone(tz),
        listeners_reason=reason,
    )
    return answer_with(request, answer, tag=tag)


@get(
    "/analytics/explain",
    tags=["analytics"],
    opt={
        "permission": Permission.HITS_READ,
        "cost": REPORT_COST,
        "is_tagged": True,
        "query": (PODCAST_ID, EPISODE_ID, DAY),
    },
)
async def explain_day(request: Request[Any, Any, Any]) -> Response[DayExplanation]:
    """Explain a UTC day: how many hits there were, what became of them, and which are downloads.

    Of an episode, or of a podcast with its hits that wait for their episode.
    """
    resources = resources_of(request)
    query = Query.of(request)
    podcast_id, episode_id, day = query.get(PODCAST_ID), query.get(EPISODE_ID), query.get(DAY)
    if not query.is_given(PODCAST_ID) and not query.is_given(EPISODE_ID):
        query.refuse("podcast_id", "missing", "is required, or episode_id")
    query.finish()
    if day is None:
        raise AssertionError("a required parameter is there")
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        scope, owner_id = await find_scope(conn, podcast_id=podcast_id, episode_id=episode_id)
        if owner_id is None:
            raise AssertionError("a podcast or an episode was named")
        answer = await read_day(
            conn, scope, podcast_id=owner_id, episode_id=episode_id, day=day, now=resources.clock.now()
        )
    return answer_with(request, answer)
