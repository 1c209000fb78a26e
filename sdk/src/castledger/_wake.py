"""A signal between a thread and whoever has work for it."""

from __future__ import annotations

import threading

__all__ = ("Wake",)


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
