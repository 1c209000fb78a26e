"""A proxy between ingest and PostgreSQL that does what networks do: cut, delay, truncate."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ("Proxy",)

_CHUNK_BYTES = 65_536


class _Link:
    """One connection and its other half."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self.budget: int | None = None
        """Bytes that still go through, either way; ``None`` for all."""

    def abort(self) -> None:
        """End both halves at once, whatever is under way."""
        for writer in self._writers:
            writer.transport.abort()


class Proxy:
    """Listens on a free port of loopback and passes everything on to a PostgreSQL's socket.

    Args:
        socket: The PostgreSQL's.
        chance: What delays are drawn from.
    """

    def __init__(self, socket: Path, chance: random.Random) -> None:
        self._socket = socket
        self._chance = chance
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.is_cut = False
        """Whether new connections end as soon as they are made."""
        self.delay_s = 0.0
        """Longest time for which a chunk is held back."""
        self.budgets: list[int] = []
        """Bytes that each of the next connections may carry, either way, before it is cut."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many connections go through."""
        return len(self._links)

    def cut(self) -> None:
        """End all connections, in the middle of whatever they carry."""
        for link in list(self._links):
            link.abort()

    def truncate(self, most_bytes: int) -> None:
        """Let each connection carry some more bytes, and end it there."""
        for link in self._links:
            link.budget = self._chance.randint(0, most_bytes)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.is_cut:
            writer.transport.abort()
            return
        try:
            other_reader, other_writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            # No PostgreSQL: what a client sees of a machine whose service is down.
            writer.transport.abort()
            return
        link = _Link(writer, other_writer)
        if self.budgets:
            link.budget = self.budgets.pop(0)
        self._links.add(link)
        try:
            await asyncio.gather(self._pass(link, reader, other_writer), self._pass(link, other_reader, writer))
        finally:
            self._links.discard(link)
            link.abort()

    async def _pass(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self._chance.random() * self.delay_s)
                if link.budget is not None and len(chunk) >= link.budget:
                    writer.write(chunk[: link.budget])
                    await writer.drain()
                    break
                if link.budget is not None:
                    link.budget -= len(chunk)
                writer.write(chunk)
                await writer.drain()
        if link.budget is None:
            # What was sent before the end has to arrive.
            writer.close()
        else:
            link.abort()
