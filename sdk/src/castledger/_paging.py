"""Lists that are read as they are gone through: one page at a time, the next when it is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from castledger._requests import Call, Page, Paged

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ("AsyncItems", "Items")

T = TypeVar("T")


class _Progress(Generic[T]):
    """Where somebody is in a list: what was read and not yet handed out, and what to ask for behind it."""

    def __init__(self, paged: Paged[T]) -> None:
        self.rows: deque[T] = deque()
        self._paged = paged
        self._last: Page[T] | None = None
        self._seen: set[str] = set()

    def next_call(self) -> Call[Page[T]] | None:
        """Tell what to ask for; ``None`` behind the last page."""
        if self._last is None:
            return self._paged.first()
        return self._paged.following(self._last, self._seen)

    def take(self, page: Page[T]) -> None:
        """Take in what was answered."""
        self._last = page
        self.rows.extend(page.data)


class Items(Iterator[T]):
    """A list, gone through once; a page is read when its first item is wanted.

    Attributes:
        kind: What it is of.

    Raises:
        UnexpectedAnswer: A cursor was given twice; what was read until then has been handed out.
    """

    def __init__(self, send: Callable[[Call[Page[T]]], Page[T]], paged: Paged[T]) -> None:
        self._send = send
        self._progress = _Progress(paged)
        self.kind = paged.item

    def __iter__(self) -> Items[T]:
        return self

    def __next__(self) -> T:
        while not self._progress.rows:
            call = self._progress.next_call()
            if call is None:
                raise StopIteration
            self._progress.take(self._send(call))
        return self._progress.rows.popleft()

    def to_polars(self) -> pl.DataFrame:
        """Read what is left of the list into a frame, a row an item; see :mod:`castledger.frames`."""
        from castledger.frames import to_polars

        return to_polars(self)

    def to_pandas(self) -> pd.DataFrame:
        """Read what is left of the list into a frame, a row an item; see :mod:`castledger.frames`."""
        from castledger.frames import to_pandas

        return to_pandas(self)


class AsyncItems(AsyncIterator[T]):
    """A list, gone through once with ``async for``; a page is read when its first item is wanted.

    Attributes:
        kind: What it is of.

    Raises:
        UnexpectedAnswer: A cursor was given twice; what was read until then has been handed out.
    """

    def __init__(self, send: Callable[[Call[Page[T]]], Awaitable[Page[T]]], paged: Paged[T]) -> None:
        self._send = send
        self._progress = _Progress(paged)
        self.kind = paged.item

    def __aiter__(self) -> AsyncItems[T]:
        return self

    async def __anext__(self) -> T:
        while not self._progress.rows:
            call = self._progress.next_call()
            if call is None:
                raise StopAsyncIteration
            self._progress.take(await self._send(call))
        return self._progress.rows.popleft()

    async def to_polars(self) -> pl.DataFrame:
        """Read what is left of the list into a frame, a row an item; see :mod:`castledger.frames`."""
        from castledger.frames import to_polars

        return to_polars([item async for item in self], kind=self.kind)

    async def to_pandas(self) -> pd.DataFrame:
        """Read what is left of the list into a frame, a row an item; see :mod:`castledger.frames`."""
        from castledger.frames import to_pandas

        return to_pandas([item async for item in self], kind=self.kind)
