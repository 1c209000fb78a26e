"""Where the time comes from: the system's clock, or a fixed one for tests and replays."""

from __future__ import annotations

import datetime as dt
import time
from typing import Protocol

__all__ = ("Clock", "FixedClock", "SystemClock")


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> dt.datetime:
        """Return the current instant, aware and in UTC."""
        ...

    def now_us(self) -> int:
        """Return the current instant in whole microseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> dt.datetime:
        """Return the current instant, aware and in UTC."""
        return dt.datetime.now(dt.UTC)

    def now_us(self) -> int:
        """Return the current instant in whole microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1000


class FixedClock:
    """A clock that stands until it is told to move.

    >>> clock = FixedClock(dt.datetime(2026, 11, 1, tzinfo=dt.UTC))
    >>> clock.advance(dt.timedelta(hours=1))
    >>> clock.now().hour
    1
    """

    def __init__(self, at: dt.datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("a clock shows aware instants only")
        self._at = at.astimezone(dt.UTC)

    def now(self) -> dt.datetime:
        """Return the instant at which the clock stands."""
        return self._at

    def now_us(self) -> int:
        """Return that instant in whole microseconds since 1970-01-01 UTC."""
        return (self._at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)

    def advance(self, by: dt.timedelta) -> None:
        """Move the clock forward (or, with a negative *by*, back)."""
        self._at += by
