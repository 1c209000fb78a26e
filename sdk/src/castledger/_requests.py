"""What to ask, without asking: shared by both clients."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, Generic, Literal, TypeAlias, TypeVar
from uuid import UUID, uuid4

import msgspec

from castledger._errors import UnexpectedAnswer

__all__ = (
    "Call",
    "Dimension",
    "Interval",
    "Moment",
    "Page",
    "Paged",
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
