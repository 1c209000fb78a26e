"""What to do next with waiting events: decided here for thread and task, without sending and without waiting."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from castledger._errors import EventsHeldUp
from castledger._queue import MAX_BATCH_BYTES, EventQueue
from castledger._stats import Counts
from castledger._wire import Verdict, read_problem_code, read_verdicts

__all__ = ("Item", "MemorySource", "Post", "Reply", "Source", "Step", "Worker")

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
# 0.5 s doubled six times is past the longest wait.
_MOST_DOUBLINGS: Final = 6
# A server may ask for more; whoever has asked for a day by mistake is asked again within the hour.
_LONGEST_ASKED_S: Final = 3600.0
_FIRST_UNAUTHORIZED_WAIT_S: Final = 60.0
_LONGEST_UNAUTHORIZED_WAIT_S: Final = 600.0


class Item(NamedTuple):
    """An event on its way.

    Attributes:
        payload: As it was written down.
        origin: The file that it came from, where it is on disk.
    """

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

    Args:
        source: Where events come from.
        counts: Where they are counted.
        batch_size: Events of a request at most.
        flush_interval: Seconds that an event waits at most for others.
        chance: From 0 up to 1, for full jitter.
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
        """Decide.

        Args:
            now: Seconds of a clock that never goes back.
            hurry: Not to wait for a batch to fill; a pause that the collector asked for is kept all the same.
        """
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
        """Note what came of what was sent last.

        Args:
            reply: The collector's, or whoever's answered in its place; when none came, the kind of error.
            now: As for :meth:`next`.
        """
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
