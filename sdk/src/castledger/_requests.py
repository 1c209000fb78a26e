"""What to ask and how to read the answer, without asking: shared by both clients."""

from __future__ import annotations

import datetime as dt
import os
import random
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import msgspec

from castledger._errors import APIConnectionError, APITimeout, ConfigurationError, error_of
from castledger._models import DownloadReport, Episode, Explanation, Hit, Podcast

__all__ = ("Call", "Options", "Page", "Paged", "Query", "should_retry", "translate", "wait_s")

T = TypeVar("T")
Moment = dt.date | dt.datetime

_RETRIED: Final = frozenset((429, 502, 503, 504))
_LONGEST_WAIT_S: Final = 30.0
_PAGE: Final = 200


class Options(msgspec.Struct, frozen=True):
    """How to reach the API; does not show the key."""

    api_key: str
    base_url: str
    timeout: float
    max_retries: int

    def __repr__(self) -> str:
        return f"Options(base_url={self.base_url!r}, api_key='{self.api_key[:12]}…')"

    @classmethod
    def read(
        cls,
        *,
        api_key: str | None,
        base_url: str | None,
        timeout: float,
        max_retries: int,
        environ: Mapping[str, str] | None = None,
    ) -> Options:
        """Fill what was not given from the environment, and refuse what cannot work."""
        environ = os.environ if environ is None else environ
        key = api_key or environ.get("CASTLEDGER_API_KEY", "")
        if not key.startswith("cl_") or not key.isascii() or not key.isprintable():
            raise ConfigurationError("api_key: is missing or no key; pass it or set CASTLEDGER_API_KEY (cl_live_…)")
        url = (base_url or environ.get("CASTLEDGER_API_URL") or "http://127.0.0.1:8000").rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"base_url: {url!r} is no address such as https://api.example.com")
        if timeout <= 0:
            raise ConfigurationError("timeout: is a number of seconds above 0")
        if max_retries < 0:
            raise ConfigurationError("max_retries: is 0 or more")
        return cls(key, url, timeout, max_retries)

    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        return {"Authorization": f"Bearer {self.api_key}", "User-Agent": "castledger-python/0.1.0"}


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

    def read(self, response: httpx.Response) -> T:
        """Read the answer.

        Raises:
            APIError: It is an error.
            APIConnectionError: It is none of the API's answers.
        """
        if not response.is_success:
            raise error_of(response.status_code, response.content, response.headers.get("x-request-id"))
        try:
            return msgspec.json.decode(response.content, type=self.kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise APIConnectionError(f"{self.path} answered with something else than Castledger does") from error


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

    def call(self, cursor: str | None) -> Call[Page[T]]:
        """Ask for the page behind *cursor*, the first when ``None``."""
        params = self._params if cursor is None else {**self._params, "cursor": cursor}
        return Call(self._kind, "GET", self._path, params=params)


def should_retry(call: Call[Any], status: int | None) -> bool:
    """Tell whether a call may be repeated after *status* (``None``: no answer came).

    Reads may. Writes are not: an API that does not keep their key yet would do them twice.
    """
    return call.method == "GET" and (status is None or status in _RETRIED)


def wait_s(attempt: int, retry_after: str | None) -> float:
    """Seconds to wait before the next try: what the API asks for, else a jittered doubling; bounded."""
    if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), _LONGEST_WAIT_S)
    return min(0.25 * 2.0**attempt, _LONGEST_WAIT_S) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load


def translate(error: httpx.HTTPError) -> APIConnectionError:
    """Name a transport's error in our terms."""
    if isinstance(error, httpx.TimeoutException):
        return APITimeout("the API did not answer in time")
    return APIConnectionError(f"the API did not answer: {type(error).__name__}")


def _moment(name: str, value: Moment) -> str:
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
        params = _given(podcast_id=podcast_id, episode_id=episode_id, day=day.isoformat())
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
