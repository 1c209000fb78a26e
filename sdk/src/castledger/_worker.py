"""Waiting events and what to do with them next: a bounded queue, the books, the wire form, and each verdict's end."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from castledger._errors import UNREADABLE, CastledgerError, EventRefused, EventsHeldUp, EventsLost
from castledger._requests import __version__

__all__ = (
    "MAX_BATCH_BYTES",
    "MAX_QUEUE_BYTES",
    "PATH",
    "Counts",
    "EventQueue",
    "Item",
    "Listener",
    "MemorySource",
    "Post",
    "Reply",
    "Source",
    "Stats",
    "Step",
    "Verdict",
    "Wake",
    "Worker",
    "encode_body",
    "logger",
    "read_problem_code",
    "read_verdicts",
    "take_batch",
)

logger: Final = logging.getLogger("castledger")

Listener: TypeAlias = Callable[[CastledgerError], object]
"""What ``on_error`` is."""

# A server may name any field and any reason; what it names beyond these is counted together.
_MOST_REASONS: Final = 100
_OTHER: Final = "other"
_QUIET_S: Final = 60.0
MAX_BATCH_BYTES: Final = 512 * 1024
"""Of the events of one request: a quarter of what the collector takes."""
MAX_QUEUE_BYTES: Final = 32 * 1024 * 1024
"""Of all waiting events: a thousand of the largest, or what `queue_size` allows of usual ones."""
PATH: Final = "/api/v1/attribution/events"
_LIBRARY: Final = f"castledger-python/{__version__}"
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
# 0.5 s doubled six times is past the longest wait.
_MOST_DOUBLINGS: Final = 6
# A server may ask for more; whoever has asked for a day by mistake is asked again within the hour.
_LONGEST_ASKED_S: Final = 3600.0
_FIRST_UNAUTHORIZED_WAIT_S: Final = 60.0
_LONGEST_UNAUTHORIZED_WAIT_S: Final = 600.0


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


def take_batch(waiting: deque[bytes], *, most: int, most_bytes: int = MAX_BATCH_BYTES) -> list[bytes]:
    """Take events from the front, in their order: as many as fit, and always one where there is any.

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


class _Fault(msgspec.Struct):
    pointer: str = ""
    code: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What became of one event; fields that a newer collector adds are ignored."""

    status: int
    code: str = ""
    errors: tuple[_Fault, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """Whether the collector has it."""
        return 200 <= self.status < 300

    @property
    def may_pass(self) -> bool:
        """Whether the event deserves to be sent again."""
        return self.status in (408, 429) or self.status >= 500

    @property
    def reason(self) -> str:
        """Why it was refused: the first fault's field and code, else the verdict's own code."""
        if not self.errors:
            return self.code or str(self.status)
        # /events/3/properties/plan: neither the position nor a property's name is wanted.
        field = [*self.errors[0].pointer.split("/"), "", "", "", ""][3]
        return f"{field or 'event'}.{self.errors[0].code or self.code}"


class _Answer(msgspec.Struct):
    results: tuple[Verdict, ...]


class _Problem(msgspec.Struct):
    code: str


def encode_body(events: Sequence[bytes], *, sent_at: dt.datetime, lost: Mapping[str, int]) -> bytes:
    """Write a request; the events are JSON already, and *lost* is since the collector last heard of any.

    >>> encode_body([b"{}"], sent_at=dt.datetime(2026, 11, 30, tzinfo=dt.UTC), lost={})[-16:]
    b'","events":[{}]}'
    """
    head: dict[str, object] = {"sent_at": sent_at, "library": _LIBRARY}
    if lost:
        head["lost"] = lost
    return b'%s,"events":[%s]}' % (msgspec.json.encode(head)[:-1], b",".join(events))


def read_verdicts(body: bytes, count: int) -> tuple[Verdict, ...] | None:
    """Read an answer's verdicts.

    Returns:
        One for each event, in their order; ``None`` when the answer is not the collector's.

    >>> read_verdicts(b"hello", 1) is None
    True
    """
    try:
        results = msgspec.json.decode(body, type=_Answer).results
    except UNREADABLE:
        return None
    return results if len(results) == count else None


def read_problem_code(body: bytes) -> str | None:
    """Read the code of a refusal; ``None`` when something else than the collector answered."""
    try:
        return msgspec.json.decode(body, type=_Problem).code
    except UNREADABLE:
        return None


class Item(NamedTuple):
    """An event on its way, with the file that it came from where it is on disk."""

    payload: bytes
    origin: object = None


class Reply(NamedTuple):
    """An answer: its status, its body, and after how many seconds it wants to be asked again."""

    status: int
    body: bytes = b""
    retry_after_s: float | None = None


class Post(NamedTuple):
    """Send these."""

    items: tuple[Item, ...]

    @property
    def payloads(self) -> list[bytes]:
        """The events as they are sent."""
        return [item.payload for item in self.items]


Step: TypeAlias = Post | float | None
"""Send, wait so many seconds, or wait until there is something."""


class Source(Protocol):
    """Where events come from: memory or files."""

    def __len__(self) -> int:
        """How many could be taken."""

    @property
    def total(self) -> int:
        """How many there ever were."""

    @property
    def is_full_batch(self) -> bool:
        """Whether a batch need not wait for more."""

    def take(self, most: int, most_bytes: int) -> list[Item]:
        """Take a batch away; there may be none though some were counted."""

    def settle(self, items: list[Item]) -> None:
        """Forget events of which it is known what became of them."""

    def give_up(self, items: list[Item]) -> int:
        """Stop, with these taken and not settled; returns how many events are lost by it."""


class MemorySource:
    """Events of the queue; what is not sent goes with the process."""

    def __init__(self, queue: EventQueue) -> None:
        self._queue = queue

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def total(self) -> int:
        """How many there ever were."""
        return self._queue.tracked

    @property
    def is_full_batch(self) -> bool:
        """Whether a batch need not wait for more."""
        return self._queue.is_full_batch

    def take(self, most: int, most_bytes: int) -> list[Item]:
        """Take a batch away."""
        return [Item(payload) for payload in self._queue.take(most, most_bytes)]

    def settle(self, items: list[Item]) -> None:
        """Nothing is kept."""

    def give_up(self, items: list[Item]) -> int:
        """Empty the queue; all of it is lost."""
        lost = len(items)
        while taken := self._queue.take(1000):
            lost += len(taken)
        return lost


class Worker:
    """Decides what follows, and keeps the books of it.

    Not safe from several threads; whoever asks :meth:`next` and gets a :class:`Post` has to say what came of it by
    :meth:`answered` or :meth:`take_back` before asking again.
    """

    def __init__(
        self,
        source: Source,
        counts: Counts,
        *,
        batch_size: int,
        flush_interval: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._counts = counts
        self._batch_size = batch_size
        self._flush_interval = flush_interval
        self._chance = chance
        # To be sent again before others.
        self._again: deque[Item] = deque()
        self._on_their_way: tuple[Item, ...] = ()
        self._limit = batch_size
        self._failures = 0
        self._unauthorized = 0
        self._settled = 0
        self._lets_others_first = False
        self._due_at: float | None = None
        self._is_given_up = False
        self.paused_until = 0.0

    @property
    def waiting(self) -> int:
        """How many events have no outcome yet, wherever they are.

        A difference of two numbers that only grow, the smaller one read first: other threads may ask while events are
        on their way from one place to the next, and never find too few.
        """
        settled = self._settled
        return self._source.total - settled

    def next(self, now: float, *, hurry: bool) -> Step:
        """Decide; a *hurry* waits for no full batch, but keeps a pause that the collector asked for."""
        if not self._again and not len(self._source):
            self._due_at = None
            return None
        if now < self.paused_until:
            return self.paused_until - now
        if not (self._again or hurry or self._source.is_full_batch):
            if self._due_at is None:
                self._due_at = now + self._flush_interval
            if now < self._due_at:
                return self._due_at - now
        self._due_at = None
        items = self._take()
        self._on_their_way = tuple(items)
        return Post(self._on_their_way) if items else None

    def _take(self) -> list[Item]:
        # Twice the batch at most, so that an outage cannot move the queue here bit by bit.
        is_others_turn = self._lets_others_first and len(self._again) < 2 * self._batch_size
        self._lets_others_first = False
        if self._again and not (is_others_turn and len(self._source)):
            # These were in one or two batches before, so their bytes need not be counted twice.
            return [self._again.popleft() for _ in range(min(self._limit, len(self._again)))]
        return self._source.take(self._limit, MAX_BATCH_BYTES)

    def answered(self, reply: Reply | str, now: float) -> None:
        """Note what came of what was sent last; a text is the kind of error when no answer came."""
        items, self._on_their_way = list(self._on_their_way), ()
        self._counts.requests += 1
        if isinstance(reply, str):
            self._failed(items, now, why=f"no answer from the collector ({reply})")
            return
        if self._is_given_up and not 200 <= reply.status < 300:
            self._lose(items)
            return
        verdicts = read_verdicts(reply.body, len(items)) if 200 <= reply.status < 300 else None
        if verdicts is not None:
            self._judged(items, verdicts, reply, now)
        elif reply.status in (401, 403):
            self._not_authorized(items, reply, now)
        elif reply.status == 413:
            self._too_large(items)
        elif reply.status in (400, 415, 422) and read_problem_code(reply.body) is not None:
            self._drop(items, "rejected")
        else:
            self._not_understood(items, reply, now)

    def take_back(self) -> None:
        """Note that what was to be sent last has been interrupted from here: it is sent again without a pause."""
        self._again.extendleft(reversed(self._on_their_way))
        self._on_their_way = ()

    def _judged(self, items: list[Item], verdicts: tuple[Verdict, ...], reply: Reply, now: float) -> None:
        self._failures = self._unauthorized = 0
        self._limit = min(self._limit * 2, self._batch_size)
        self._counts.held_up = ""
        again = [item for item, verdict in zip(items, verdicts, strict=True) if verdict.may_pass]
        settled = [item for item, verdict in zip(items, verdicts, strict=True) if not verdict.may_pass]
        for verdict in verdicts:
            if verdict.is_accepted:
                self._counts.sent += 1
            elif not verdict.may_pass:
                self._counts.refused_by_collector(verdict.reason)
        self._settle(settled)
        if again:
            self._failed(again, now, why="the collector asks for some events again", asked_s=reply.retry_after_s)

    def _failed(self, items: list[Item], now: float, *, why: str, asked_s: float | None = None) -> None:
        if self._is_given_up:
            self._lose(items)
            return
        longest_s = min(_FIRST_WAIT_S * 2.0 ** min(self._failures, _MOST_DOUBLINGS), _LONGEST_WAIT_S)
        wait_s = longest_s * self._chance()
        if asked_s is not None:
            # A little later than asked, so that not all come back in the same instant.
            wait_s += min(asked_s, _LONGEST_ASKED_S)
        self._failures += 1
        self._counts.failures += 1
        self._pause(now + wait_s)
        self._again.extendleft(reversed(items))
        self._counts.complain("delivery", f"{why}; {self.waiting} event(s) wait and are tried again")

    def _pause(self, until: float) -> None:
        self.paused_until = max(self.paused_until, until)

    def _not_authorized(self, items: list[Item], reply: Reply, now: float) -> None:
        wait_s = min(_FIRST_UNAUTHORIZED_WAIT_S * 2.0 ** min(self._unauthorized, 4), _LONGEST_UNAUTHORIZED_WAIT_S)
        self._unauthorized += 1
        self._counts.failures += 1
        self._pause(now + wait_s)
        self._again.extendleft(reversed(items))
        self._counts.hold_up(
            "unauthorized",
            EventsHeldUp(
                f"the collector answers {reply.status}: the key is wrong, revoked or may not send events. Events are "
                "kept while there is room; make the client anew with a key that may."
            ),
        )

    def _too_large(self, items: list[Item]) -> None:
        if len(items) == 1:
            self._drop(items, "too_large")
            return
        self._limit = max(len(items) // 2, 1)
        self._again.extendleft(reversed(items))

    def _drop(self, items: list[Item], reason: str) -> None:
        self._counts.lose(reason, len(items))
        self._settle(items)

    def _settle(self, items: list[Item]) -> None:
        self._source.settle(items)
        self._settled += len(items)

    def _not_understood(self, items: list[Item], reply: Reply, now: float) -> None:
        """Keep what was answered by an error that may pass, or by something else than the collector."""
        if reply.status == 500:
            # One event may be what breaks the collector: it comes to stand alone and behind, and others get past it.
            self._limit = max(self._limit // 2, 1)
            self._lets_others_first = True
            self._again.extend(items)
            items = []
        elif reply.status not in (408, 429) and reply.status < 500:
            self._counts.hold_up(
                "unexpected_answer",
                EventsHeldUp(
                    f"what answers at collector_url ({reply.status}) is not the collector, or its version and this "
                    "SDK's are too far apart. Events are kept while there is room; `castledger up` prints the "
                    "collector's address."
                ),
            )
        self._failed(items, now, why=f"the collector answered {reply.status}", asked_s=reply.retry_after_s)

    def give_up(self) -> None:
        """Count what will not be sent any more; what is on its way is counted when its answer is known."""
        self._is_given_up = True
        again, self._again = list(self._again), deque()
        self._lose(again)

    def _lose(self, items: list[Item]) -> None:
        lost = self._source.give_up(items)
        self._counts.lose("closed", lost)
        self._settled += lost
