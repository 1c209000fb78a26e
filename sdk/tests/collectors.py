"""A collector on a real port that answers as it is told, and both clients' event side as one."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

from castledger import AsyncCastledger, Castledger, Stats
from sdk.tests.twin import KEY

DEADLINE_S = 60.0
PATH = "/api/v1/attribution/events"

Event: TypeAlias = dict[str, Any]


class Answer(NamedTuple):
    """What a request is answered; ``body`` may be made of its events."""

    status: int
    body: Any = None
    headers: dict[str, str] | None = None


class Cut(NamedTuple):
    """Hang up without an answer."""


class Hang(NamedTuple):
    """Never answer, until the collector ends."""


Scripted: TypeAlias = Answer | Cut | Hang | Callable[[list[Event]], Answer]


def verdicts(events: list[Event], statuses: dict[int, int] | None = None) -> Answer:
    """Accept all, but for those at the positions that *statuses* names."""
    found = statuses or {}
    results = [
        {"event_id": event["event_id"], "status": found.get(number, 202)}
        | ({"code": "validation_failed", "errors": [{"pointer": f"/events/{number}/url", "code": "too_old"}]})
        for number, event in enumerate(events)
    ]
    return Answer(202, {"results": results, "accepted": 1, "refused": 0, "ignored": [], "something_new": {"a": 1}})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Collector:
    """Accepts, unless something else was scripted first.

    Attributes:
        bodies: Of every request, the refused ones included.
        accepted: Events that were accepted, as often as they were.
    """

    def __init__(self, *script: Scripted) -> None:
        self.script = list(script)
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.accepted: list[Event] = []
        self._ended = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
                """Say nothing."""

            def do_POST(self) -> None:
                """Answer the next of the script."""
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                collector.answer(self, body)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler, body: Any) -> None:
        """Answer one request."""
        self.bodies.append(body)
        self.headers.append(dict(handler.headers))
        scripted = self.script.pop(0) if self.script else verdicts
        if isinstance(scripted, Hang):
            self._ended.wait()
        if isinstance(scripted, (Cut, Hang)):
            handler.close_connection = True
            return
        answer = scripted if isinstance(scripted, Answer) else scripted(body["events"])
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        if answer.status == 202 and isinstance(answer.body, dict) and "results" in answer.body:
            found = zip(body["events"], answer.body["results"], strict=False)
            self.accepted += [event for event, result in found if result["status"] == 202]
        handler.send_response(answer.status)
        for name, value in (answer.headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    @property
    def ids(self) -> list[str]:
        """Ids of accepted events, sorted."""
        return sorted(event["event_id"] for event in self.accepted)

    def end(self) -> None:
        """Take the port away."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def collecting(*script: Scripted) -> Iterator[Collector]:
    """Run a collector."""
    collector = Collector(*script)
    try:
        yield collector
    finally:
        collector.end()


def nobody() -> str:
    """Name an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait for something that has to happen."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


class Tracker(Protocol):
    """One of the clients, used without saying which."""

    def __init__(self, url: str, **options: Any) -> None:
        """Make the client."""

    def track(self, kind: str, **fields: Any) -> UUID | None:
        """Track one event."""

    def flush(self, within_s: float = DEADLINE_S) -> bool:
        """Send what waits."""

    def stats(self) -> Stats:
        """Say what became of events."""

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait for something, with everything else going on."""

    def close(self, within_s: float = 5.0) -> None:
        """End."""


class BlockingTracker:
    """``Castledger``."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = Castledger(**{"api_key": KEY, "collector_url": url, "flush_interval": 0.01, **options})

    def track(self, kind: str, **fields: Any) -> UUID | None:
        """Track one event."""
        return self.client.track(kind, **fields)

    def flush(self, within_s: float = DEADLINE_S) -> bool:
        """Send what waits."""
        return self.client.flush(within_s)

    def stats(self) -> Stats:
        """Say what became of events."""
        return self.client.stats()

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait for something, with everything else going on."""
        wait_for(is_so)

    def close(self, within_s: float = 5.0) -> None:
        """End."""
        self.client.close(within_s)


class AsynchronousTracker:
    """``AsyncCastledger``, on one loop that runs whenever something is asked."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self.client = AsyncCastledger(**{"api_key": KEY, "collector_url": url, "flush_interval": 0.01, **options})

    def track(self, kind: str, **fields: Any) -> UUID | None:
        """Track one event."""

        async def tracked() -> UUID | None:
            return self.client.track(kind, **fields)

        return self._runner.run(tracked())

    def flush(self, within_s: float = DEADLINE_S) -> bool:
        """Send what waits."""
        return self._runner.run(self.client.flush(within_s))

    def stats(self) -> Stats:
        """Say what became of events."""
        return self.client.stats()

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait for something, with everything else going on."""

        async def waiting() -> None:
            deadline = time.monotonic() + DEADLINE_S
            while not is_so():
                assert time.monotonic() < deadline, "it did not happen"
                await asyncio.sleep(0.005)

        self._runner.run(waiting())

    def close(self, within_s: float = 5.0) -> None:
        """End."""
        self._runner.run(self.client.aclose(within_s))
        self._runner.close()
