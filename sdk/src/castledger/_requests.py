"""What the SDK asks of the API: calls, their parameters, answers by pages, and what the nouns' methods stand on."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Generic, Literal, Protocol, TypeAlias, TypeVar
from uuid import UUID, uuid4

import msgspec

from castledger._errors import UnexpectedAnswer

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = (
    "AsyncItems",
    "AsyncNoun",
    "AsyncSender",
    "Call",
    "Dimension",
    "Interval",
    "Items",
    "Moment",
    "Noun",
    "Page",
    "Paged",
    "Sender",
    "given",
    "given_range",
    "path_id",
    "write_moment",
)

T = TypeVar("T")
Moment: TypeAlias = dt.date | dt.datetime
"""A date, or an aware instant."""

Interval: TypeAlias = Literal["hour", "day", "week", "month"]
"""How long a row's time is."""

Dimension: TypeAlias = Literal[
    "episode", "app", "device", "os", "country", "region", "city", "referrer", "feed_app", "source"
]
"""What downloads can be broken down by."""

_PAGE: Final = 200


class Call(Generic[T]):
    """One request, and the type that its answer is read as.

    A write gets an ``Idempotency-Key`` here, once: however often the call is sent, it is done once.

    Args:
        kind: What a good answer's body is; ``type(None)`` where there is none.
        method: Of HTTP.
        path: Below ``/api/v1``.
        params: The query's.
        json: What to send, as JSON; fields that are :data:`msgspec.UNSET` are left out.
        content: What to send otherwise.
        content_type: Of *content*.
    """

    def __init__(
        self,
        kind: type[T],
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        content: bytes | None = None,
        content_type: str | None = None,
    ) -> None:
        self.kind = kind
        self.method = method
        self.path = f"/api/v1{path}"
        self.params = dict(params or {})
        self.content = content
        self.headers: dict[str, str] = {}
        if json is not None:
            self.content = _write_json({name: value for name, value in json.items() if value is not msgspec.UNSET})
            content_type = "application/json"
        if content_type is not None:
            self.headers["Content-Type"] = content_type
        if method != "GET":
            self.headers["Idempotency-Key"] = str(uuid4())


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list."""

    data: tuple[T, ...]
    next_cursor: str | None = None


class Paged(Generic[T]):
    """A list, page by page.

    Args:
        item: What it is of.
        path: Below ``/api/v1``.
        params: The query's.
        limit: How many a page has; ``None`` where the API says so itself.
    """

    def __init__(
        self, item: type[T], path: str, params: Mapping[str, str] | None = None, *, limit: int | None = _PAGE
    ) -> None:
        self.item = item
        self._path = path
        self._params = dict(params or {}) if limit is None else {"limit": str(limit), **(params or {})}

    def _ask(self, params: Mapping[str, str]) -> Call[Page[T]]:
        kind: type[Page[T]] = Page[self.item]  # type: ignore[name-defined]  # a type that is known at run time only
        return Call(kind, "GET", self._path, params=params)

    def first(self) -> Call[Page[T]]:
        """Ask for the first page."""
        return self._ask(self._params)

    def following(self, page: Page[T], seen: set[str]) -> Call[Page[T]] | None:
        """Ask for the page behind *page*.

        Args:
            page: The last one that was read.
            seen: The cursors until now; this page's is added.

        Returns:
            ``None`` behind the last page.

        Raises:
            UnexpectedAnswer: The cursor was there before: the list would never end.
        """
        cursor = page.next_cursor
        if cursor is None:
            return None
        if cursor in seen:
            raise UnexpectedAnswer(
                f"/api/v1{self._path} gave the same cursor twice: the list would never end, so it is broken off here; "
                "the API or something in front of it answers wrongly.",
                status=200,
            )
        seen.add(cursor)
        return self._ask({**self._params, "cursor": cursor})


def _write_json(fields: Mapping[str, object]) -> bytes:
    for name, value in fields.items():
        if isinstance(value, dt.datetime):
            write_moment(name, value)
    return msgspec.json.encode(fields)


def write_moment(name: str, value: object) -> str:
    """Write a date or an instant; takes anything, since many callers run without a type checker."""
    if not isinstance(value, dt.date):
        raise TypeError(f"{name}: is a date or an aware datetime, not {type(value).__name__}")
    if isinstance(value, dt.datetime) and value.utcoffset() is None:
        raise ValueError(f"{name}: an instant needs a time zone, such as datetime.now(timezone.utc)")
    return value.isoformat()


def given(**values: str | int | UUID | None) -> dict[str, str]:
    """Write the parameters that are given."""
    return {name: str(value) for name, value in values.items() if value is not None}


def given_range(start: Moment | None, end: Moment | None) -> dict[str, str]:
    """Write the ends of a range that are given, as the API calls them.

    Raises:
        ValueError: An instant has no time zone.
        TypeError: One is neither a date nor an instant.
    """
    ends = (("from", "start", start), ("to", "end", end))
    return {name: write_moment(ours, at) for name, ours, at in ends if at is not None}


def path_id(what: UUID | str) -> str:
    """Write an id as it stands in a path.

    Raises:
        ValueError: It is no UUID.
    """
    return str(UUID(str(what)))


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


class Sender(Protocol):
    """Makes requests and waits for them."""

    def send(self, call: Call[T]) -> T:
        """Make a request and read its answer."""

    def pages(self, paged: Paged[T]) -> Items[T]:
        """Go through a list."""


class AsyncSender(Protocol):
    """Makes requests that are awaited."""

    async def send(self, call: Call[T]) -> T:
        """Make a request and read its answer."""

    def pages(self, paged: Paged[T]) -> AsyncItems[T]:
        """Go through a list."""


class Noun:
    """One area of the API, of the blocking client."""

    def __init__(self, client: Sender) -> None:
        self._client = client


class AsyncNoun:
    """One area of the API, of the asynchronous client."""

    def __init__(self, client: AsyncSender) -> None:
        self._client = client
