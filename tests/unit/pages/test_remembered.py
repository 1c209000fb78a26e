"""Values that may be a minute old."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable

import pytest

from analytics_core.clock import FixedClock
from api.pages.remembered import MAX, Remembered

pytestmark = pytest.mark.anyio


def reading(value: str) -> Callable[[], Awaitable[str]]:
    async def read() -> str:
        return value

    return read


async def test_a_value_is_read_again_after_a_minute_and_keys_do_not_mix() -> None:
    clock = FixedClock(dt.datetime(2026, 11, 24, tzinfo=dt.UTC))
    remembered = Remembered(clock)
    assert await remembered.get((1, "a"), reading("old")) == "old"
    assert await remembered.get((2, "a"), reading("other")) == "other"
    clock.advance(dt.timedelta(seconds=59))
    assert await remembered.get((1, "a"), reading("new")) == "old"
    clock.advance(dt.timedelta(seconds=1))
    assert await remembered.get((1, "a"), reading("new")) == "new"
    # A clock that was set back does not keep a value for longer.
    clock.advance(dt.timedelta(hours=-1))
    assert await remembered.get((1, "a"), reading("newer")) == "newer"


async def test_memory_is_bounded_and_a_failure_is_not_remembered() -> None:
    remembered = Remembered(FixedClock(dt.datetime(2026, 11, 24, tzinfo=dt.UTC)))

    async def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await remembered.get("x", fail)
    assert await remembered.get("x", reading("yes")) == "yes"
    for number in range(MAX + 10):
        await remembered.get(number, reading("x"))
    assert len(remembered) == MAX
    assert await remembered.get("x", reading("again")) == "again"
