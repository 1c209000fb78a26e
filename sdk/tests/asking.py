"""One question to either client, and what it asks of the API."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias

import httpx

from castledger import AsyncCastledger, Castledger
from sdk.tests.twin import KEY

__all__ = ("Answers", "Ask", "Asking", "asynchronous", "blocking")

Ask: TypeAlias = Callable[[Any], Any]
"""Given a client, asks something."""


class Answers:
    """Answers what is asked with what it is given, and remembers what that was."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answers.pop(0) if self.answers else httpx.Response(422, json={"code": "asked"})


def blocking(ask: Ask, answers: Answers) -> Any:
    """Ask with ``Castledger``; lists are read."""
    with Castledger(KEY, transport=httpx.MockTransport(answers), max_retries=0) as client:
        found = ask(client)
        return list(found) if isinstance(found, Iterator) else found


def asynchronous(ask: Ask, answers: Answers) -> Any:
    """Ask with ``AsyncCastledger``; lists are read."""

    async def run() -> Any:
        async with AsyncCastledger(KEY, transport=httpx.MockTransport(answers), max_retries=0) as client:
            found = ask(client)
            if inspect.isawaitable(found):
                return await found
            return [item async for item in found] if isinstance(found, AsyncIterator) else found

    return asyncio.run(run())


Asking: TypeAlias = Callable[[Ask, Answers], Any]
"""Asks a question with one of the clients."""
