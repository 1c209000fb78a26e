"""How events get from ``track`` to the collector, by a thread of its own; see _task for asyncio."""

from __future__ import annotations

import atexit
import datetime as dt
import os
import sys
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from castledger._errors import EventRefused
from castledger._events import Event, EventIds, PropertyValue, encode_event
from castledger._requests import EventOptions, retry_after_s
from castledger._spool import Spool, open_folder
from castledger._worker import (
    PATH,
    Counts,
    EventQueue,
    Listener,
    MemorySource,
    Post,
    Reply,
    Stats,
    Wake,
    Worker,
    encode_body,
)

# Imported where a request is made: see _requests.
if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = (
    "EXIT_S",
    "LONGEST_NAP_S",
    "LOOK_S",
    "Delivery",
    "Intake",
    "ThreadDelivery",
    "append_bounded",
    "make_reply",
    "make_request",
    "post",
    "track",
)

# 500 verdicts with some faults each come to a tenth of this.
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
# Unpacked answers are bounded more easily.
_HEADERS: Final = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
EXIT_S: Final = 5.0
"""What the interpreter's end waits for events at most, all clients together."""
_watched: Final[list[int]] = []
_UTC: Final = dt.UTC
_now: Final = dt.datetime.now
LOOK_S: Final = 0.01
"""How often it is looked whether events still wait."""
LONGEST_NAP_S: Final = 5.0
"""Losses of a full queue are told of that late at most while the worker pauses."""
_FAULT_S: Final = 1.0


class _TooLong(Exception):
    """Something answers without end."""


def make_request(http: httpx.Client | httpx.AsyncClient, step: Post, lost: dict[str, int]) -> httpx.Request:
    """Make the request of a batch; it tells of events that were *lost*."""
    content = encode_body(step.payloads, sent_at=dt.datetime.now(dt.UTC), lost=lost)
    return http.build_request("POST", PATH, content=content, headers=_HEADERS)


def append_bounded(body: bytearray, chunk: bytes) -> None:
    """Add to an answer's body.

    Raises:
        _TooLong: It has become longer than any answer is.
    """
    body += chunk
    if len(body) > _MAX_ANSWER_BYTES:
        raise _TooLong


def make_reply(response: httpx.Response, body: bytearray, counts: Counts, lost: dict[str, int]) -> Reply:
    """Say what was answered; once taken, the collector knows of what was *lost*."""
    if response.is_success:
        counts.collector_knows(lost)
    return Reply(response.status_code, bytes(body), retry_after_s(response))


def post(http: httpx.Client, step: Post, counts: Counts) -> Reply | str:
    """Send a batch.

    Returns:
        The answer, or the kind of error when none came: a transport of the host's may raise anything.
    """
    lost = counts.for_collector()
    body = bytearray()
    try:
        response = http.send(make_request(http, step, lost), stream=True)
        try:
            for chunk in response.iter_bytes():
                append_bounded(body, chunk)
        finally:
            response.close()
        return make_reply(response, body, counts, lost)
    except Exception as error:
        return type(error).__name__


class Intake:
    """What ``track`` does with events that are not taken: they are counted, and told of."""

    counts: Counts

    def __init__(self, *, is_enabled: bool, is_strict: bool) -> None:
        self.is_taking = self._is_enabled = is_enabled
        self._is_strict = is_strict

    def turn_away(self) -> None:
        """Take no event: a client that is not enabled does nothing, and what comes after its end is lost."""
        if self._is_enabled:
            self.counts.lose("closed")
            self.counts.tell_of_losses()

    def refuse(self, error: Exception) -> None:
        """Count an event that could not be taken.

        Args:
            error: Why; anything else than a refusal comes of code of the host's, such as a mapping's or a time zone's,
                and is not shown, since it may quote what the event holds.

        Raises:
            EventRefused: The client is strict.
        """
        if not isinstance(error, EventRefused):
            error = EventRefused("event", "invalid", f"event: cannot be read ({type(error).__name__})")
        self.counts.refuse(error)
        if self._is_strict:
            raise error


class Delivery(Intake, ABC):
    """Events from ``track`` to the collector."""

    def __init__(self, options: EventOptions, on_error: Listener | None, *, tls: ssl.SSLContext) -> None:
        self.options = options
        # Made by the client, on its own thread: a fork while a worker's thread reads certificates would leave OpenSSL's
        # locks held in the child for ever. And one serves all connections.
        self.tls = tls
        self._folder: Path | None = None
        if options.spool_dir is not None and options.is_enabled:
            self._folder = open_folder(options.spool_dir)
        self._begin(Counts(on_error))
        super().__init__(is_enabled=options.is_enabled, is_strict=options.is_strict)
        _live.add(self)
        _watch_process()

    def _begin(self, counts: Counts) -> None:
        """Start with nothing: no events, no lock that anybody holds, nobody at work."""
        self.counts = counts
        self.ids = EventIds()
        self.queue = EventQueue(self.options.queue_size, batch_size=self.options.batch_size)
        self.spool = self._open_spool()
        self.worker = Worker(
            MemorySource(self.queue) if self.spool is None else self.spool,
            counts,
            batch_size=self.options.batch_size,
            flush_interval=self.options.flush_interval,
        )
        self._hurry_until = 0.0

    def _open_spool(self) -> Spool | None:
        options = self.options
        if self._folder is None:
            return None
        return Spool(
            self._folder,
            queue=self.queue,
            counts=self.counts,
            batch_size=options.batch_size,
            most_bytes=options.spool_bytes,
            api_key=options.api_key,
            notify=self.notify,
        )

    def after_fork(self) -> None:
        """Begin anew in a forked process; the events belong to its parent, whose worker goes on."""
        if self.spool is not None:
            self.spool.close_copies()
        self._begin(self.counts.after_fork())

    @abstractmethod
    def wake(self) -> None:
        """Have waiting events looked at; starts whoever does that. Never waits, never raises."""

    @abstractmethod
    def notify(self) -> None:
        """Tell whoever sends, if anybody does, that there is something; from any thread."""

    @abstractmethod
    def close(self, timeout: float) -> None:
        """Send what waits, for *timeout* seconds at most, and take no more events."""

    def lose_newest(self) -> None:
        """Count an event for which there is no room."""
        # While a key is wrong, the queue is full because of that.
        self.counts.lose("unauthorized" if self.counts.held_up == "unauthorized" else "queue_full")

    def hurry(self, until: float) -> bool:
        """Send without waiting for full batches until an instant.

        Returns:
            Whether waiting until then makes sense: there is something, or may be on disk, and no longer pause.
        """
        self._hurry_until = max(self._hurry_until, until)
        may_find_more = self.spool is not None and not self.spool.has_looked
        return (may_find_more or self.worker.waiting > 0) and self.worker.paused_until < until

    def end(self) -> None:
        """Write down what waits where it survives, and count what does not."""
        if self.spool is not None:
            self.spool.close()
        self.worker.give_up()
        self.counts.tell_of_losses()

    @property
    def is_in_hurry(self) -> bool:
        """Whether batches need not be full."""
        return time.monotonic() < self._hurry_until

    def stats(self) -> Stats:
        """Say what became of events."""
        counts = self.counts
        on_disk = 0 if self.spool is None else self.spool.on_disk
        return Stats(
            tracked=self.queue.tracked,
            queued=max(self.worker.waiting - on_disk, 0),
            on_disk=on_disk,
            sent=counts.sent,
            spooled=counts.spooled,
            adopted=counts.adopted,
            refused=counts.refusals(),
            lost=counts.losses(),
            requests=counts.requests,
            failures=counts.failures,
            listener_faults=counts.listener_faults,
            held_up=counts.held_up,
        )

    def send_here(self, deadline: float, transport: httpx.BaseTransport | None = None) -> None:
        """Send what waits on this thread: at the interpreter's end, when no thread and no loop runs any more."""
        import httpx

        left_s = deadline - time.monotonic()
        if left_s <= 0 or not self.worker.waiting:
            return
        if self.spool is not None:
            self.spool.tick()
        options = self.options
        with httpx.Client(
            base_url=options.collector_url,
            headers=options.headers,
            timeout=min(options.timeout, left_s),
            verify=self.tls,
            transport=transport,
        ) as http:
            while (now := time.monotonic()) < deadline and self.worker.paused_until < deadline:
                step = self.worker.next(now, hurry=True)
                if step is None:
                    break
                if isinstance(step, Post):
                    self.worker.answered(post(http, step, self.counts), time.monotonic())
                else:
                    time.sleep(step)


_live: Final[weakref.WeakSet[Delivery]] = weakref.WeakSet()


def _watch_process() -> None:
    """Register for forks and for the end, once, and only when there is a client: an import does nothing."""
    if _watched:
        return
    _watched.append(os.getpid())
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)
    atexit.register(_at_exit)


def _after_fork() -> None:
    for delivery in list(_live):
        delivery.after_fork()


def _at_exit() -> None:
    deadline = time.monotonic() + EXIT_S
    for delivery in list(_live):
        delivery.close(max(deadline - time.monotonic(), 0.0))


class _Tracks(Protocol):
    """A client, as far as events go."""

    @property
    def _delivery(self) -> Delivery: ...


def track(
    self: _Tracks,
    type: str,  # noqa: A002 - the wire's own name
    *,
    event_id: UUID | str | None = None,
    occurred_at: dt.datetime | None = None,
    click_id: UUID | str | None = None,
    promo_code: str | None = None,
    link: str | None = None,
    customer_id: str | None = None,
    external_id: str | None = None,
    value_amount: int | None = None,
    currency: str | None = None,
    new_customer: bool | None = None,
    url: str | None = None,
    referrer: str | None = None,
    properties: Mapping[str, PropertyValue] | None = None,
) -> UUID | None:
    """Record that something happened; returns at once, and never raises unless the client is strict.

    The event is checked and written down here, and sent in the background. What it was made of may be changed
    afterwards.

    Args:
        type: ``page_view``, ``click``, ``promo_redeemed``, ``signup``, ``purchase``, or a name of your own: 1 to 64 of
            ``a`` to ``z``, ``0`` to ``9`` and ``_``, a letter first.
        event_id: Events of one id are one event, however often they are sent; by default a new one.
        occurred_at: An aware instant, at most 90 days ago and 24 hours ahead; by default now.
        click_id: What the parameter ``cl_click`` of the page's address said.
        promo_code: As it was entered, 1 to 64 characters.
        link: The slug of a link.
        customer_id: Your name for the customer, 1 to 128 characters; the ledger keeps a keyed hash of it.
        external_id: Your name for what happened, such as an order's number, 1 to 128 characters.
        value_amount: Whole minor units of ``currency``, 0 to 10^12: 4999 for 49.99.
        currency: ISO 4217, such as ``EUR``; beside ``value_amount`` and only there.
        new_customer: Whether it is the customer's first purchase.
        url: The page's address, at most 2048 characters.
        referrer: The page's before, likewise.
        properties: Up to 32 more: names of 1 to 64 letters, digits, ``_``, ``.`` and ``-``; texts of up to 512
            characters, finite numbers, booleans and ``None``.

    Returns:
        The event's id; ``None`` when it was refused, when there is no room for it, or when the client is closed or not
        enabled. ``stats()`` says how often, and why.

    Raises:
        EventRefused: A value is out of bounds, and the client is strict.
    """
    delivery = self._delivery
    if not delivery.is_taking:
        delivery.turn_away()
        return None
    try:
        event = Event(
            event_id,
            type,
            occurred_at,
            click_id,
            promo_code,
            link,
            customer_id,
            external_id,
            value_amount,
            currency,
            new_customer,
            url,
            referrer,
            properties,
        )
        payload = encode_event(event, ids=delivery.ids, now=_now(_UTC))
        is_to_wake = delivery.queue.put(payload)
        if is_to_wake is None:
            delivery.lose_newest()
            return None
        if is_to_wake:
            delivery.wake()
        taken: UUID = event.event_id
        return taken
    except Exception as error:
        delivery.refuse(error)
        return None


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
        import httpx

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
        self._signal.wait(None if step is None else min(step, LONGEST_NAP_S))

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
            time.sleep(LOOK_S)
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
