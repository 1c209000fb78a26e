"""When the spool is synced: on a loop whose time is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextvars import Context
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import pytest

from analytics_core.clock import FixedClock
from analytics_core.hits import Hit
from analytics_core.spool import encode_hit
from analytics_core.spool_writer import SpoolWriter
from prefix_redirect.turns import Turns

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class HandLoop(asyncio.SelectorEventLoop):
    """A loop on which time passes, and other threads finish, when the test says so."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.timers: list[asyncio.TimerHandle] = []
        self.threads: list[tuple[Callable[[], object], asyncio.Future[Any]]] = []
        super().__init__()

    def time(self) -> float:
        return self.now_s

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = super().call_at(when, callback, *args, context=context)
        self.timers.append(timer)
        return timer

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        future: asyncio.Future[_T] = self.create_future()
        self.threads.append((lambda: func(*args), future))
        return future

    @property
    def planned(self) -> list[float]:
        """How many seconds from now timers are due."""
        return [
            timer.when() - self.now_s for timer in self.timers if not timer.cancelled() and timer.when() > self.now_s
        ]

    def advance(self, seconds: float) -> None:
        """Let time pass, then run what is due, and what follows from it."""
        self.now_s += seconds
        for _ in range(4):
            self.call_soon(self.stop)
            self.run_forever()

    def end_thread(self) -> None:
        """Let the oldest work of another thread end now."""
        work, future = self.threads.pop(0)
        work()
        future.set_result(None)
        self.advance(0)


class Hands:
    """Turns over a spool, on such a loop."""

    def __init__(self, folder: Path) -> None:
        self.loop = HandLoop()
        clock = FixedClock(datetime(2026, 11, 24, tzinfo=UTC))
        self.writer = SpoolWriter(
            folder, "t", segment_bytes=2**20, segment_s=60, reserve_bytes=0, monotonic=self.loop.time, clock=clock
        )
        self.turns = Turns(self.loop, self.writer, clock, holds_answers=False)
        self.writer.open()
        self.turns.start_sync()
        self.loop.advance(0)
        self.loop.end_thread()

    def record(self) -> None:
        """Answer a request in a turn of its own."""
        row, _ = encode_hit(Hit(at_us=1, address=bytes(16), target=b"t", agent=b"a"))
        self.turns.join(self)
        self.writer.rows.append(row)
        self.writer.texts.append(b"ta")
        self.loop.advance(0)

    def send_turn(self) -> None:
        """Nobody listens."""

    def take_answers(self) -> bytes:
        return b""

    def send_answers(self, answers: bytes) -> None:
        """Nobody listens."""

    def close(self) -> None:
        self.writer.close()
        self.loop.close()


@pytest.fixture
def hands(tmp_path: Path) -> Iterator[Hands]:
    hands = Hands(tmp_path / "spool")
    yield hands
    hands.close()


def test_a_sync_begins_a_tenth_of_a_second_after_the_first_bytes_it_covers(hands: Hands) -> None:
    assert hands.loop.planned == []
    hands.record()
    assert hands.loop.planned == pytest.approx([0.1])
    hands.loop.advance(0.06)
    hands.record()
    assert hands.loop.planned == pytest.approx([0.04])
    hands.loop.advance(0.04)
    assert len(hands.loop.threads) == 1
    hands.loop.end_thread()
    assert not hands.turns.is_syncing


@pytest.mark.parametrize(("sync_s", "left_s"), [(0.03, 0.07), (0.0999, 0.0001), (0.1, 0.0), (5.0, 0.0)])
def test_what_is_written_while_a_sync_runs_has_waited_from_then_on(hands: Hands, sync_s: float, left_s: float) -> None:
    hands.record()
    hands.loop.advance(0.1)
    hands.record()
    hands.loop.advance(sync_s)
    assert len(hands.loop.threads) == 1, "one at a time"
    if left_s:
        hands.loop.end_thread()
        assert hands.loop.planned == pytest.approx([left_s])
        hands.loop.advance(left_s)
        assert len(hands.loop.threads) == 1
    else:
        hands.loop.end_thread()
        assert len(hands.loop.threads) == 1, "the next begins as the last has ended"
    hands.loop.end_thread()
    assert not hands.turns.is_syncing
    assert not hands.writer.is_dirty
