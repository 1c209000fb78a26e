"""The API's half of the in-memory server: podcasts, episodes, downloads and links."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
import msgspec

from castledger import DownloadReport, Episode, Link, Lists, Podcast
from castledger.testing._answers import Problem, answer, fault
from castledger.testing._ledger import DIMENSIONS, INTERVALS, Downloads, bucket_starts, start_of_day, sum_up

__all__ = ("Api",)

_PAGE: Final = 200
_MAX_ROWS: Final = 10_000
_DEFAULT_DAYS: Final = 30
_UUID: Final = r"([0-9a-fA-F-]{32,36})"


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

        Args:
            request: Whole.
            path: Behind ``/api/v1``.

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
