"""What the in-memory server knows, and how it sums it up."""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, get_args
from uuid import NAMESPACE_URL, UUID, uuid5
from zoneinfo import ZoneInfo

import msgspec

from castledger import Dimension, DownloadRow, Enclosure, Episode, Interval, Podcast

__all__ = (
    "DIMENSIONS",
    "INTERVALS",
    "Downloads",
    "bucket_starts",
    "make_episode",
    "make_podcast",
    "start_of_day",
    "sum_up",
)

INTERVALS: Final[tuple[str, ...]] = get_args(Interval)
DIMENSIONS: Final[tuple[str, ...]] = get_args(Dimension)
_CREATED_AT: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Downloads(msgspec.Struct, frozen=True, kw_only=True):
    """Downloads that there were at an instant, for reports to sum up.

    Attributes:
        podcast_id: Whose.
        at: Aware.
        episode_id: Of which episode.
        count: How many.
        app: As reports by ``app`` name it, and so on; empty where unknown.
    """

    podcast_id: UUID
    at: dt.datetime
    episode_id: UUID | None = None
    count: int = 1
    app: str = ""
    device: str = ""
    os: str = ""
    country: str = ""
    region: str = ""
    city: str = ""
    referrer: str = ""
    feed_app: str = ""
    source: str = "tracker"

    def __post_init__(self) -> None:
        if self.at.utcoffset() is None:
            raise ValueError("at: has no time zone; write datetime(…, tzinfo=timezone.utc)")
        if self.count < 0:
            raise ValueError("count: is below 0")

    def key(self, dimension: str) -> str:
        """Give the value by which a report breaks them down."""
        if dimension == "episode":
            return "" if self.episode_id is None else str(self.episode_id)
        return str(getattr(self, dimension))


def make_podcast(title: str = "Castle Talk", **fields: Any) -> Podcast:
    """Make a podcast; its ids follow from its title, so that a test finds the same each time.

    Args:
        title: Also where its ids come from.
        fields: Of :class:`~castledger.Podcast`, to differ from the usual.

    >>> make_podcast("Castle Talk").podcast_id == make_podcast("Castle Talk").podcast_id
    True
    """
    usual = {
        "podcast_id": uuid5(NAMESPACE_URL, f"podcast:{title}"),
        "podcast_guid": uuid5(NAMESPACE_URL, f"guid:{title}"),
        "verified": True,
        "episodes": 0,
        "created_at": _CREATED_AT,
    }
    return Podcast(title=title, **{**usual, **fields})


def make_episode(podcast: Podcast, title: str = "Pilot", **fields: Any) -> Episode:
    """Make an episode of a podcast, as :func:`make_podcast` makes that.

    Args:
        podcast: Whose.
        title: Also where its ids come from.
        fields: Of :class:`~castledger.Episode`, to differ from the usual.
    """
    episode_id = uuid5(podcast.podcast_id, title)
    usual = {
        "episode_id": episode_id,
        "podcast_id": podcast.podcast_id,
        "guid": str(episode_id),
        "live": True,
        "published_at": _CREATED_AT,
        "enclosures": (Enclosure(url=f"https://cdn.example.org/{episode_id}.mp3", kind="enclosure"),),
    }
    return Episode(title=title, **{**usual, **fields})


def start_of_day(day: dt.date, tz: ZoneInfo) -> dt.datetime:
    """Give a day's first instant."""
    return dt.datetime.combine(day, dt.time(), tz).astimezone(dt.UTC)


def _next_start(at: dt.datetime, interval: str, tz: ZoneInfo) -> dt.datetime:
    local = at.astimezone(tz)
    if interval == "hour":
        return at + dt.timedelta(hours=1) - dt.timedelta(minutes=local.minute, seconds=local.second)
    day = local.date()
    if interval == "day":
        return start_of_day(day + dt.timedelta(days=1), tz)
    if interval == "week":
        return start_of_day(day + dt.timedelta(days=7 - day.weekday()), tz)
    return start_of_day((day.replace(day=1) + dt.timedelta(days=32)).replace(day=1), tz)


def bucket_starts(start: dt.datetime, end: dt.datetime, *, interval: str, tz: ZoneInfo) -> Iterator[dt.datetime]:
    """Go through the instants at which the intervals of a range begin; the first one is cut off by the range.

    Args:
        start: Aware, in UTC.
        end: Behind *start*, itself excluded.
        interval: One of ``INTERVALS``.
        tz: Whose days and clocks decide.

    >>> berlin = ZoneInfo("Europe/Berlin")
    >>> start = dt.datetime(2026, 10, 24, 22, tzinfo=dt.UTC)
    >>> [at.hour for at in bucket_starts(start, start + dt.timedelta(days=2), interval="day", tz=berlin)]
    [22, 23]
    """
    while start < end:
        yield start
        start = _next_start(start, interval, tz)


def sum_up(
    downloads: Iterable[Downloads], starts: Sequence[dt.datetime], end: dt.datetime, *, by: str | None, limit: int
) -> list[DownloadRow]:
    """Write a report's rows as the API does.

    Args:
        downloads: In any order.
        starts: Of the intervals, at least one, in their order.
        end: Of the last one.
        by: A dimension: then there are rows for what has downloads alone. Otherwise each interval has one.
        limit: How many values are named, those with the most downloads; the others are one row ``other``.
    """
    counts: dict[tuple[int, str | None], int] = {}
    if by is None:
        counts = {(number, None): 0 for number in range(len(starts))}
    totals: dict[str | None, int] = {}
    for one in downloads:
        if not starts[0] <= one.at < end or not one.count:
            continue
        key = None if by is None else one.key(by)
        place = bisect.bisect_right(starts, one.at) - 1, key
        counts[place] = counts.get(place, 0) + one.count
        totals[key] = totals.get(key, 0) + one.count
    named = set(sorted(totals, key=lambda key: (-totals[key], key or ""))[:limit])
    rows: dict[tuple[int, bool, str | None], int] = {}
    for (number, key), count in counts.items():
        is_named = by is None or key in named
        row = number, not is_named, key if is_named else "other"
        rows[row] = rows.get(row, 0) + count
    others = max(len(totals) - len(named), 0)
    return [
        DownloadRow(
            start=starts[number], key=key, downloads=count, downloads_strict=count, values=others if is_other else None
        )
        for (number, is_other, key), count in sorted(rows.items(), key=lambda row: (*row[0][:2], row[0][2] or ""))
    ]
