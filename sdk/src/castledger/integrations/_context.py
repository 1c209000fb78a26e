"""The attribution of the request that is being served: each thread, and each task, sees its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextvars import ContextVar
from typing import Final, Generic, TypeVar

from castledger.integrations._capture import Attribution

__all__ = ("Streamed", "attributed", "current", "streamed")

_current: Final[ContextVar[Attribution]] = ContextVar("castledger_attribution")
T = TypeVar("T")
_NONE: Final = Attribution()


def current() -> Attribution:
    """Tell where the visit came from whose request is being served; empty outside of one.

    >>> current().fields()
    {}
    """
    return _current.get(_NONE)


@contextlib.contextmanager
def attributed(attribution: Attribution) -> Iterator[None]:
    """Have :func:`current` give this one: in what serves a request, or in a test of it."""
    token = _current.set(attribution)
    try:
        yield
    finally:
        _current.reset(token)


class Streamed(Generic[T]):
    """An answer that is made while it is sent, each piece with the request's attribution.

    Args:
        attribution: The request's.
        pieces: The answer; its ``close`` is called by this one's.
    """

    def __init__(self, attribution: Attribution, pieces: Iterable[T]) -> None:
        self._attribution = attribution
        self._pieces = pieces
        self._iterator = iter(pieces)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with attributed(self._attribution):
            return next(self._iterator)

    def close(self) -> None:
        """Close the answer, as servers do after the last piece or when the visitor has left."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            with attributed(self._attribution):
                close()


async def streamed(attribution: Attribution, pieces: AsyncIterable[T]) -> AsyncIterator[T]:
    """Go through an answer as :class:`Streamed` does."""
    iterator = aiter(pieces)
    while True:
        with attributed(attribution):
            try:
                piece = await anext(iterator)
            except StopAsyncIteration:
                return
        yield piece
