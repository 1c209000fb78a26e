"""How events get from ``track`` to the collector by a task of asyncio, which is imported with the first such client."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Final

import httpx

from castledger._delivery import (
    LONGEST_NAP_S,
    LOOK_S,
    Delivery,
    append_bounded,
    make_reply,
    make_request,
)
from castledger._requests import EventOptions
from castledger._worker import Counts, Listener, Post, Reply

__all__ = ("TaskDelivery", "post_async")

_STOP_S: Final = 0.1


async def post_async(http: httpx.AsyncClient, step: Post, counts: Counts) -> Reply | str:
    """Send a batch, as :func:`post` does."""
    lost = counts.for_collector()
    body = bytearray()
    try:
        response = await http.send(make_request(http, step, lost), stream=True)
        try:
            async for chunk in response.aiter_bytes():
                append_bounded(body, chunk)
        finally:
            await response.aclose()
        return make_reply(response, body, counts, lost)
    except Exception as error:
        return type(error).__name__


class TaskDelivery(Delivery):
    """Sends events from a task on the loop on which the first event was tracked, or that asks for a flush.

    Events that are tracked while no loop runs wait for one, or for the interpreter's end.
    """

    def __init__(
        self,
        options: EventOptions,
        on_error: Listener | None,
        *,
        tls: ssl.SSLContext,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._transport = transport
        super().__init__(options, on_error, tls=tls)

    def _begin(self, counts: Counts) -> None:
        super()._begin(counts)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._signal = asyncio.Event()
        self._is_stopping = False

    def wake(self) -> None:
        """Have waiting events looked at; from other threads too, once the task runs."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if self.spool is not None:
            self.spool.wake()
        if self._is_at_work:
            self.queue.asleep = False
            self._notify(running)
        elif running is not None:
            self.queue.asleep = False
            self._loop = running
            self._signal = asyncio.Event()
            self._task = running.create_task(self._run(), name="castledger-events")

    def notify(self) -> None:
        """Tell the task, where there is one, that there is something."""
        if self._is_at_work:
            self._notify(None)

    @property
    def _is_at_work(self) -> bool:
        return (
            self._task is not None and not self._task.done() and self._loop is not None and not self._loop.is_closed()
        )

    def _notify(self, running: asyncio.AbstractEventLoop | None) -> None:
        if self._loop is None or running is self._loop:
            self._signal.set()
            return
        try:
            self._loop.call_soon_threadsafe(self._signal.set)
        except RuntimeError:
            # It was closed meanwhile; the next event finds that out.
            self.queue.asleep = True

    async def _run(self) -> None:
        http = httpx.AsyncClient(
            base_url=self.options.collector_url,
            headers=self.options.headers,
            timeout=self.options.timeout,
            verify=self.tls,
            transport=self._transport,
        )
        try:
            while not self._is_stopping:
                await self._do_next(http)
        finally:
            # Whoever tracks next, on whichever loop, starts another task.
            self.queue.asleep = True
            await http.aclose()

    async def _do_next(self, http: httpx.AsyncClient) -> None:
        self.counts.tell_of_losses()
        step = self.worker.next(time.monotonic(), hurry=self.is_in_hurry)
        if isinstance(step, Post):
            try:
                reply = await post_async(http, step, self.counts)
            except asyncio.CancelledError:
                # A task is cancelled when its loop ends; the events wait for another one.
                self.worker.take_back()
                raise
            self.worker.answered(reply, time.monotonic())
            return
        # With a spool it is the spool that the next event has to wake.
        if step is None and self.spool is None:
            self.queue.asleep = True
            if len(self.queue):
                return
        self._signal.clear()
        try:
            await asyncio.wait_for(self._signal.wait(), None if step is None else min(step, LONGEST_NAP_S))
        except TimeoutError:
            return

    async def flush_async(self, within_s: float) -> bool:
        """Wait until nothing waits, for *within_s* seconds at most."""
        deadline = time.monotonic() + within_s
        # Looked at again and again, since the task may be on another thread's loop.
        while self.hurry(deadline) and time.monotonic() < deadline:
            if asyncio.current_task() is self._task:
                # A listener's call: it would wait for itself.
                break
            self.wake()
            await asyncio.sleep(LOOK_S)
        return not self.worker.waiting

    async def close_async(self, within_s: float) -> None:
        """Send what waits, take no more events, and end the task."""
        if self._is_stopping:
            return
        self.is_taking = False
        if self.worker.waiting:
            await self.flush_async(within_s)
        self._is_stopping = True
        if self._is_at_work and self._task is not None and self._loop is asyncio.get_running_loop():
            self._signal.set()
            await asyncio.wait([self._task], timeout=_STOP_S)
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.spool is not None:
            await asyncio.to_thread(self.spool.close)
        self.end()

    def close(self, timeout: float) -> None:
        """Send what waits from here: at the interpreter's end, when the loop does not run any more."""
        if self._is_stopping:
            return
        self.is_taking = False
        self._is_stopping = True
        self.send_here(time.monotonic() + timeout)
        self.end()
