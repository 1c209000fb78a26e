"""A steady load: so many requests a second whatever becomes of the answers, each with a mark of its own."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from tests.acceptance.traffic import OWN_AGENTS

__all__ = ("MARK", "Load")

MARK: Final = "?mark="
"""Stands in a target before the request's number."""

_CONNECTIONS: Final = 8
_TICK_S: Final = 0.02
_LISTENERS: Final = 3_000
_RARE: Final = 0.15
_AGO_S: Final = 30 * 3600
_RANGES: Final = ("", "", "", "bytes=0-", "bytes=0-1", "bytes=0-9999999", "bytes=2000000-", "bytes=0-99", "bytes=-128")


class Load:
    """An open loop of requests over a few connections.

    Args:
        port: The tracker's, which replays: some requests say that they were made up to 30 hours ago.
        rate: Requests a second.
        chance: What requests are drawn from.
        paths: To ask for, the first ones most.
        rare: To ask for now and then, each as often as any.
    """

    def __init__(
        self, port: int, *, rate: int, chance: random.Random, paths: Sequence[str], rare: Sequence[str]
    ) -> None:
        self._port = port
        self._rate = rate
        self._chance = chance
        self._paths = paths
        self._rare = rare
        self._is_over = False
        self._sent = 0
        self.answered: set[int] = set()
        """The marks of the requests that were answered with a redirect."""
        agents, weights = [agent for agent, _ in OWN_AGENTS], [weight for _, weight in OWN_AGENTS]
        self._listeners = [(self._address(number), chance.choices(agents, weights)[0]) for number in range(_LISTENERS)]

    def _address(self, number: int) -> str:
        if number % 3:
            return f"81.{number % 7}.{number >> 8}.{number & 255}"
        return f"2a02:810:{number:x}:1::{self._chance.randrange(1, 9)}"

    def _request(self, mark: int) -> bytes:
        address, agent = self._chance.choice(self._listeners)
        if self._chance.random() < _RARE:
            path = self._chance.choice(self._rare)
        else:
            path = self._paths[min(int(self._chance.expovariate(0.4)), len(self._paths) - 1)]
        lines = [
            f"{'HEAD' if self._chance.random() < 0.03 else 'GET'} {path}{MARK}{mark} HTTP/1.1",
            "Host: pod.example.com",
            f"X-Forwarded-For: {address}",
        ]
        if agent:
            lines.append(f"User-Agent: {agent}")
        if byte_range := self._chance.choice(_RANGES):
            lines.append(f"Range: {byte_range}")
        if self._chance.random() < 0.2:
            at_us = time.time_ns() // 1000 - self._chance.randrange(_AGO_S * 1_000_000)
            lines.append(f"Castledger-Replay-Time: {at_us}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def _read(self, reader: asyncio.StreamReader, asked: deque[int]) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            mark = asked.popleft()
            assert head.startswith(b"HTTP/1.1 302"), head
            assert f"{MARK}{mark}\r\n".encode() in head, "an answer to another request"
            self.answered.add(mark)

    async def _ask(self) -> None:
        streams = [await asyncio.open_connection("127.0.0.1", self._port) for _ in range(_CONNECTIONS)]
        asked: list[deque[int]] = [deque() for _ in streams]
        try:
            async with asyncio.TaskGroup() as tasks:
                readers = [
                    tasks.create_task(self._read(reader, marks))
                    for (reader, _), marks in zip(streams, asked, strict=True)
                ]
                await self._write([writer for _, writer in streams], asked)
                async with asyncio.timeout(30):
                    while any(asked):  # noqa: ASYNC110 - the tracker brings it about
                        await asyncio.sleep(_TICK_S)
                for task in readers:
                    task.cancel()
        finally:
            for _, writer in streams:
                writer.close()

    async def _write(self, writers: Sequence[asyncio.StreamWriter], asked: Sequence[deque[int]]) -> None:
        """Send what is due, until told that it is over."""
        began = time.monotonic()
        while not self._is_over:
            due = int((time.monotonic() - began) * self._rate)
            while self._sent < due:
                place = self._sent % len(writers)
                asked[place].append(self._sent)
                writers[place].write(self._request(self._sent))
                self._sent += 1
            await asyncio.sleep(_TICK_S)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask while the body runs; at the end every request has its answer."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask())
            try:
                yield
            finally:
                self._is_over = True
