"""The sieve: finds the hits of a batch for which it is refused, by trying halves of halves.

A fault of the hits is told from one of everything else: where nothing lands at all, the hits are not what is wrong,
and none is given up. They stay in the spool until somebody mends the database or the program.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

import asyncpg
import numpy as np
import numpy.typing as npt

from analytics_core.db.dead_letters import MAX_MESSAGE_CHARS
from analytics_core.db.pool import CONNECTION_LOST

__all__ = ("MOST_IN_A_ROW", "Places", "Refusal", "Sieve", "Sifted", "describe", "is_refusal")

Places: TypeAlias = npt.NDArray[np.intp]
"""Which hits of a batch."""

T = TypeVar("T")

MOST_IN_A_ROW: Final = 64
"""So many hits may be given up without one that lands between them."""

# What PostgreSQL says about a row, by the first two characters of its SQLSTATE. All else is about the connection, the
# transaction, the server or the schema, passes or has to be mended, and costs no hit.
_ABOUT_ROWS: Final = frozenset(
    {
        "21",  # cardinality violation: one statement would touch a row twice
        "22",  # data exception: out of range, not valid in the encoding, a value that the driver cannot write
        "23",  # integrity constraint violation; a row that no partition takes is 23514
        "44",  # WITH CHECK OPTION violation
        "P0",  # raised by a trigger
    }
)
_TOO_LARGE: Final = "54000"
"""Of class 54, limits of the program, this one alone is about a row: too large for a page or an index."""

# What rules raise when a value is not what they take it to be. OSError, MemoryError and the like are about the machine.
_FAULTS: Final = (ValueError, TypeError, LookupError, ArithmeticError, AssertionError, AttributeError, RecursionError)


class Refusal(NamedTuple):
    """A hit that is refused, by its place, and why."""

    place: int
    error: Exception


class Sifted(NamedTuple, Generic[T]):
    """What came through the sieve, part by part, and what did not; together they are all of the batch."""

    passed: list[T]
    refused: list[Refusal]


def is_refusal(error: BaseException) -> bool:
    """Say whether an error may be about certain hits, so that the others should be tried without them.

    >>> is_refusal(asyncpg.CheckViolationError("…")), is_refusal(asyncpg.DiskFullError("…")), is_refusal(OSError())
    (True, False, False)
    """
    if isinstance(error, CONNECTION_LOST):
        return False
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate or "")
        return state[:2] in _ABOUT_ROWS or state == _TOO_LARGE
    return isinstance(error, _FAULTS)


def describe(error: Exception) -> tuple[str, str]:
    """Say why a hit was refused: a code, and a bounded text without anything of the row.

    Of an exception of ours it is where it was raised: its own words may quote an address.
    """
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate), str(error.args[0] if error.args else "").replace("\x00", "")[:MAX_MESSAGE_CHARS]
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "unknown"
    return type(error).__name__, f"raised in {where}"[:MAX_MESSAGE_CHARS]


class Sieve:
    """Remembers how many hits in a row were given up."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def note(self, *, landed: int, refused: int) -> None:
        """Hear what became of a batch that has been committed."""
        self._in_a_row = refused if landed else self._in_a_row + refused

    async def sift(
        self,
        count: int,
        attempt: Callable[[Places], Awaitable[T]],
        probe: Callable[[Places], Awaitable[object]],
        error: Exception,
    ) -> Sifted[T]:
        """Find the hits for which a batch is refused: a few attempts for each, however large the batch.

        Args:
            count: Hits of the batch.
            attempt: Takes some of them, or raises; what it took stays taken.
            probe: Does the same, and undoes it.
            error: Why the whole batch was refused.

        Returns:
            What *attempt* returned for all parts that were taken, and the hits that are refused alone.

        Raises:
            Exception: *error*, when nothing can be taken though it was tried with enough hits; or what *attempt* raised
                that is no refusal.
        """
        if count > MOST_IN_A_ROW and not await self._takes_any(count, probe):
            raise error
        passed: list[T] = []
        refused: list[Refusal] = []
        parts = _halves(np.arange(count)) if count > 1 else [np.arange(count)]
        while parts:
            part = parts.pop()
            try:
                passed.append(await attempt(part))
            except Exception as fault:
                if not is_refusal(fault):
                    raise
                if len(part) > 1:
                    parts += _halves(part)
                else:
                    refused.append(Refusal(int(part[0]), fault))
        if not passed and self._in_a_row + len(refused) > MOST_IN_A_ROW:
            raise error
        return Sifted(passed, refused)

    @staticmethod
    async def _takes_any(count: int, probe: Callable[[Places], Awaitable[object]]) -> bool:
        """Try hits from everywhere in the batch, one at a time, until one is taken."""
        for place in np.linspace(0, count - 1, MOST_IN_A_ROW).astype(np.intp):
            try:
                await probe(np.array([place], np.intp))
            except Exception as fault:
                if not is_refusal(fault):
                    raise
            else:
                return True
        return False


def _halves(part: Places) -> list[Places]:
    """Split a part; the earlier half is last, which is tried next."""
    middle = len(part) // 2
    return [part[middle:], part[:middle]]
