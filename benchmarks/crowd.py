"""A crowd of connections that have asked once and stay, for measuring what they cost.

It says ``ready`` on standard output, and goes when its standard input closes.
"""

from __future__ import annotations

import argparse
import socket
import sys
from typing import Final

__all__ = ("main",)

_REQUEST: Final = b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nUser-Agent: crowd/1\r\n\r\n"


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


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


def main() -> int:
    """Be a crowd as the arguments say."""
    parser = argparse.ArgumentParser(prog="crowd", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    _stay_idle(options.port, options.count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
