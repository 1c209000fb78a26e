"""An open-loop HTTP client: requests leave at a fixed rate, whether or not the answers before have come.

A closed-loop client such as wrk waits with a slow server, and so forgets to ask when asking would hurt. This one knows
when each request is due and measures from that instant, its own delay included. One thread polls all connections
without ever sleeping; what it could not send in time itself is told as ``late``.
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

__all__ = ("Latencies", "ask_open_loop", "main")

_WARM_UP_S: Final = 1.0
_PATIENCE_S: Final = 5.0
_BEGINNING: Final = b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nX-Slow: "
_READ_EVERY: Final = 8
"""Most requests sent between two looks for answers."""


class Latencies(NamedTuple):
    """What one run found; times in microseconds, from the instant at which each request was due.

    Attributes:
        asked: Requests sent, the warm-up included.
        answered: Answers to them.
        late_us: 99th percentile of how late the client itself sent.
    """

    asked: int
    answered: int
    p50_us: float
    p99_us: float
    p999_us: float
    most_us: float
    late_us: float


def _connect(port: int, request: bytes, status: int) -> tuple[socket.socket, int]:
    """Open a connection, ask once, and return it with the size of an answer: all are of one size."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(request)
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += connection.recv(65536)
    head, _, body = seen.partition(b"\r\n\r\n")
    if not head.startswith(f"HTTP/1.1 {status} ".encode()):
        raise ConnectionError(f"the answer begins with {head[:20]!r}")
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2])
    while len(body) < length:
        body += connection.recv(65536)
    connection.setblocking(False)
    return connection, len(head) + 4 + length


class _SlowSenders:
    """Connections that send a request's header a byte a second each, and come again when they are turned away.

    In the thread that measures: as a process of its own on the client's core they would hold up the client, and so
    count against whatever server is measured.

    Args:
        port: On loopback.
        count: How many.
    """

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._senders = [self._begin() for _ in range(count)]
        self._interval_ns = 1e9 / count if count else 0.0
        self._sent = 0

    def _begin(self) -> socket.socket:
        sender = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sender.sendall(_BEGINNING)
        sender.setblocking(False)
        return sender

    def send_due(self, elapsed_ns: int) -> None:
        """Send the next byte if its time has come."""
        if not self._interval_ns or self._sent * self._interval_ns > elapsed_ns:
            return
        place = self._sent % len(self._senders)
        self._sent += 1
        try:
            self._senders[place].send(b"x")
        except OSError:
            self._senders[place].close()
            self._senders[place] = self._begin()

    def close(self) -> None:
        """Go."""
        for sender in self._senders:
            sender.close()


def ask_open_loop(
    port: int,
    request: bytes,
    *,
    rate: float,
    seconds: float,
    connections: int,
    status: int = 302,
    slow_senders: int = 0,
) -> Latencies:
    """Ask at a fixed rate and measure.

    Args:
        port: On loopback.
        request: All of one request.
        rate: Requests a second over all connections.
        seconds: How long, a second of warm-up included.
        connections: Kept open; each asks in its turn, behind its own unanswered requests if there are any.
        status: Of every answer.
        slow_senders: Connections besides, each of which sends a header a byte a second.
    """
    slow = _SlowSenders(port, slow_senders)
    opened = [_connect(port, request, status) for _ in range(connections)]
    size = opened[0][1]
    sockets = [connection for connection, _ in opened]
    by_descriptor = {connection.fileno(): place for place, connection in enumerate(sockets)}
    poll = select.epoll()
    for connection in sockets:
        poll.register(connection.fileno(), select.EPOLLIN)
    waiting: list[deque[int]] = [deque() for _ in sockets]
    surplus = [0] * connections
    total = int(rate * seconds)
    interval = 1e9 / rate
    took: list[int] = []
    late: list[int] = []
    sent = answered = 0
    # One for all: a fresh one for each answer would cost more than all else here.
    buffer = bytearray(262144)
    clock = time.perf_counter_ns
    gc.disable()
    began = clock()
    deadline = began + int((seconds + _PATIENCE_S) * 1e9)
    while answered < total:
        now = clock()
        if now > deadline:
            break
        due = min(total, int((now - began) / interval) + 1, sent + _READ_EVERY)
        while sent < due:
            place = sent % connections
            at = began + int(sent * interval)
            late.append(now - at)
            if sockets[place].send(request) < len(request):
                raise ConnectionError("the server does not read")
            waiting[place].append(at)
            sent += 1
        slow.send_due(now - began)
        for descriptor, _ in poll.poll(0):
            place = by_descriptor[descriptor]
            size_read = sockets[place].recv_into(buffer)
            if not size_read:
                raise ConnectionError("the server closed a connection")
            now = clock()
            whole, surplus[place] = divmod(surplus[place] + size_read, size)
            queue = waiting[place]
            took += [now - queue.popleft() for _ in range(whole)]
            answered += whole
    for connection in sockets:
        connection.close()
    slow.close()
    skipped = min(int(rate * _WARM_UP_S), answered)
    measured = np.sort(np.array(took[skipped:], np.int64)) / 1000
    if not len(measured):
        raise ConnectionError("nothing was answered")

    def percentile(share: float) -> float:
        return round(float(measured[min(int(len(measured) * share), len(measured) - 1)]), 1)

    return Latencies(
        asked=sent + connections,
        answered=answered + connections,
        p50_us=percentile(0.5),
        p99_us=percentile(0.99),
        p999_us=percentile(0.999),
        most_us=percentile(1.0),
        late_us=round(float(np.percentile(late[skipped:sent], 99)) / 1000, 1),
    )


def main() -> int:
    """Ask as the arguments say, and print what was found as JSON."""
    parser = argparse.ArgumentParser(prog="open_loop", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--status", type=int, default=302, help="of every answer")
    parser.add_argument("--slow-senders", type=int, default=0, help="connections that send a byte a second meanwhile")
    parser.add_argument("request", help="all of one request, or @ and the name of a file with it")
    options = parser.parse_args()
    given: str = options.request
    found = ask_open_loop(
        options.port,
        Path(given[1:]).read_bytes() if given.startswith("@") else given.encode(),
        rate=options.rate,
        seconds=options.seconds,
        connections=options.connections,
        status=options.status,
        slow_senders=options.slow_senders,
    )
    print(json.dumps(found._asdict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
