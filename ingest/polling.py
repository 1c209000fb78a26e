"""Polling: feeds are read again every quarter hour, at once when a listener asks for an episode they may have."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from analytics_core.clock import Clock
from analytics_core.db.claims import prove_claims
from analytics_core.db.pending import PendingHit
from analytics_core.db.podcasts import DuePodcast, due_podcasts, note_poll, refresh_podcast, request_poll
from analytics_core.db.pool import Connection, Pool, connection
from analytics_core.errors import Conflict, InvalidInput, Unavailable
from analytics_core.settings import FeedSettings
from ingest.caches import GenerationCache
from ingest.metrics import Metrics

if TYPE_CHECKING:
    from analytics_core.feed_fetch import Fetched, NotModified

__all__ = ("MAX_BACKOFF", "FetchDue", "Poller", "UnknownTargetPolls", "next_poll")

MAX_BACKOFF: Final = dt.timedelta(days=1)
MAX_CONCURRENT: Final = 4

_ASK_S: Final = 60.0
_ASKS_A_TARGET: Final = 5
_ASKED_LIMIT: Final = 20_000

_log = logging.getLogger("castledger.ingest.polling")

FetchDue: TypeAlias = "Callable[[DuePodcast, FeedSettings], Awaitable[Fetched | NotModified]]"
"""Fetches the feed of a podcast; raises InvalidInput when it cannot."""


def next_poll(now: dt.datetime, *, every_s: int, failures: int) -> dt.datetime:
    """Say when a feed is polled next: after *every_s*, twice as long after each failure in a row, at most a day.

    >>> at = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    >>> [str(next_poll(at, every_s=900, failures=n) - at) for n in (0, 1, 2, 50)]
    ['0:15:00', '0:15:00', '0:30:00', '1 day, 0:00:00']
    """
    doubled = every_s * 2 ** min(max(failures - 1, 0), 20)
    return now + min(dt.timedelta(seconds=doubled), max(MAX_BACKOFF, dt.timedelta(seconds=every_s)))


async def _fetch(due: DuePodcast, settings: FeedSettings) -> Fetched | NotModified:
    # An HTTP client is a good part of this process's memory, and most of the time nobody needs one.
    from analytics_core.feed_fetch import fetch_feed

    return await fetch_feed(due.feed_url, settings=settings, etag=due.feed_etag, last_modified=due.feed_last_modified)


class Poller:
    """Polls feeds that are due, a few at a time.

    Args:
        pool: As ingest.
        settings: Limits, and how often.
        clock: Says what is due.
        metrics: Counts polls by outcome.
        own_hosts: Host names of our trackers, which are no part of an enclosure's identity.
        fetch: Fetches one feed.
    """

    def __init__(
        self,
        pool: Pool,
        settings: FeedSettings,
        *,
        clock: Clock,
        metrics: Metrics,
        own_hosts: Collection[str] = (),
        fetch: FetchDue = _fetch,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._own_hosts = frozenset(own_hosts)
        self._fetch = fetch
        self._running: dict[int, asyncio.Task[None]] = {}

    async def start_due(self) -> int:
        """Start polling what is due, as far as there is room; return how many polls began.

        Raises:
            Unavailable: The database does not answer.
        """
        room = MAX_CONCURRENT - len(self._running)
        if room <= 0:
            return 0
        async with connection(self._pool) as conn:
            due = await due_podcasts(conn, now=self._clock.now(), limit=MAX_CONCURRENT + room)
        started = [podcast for podcast in due if podcast.podcast_no not in self._running][:room]
        for podcast in started:
            task = asyncio.create_task(self._poll_safely(podcast), name=f"poll-{podcast.podcast_no}")
            self._running[podcast.podcast_no] = task
            task.add_done_callback(functools.partial(self._forget, podcast.podcast_no))
        return len(started)

    def _forget(self, podcast_no: int, _: asyncio.Task[None]) -> None:
        self._running.pop(podcast_no, None)

    async def drain(self) -> None:
        """Wait for the polls that run."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def close(self) -> None:
        """Give up the polls that run."""
        for task in self._running.values():
            task.cancel()
        await self.drain()

    async def _poll_safely(self, due: DuePodcast) -> None:
        try:
            await self.poll(due)
        except Unavailable:
            _log.warning("a poll was dropped: the database does not answer")
        except Exception:
            # One feed that we fail on must not keep the others from being read.
            _log.exception("polling %s failed", due.podcast_id)
            await self._note(due, error="the feed could not be stored; the log of ingest says why")

    async def poll(self, due: DuePodcast) -> None:
        """Poll one feed and store what it says.

        Raises:
            Unavailable: The database does not answer.
        """
        from analytics_core.feed_fetch import NotModified
        from analytics_core.feeds import parse_feed

        try:
            fetched = await self._fetch(due, self._settings)
            if isinstance(fetched, NotModified):
                self._metrics.polls.labels("unchanged").inc()
                await self._note(due, error=None)
                return
            feed = await asyncio.to_thread(parse_feed, fetched.data, feed_url=due.feed_url)
            now = self._clock.now()
            async with connection(self._pool) as conn, conn.transaction():
                changed = await refresh_podcast(
                    conn,
                    due,
                    feed,
                    now=now,
                    etag=fetched.etag,
                    last_modified=fetched.last_modified,
                    next_poll_at=next_poll(now, every_s=self._settings.poll_s, failures=0),
                    own_hosts=self._own_hosts,
                )
                await prove_claims(conn, due.podcast_no, feed, fetched.data, now=now)
            self._metrics.polls.labels("changed" if changed else "unchanged").inc()
        except InvalidInput as error:
            await self._note(due, error=error.reason)
        except Conflict as error:
            await self._note(due, error=str(error))

    async def _note(self, due: DuePodcast, *, error: str | None) -> None:
        failures = 0 if error is None else due.feed_failures + 1
        if error is not None:
            self._metrics.polls.labels("failed").inc()
        now = self._clock.now()
        next_poll_at = next_poll(now, every_s=self._settings.poll_s, failures=failures)
        async with connection(self._pool) as conn:
            await note_poll(conn, due, now=now, error=error, next_poll_at=next_poll_at)


class UnknownTargetPolls:
    """Has a podcast's feed polled at once when a hit names the podcast but none of its episodes.

    Once a minute a podcast at most, and a few times a target: one that stays unknown (a removed episode, a typing
    error) waits for the regular polls.

    Args:
        clock: The polls' clock.
        wake: Set when a feed has become due.
        monotonic: Seconds.
    """

    def __init__(self, clock: Clock, wake: asyncio.Event, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wake = wake
        self._monotonic = monotonic
        self._asked = GenerationCache[tuple[int, UUID], int](_ASKED_LIMIT)
        self._asked_s = GenerationCache[int, float](_ASKED_LIMIT)

    async def __call__(self, conn: Connection, hits: Sequence[PendingHit]) -> None:
        """Ask for the polls that these waiting hits call for."""
        now_s = self._monotonic()
        wanted: set[int] = set()
        for podcast_no, key in {(hit.podcast_no, hit.enclosure_key) for hit in hits if hit.podcast_no}:
            asked_s = self._asked_s.get(podcast_no)
            if podcast_no not in wanted and asked_s is not None and now_s - asked_s < _ASK_S:
                continue
            times = self._asked.get((podcast_no, key)) or 0
            if times < _ASKS_A_TARGET:
                self._asked.put((podcast_no, key), times + 1)
                self._asked_s.put(podcast_no, now_s)
                wanted.add(podcast_no)
        if wanted and await request_poll(conn, sorted(wanted), now=self._clock.now()):
            self._wake.set()
