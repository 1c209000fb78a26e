"""The shipper: from the spool to the ledger, batch by batch, oldest first.

Nothing is remembered that the database does not know better: after any failure the checkpoints are read again, and
the fence keeps what has landed from landing twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple

from analytics_core.clock import Clock
from analytics_core.db.hits import HitColumns
from analytics_core.db.pending import PendingHit
from analytics_core.db.pool import CONNECTION_LOST, Connection
from analytics_core.db.segments import (
    advance_cutoff,
)
from analytics_core.errors import Unavailable
from ingest.batches import Batch
from ingest.metrics import Metrics
from ingest.pipeline import Judged, Pipeline
from ingest.sieve import Places, Sieve, is_refusal
from ingest.spool_reader import SpoolFolder
from ingest.walker import Walker
from ingest.walks import Taken, Walk, build_parts
from ingest.writer import (
    CUTOFF_SOURCE,
    TRY_AGAIN,
    FenceLost,
    OwnershipMoved,
    count_landed,
    land_apart,
    land_batch,
    write_letter,
)
from ingest.written_keys import WrittenKeys

__all__ = ("Lender", "Shipped", "Shipper", "UnknownTargets")

UnknownTargets = Callable[[Connection, Sequence[PendingHit]], Awaitable[None]]
"""Called with the waiting hits of a batch that has landed."""

Lender = Callable[[], AbstractAsyncContextManager[Connection]]
"""Lends a connection, as ingest."""

_TRIES: Final = 5
_CUTOFF_S: Final = 1.0

_log = logging.getLogger("castledger.ingest.shipper")


class Shipped(NamedTuple):
    """What one round did.

    Attributes:
        hits: Hits that landed.
        caught_up: Whether all that was in the spool when the round began has landed.
        moved: Whether anything landed; a segment is finished in the round after its last batch.
    """

    hits: int
    caught_up: bool
    moved: bool


class Shipper:
    """Ships one spool.

    Args:
        spool: Where the segments are.
        pipeline: Judges batches.
        clock: Names the instant up to which all has landed.
        metrics: Counts.
        batch_hits: Hits after which a batch is full.
        on_unknown: Told about targets that belong to no episode.
        lend: Lends a second connection, on which the next batch is judged while one lands; without it they take
            turns.
    """

    def __init__(
        self,
        spool: SpoolFolder,
        pipeline: Pipeline,
        *,
        clock: Clock,
        metrics: Metrics,
        batch_hits: int,
        on_unknown: UnknownTargets | None = None,
        lend: Lender | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._clock = clock
        self._metrics = metrics
        self._batch_hits = batch_hits
        self._on_unknown = on_unknown
        self._lend = lend
        self._ahead: asyncio.Task[Taken] | None = None
        self._written = WrittenKeys()
        self._sieve = Sieve()
        self._walker = Walker(spool, clock=clock, metrics=metrics)
        self._cutoff_s = 0.0

    def forget(self) -> None:
        """Drop what is remembered of the database: after a lost connection or a lost fence it may be wrong."""
        self._walker.forget()
        self._drop_ahead()

    def _drop_ahead(self) -> None:
        """Drop the batch that was judged ahead: it follows on one that has not landed as it was."""
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

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
            self._metrics.batches.labels("fenced").inc()
            _log.info("a batch was dropped: %s", error)
            return Shipped(0, caught_up=False, moved=False)
        except BaseException:
            self.forget()
            raise

    async def _ship(self, conn: Connection) -> Shipped:
        taken = await self._next(conn)
        walk, cutoff = taken.walk, taken.cutoff
        self._metrics.backlog_bytes.set(walk.bytes)
        if taken.parts:
            if self._lend is not None and walk.left:
                self._ahead = asyncio.create_task(self._take_ahead(self._lend, walk), name="judging ahead")
                # Whoever drops it does not ask what became of it.
                self._ahead.add_done_callback(lambda task: task.cancelled() or task.exception())
            await self._land(conn, taken)
            walk.bytes -= sum(part.reading.end - part.reading.start for part in taken.parts)
        elif time.monotonic() - self._cutoff_s >= _CUTOFF_S and cutoff is not None:
            self._cutoff_s = time.monotonic()
            await advance_cutoff(conn, source=CUTOFF_SOURCE, at=cutoff)
        if cutoff is not None:
            self._metrics.lag_seconds.set((self._clock.now() - cutoff).total_seconds())
        return Shipped(sum(part.reading.hits for part in taken.parts), taken.caught_up, moved=bool(taken.parts))

    async def _next(self, conn: Connection) -> Taken:
        """Take the batch that was judged ahead, or else look at the spool anew."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            taken = await ahead
            if taken.parts:
                return taken
        return await self._take(conn, await self._walker.look(conn))

    async def _take_ahead(self, lend: Lender, walk: Walk) -> Taken:
        async with lend() as conn:
            return await self._take(conn, walk)

    async def _take(self, conn: Connection, walk: Walk) -> Taken:
        """Take the next batch of a walk and judge it."""
        parts = await self._walker.take(conn, walk, room=self._batch_hits)
        batch, checkpoints, answers = await asyncio.to_thread(build_parts, parts, walk.began)
        return Taken(
            walk,
            # The bytes have become columns: kept until the landing they would be the half of what a batch holds.
            [part.without_bytes() for part in parts],
            batch,
            checkpoints,
            answers,
            await self._judge(conn, batch),
            await self._walker.behind(walk),
            caught_up=not walk.left,
        )

    async def _land(self, conn: Connection, taken: Taken) -> None:
        judged = taken.judged
        began = time.perf_counter()
        for attempt in range(1, _TRIES + 1):
            try:
                judged = await self._write(conn, judged, taken)
                break
            except TRY_AGAIN:
                self._metrics.batches.labels("retried").inc()
                if attempt == _TRIES:
                    raise
            except OwnershipMoved:
                self._metrics.batches.labels("rejudged").inc()
                self._drop_ahead()
                self._pipeline.catalogue.forget()
                judged = await self._judge(conn, taken.batch)
                if attempt == _TRIES:
                    raise
        self._metrics.step_seconds.labels("land").inc(time.perf_counter() - began)
        self._walker.note_landed(taken.parts)
        self._sieve.note(landed=len(judged), refused=len(judged.dead))
        count_landed(self._metrics, judged)
        if judged.dead:
            first = judged.dead[0]
            _log.error(
                "%d hits could not land and are kept as dead letters; the first: %s, %s",
                len(judged.dead),
                first.reason,
                first.message,
            )
        if judged.pending and self._on_unknown is not None:
            await self._on_unknown(conn, judged.pending)

    async def _write(self, conn: Connection, judged: Judged, taken: Taken) -> Judged:
        """Land a batch, without the hits that the database refuses."""
        try:
            await land_batch(
                conn,
                judged,
                checkpoints=taken.checkpoints,
                answers=taken.answers,
                cutoff=taken.cutoff,
                written=self._written,
            )
        except Exception as error:
            if not is_refusal(error):
                raise
            self._metrics.batches.labels("split").inc()
            return await land_apart(
                conn,
                judged,
                taken.batch,
                checkpoints=taken.checkpoints,
                answers=taken.answers,
                cutoff=taken.cutoff,
                sieve=self._sieve,
                find_hosts=self._pipeline.unknown_hosts.find,
                error=error,
            )
        return judged

    async def _judge(self, conn: Connection, batch: Batch) -> Judged:
        """Judge a batch, without the hits over which a step stumbles."""
        if not len(batch):
            return Judged(HitColumns.empty(), [])

        async def attempt(places: Places) -> Judged:
            return await self._pipeline.judge(conn, batch.extract(places))

        try:
            return await self._pipeline.judge(conn, batch)
        except Exception as error:
            if not is_refusal(error):
                raise
            self._metrics.batches.labels("split").inc()
            sifted = await self._sieve.sift(len(batch), attempt, attempt, error)
        letters = [write_letter(batch, refusal, step="judge") for refusal in sifted.refused]
        return Judged.joined(sifted.passed, dead=letters)
