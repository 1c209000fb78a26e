"""The shipper of events: from the spools of collectors to the ledger, batch by batch, oldest first.

As with hits, nothing is remembered that the database does not know better, and the fence keeps what has landed from
landing twice. What one sender sends twice is told by its id.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from analytics_core.clock import Clock
from analytics_core.db.events import EVENTS_SOURCE, StoredEvent
from analytics_core.db.pool import CONNECTION_LOST, Connection
from analytics_core.db.segments import advance_cutoff
from analytics_core.errors import Unavailable
from ingest.dictionaries import AgentNumbers
from ingest.events.enriching import Enricher
from ingest.events.reading import EventBatch, read_parts
from ingest.events.writer import Landed, land_events
from ingest.metrics import Metrics
from ingest.place_sources import PlaceSources
from ingest.shipper import Shipped
from ingest.sieve import Sieve
from ingest.spool_reader import SpoolFolder
from ingest.walker import Walker
from ingest.writer import TRY_AGAIN, FenceLost

__all__ = ("BATCH_EVENTS", "EventShipper")

BATCH_EVENTS: Final = 5_000
"""Events after which a batch is full: with 32 KiB of text each at most, a reading's bound is met first."""

_TRIES: Final = 5
_CUTOFF_S: Final = 1.0

_log = logging.getLogger("castledger.ingest.events")


class EventShipper:
    """Ships one spool of events.

    Args:
        spool: Where the segments are.
        agents: Numbers browsers.
        places: Returns what addresses are looked up in.
        clock: Names the instant up to which all has landed.
        metrics: Counts.
        batch_events: Events after which a batch is full.
    """

    def __init__(
        self,
        spool: SpoolFolder,
        *,
        agents: AgentNumbers,
        places: Callable[[], PlaceSources],
        clock: Clock,
        metrics: Metrics,
        batch_events: int = BATCH_EVENTS,
    ) -> None:
        self._enricher = Enricher(agents)
        self._places = places
        self._clock = clock
        self._metrics = metrics
        self._batch_events = batch_events
        self._sieve = Sieve()
        self._walker = Walker(spool, clock=clock, metrics=metrics)
        self._cutoff_s = 0.0

    def forget(self) -> None:
        """Drop what is remembered of the database: after a lost connection or a lost fence it may be wrong."""
        self._walker.forget()
        self._enricher.forget()

    async def ship(self, conn: Connection) -> Shipped:
        """Land one batch of what is in the spool.

        Args:
            conn: As ingest, outside a transaction, used by nobody else meanwhile.

        Raises:
            Unavailable: The database went away; nothing is lost.
        """
        try:
            return await self._ship(conn)
        except CONNECTION_LOST as error:
            self.forget()
            raise Unavailable("the database went away") from error
        except FenceLost as error:
            self.forget()
            self._metrics.event_batches.labels("fenced").inc()
            _log.info("a batch of events was dropped: %s", error)
            return Shipped(0, caught_up=False, moved=False)
        except BaseException:
            self.forget()
            raise

    async def _ship(self, conn: Connection) -> Shipped:
        walk = await self._walker.look(conn)
        self._metrics.event_backlog_bytes.set(walk.bytes)
        parts = await self._walker.take(conn, walk, room=self._batch_events)
        cutoff = await self._walker.behind(walk)
        if parts:
            batch = await asyncio.to_thread(read_parts, parts, walk.began)
            rows = await self._enricher.enrich(conn, batch.events, self._places())
            landed = await self._land(conn, batch, rows, cutoff)
            self._walker.note_landed(parts)
            self._count(landed)
        elif cutoff is not None and time.monotonic() - self._cutoff_s >= _CUTOFF_S:
            self._cutoff_s = time.monotonic()
            await advance_cutoff(conn, source=EVENTS_SOURCE, at=cutoff)
        if cutoff is not None:
            self._metrics.event_lag_seconds.set((self._clock.now() - cutoff).total_seconds())
        return Shipped(sum(part.reading.hits for part in parts), caught_up=not walk.left, moved=bool(parts))

    async def _land(
        self, conn: Connection, batch: EventBatch, rows: Sequence[StoredEvent], cutoff: dt.datetime | None
    ) -> Landed:
        """Land a batch, once more where that alone helps."""
        for _ in range(_TRIES - 1):
            try:
                return await land_events(conn, batch, rows, cutoff=cutoff, now=self._clock.now(), sieve=self._sieve)
            except TRY_AGAIN:
                self._metrics.event_batches.labels("retried").inc()
        return await land_events(conn, batch, rows, cutoff=cutoff, now=self._clock.now(), sieve=self._sieve)

    def _count(self, landed: Landed) -> None:
        for account, events in landed.accounts.items():
            self._metrics.events.labels(account).inc(events)
        for letter in landed.dead:
            self._metrics.dead_letters.labels(letter.step, letter.reason).inc()
        self._metrics.event_batches.labels("landed").inc()
        if landed.dead:
            first = landed.dead[0]
            _log.error(
                "%d events could not land and are kept as dead letters; the first: %s, %s",
                len(landed.dead),
                first.reason,
                first.message,
            )
