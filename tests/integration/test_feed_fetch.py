"""Fetching feeds from real servers on loopback, with a resolver that says what it likes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from analytics_core.errors import InvalidInput
from analytics_core.feed_fetch import Fetched, NotModified, fetch_feed, read_feed_file
from analytics_core.settings import FeedSettings, load_settings

pytestmark = pytest.mark.anyio

FEED = b"<rss><channel><title>x</title></channel></rss>"
LOOSE = msgspec.structs.replace(load_settings({}).feed, allow_private=True, max_mb=1, timeout_s=5)
STRICT = msgspec.structs.replace(LOOSE, allow_private=False)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Answer by path."""
        match self.path.split("/")[1]:
            case "feed" if self.headers.get("If-None-Match") == '"v1"':
                self._answer(304)
            case "feed":
                self._answer(200, FEED, ETag='"v1"', X_Host=self.headers["Host"])
            case "hop":
                left = int(self.path.split("/")[2])
                self._answer(302, Location=f"/hop/{left - 1}" if left else "/feed")
            case "away":
                self._answer(302, Location=self.path.removeprefix("/away/"))
            case "bomb":
                self._answer(200, gzip.compress(bytes(5_000_000)), Content_Encoding="gzip")
            case "hang":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.flush()
                self.server.released.wait(30)  # type: ignore[attr-defined]
            case _:
                self._answer(404)


@pytest.fixture
def server() -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.released = threading.Event()  # type: ignore[attr-defined]
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.released.set()  # type: ignore[attr-defined]
    httpd.shutdown()
    httpd.server_close()
    thread.join()


async def refusal(url: str, settings: FeedSettings, **options: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        await fetch_feed(url, settings=settings, **options)
    assert caught.value.path == "feed_url"
    return caught.value.code


async def test_a_feed_is_fetched_and_then_known_by_its_etag(server: str) -> None:
    fetched = await fetch_feed(f"{server}/hop/4", settings=LOOSE)
    assert isinstance(fetched, Fetched)
    assert fetched.data == FEED
    assert fetched.url == f"{server}/feed"
    again = await fetch_feed(f"{server}/feed", settings=LOOSE, etag=fetched.etag)
    assert isinstance(again, NotModified)


async def test_the_checked_address_is_the_one_that_is_asked(server: str) -> None:
    async def here(host: str, port: int) -> Sequence[str]:
        assert host == "show.example.org"
        return ["127.0.0.1"]

    port = server.rsplit(":", 1)[1]
    fetched = await fetch_feed(f"http://show.example.org:{port}/feed", settings=LOOSE, resolver=here)
    assert isinstance(fetched, Fetched)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nothing", "feed_status"),
        ("/hop/9", "feed_redirects"),
        ("/bomb", "feed_too_large"),
        ("/away/ftp://example.org/x", "feed_url_invalid"),
    ],
)
async def test_what_cannot_be_taken_is_refused_by_name(server: str, path: str, code: str) -> None:
    assert await refusal(server + path, LOOSE) == code


async def test_a_host_that_never_finishes_is_given_up(server: str) -> None:
    quick = msgspec.structs.replace(LOOSE, timeout_s=1)
    assert await refusal(f"{server}/hang", quick) == "feed_timeout"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/feed",
        "http://[::1]/feed",
        "http://[::ffff:10.0.0.1]/feed",
        "http://169.254.169.254/latest/meta-data",
        "http://10.1.2.3/feed",
        "http://0.0.0.0/feed",
        "http://[fe80::1]/feed",
        "http://100.64.0.1/feed",
    ],
)
async def test_addresses_that_are_not_public_are_refused(url: str) -> None:
    assert await refusal(url, STRICT) == "feed_address_not_public"


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    async def both(host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14", "192.168.0.1"]

    assert await refusal("https://show.example.org/feed", STRICT, resolver=both) == "feed_address_not_public"


async def test_a_redirect_into_the_private_network_is_refused(server: str) -> None:
    async def outside(host: str, port: int) -> Sequence[str]:
        return ["192.168.0.1"] if host == "inside.example.org" else ["127.0.0.1"]

    port = server.rsplit(":", 1)[1]
    url = f"http://show.example.org:{port}/away/http://inside.example.org/feed"
    code = await refusal(url, STRICT, resolver=outside, may_reach=lambda address: address == "127.0.0.1")
    assert code == "feed_address_not_public"


@pytest.mark.parametrize(
    "url", ["", "example.org", "ftp://example.org/", "http://", "http://u:p@example.org/", "http://a:0/"]
)
async def test_what_is_no_address_of_a_feed_is_refused(url: str) -> None:
    assert await refusal(url, STRICT) == "feed_url_invalid"


async def test_a_host_without_an_address_is_unreachable() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    assert await refusal("https://show.example.org/feed", STRICT, resolver=nowhere) == "feed_unreachable"


def test_a_file_is_read_within_the_same_bound(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    path.write_bytes(FEED)
    assert read_feed_file(path, settings=LOOSE) == FEED
    path.write_bytes(bytes(1024 * 1024 + 1))
    with pytest.raises(InvalidInput, match="larger than 1 MiB"):
        read_feed_file(path, settings=LOOSE)
    with pytest.raises(InvalidInput, match="No such file"):
        read_feed_file(tmp_path / "none", settings=LOOSE)
