"""A server that takes events of both SDKs at once and counts them: ``python -m benchmarks.event_sink``.

It prints its port on the first line, and answers ``GET /count`` with how many events it has.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import msgspec

__all__ = ("Sink",)

_ACCEPTED: Final = '{"event_id":null,"status":202}'


class _Body(msgspec.Struct):
    events: tuple[msgspec.Raw, ...] = ()
    batch: tuple[msgspec.Raw, ...] = ()


class Sink(asyncio.Protocol):
    """One connection; requests with a body of known length, one after the other."""

    count = 0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where answers go."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            _, found, rest = head.partition(b"content-length:")
            size = int(rest.split(b"\r\n", 1)[0]) if found else 0
            if len(self._buffer) < end + 4 + size:
                return
            body = self._buffer[end + 4 : end + 4 + size]
            self._buffer = self._buffer[end + 4 + size :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        said = f'{{"count":{Sink.count}}}'
        status = "200 OK"
        if body:
            read = msgspec.json.decode(body, type=_Body)
            Sink.count += len(read.events) + len(read.batch)
            if read.events:
                status = "202 Accepted"
                said = f'{{"results":[{",".join([_ACCEPTED] * len(read.events))}]}}'
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n"
        self._transport.write(f"{head}{said}".encode())


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0, backlog=128)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(_serve()))
