"""What the SDK's tests ask over a socket: the twin, and the real thing where it is installed beside the SDK."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from castledger import Castledger, Podcast
from sdk.tests.twin import API

__all__ = ("DEADLINE_S", "ENVIRON", "FEED", "Installation", "add_show", "serve_installation", "serve_twin")

DEADLINE_S: Final = 90.0
_SERVER: Final = Path(sys.executable).with_name("castledger")
# Settings of whoever runs the tests would lead elsewhere.
_FOREIGN: Final = ("DATABASE_", "POSTGRES_", "CASTLEDGER_", "TRACKER_", "SPOOL_", "REDIS_", "PG")
ENVIRON: Final = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
"""The environment of programs that tests start."""

FEED: Final = b"""<rss version="2.0"><channel><title>Castle Talk</title><link>https://show.example.org/</link>
<item><guid>e1</guid><title>One</title><pubDate>Mon, 01 Jun 2026 06:00:00 GMT</pubDate>
<enclosure url="https://cdn.example.org/e1.mp3" type="audio/mpeg" length="28800000"/></item></channel></rss>"""
"""A podcast with one episode."""


def serve_twin() -> Iterator[str]:
    """Serve the twin; a proxy's requests, which name a whole address, are answered too."""
    api = API()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
            """Say nothing."""

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            url = f"http://twin{parts.path}" + (f"?{parts.query}" if parts.query else "")
            answer = api(httpx.Request(self.command, url, headers=dict(self.headers), content=content))
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = _answer  # noqa: N815 - the base class names them

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


class Installation(NamedTuple):
    """A running ``castledger up``."""

    tracker_url: str
    api_url: str
    api_key: str


def serve_installation() -> Iterator[Installation]:
    """Run the real thing; skips the test where the server is not installed."""
    if not _SERVER.exists():
        pytest.skip("the server is not installed here")
    # The database may run as another account, which pytest's own folder is closed to.
    folder = Path(tempfile.mkdtemp(prefix="castledger-sdk-"))
    folder.chmod(0o755)
    ready = folder / "ready.json"
    options = [
        f"--data-dir={folder / 'ledger'}",
        "--tracker-port=0",
        "--api-port=0",
        "--collector-port=0",
        f"--ready-file={ready}",
    ]
    # Whatever else runs meanwhile, another test's `up` among it, may have the usual ports of health and metrics.
    environ = ENVIRON | {"CASTLEDGER_ADMIN_PORTS": "tracker=0,api=0,ingest=0,collector=0"}
    up = subprocess.Popen([_SERVER, "up", *options], env=environ, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not ready.exists():
            assert up.poll() is None, "`up` gave up"
            assert time.monotonic() < deadline, "`up` did not answer"
            time.sleep(0.05)
        said = json.loads(ready.read_text())
        yield Installation(said["tracker_url"], said["api_url"], said["api_key"])
    finally:
        up.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            up.wait(DEADLINE_S)
        up.kill()
        up.wait()
        shutil.rmtree(folder)


def add_show(installation: Installation) -> Podcast:
    """Add the podcast of the feed, play its episode, and wait until that is counted."""
    with Castledger(installation.api_key, base_url=installation.api_url) as client:
        podcast = client.podcasts.create_from_feed(FEED)
        target = f"{installation.tracker_url}/e,pg={podcast.podcast_guid}/cdn.example.org/e1.mp3"
        assert httpx.get(target, headers={"User-Agent": "AntennaPod/3.3.2"}, timeout=60).status_code == 302
        deadline = time.monotonic() + DEADLINE_S
        while client.analytics.downloads(podcast_id=podcast.podcast_id).total == 0:
            assert time.monotonic() < deadline, "the hit was not counted"
            time.sleep(0.1)
    return podcast
