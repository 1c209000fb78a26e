"""What to ask, without asking: shared by both clients."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, Generic, TypeVar
from uuid import UUID, uuid4

import msgspec

from castledger._errors import UnexpectedAnswer
from castledger._models import DownloadReport, Episode, Explanation, Hit, Podcast

__all__ = ("Call", "Moment", "Page", "Paged", "Query")

T = TypeVar("T")
Moment = dt.date | dt.datetime

_PAGE: Final = 200


class Call(Generic[T]):
    """One request, and the type that its answer is read as."""

    def __init__(
        self,
        kind: type[T],
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        content_type: str | None = None,
    ) -> None:
        self.kind = kind
        self.method = method
        self.path = f"/api/v1{path}"
        self.params = dict(params or {})
        self.content = content
        self.headers: dict[str, str] = {}
        if content_type is not None:
            self.headers["Content-Type"] = content_type
        if method != "GET":
            self.headers["Idempotency-Key"] = str(uuid4())


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list."""

    data: tuple[T, ...]
    next_cursor: str | None = None


class Paged(Generic[T]):
    """A list, page by page."""

    def __init__(self, kind: type[Page[T]], path: str, params: Mapping[str, str] | None = None) -> None:
        self._kind = kind
        self._path = path
        self._params = {"limit": str(_PAGE), **(params or {})}

    def first(self) -> Call[Page[T]]:
        """Ask for the first page."""
        return Call(self._kind, "GET", self._path, params=self._params)

    def following(self, page: Page[T], seen: set[str]) -> Call[Page[T]] | None:
        """Ask for the page behind *page*.

        Args:
            page: The last one that was read.
            seen: The cursors until now; this page's is added.

        Returns:
            ``None`` behind the last page.

        Raises:
            UnexpectedAnswer: The cursor was there before: the list would never end.
        """
        cursor = page.next_cursor
        if cursor is None:
            return None
        if cursor in seen:
            raise UnexpectedAnswer(
                f"/api/v1{self._path} gave the same cursor twice: the list would never end, so it is broken off here; "
                "the API or something in front of it answers wrongly.",
                status=200,
            )
        seen.add(cursor)
        return Call(self._kind, "GET", self._path, params={**self._params, "cursor": cursor})


def _moment(name: str, value: object) -> str:
    """Write a date or an instant; takes anything, since many callers run without a type checker."""
    if not isinstance(value, dt.date):
        raise TypeError(f"{name}: is a date or an aware datetime, not {type(value).__name__}")
    if isinstance(value, dt.datetime) and value.utcoffset() is None:
        raise ValueError(f"{name}: an instant needs a time zone, such as datetime.now(timezone.utc)")
    return value.isoformat()


def _given(**values: str | UUID | None) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


class Query:
    """Every request of the API's surface, named alike in both clients."""

    @staticmethod
    def create_podcast(feed_url: str) -> Call[Podcast]:
        """Add a podcast by its feed's address."""
        content = msgspec.json.encode({"feed_url": feed_url})
        return Call(Podcast, "POST", "/podcasts", content=content, content_type="application/json")

    @staticmethod
    def create_podcast_from_feed(feed: bytes) -> Call[Podcast]:
        """Add a podcast by its feed itself."""
        return Call(Podcast, "POST", "/podcasts", content=feed, content_type="application/rss+xml")

    @staticmethod
    def podcasts() -> Paged[Podcast]:
        """List podcasts."""
        return Paged(Page[Podcast], "/podcasts")

    @staticmethod
    def podcast(podcast_id: UUID | str) -> Call[Podcast]:
        """Read a podcast."""
        return Call(Podcast, "GET", f"/podcasts/{UUID(str(podcast_id))}")

    @staticmethod
    def episodes(podcast_id: UUID | str) -> Paged[Episode]:
        """List a podcast's episodes."""
        return Paged(Page[Episode], f"/podcasts/{UUID(str(podcast_id))}/episodes")

    @staticmethod
    def downloads(
        *,
        podcast_id: UUID | str | None,
        episode_id: UUID | str | None,
        start: Moment,
        end: Moment,
        interval: str,
        by: str | None,
        tz: str | None,
    ) -> Call[DownloadReport]:
        """Report downloads."""
        params = _given(podcast_id=podcast_id, episode_id=episode_id, interval=interval, by=by, tz=tz)
        params |= {"from": _moment("start", start), "to": _moment("end", end)}
        return Call(DownloadReport, "GET", "/analytics/downloads", params=params)

    @staticmethod
    def explain(*, podcast_id: UUID | str | None, episode_id: UUID | str | None, day: dt.date) -> Call[Explanation]:
        """Take a day apart."""
        if (podcast_id is None) == (episode_id is None):
            raise ValueError("explain: give either podcast_id or episode_id")
        if isinstance(day, dt.datetime):
            raise ValueError("day: is a date (UTC), not an instant")
        params = _given(podcast_id=podcast_id, episode_id=episode_id, day=_moment("day", day))
        return Call(Explanation, "GET", "/analytics/explain", params=params)

    @staticmethod
    def hits(
        *,
        podcast_id: UUID | str | None,
        episode_id: UUID | str | None,
        start: Moment,
        end: Moment,
        verdict: str | None,
    ) -> Paged[Hit]:
        """List hits."""
        params = _given(podcast_id=podcast_id, episode_id=episode_id, verdict=verdict)
        params |= {"from": _moment("start", start), "to": _moment("end", end)}
        return Paged(Page[Hit], "/analytics/hits", params)

    @staticmethod
    def hit(hit_id: str) -> Call[Hit]:
        """Read a hit."""
        if not hit_id.startswith("h_") or not hit_id.replace("-", "").replace("_", "").isalnum():
            raise ValueError("hit_id: looks like h_1a-ff")
        return Call(Hit, "GET", f"/analytics/hits/{hit_id}")
