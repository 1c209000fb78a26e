"""Ports of a service: taken before it listens, waited for until it does, and told to whoever started it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from typing import Final

__all__ = ("announce_ports", "parse_port", "reserve_port", "wait_until_accepting")

_ANY: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - these are the keys
_CONNECT_S: Final = 30.0


def parse_port(text: str) -> int:
    """Read a port of a command line; 0 is a free one.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def reserve_port(host: str, port: int) -> socket.socket:
    """Bind a port without listening: a free one is ours from here on, a taken one is told at once.

    Args:
        host: The address to listen on.
        port: 0 for a free one.

    Returns:
        The bound socket; of a port that was named it has to be closed before somebody else can listen there.

    Raises:
        OSError: The port is taken or the address is not ours; the message names both.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port == 0:
            # The server binds again beside us; nobody is sent to a socket that does not listen.
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        raise OSError(error.errno, f"the port {port} on {host} cannot be used: {error.strerror}") from error
    return reserved


async def wait_until_accepting(host: str, port: int) -> None:
    """Wait until connections are accepted.

    Raises:
        TimeoutError: They are not after half a minute.
    """
    async with asyncio.timeout(_CONNECT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(_ANY.get(host, host), port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


def announce_ports(descriptor: int | None) -> Callable[[int, int], None] | None:
    """Make what tells port and admin port, once connections are accepted, as a JSON line on a descriptor."""
    if descriptor is None:
        return None

    def announce(port: int, admin_port: int) -> None:
        line = json.dumps({"port": port, "admin_port": admin_port}) + "\n"
        # Nobody may be listening any more; then nobody misses it.
        with contextlib.suppress(OSError):
            os.write(descriptor, line.encode())
            os.close(descriptor)

    return announce
