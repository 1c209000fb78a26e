"""How much of a COPY the kernel holds for PostgreSQL to read, while this process is busy with something else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Final

import asyncpg

__all__ = ("SEND_BUFFER_BYTES", "WritingConnection", "widen_send_buffer")

SEND_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""As much as Linux lets the buffer of a TCP connection grow by itself."""


def widen_send_buffer(transport: asyncio.BaseTransport) -> None:
    """Have the kernel take up to :data:`SEND_BUFFER_BYTES` at once over a Unix socket, or as much as it allows.

    Without it a Unix socket holds a fifth of a megabyte, ever: PostgreSQL reads that in less time than a busy process
    takes to come round and write the next part. Linux allows ``net.core.wmem_max``, which a host may have raised. What
    is not in use takes no memory. Connections over TCP are left alone: their buffers grow as long as nobody sets them.
    """
    own = transport.get_extra_info("socket")
    if own is not None and own.family == socket.AF_UNIX:
        # Some systems refuse what is too much, instead of taking what they allow.
        with contextlib.suppress(OSError):
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


class WritingConnection(asyncpg.Connection):
    """One over which rows are sent in bulk."""

    __slots__ = ()

    def __init__(self, protocol: Any, transport: asyncio.BaseTransport, *args: Any, **kwargs: Any) -> None:
        super().__init__(protocol, transport, *args, **kwargs)
        widen_send_buffer(transport)
