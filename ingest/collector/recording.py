"""Writes accepted events to the spool before they are answered, and keeps it synced."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from analytics_core.events import EventRecord, encode_record
from analytics_core.spool import encode_event_row
from analytics_core.spool_writer import SpoolWriter

__all__ = ("Recorder",)

_SYNC_S: Final = 0.1


class Recorder:
    """The spool of a collector: one write a request, syncs ten times a second and off the loop.

    Args:
        writer: The spool, opened.
        holds_answers: Whether answers wait until their events are on the disk; one sync serves all that came meanwhile.
    """

    def __init__(self, writer: SpoolWriter, *, holds_answers: bool) -> None:
        self.writer = writer
        self._holds_answers = holds_answers
        self._written = asyncio.Event()
        self._waiting: list[asyncio.Future[bool]] = []
        self._syncer = ThreadPoolExecutor(1, "spool-sync")
        self._is_closing = False

    async def record(self, records: Sequence[EventRecord], *, received_us: int, address: bytes) -> bool:
        """Write events.

        Args:
            records: All of one request.
            received_us: When it came in.
            address: Of a browser; ``UNSPECIFIED`` for servers.

        Returns:
            Whether they are recorded; if not, nothing of them is, or nobody knows, and they are to be sent again.
        """
        texts = list(map(encode_record, records))
        if not self.writer.write_now([encode_event_row(received_us, address, text) for text in texts], texts):
            return False
        self._written.set()
        if not self._holds_answers:
            return True
        synced: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(synced)
        return await synced

    def plan_sync(self) -> None:
        """See to it that what was written beside events is synced too: heartbeats, and segments that have grown old."""
        if self.writer.is_dirty:
            self._written.set()

    async def run(self) -> None:
        """Sync until :meth:`close`; never to be cancelled, as answers may be waiting for a sync."""
        while not self._is_closing:
            await self._written.wait()
            if not self._holds_answers:
                await asyncio.sleep(_SYNC_S)
            await self._sync()

    async def _sync(self) -> None:
        self._written.clear()
        waiting, self._waiting = self._waiting, []
        work = self.writer.begin_sync()
        at_risk = self.writer.totals.at_risk
        if work is not None:
            await asyncio.get_running_loop().run_in_executor(self._syncer, work.run)
            self.writer.end_sync(work)
        is_synced = self.writer.totals.at_risk == at_risk
        for synced in waiting:
            # Whoever went away waits for nothing.
            if not synced.done():
                synced.set_result(is_synced)

    async def close(self, running: asyncio.Task[None]) -> None:
        """End :meth:`run`, then write, seal and sync what is left."""
        self._is_closing = True
        self._written.set()
        await running
        await asyncio.get_running_loop().run_in_executor(self._syncer, self.writer.close)
        self._syncer.shutdown()
