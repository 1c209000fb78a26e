"""A twin of the API that remembers what it was asked, and both clients as one, so that each test asks both."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import httpx

from castledger import AsyncCastledger, Castledger, DownloadReport, Podcast

KEY = "cl_live_" + "a" * 38
NOW = "2026-11-02T08:00:00Z"
START, END = dt.date(2026, 11, 1), dt.date(2026, 12, 1)
PODCASTS = [
    {
        "podcast_id": str(UUID(int=number)),
        "title": f"Show {number}",
        "podcast_guid": str(UUID(int=100 + number)),
        "verified": True,
        "episodes": 3,
        "created_at": NOW,
        "something_new": 1,
    }
    for number in range(5)
]
REPORT = {
    "data": [{"start": NOW, "key": None, "downloads": 7, "downloads_strict": 6, "listeners": 5}] * 2,
    "from": "2026-11-01T01:00:00+01:00",
    "to": "2026-12-01T00:00:00+01:00",
    "tz": "Europe/Berlin",
    "interval": "day",
    "profile": "castledger-1",
    "rules": "castledger-1.1",
    "lists": {"agents": "a1", "networks": "none", "countries": "c1"},
    "state": "provisional",
    "partial": False,
    "cutoff": NOW,
}

Handler: TypeAlias = Callable[[httpx.Request], httpx.Response]


class API:
    """Five podcasts in pages of two, and a report; what is given first is answered, or raised, first."""

    def __init__(self, *first: httpx.Response | Exception) -> None:
        self.first = list(first)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.first:
            answer = self.first.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if request.url.path == "/api/v1/podcasts" and request.method == "GET":
            at = int(request.url.params.get("cursor", "0"))
            following = str(at + 2) if at + 2 < len(PODCASTS) else None
            return httpx.Response(200, json={"data": PODCASTS[at : at + 2], "next_cursor": following})
        if request.url.path == "/api/v1/podcasts":
            return httpx.Response(201, json=PODCASTS[0])
        return httpx.Response(200, json=REPORT)


def problem(status: int, code: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    """Refuse as the API does."""
    body = {"code": code, "title": "T", "detail": "Because.", "request_id": "r-1", **more}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json", **(headers or {})})


class Caller(Protocol):
    """One of the clients, asked without saying which; waits are noted, not waited."""

    waits: list[float]

    def __init__(self, api: Handler, **options: Any) -> None:
        """Make the client."""

    def titles(self) -> list[str]:
        """List the podcasts' titles."""

    def create(self) -> Podcast:
        """Add a podcast."""

    def report(self, *, start: Any = START, end: Any = END, **question: Any) -> DownloadReport:
        """Report downloads."""


class Blocking:
    """``Castledger``."""

    def __init__(self, api: Handler, **options: Any) -> None:
        self.waits: list[float] = []
        given = {"api_key": KEY, "transport": httpx.MockTransport(api), "sleep": self.waits.append, **options}
        self.client = Castledger(**given)

    def titles(self) -> list[str]:
        """List the podcasts' titles."""
        return [podcast.title for podcast in self.client.podcasts.list()]

    def create(self) -> Podcast:
        """Add a podcast."""
        return self.client.podcasts.create(feed_url="https://x.example.org/feed")

    def report(self, *, start: Any = START, end: Any = END, **question: Any) -> DownloadReport:
        """Report downloads."""
        return self.client.analytics.downloads(start=start, end=end, **question)


class Asynchronous:
    """``AsyncCastledger``, each question in an event loop of its own."""

    def __init__(self, api: Handler, **options: Any) -> None:
        self.waits: list[float] = []

        async def note(wait_s: float) -> None:
            self.waits.append(wait_s)

        given = {"api_key": KEY, "transport": httpx.MockTransport(api), "sleep": note, **options}
        self.client = AsyncCastledger(**given)

    def titles(self) -> list[str]:
        """List the podcasts' titles."""

        async def ask() -> list[str]:
            return [podcast.title async for podcast in self.client.podcasts.list()]

        return asyncio.run(ask())

    def create(self) -> Podcast:
        """Add a podcast."""
        return asyncio.run(self.client.podcasts.create(feed_url="https://x.example.org/feed"))

    def report(self, *, start: Any = START, end: Any = END, **question: Any) -> DownloadReport:
        """Report downloads."""
        return asyncio.run(self.client.analytics.downloads(start=start, end=end, **question))
