"""What to ask, without asking: shared by both clients."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, Generic, TypeVar
from uuid import UUID, uuid4

import msgspec

from castledger._errors import UnexpectedAnswer

__all__ = ("Call", "Moment", "Page", "Paged", "given", "write_moment")

T = TypeVar("T")
Moment = dt.date | dt.datetime

_PAGE: Final = 200


class Call(Generic[T]):
    """One request, and the type that its answer is read as."""

    def __init__(
        self,
        kind: type[T],
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        content_type: str | None = None,
    ) -> None:
        self.kind = kind
        self.method = method
        self.path = f"/api/v1{path}"
        self.params = dict(params or {})
        self.content = content
        self.headers: dict[str, str] = {}
        if content_type is not None:
            self.headers["Content-Type"] = content_type
        if method != "GET":
            self.headers["Idempotency-Key"] = str(uuid4())


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list."""

    data: tuple[T, ...]
    next_cursor: str | None = None


class Paged(Generic[T]):
    """A list, page by page."""

    def __init__(self, kind: type[Page[T]], path: str, params: Mapping[str, str] | None = None) -> None:
        self._kind = kind
        self._path = path
        self._params = {"limit": str(_PAGE), **(params or {})}

    def first(self) -> Call[Page[T]]:
        """Ask for the first page."""
        return Call(self._kind, "GET", self._path, params=self._params)

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
        return Call(self._kind, "GET", self._path, params={**self._params, "cursor": cursor})


def write_moment(name: str, value: object) -> str:
    """Write a date or an instant; takes anything, since many callers run without a type checker."""
    if not isinstance(value, dt.date):
        raise TypeError(f"{name}: is a date or an aware datetime, not {type(value).__name__}")
    if isinstance(value, dt.datetime) and value.utcoffset() is None:
        raise ValueError(f"{name}: an instant needs a time zone, such as datetime.now(timezone.utc)")
    return value.isoformat()


def given(**values: str | UUID | None) -> dict[str, str]:
    """Write the parameters that are given."""
    return {name: str(value) for name, value in values.items() if value is not None}
