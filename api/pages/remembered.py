"""What is costly to read and may be a minute old, remembered for that long in memory of bounded size."""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final, TypeVar

from analytics_core.clock import Clock

__all__ = ("Remembered",)

T = TypeVar("T")

FOR: Final = dt.timedelta(minutes=1)
MAX: Final = 512


class Remembered:
    """Values by key, each for a minute, the ones that were made earliest forgotten first.

    Only what changes slowly and is costly belongs in it: listeners of a month; never the live figures.

    Args:
        clock: What time it is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._values: OrderedDict[Hashable, tuple[dt.datetime, Any]] = OrderedDict()

    def __len__(self) -> int:
        """How many values are remembered."""
        return len(self._values)

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return a value, reading it when it is not known or too old.

        Args:
            key: Names the value, its tenant included.
            read: Reads it; what it raises is passed on and nothing remembered.
        """
        now = self._clock.now()
        found = self._values.get(key)
        if found is not None and dt.timedelta() <= now - found[0] < FOR:
            value: T = found[1]
            return value
        value = await read()
        self._values.pop(key, None)
        self._values[key] = now, value
        while len(self._values) > MAX:
            self._values.popitem(last=False)
        return value
