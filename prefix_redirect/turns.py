"""Answers leave at the end of the event loop's turn, behind the turn's one write to the spool.

So that an answered hit is a recorded one, even when the process is killed the instant after. With
``TRACKER_SYNC=always`` they wait for the disk as well, in groups: one sync serves all that came meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeAlias

from analytics_core.clock import Clock
from analytics_core.spool import pack_time
from analytics_core.spool_writer import SpoolWriter, SyncWork

__all__ = ("Answering", "Latencies", "Turns")

_SYNC_S: Final = 0.1
_precise_s: Final = time.perf_counter


class Answering(Protocol):
    """A connection that has answers to send."""

    def send_turn(self) -> None:
        """Send the answers of this turn, in order: their hits are recorded."""
        ...

    def take_answers(self) -> bytes:
        """Hand over the answers of this turn, in order."""
        ...

    def send_answers(self, answers: bytes) -> None:
        """Send what was handed over: the hits are recorded."""
        ...


_Held: TypeAlias = tuple[Answering, bytes, float]
"""A connection, its answers, and when the turn began in which they were asked for."""


class Latencies:
    """How long clients wait for us: from the begin of the turn in which they were read to their answers' leaving.

    Counted once a turn for all connections that it answers.
    """

    BOUNDS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS_S) + 1)
        """By the smallest bound that is not below, those above all bounds last."""
        self.sum_s = 0.0

    def note(self, took_s: float, answered: int) -> None:
        """Count some connections that waited as long."""
        self.counts[bisect_left(self.BOUNDS_S, took_s)] += answered
        self.sum_s += took_s * answered


class Turns:
    """Ends the loop's turns and keeps the spool synced.

    Args:
        loop: The running loop.
        writer: The spool.
        clock: When requests are read.
        holds_answers: Whether answers wait for the sync of their hits.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, writer: SpoolWriter, clock: Clock, *, holds_answers: bool
    ) -> None:
        self._loop = loop
        # Bound here once: a turn of one request costs twice what it costs in a full one.
        self._time = loop.time
        self._call_soon = loop.call_soon
        self._now_us = clock.now_us
        self._writer = writer
        self.holds_answers: Final = holds_answers
        """Whether answers wait for the sync of their hits."""
        self._answering: list[Answering] = []
        self._held: list[_Held] = []
        self._begun_s = 0.0
        self._syncer = ThreadPoolExecutor(1, "spool-sync")
        self._sync: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dirty_since_s: float | None = None
        """When the first bytes were seen that no sync covers, the running one included."""
        self.last_sync_s = 0.0
        """Seconds that the last sync took, waiting included."""
        self.latencies = Latencies()
        self.is_begun = False
        self.now_s = 0.0
        """When this turn began, on the loop's clock."""
        self.now_ns = 0
        """The same in nanoseconds."""
        self.at = b""
        """The same by the calendar, as a row of the spool holds it: what is read in one turn is read at one time."""

    @property
    def is_syncing(self) -> bool:
        """Whether a sync is running, or planned."""
        return self._sync is not None or self._timer is not None

    def begin(self) -> None:
        """Begin a turn: to be called before anything of it is asked, unless it has begun."""
        self.is_begun = True
        # The loop's own time has whole milliseconds only, longer than most turns.
        self._begun_s = _precise_s()
        self.now_s = now_s = self._time()
        self.now_ns = int(now_s * 1e9)
        self.at = pack_time(self._now_us())
        self._call_soon(self._end_turn)

    def join(self, connection: Answering) -> None:
        """Have a connection's answers sent at the end of this turn: to be called once a turn."""
        if not self.is_begun:
            self.begin()
        self._answering.append(connection)

    def _end_turn(self) -> None:
        self.is_begun = False
        answering = self._answering
        if not answering:
            return
        self._answering = []
        writer = self._writer
        writer.write_turn()
        if self.holds_answers and (writer.is_dirty or self._sync is not None):
            self._held += [(connection, connection.take_answers(), self._begun_s) for connection in answering]
            self.start_sync()
            return
        for connection in answering:
            connection.send_turn()
        self.latencies.note(_precise_s() - self._begun_s, len(answering))
        self.plan_sync()

    def plan_sync(self) -> None:
        """See to it that what was written is synced a tenth of a second later, or when the running sync ends."""
        if self._timer is not None or not self._writer.is_dirty:
            return
        if self._dirty_since_s is None:
            self._dirty_since_s = self._loop.time()
        if self._sync is None:
            # What was written while a sync ran has waited already: power may go at any moment.
            waited_s = self._loop.time() - self._dirty_since_s
            self._timer = self._loop.call_later(max(0.0, _SYNC_S - waited_s), self.start_sync)

    def start_sync(self) -> None:
        """Sync now, unless a sync runs; then the next one follows it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sync is not None:
            return
        held, self._held = self._held, []
        self._dirty_since_s = None
        work = self._writer.begin_sync()
        if work is None:
            self._release(held)
            return
        started_s = self._loop.time()
        self._sync = self._loop.run_in_executor(self._syncer, work.run)
        self._sync.add_done_callback(lambda _: self._end_sync(work, held, started_s))

    def _end_sync(self, work: SyncWork, held: list[_Held], started_s: float) -> None:
        self._sync = None
        self.last_sync_s = self._loop.time() - started_s
        self._writer.end_sync(work)
        self._release(held)
        if self._held:
            self.start_sync()
        else:
            self.plan_sync()

    def _release(self, held: list[_Held]) -> None:
        now_s = _precise_s()
        for connection, answers, begun_s in held:
            connection.send_answers(answers)
            self.latencies.note(now_s - begun_s, 1)

    async def close(self) -> None:
        """Wait for the sync that runs, send what is held, then write, seal and sync the rest."""
        while self._sync is not None or self._held:
            self.start_sync()
            await asyncio.sleep(0.001)
        if self._timer is not None:
            self._timer.cancel()
        await self._loop.run_in_executor(self._syncer, self._writer.close)
        self._syncer.shutdown()
