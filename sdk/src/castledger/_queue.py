"""Events that wait, whoever takes them, and what became of each: counted."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from castledger._errors import CastledgerError, EventRefused, EventsLost

__all__ = (
    "MAX_BATCH_BYTES",
    "MAX_QUEUE_BYTES",
    "Counts",
    "EventQueue",
    "Listener",
    "Stats",
    "Wake",
    "logger",
    "take_batch",
)

logger: Final = logging.getLogger("castledger")

Listener: TypeAlias = Callable[[CastledgerError], object]
"""What ``on_error`` is."""

# A server may name any field and any reason; what it names beyond these is counted together.
_MOST_REASONS: Final = 100
_OTHER: Final = "other"
_QUIET_S: Final = 60.0


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What a client's events came to, in this process, since the client was made (or the process forked).

    Attributes:
        tracked: Taken by ``track``; each of them is sent, refused by the collector, lost, or still waiting.
        queued: Waiting in memory, those that are on their way included.
        on_disk: Waiting in files of ``spool_dir``, those of ended processes that were taken over included.
        sent: Acknowledged by the collector, one by one, those of ended processes that were taken over included.
        spooled: Ever written to ``spool_dir`` by this process, in the order of ``track``; from then on they survive it.
        adopted: Taken over from ended processes.
        refused: Out of bounds, by field and code (``occurred_at.naive``): by ``track`` itself, and by the collector
            (``collector.occurred_at.too_old``).
        lost: Not sent for another reason: ``queue_full``, ``unauthorized``, ``closed``, ``rejected``, ``too_large``,
            ``spool_corrupt``.
        requests: Made to the collector.
        failures: Of these, how many are to be repeated.
        listener_faults: How often ``on_error`` raised itself.
        held_up: Why events wait now, where they do; empty otherwise.
    """

    tracked: int = 0
    queued: int = 0
    on_disk: int = 0
    sent: int = 0
    spooled: int = 0
    adopted: int = 0
    refused: Mapping[str, int] = {}
    lost: Mapping[str, int] = {}
    requests: int = 0
    failures: int = 0
    listener_faults: int = 0
    held_up: str = ""


class _Reasons:
    """A count for each reason, and how much of it has been told already."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._told: dict[str, int] = {}

    def add(self, reason: str, count: int) -> None:
        known = reason if reason in self.counts or len(self.counts) < _MOST_REASONS else _OTHER
        self.counts[known] = self.counts.get(known, 0) + count

    def untold(self) -> dict[str, int]:
        news = {reason: count - self._told.get(reason, 0) for reason, count in list(self.counts.items())}
        return {reason: count for reason, count in news.items() if count}

    def tell(self, told: Mapping[str, int]) -> None:
        for reason, count in told.items():
            self._told[reason] = self._told.get(reason, 0) + count


class Counts:
    """Counts, and those who are told of them: the log, ``on_error`` and the collector.

    Safe from any thread. What is counted on the caller's thread is told on the worker's, refused events excepted, which
    are the caller's own fault and told where they are made.

    Args:
        on_error: Given every :class:`EventRefused`, :class:`EventsLost` and
            :class:`~castledger._errors.EventsHeldUp`; may raise.
        clock: Seconds that never go back, for a quiet log.
    """

    def __init__(self, on_error: Listener | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        # Reentrant: a signal's handler, or a destructor, may track an event while its own thread is counting one.
        self._lock = threading.RLock()
        self._on_error = on_error
        self._clock = clock
        self._refused = _Reasons()
        self._lost = _Reasons()
        self._to_collector = _Reasons()
        self._logged_at: dict[str, float] = {}
        self.sent = 0
        self.spooled = 0
        self.adopted = 0
        self.requests = 0
        self.failures = 0
        self.listener_faults = 0
        self.held_up = ""

    def after_fork(self) -> Counts:
        """Begin again at nothing, for the same listener."""
        return Counts(self._on_error, clock=self._clock)

    def refuse(self, error: EventRefused) -> None:
        """Count an event that ``track`` refused, log it and tell of it."""
        # Not by the property's name: there may be as many as there are events.
        reason = f"{error.field.partition('.')[0]}.{error.code}"
        with self._lock:
            self._refused.add(reason, 1)
            self._to_collector.add("refused", 1)
        self.complain(f"refused {reason}", f"event refused: {error}")
        self.tell(error)

    def refused_by_collector(self, reason: str) -> None:
        """Count an event that the collector refused, and log it."""
        with self._lock:
            self._refused.add(f"collector.{reason}", 1)
        self.complain(f"collector {reason}", f"the collector refused an event: {reason}")

    def lose(self, reason: str, count: int = 1) -> None:
        """Count events that will not arrive; :meth:`tell_of_losses` tells of them."""
        if not count:
            return
        with self._lock:
            self._lost.add(reason, count)
            self._to_collector.add(reason, count)

    def tell_of_losses(self) -> None:
        """Log losses that were not told of yet, and give them to the listener."""
        with self._lock:
            news = self._lost.untold()
            self._lost.tell(news)
        for reason, count in news.items():
            self.complain(f"lost {reason}", f"{count} event(s) lost: {reason}")
            self.tell(EventsLost(reason, count))

    def hold_up(self, kind: str, error: CastledgerError) -> None:
        """Note that events wait for somebody to act; told once until it has passed."""
        if self.held_up == kind:
            return
        self.held_up = kind
        self.complain(f"held up {kind}", str(error), level=logging.ERROR)
        self.tell(error)

    def for_collector(self) -> dict[str, int]:
        """Give the losses that the collector does not know of."""
        with self._lock:
            return self._to_collector.untold()

    def collector_knows(self, losses: Mapping[str, int]) -> None:
        """Note what the collector has been told."""
        with self._lock:
            self._to_collector.tell(losses)

    def complain(self, kind: str, message: str, *, level: int = logging.WARNING) -> None:
        """Log, at most once a minute for each kind, since events come by the thousand."""
        now = self._clock()
        if now - self._logged_at.get(kind, -_QUIET_S) < _QUIET_S:
            return
        if len(self._logged_at) >= _MOST_REASONS:
            self._logged_at.clear()
        self._logged_at[kind] = now
        # A handler of the host's that raises must not reach whoever tracks an event.
        with contextlib.suppress(Exception):
            logger.log(level, "%s", message)

    def tell(self, error: CastledgerError) -> None:
        """Give an error to the listener; what it raises is counted and goes no further."""
        if self._on_error is None:
            return
        try:
            self._on_error(error)
        except Exception:
            self.listener_faults += 1
            self.complain("listener", "on_error raised; it is not told how, since that may hold payloads")

    def refusals(self) -> dict[str, int]:
        """Copy the counts of refused events."""
        with self._lock:
            return dict(self._refused.counts)

    def losses(self) -> dict[str, int]:
        """Copy the counts of lost events."""
        with self._lock:
            return dict(self._lost.counts)


class Wake:
    """A signal that one thread waits for and that any code may give, a signal's handler and a destructor too.

    ``threading.Event`` takes a lock in ``set``, for which a handler that interrupts ``set`` would wait for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake whoever waits, or will."""
        try:
            self._lock.release()
        except RuntimeError:
            return

    def wait(self, timeout_s: float | None) -> None:
        """Wait for the signal, or for so long."""
        self._lock.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0.0))


MAX_BATCH_BYTES: Final = 512 * 1024
"""Of the events of one request: a quarter of what the collector takes."""

MAX_QUEUE_BYTES: Final = 32 * 1024 * 1024
"""Of all waiting events: a thousand of the largest, or what `queue_size` allows of usual ones."""


def take_batch(waiting: deque[bytes], *, most: int, most_bytes: int = MAX_BATCH_BYTES) -> list[bytes]:
    """Take events from the front, in their order: as many as fit, and always one where there is any.

    Args:
        waiting: Shortened by what is taken; others may append to it meanwhile.
        most: How many, above 0.
        most_bytes: How many bytes, all together; the first event is taken even when it alone is larger.

    >>> waiting = deque([b"aa", b"bb", b"cc"])
    >>> take_batch(waiting, most=9, most_bytes=5), list(waiting)
    ([b'aa', b'bb'], [b'cc'])
    """
    taken: list[bytes] = []
    size = 0
    while waiting and len(taken) < most:
        size += len(waiting[0])
        if taken and size > most_bytes:
            break
        taken.append(waiting.popleft())
    return taken


class EventQueue:
    """A queue that drops what comes last when it is full.

    Attributes:
        asleep: Whether whoever takes events away waits without end, or is not there: the next event has to wake it.
    """

    __slots__ = ("_batch_size", "_lock", "_most", "_taken", "_waiting", "asleep", "size_bytes")

    def __init__(self, most: int, *, batch_size: int) -> None:
        # Reentrant, so that a signal's handler or a destructor that tracks an event cannot wait for its own thread.
        self._lock = threading.RLock()
        self._waiting: deque[bytes] = deque()
        self._most = most
        self._batch_size = batch_size
        self.asleep = True
        self.size_bytes = 0
        self._taken = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, payload: bytes) -> bool | None:
        """Add an event.

        Returns:
            Whether the worker is to be woken now; ``None`` when the queue is full and the event was not taken.
        """
        with self._lock:
            waiting = self._waiting
            size = self.size_bytes + len(payload)
            if len(waiting) >= self._most or size > MAX_QUEUE_BYTES:
                return None
            waiting.append(payload)
            self.size_bytes = size
            if self.asleep or len(waiting) == self._batch_size:
                return True
            return size >= MAX_BATCH_BYTES > size - len(payload)

    def take(self, most: int, most_bytes: int = MAX_BATCH_BYTES) -> list[bytes]:
        """Take a batch from the front, empty when nothing waits."""
        with self._lock:
            taken = take_batch(self._waiting, most=most, most_bytes=most_bytes)
            self.size_bytes -= sum(map(len, taken))
            self._taken += len(taken)
            return taken

    @property
    def tracked(self) -> int:
        """How many were ever added."""
        with self._lock:
            return self._taken + len(self._waiting)

    @property
    def is_full_batch(self) -> bool:
        """Whether a batch need not wait for more."""
        return len(self._waiting) >= self._batch_size or self.size_bytes >= MAX_BATCH_BYTES
