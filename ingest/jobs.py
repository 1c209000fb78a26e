"""Runs the parts of ingest beside each other: each again and again, with patience while the database is down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from analytics_core.db.pool import CONNECTION_LOST
from analytics_core.errors import Unavailable
from ingest.writer import TRY_AGAIN

__all__ = ("Health", "backoff_s", "run_job")

_FIRST_S: Final = 0.5
_LAST_S: Final = 10.0

_log = logging.getLogger("castledger.ingest")


class Health:
    """What keeps ingest from its work, and what the operator has to see to, by part; read from other threads."""

    def __init__(self) -> None:
        self._faults: dict[str, str] = {}
        self._warnings: dict[str, str] = {}

    def say(self, part: str, fault: str | None) -> None:
        """Note that a part has a fault, or (``None``) that it has none."""
        if fault is None:
            self._faults.pop(part, None)
        else:
            self._faults[part] = fault

    def faults(self) -> list[str]:
        """List what is wrong; empty when all parts work."""
        return [f"{part}: {fault}" for part, fault in sorted(self._faults.copy().items())]

    def warn(self, part: str, warning: str | None) -> None:
        """Note that a part has to be seen to, or (``None``) has not; it works all the same."""
        if warning is None:
            self._warnings.pop(part, None)
        else:
            self._warnings[part] = warning

    def warnings(self) -> list[str]:
        """List what has to be seen to."""
        return [f"{part}: {warning}" for part, warning in sorted(self._warnings.copy().items())]


def backoff_s(failures: int) -> float:
    """Say how long to wait after some failures in a row: twice as long each time, a random part of it saved.

    >>> 0.25 <= backoff_s(1) <= 0.5 and 5 <= backoff_s(100) <= 10
    True
    """
    longest = min(_LAST_S, _FIRST_S * 2 ** min(failures - 1, 10))
    return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing


async def run_job(
    name: str,
    work: Callable[[], Awaitable[float]],
    *,
    stop: asyncio.Event,
    health: Health,
    wake: asyncio.Event | None = None,
) -> None:
    """Run *work* until told to stop.

    Args:
        name: For the log and for health.
        work: Does what there is to do and returns the seconds until it wants to be called again.
        stop: Ends the job once *work* returns.
        health: Hears of faults, and that they are over.
        wake: Has *work* called at once; cleared before each call.
    """
    failures = 0
    while not stop.is_set():
        if wake is not None:
            wake.clear()
        try:
            pause_s = await work()
        except TRY_AGAIN as error:
            failures += 1
            pause_s = backoff_s(failures)
            _log.info("%s tries again: %s", name, error)
        except (Unavailable, *CONNECTION_LOST) as error:
            failures += 1
            pause_s = backoff_s(failures)
            health.say(name, "the database does not answer")
            if failures == 1:
                _log.warning("%s waits: %s", name, error)
        except Exception as error:
            # A fault in one part must not take the others down; it stays visible until it is over.
            failures += 1
            pause_s = backoff_s(failures)
            health.say(name, f"failed: {type(error).__name__}")
            _log.exception("%s failed and will be tried again", name)
        else:
            if failures:
                _log.info("%s works again", name)
            failures = 0
            health.say(name, None)
        await _pause(pause_s, stop, wake if not failures else None)


async def _pause(seconds: float, stop: asyncio.Event, wake: asyncio.Event | None) -> None:
    """Wait, but not past a stop or a wake."""
    if stop.is_set() or (wake is not None and wake.is_set()):
        return
    waits = [asyncio.ensure_future(event.wait()) for event in (stop, wake) if event is not None]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await wait
