"""A feed's host on loopback: it answers every path with what it was told last, and counts who asked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ("FeedHost", "feed_host")


class FeedHost:
    """What the host answers, and how often it was asked."""

    def __init__(self, body: bytes, status: int) -> None:
        self.body = body
        self.status = status
        self.asked = 0
        self.url = ""


@contextlib.contextmanager
def feed_host(body: bytes, *, status: int = 200) -> Iterator[FeedHost]:
    """Serve a feed until the block ends; its answer may be changed meanwhile."""
    host = FeedHost(body, status)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked += 1
            self.send_response(host.status)
            self.send_header("Content-Length", str(len(host.body)))
            self.send_header("ETag", '"v1"')
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(host.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_port}/feed.xml"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
