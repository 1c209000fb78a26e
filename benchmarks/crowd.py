"""A crowd of connections that do next to nothing, for measuring what they cost others.

Idle ones have asked once and stay. Slow ones send a request header byte by byte, a byte a second each, and come again
when they are turned away. It says ``ready`` on standard output, and goes when its standard input closes.
"""

from __future__ import annotations

import argparse
import contextlib
import select
import socket
import sys
import time
from typing import Final

__all__ = ("main",)

_BEGINNING: Final = b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nX-Slow: "
_REQUEST: Final = b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nUser-Agent: crowd/1\r\n\r\n"
# Short, so that the crowd comes one by one: it has the client's core, which is not to wait for it.
_PAUSE_S: Final = 0.0004


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _is_over() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def _stay_idle(port: int, count: int) -> None:
    connections = []
    for _ in range(count):
        connection = _connect(port)
        connection.sendall(_REQUEST)
        if not connection.recv(4096).startswith(b"HTTP/1.1 302 "):
            raise ConnectionError("the tracker does not redirect")
        connections.append(connection)
    print("ready", flush=True)
    sys.stdin.read()


def _begin(port: int) -> socket.socket:
    connection = _connect(port)
    connection.sendall(_BEGINNING)
    connection.setblocking(False)
    return connection


def _send_slowly(port: int, count: int) -> None:
    connections = [_begin(port) for _ in range(count)]
    print("ready", flush=True)
    began = time.monotonic()
    sent = 0
    while not _is_over():
        due = int((time.monotonic() - began) * count)
        while sent < due:
            place = sent % count
            try:
                connections[place].send(b"x")
            except OSError:
                with contextlib.suppress(OSError):
                    connections[place].close()
                    connections[place] = _begin(port)
            sent += 1
        time.sleep(_PAUSE_S)


def main() -> int:
    """Be a crowd as the arguments say."""
    parser = argparse.ArgumentParser(prog="crowd", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--slow", action="store_true", help="send byte by byte instead of staying idle")
    options = parser.parse_args()
    (_send_slowly if options.slow else _stay_idle)(options.port, options.count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
