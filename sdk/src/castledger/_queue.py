"""Events between the threads that track them and the worker that takes them away: bounded, and never waited for."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

__all__ = ("MAX_BATCH_BYTES", "MAX_QUEUE_BYTES", "EventQueue", "take_batch")

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
