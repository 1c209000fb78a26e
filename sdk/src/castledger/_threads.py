"""Deliveries: by a thread of its own, and by a task of asyncio."""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
import time
from typing import Final

import httpx

from castledger._delivery import EXIT_S, Delivery, post, post_async
from castledger._options import EventOptions
from castledger._queue import Counts, Listener, Wake
from castledger._worker import Post

__all__ = ("TaskDelivery", "ThreadDelivery")

_LOOK_S: Final = 0.01
# Losses of a full queue are told of that late while the worker pauses.
_LONGEST_NAP_S: Final = 5.0
_FAULT_S: Final = 1.0
_STOP_S: Final = 0.1


class ThreadDelivery(Delivery):
    """Sends events from a thread that the first event starts."""

    def __init__(
        self,
        options: EventOptions,
        on_error: Listener | None,
        *,
        tls: ssl.SSLContext,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = transport
        super().__init__(options, on_error, tls=tls)

    def _begin(self, counts: Counts) -> None:
        super()._begin(counts)
        self._signal = Wake()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._is_retired = False

    def wake(self) -> None:
        """Have waiting events looked at."""
        self.queue.asleep = False
        if self.spool is not None:
            self.spool.wake()
        if self._thread is None:
            self._start()
        self._signal.set()

    def notify(self) -> None:
        """Tell the thread that there is something."""
        self._signal.set()

    def _start(self) -> None:
        # Whoever finds it taken leaves the start to the one who has it.
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="castledger-events", daemon=True)
                thread.start()
                self._thread = thread
                self._close_with_child_process()
        except RuntimeError:
            # No thread can be had now, or none any more at the interpreter's end; the next event tries again.
            self.queue.asleep = True
        finally:
            self._starting.release()

    def _close_with_child_process(self) -> None:
        """Be closed at the end of a child of ``multiprocessing`` too: it ends without what ``atexit`` would do."""
        process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
        if process is not None and util is not None and process.parent_process() is not None:
            util.Finalize(self, self.close, args=(EXIT_S,), exitpriority=10)

    def _run(self) -> None:
        http = httpx.Client(
            base_url=self.options.collector_url,
            headers=self.options.headers,
            timeout=self.options.timeout,
            verify=self.tls,
            transport=self._transport,
        )
        try:
            while not self._is_stopping and not (self._is_retired and not self.worker.waiting):
                self._do_next(http)
        finally:
            http.close()
        if self._is_retired:
            self.close(0.0)

    def _do_next(self, http: httpx.Client) -> None:
        try:
            self._do(http)
        except Exception as error:
            # A fault of ours: the thread is the only one there is, and goes on.
            self.counts.complain("fault", f"the delivery of events failed ({type(error).__name__}) and goes on")
            time.sleep(_FAULT_S)

    def _do(self, http: httpx.Client) -> None:
        self.counts.tell_of_losses()
        step = self.worker.next(time.monotonic(), hurry=self.is_in_hurry or self._is_retired)
        if isinstance(step, Post):
            self.worker.answered(post(http, step, self.counts), time.monotonic())
            return
        # With a spool it is the spool that the next event has to wake.
        if step is None and self.spool is None:
            self.queue.asleep = True
            if len(self.queue):
                # It came between the look and the nap.
                return
        self._signal.wait(None if step is None else min(step, _LONGEST_NAP_S))

    def retire(self) -> None:
        """End once nothing waits: the client has gone without being closed."""
        self._is_retired = True
        if self._thread is not None:
            self._signal.set()

    def flush(self, timeout: float) -> bool:
        """Wait until nothing waits, for *timeout* seconds at most."""
        if threading.current_thread() is self._thread:
            # A listener's call: it would wait for itself.
            return not self.worker.waiting
        deadline = time.monotonic() + timeout
        # Looked at again and again: a lock that a thread holds when the interpreter ends is never released.
        while self.hurry(deadline) and time.monotonic() < deadline:
            self.wake()
            if self._thread is None:
                self.send_here(deadline, self._transport)
                break
            time.sleep(_LOOK_S)
        return not self.worker.waiting

    def close(self, timeout: float) -> None:
        """Send what waits, take no more events, and end the thread."""
        if self._is_stopping:
            return
        self.is_taking = False
        deadline = time.monotonic() + timeout
        if self.worker.waiting:
            self.flush(timeout)
        self._is_stopping = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._signal.set()
            # One that waits for an answer goes with the process.
            thread.join(max(deadline - time.monotonic(), 0.1))
        self.end()


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
            await asyncio.wait_for(self._signal.wait(), None if step is None else min(step, _LONGEST_NAP_S))
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
            await asyncio.sleep(_LOOK_S)
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
