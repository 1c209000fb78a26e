"""What is on its way to PostgreSQL waits in the kernel, over Unix sockets as over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest
import uvloop

from analytics_core.db.pool import connect, connection, open_pool
from analytics_core.db.send_buffers import SEND_BUFFER_BYTES, widen_send_buffer
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def allowed_bytes() -> int:
    """Say how much Linux gives who asks for that much: twice what it allows, half of it for its own accounts."""
    return 2 * min(SEND_BUFFER_BYTES, int(Path("/proc/sys/net/core/wmem_max").read_text()))


def open_sockets() -> set[int]:
    """List this process's sockets."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        # The folder's own descriptor is gone by the time that it is asked for.
        with contextlib.suppress(FileNotFoundError):
            if str(path.readlink()).startswith("socket:"):
                found.add(int(path.name))
    return found


def buffers(numbers: set[int]) -> set[tuple[socket.AddressFamily, int]]:
    """Say of which family sockets are, and how much each may hold."""
    found = set()
    for number in numbers:
        with socket.socket(fileno=os.dup(number)) as same:
            found.add((socket.AddressFamily(same.family), same.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)))
    return found


def is_wide(found: set[tuple[socket.AddressFamily, int]]) -> bool:
    """Tell whether all Unix sockets, of which there may be none, hold as much as they may."""
    return all(size == allowed_bytes() for family, size in found if family is socket.AF_UNIX)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_connections_that_write_are_wide(loop: str, database: DatabaseSettings) -> None:
    async def look() -> None:
        before = open_sockets()
        conn = await connect(database, Role.INGEST, application_name="test")
        try:
            own = open_sockets() - before
            assert own
            assert is_wide(buffers(own))
            pool = await open_pool(database, Role.INGEST, application_name="test")
            async with connection(pool):
                lent = open_sockets() - before - own
                assert lent
                assert is_wide(buffers(lent))
            await pool.close()
        finally:
            await conn.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(look())


async def widened(family: socket.AddressFamily) -> tuple[int, int]:
    """Widen one end of a connection; return what it held before and what it holds now."""
    if family is socket.AF_UNIX:
        one, other = socket.socketpair(family)
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            one = socket.create_connection(server.getsockname())
            other, _ = server.accept()
    with other:
        before = one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=one)
        widen_send_buffer(transport)
        after: int = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        transport.close()
        return before, after


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_tcp_is_left_to_grow_by_itself(loop: str) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        before, after = runner.run(widened(socket.AF_INET))
        assert after == before
        before, after = runner.run(widened(socket.AF_UNIX))
        assert after == allowed_bytes()


class Narrow:
    """A socket of a system that refuses what it does not allow."""

    family = socket.AF_UNIX

    def setsockopt(self, *_: int) -> None:
        raise OSError(55, "No buffer space available")


def test_a_refusal_is_no_reason_not_to_connect() -> None:
    widen_send_buffer(asyncio.Transport({"socket": Narrow()}))


def test_a_transport_without_a_socket_is_left_alone() -> None:
    widen_send_buffer(asyncio.Transport())
