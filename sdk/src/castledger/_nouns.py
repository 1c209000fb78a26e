"""What the API's nouns ask through: either client, known here by what it can do."""

from __future__ import annotations

from typing import Protocol, TypeVar

from castledger._paging import AsyncItems, Items
from castledger._requests import Call, Paged

__all__ = ("AsyncNoun", "AsyncSender", "Noun", "Sender")

T = TypeVar("T")


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
