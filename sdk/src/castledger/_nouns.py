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


def _show_answer(question: Callable[..., Any], name: str) -> None:
    # What is called answers `Link`, and that is what help and the reference are to say; not `Call[Link]`.
    answer = question.__annotations__["return"].partition("[")[2][:-1]
    question.__annotations__["return"] = name.format(answer)


class sends(Generic[P, T]):  # noqa: N801 - a decorator
    """A method that sends what its function asks."""

    def __init__(self, question: Callable[Concatenate[Any, P], Call[T]]) -> None:
        _show_answer(question, "{}")
        self.question = question

    @overload
    def __get__(self, noun: AsyncNoun, kind: type) -> Callable[P, Coroutine[Any, Any, T]]: ...

    @overload
    def __get__(self, noun: Noun, kind: type) -> Callable[P, T]: ...

    @overload
    def __get__(self, noun: None, kind: type) -> Callable[Concatenate[Any, P], Any]: ...

    def __get__(self, noun: Noun | None, kind: type) -> Any:
        if noun is None:
            return self.question
        client, question = noun._client, MethodType(self.question, noun)

        def ask(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.send(question(*args, **kwargs))

        async def ask_awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await client.send(question(*args, **kwargs))

        return functools.update_wrapper(ask_awaited if isinstance(noun, AsyncNoun) else ask, question)


class pages(Generic[P, T]):  # noqa: N801 - a decorator
    """A method that goes through the list that its function names."""

    def __init__(self, question: Callable[Concatenate[Any, P], Paged[T]]) -> None:
        _show_answer(question, "Items[{}]")
        self.question = question

    @overload
    def __get__(self, noun: AsyncNoun, kind: type) -> Callable[P, AsyncItems[T]]: ...

    @overload
    def __get__(self, noun: Noun, kind: type) -> Callable[P, Items[T]]: ...

    @overload
    def __get__(self, noun: None, kind: type) -> Callable[Concatenate[Any, P], Any]: ...

    def __get__(self, noun: Noun | None, kind: type) -> Any:
        if noun is None:
            return self.question
        client, question = noun._client, MethodType(self.question, noun)

        def ask(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.pages(question(*args, **kwargs))

        return functools.update_wrapper(ask, question)
