"""What the areas of the API are made of: each method says what is asked, once, and either client asks it in its way."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from castledger._requests import AsyncItems, Call, Items, Paged

__all__ = ("AsyncNoun", "AsyncSender", "Noun", "Sender", "pages", "sends")

P = ParamSpec("P")
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
        self._client: Any = client


class AsyncNoun(Noun):
    """One area of the API, of the asynchronous client."""

    def __init__(self, client: AsyncSender) -> None:
        self._client = client


class _Method:
    """A function of a noun that says what is asked; calling it on a noun asks that."""

    def __init__(self, question: Callable[..., Any]) -> None:
        # What is called answers `Link`, and that is what help and the reference are to say; not `Call[Link]`.
        kind, _, answer = question.__annotations__["return"].partition("[")
        question.__annotations__["return"] = answer[:-1] if kind == "Call" else f"Items[{answer}"
        self.question = question

    def _bind(self, noun: Noun | None) -> Any:
        if noun is None:
            return self.question
        client, question = noun._client, MethodType(self.question, noun)

        def go_through(*args: Any, **kwargs: Any) -> Any:
            return client.pages(question(*args, **kwargs))

        def send(*args: Any, **kwargs: Any) -> Any:
            return client.send(question(*args, **kwargs))

        async def send_awaited(*args: Any, **kwargs: Any) -> Any:
            return await client.send(question(*args, **kwargs))

        sending = send_awaited if isinstance(noun, AsyncNoun) else send
        return functools.update_wrapper(go_through if isinstance(self, pages) else sending, question)


class sends(_Method, Generic[P, T]):  # noqa: N801 - a decorator
    """A method that sends what its function asks."""

    def __init__(self, question: Callable[Concatenate[Any, P], Call[T]]) -> None:
        super().__init__(question)

    @overload
    def __get__(self, noun: AsyncNoun, kind: type) -> Callable[P, Coroutine[Any, Any, T]]: ...

    @overload
    def __get__(self, noun: Noun, kind: type) -> Callable[P, T]: ...

    @overload
    def __get__(self, noun: None, kind: type) -> Callable[..., Any]: ...

    def __get__(self, noun: Noun | None, kind: type) -> Any:
        return self._bind(noun)


class pages(_Method, Generic[P, T]):  # noqa: N801 - a decorator
    """A method that goes through the list that its function names."""

    def __init__(self, question: Callable[Concatenate[Any, P], Paged[T]]) -> None:
        super().__init__(question)

    @overload
    def __get__(self, noun: AsyncNoun, kind: type) -> Callable[P, AsyncItems[T]]: ...

    @overload
    def __get__(self, noun: Noun, kind: type) -> Callable[P, Items[T]]: ...

    @overload
    def __get__(self, noun: None, kind: type) -> Callable[..., Any]: ...

    def __get__(self, noun: Noun | None, kind: type) -> Any:
        return self._bind(noun)
