"""The API's half of the in-memory server: what it knows, how it sums that up, and how it answers."""

from __future__ import annotations

import bisect
import datetime as dt
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args
from uuid import NAMESPACE_URL, UUID, uuid5
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
import msgspec

from castledger import Dimension, DownloadReport, DownloadRow, Enclosure, Episode, Interval, Link, Lists, Podcast

__all__ = (
    "DIMENSIONS",
    "INTERVALS",
    "Api",
    "Downloads",
    "Problem",
    "answer",
    "bucket_starts",
    "fault",
    "make_episode",
    "make_podcast",
    "start_of_day",
    "sum_up",
)

_REQUEST_ID: Final = "00000000-0000-0000-0000-000000000000"
INTERVALS: Final[tuple[str, ...]] = get_args(Interval)
DIMENSIONS: Final[tuple[str, ...]] = get_args(Dimension)
_CREATED_AT: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_PAGE: Final = 200
_MAX_ROWS: Final = 10_000
_DEFAULT_DAYS: Final = 30
_UUID: Final = r"([0-9a-fA-F-]{32,36})"


class Problem(Exception):
    """A request is refused."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: tuple[Mapping[str, str], ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self._body = {
            "type": "about:blank",
            "title": code.replace("_", " ").capitalize(),
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": _REQUEST_ID,
            "errors": list(errors),
        }
        self._status = status
        self._retry_after = retry_after

    def answer(self) -> httpx.Response:
        """Write it as the services do (RFC 9457)."""
        headers = {"Content-Type": "application/problem+json"}
        if self._retry_after is not None:
            headers["Retry-After"] = f"{self._retry_after:g}"
        return httpx.Response(self._status, content=msgspec.json.encode(self._body), headers=headers)


def answer(status: int, body: Any) -> httpx.Response:
    """Answer with JSON."""
    headers = {"Content-Type": "application/json", "X-Request-Id": _REQUEST_ID}
    return httpx.Response(status, content=msgspec.json.encode(body), headers=headers)


def fault(pointer: str, code: str, message: str) -> Problem:
    """Refuse one value of a request."""
    errors = ({"pointer": pointer, "code": code, "message": message},)
    return Problem(422, code, f"{pointer}: {message}", errors=errors)


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
    """Write a report's rows as the API does: by a dimension there are rows for what has downloads alone."""
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


class Api:
    """What was given, to be read as from the API."""

    def __init__(
        self,
        *,
        podcasts: Iterable[Podcast],
        episodes: Iterable[Episode],
        downloads: Iterable[Downloads],
        links: Iterable[Link],
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._podcasts = list(podcasts)
        self._episodes = list(episodes)
        self._downloads = list(downloads)
        self._links = list(links)
        self._clock = clock
        self._routes: tuple[tuple[str, Callable[..., httpx.Response]], ...] = (
            ("/podcasts", self._list_podcasts),
            (f"/podcasts/{_UUID}", self._get_podcast),
            (f"/podcasts/{_UUID}/episodes", self._list_episodes),
            ("/analytics/downloads", self._report),
            ("/links", self._list_links),
            (f"/links/{_UUID}", self._get_link),
        )

    def take(self, request: httpx.Request, path: str) -> httpx.Response:
        """Answer a request.

        Raises:
            Problem: It is refused; 501 for a route that the API may have, and this server has not.
        """
        for pattern, handler in self._routes:
            found = re.fullmatch(pattern, path)
            if found is not None and request.method == "GET":
                return handler(request, *found.groups())
        raise Problem(
            501,
            "not_in_testing",
            f"castledger.testing has no {request.method} /api/v1{path}; give the client a transport of your own for it",
        )

    def _list_podcasts(self, request: httpx.Request) -> httpx.Response:
        return _page(request, self._podcasts)

    def _get_podcast(self, request: httpx.Request, text: str) -> httpx.Response:
        return answer(200, _find(self._podcasts, "podcast_id", text))

    def _list_episodes(self, request: httpx.Request, text: str) -> httpx.Response:
        podcast = _find(self._podcasts, "podcast_id", text)
        return _page(request, [one for one in self._episodes if one.podcast_id == podcast.podcast_id])

    def _list_links(self, request: httpx.Request) -> httpx.Response:
        sponsor = request.url.params.get("sponsor_id")
        return _page(request, [one for one in self._links if sponsor is None or str(one.sponsor_id) == sponsor])

    def _get_link(self, request: httpx.Request, text: str) -> httpx.Response:
        return answer(200, _find(self._links, "link_id", text))

    def _report(self, request: httpx.Request) -> httpx.Response:
        params = request.url.params
        tz = _time_zone(params.get("tz", "UTC"))
        interval, by = params.get("interval", "day"), params.get("by")
        if interval not in INTERVALS:
            raise fault("interval", "unknown", f"is one of {', '.join(INTERVALS)}")
        if by is not None and by not in DIMENSIONS:
            raise fault("by", "unknown", f"is one of {', '.join(DIMENSIONS)}")
        limit = _whole_number("limit", params.get("limit"), 1000)
        now = self._clock()
        today = now.astimezone(tz).date()
        end = _moment("to", params.get("to"), tz) or start_of_day(today + dt.timedelta(days=1), tz)
        start = _moment("from", params.get("from"), tz) or start_of_day(
            end.astimezone(tz).date() - dt.timedelta(days=_DEFAULT_DAYS), tz
        )
        if end <= start:
            raise fault("to", "empty_range", "lies before `from`, or is the same")
        starts = list(itertools.islice(bucket_starts(start, end, interval=interval, tz=tz), _MAX_ROWS + 1))
        if len(starts) > _MAX_ROWS:
            raise fault("to", "range_too_long", "lies too far behind `from`")
        rows = sum_up(self._chosen(params), starts, end, by=by, limit=limit)
        report = DownloadReport(
            data=tuple(msgspec.structs.replace(row, start=row.start.astimezone(tz)) for row in rows),
            start=start.astimezone(tz),
            end=end.astimezone(tz),
            tz=tz.key,
            interval=interval,
            profile="castledger-1",
            rules="castledger-1.1",
            lists=Lists(agents="none", networks="none", countries="none"),
            state="live" if end > now else "final",
            partial=end > now,
            cutoff=now,
            listeners_reason="by" if by is not None else "downloads_not_kept",
        )
        return answer(200, report)

    def _chosen(self, params: Mapping[str, str]) -> Sequence[Downloads]:
        chosen = self._downloads
        if "podcast_id" in params:
            podcast = _find(self._podcasts, "podcast_id", params["podcast_id"])
            chosen = [one for one in chosen if one.podcast_id == podcast.podcast_id]
        if "episode_id" in params:
            episode = _find(self._episodes, "episode_id", params["episode_id"])
            chosen = [one for one in chosen if one.episode_id == episode.episode_id]
        return chosen


def _find(things: Iterable[Any], name: str, text: str) -> Any:
    for thing in things:
        if str(getattr(thing, name)) == text.lower():
            return thing
    raise Problem(404, "not_found", f"there is no {name.removesuffix('_id')} {text}")


def _page(request: httpx.Request, things: Sequence[Any]) -> httpx.Response:
    at = _whole_number("cursor", request.url.params.get("cursor"), 0)
    end = at + _whole_number("limit", request.url.params.get("limit"), _PAGE)
    return answer(200, {"data": things[at:end], "next_cursor": str(end) if end < len(things) else None})


def _whole_number(name: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise fault(name, "invalid", "is a whole number")
    return int(text)


def _time_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise fault("tz", "unknown", "is a time zone such as Europe/Berlin") from None


def _moment(name: str, text: str | None, tz: ZoneInfo) -> dt.datetime | None:
    if text is None:
        return None
    try:
        if len(text) == len("2026-11-01"):
            return start_of_day(dt.date.fromisoformat(text), tz)
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise fault(name, "invalid", "is a date, or an instant with an offset") from None
    if at.utcoffset() is None:
        raise fault(name, "naive", "is an instant without an offset")
    return at.astimezone(dt.UTC)
