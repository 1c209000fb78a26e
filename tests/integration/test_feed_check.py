"""`castledger feed check` follows real redirects over real HTTP."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from analytics_core.agent_table import classify
from analytics_core.chain_probes import MAX_REDIRECTS, follow_chain, follow_chains
from analytics_core.feed_checks import Chain
from analytics_core.guarded_http import is_public_address
from analytics_core.user_agents import AgentKind
from castledger_server.cli import main
from castledger_server.feed_commands import is_own_address

GUID = "917393e3-1b1e-5cef-ace4-edaa54e1f810"


class Handler(BaseHTTPRequestHandler):
    """Prefix services and a host, by path."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _serve(self) -> None:
        asked: list[tuple[str, str, str]] = self.server.asked  # type: ignore[attr-defined]
        asked.append((self.command, self.path, self.headers.get("Range", "")))
        assert classify(self.headers["User-Agent"]).kind in (AgentKind.BOT, AgentKind.UNKNOWN)
        match self.path.split("/")[1]:
            case "feed.xml":
                self._answer(200, self.server.feed)  # type: ignore[attr-defined]
            case name if name.startswith("e,pg="):
                self._answer(302, Location=f"http://{self.path.split('/http://', 1)[1]}")
            case "hop":
                left = int(self.path.split("/")[2].partition(".")[0])
                self._answer(301, Location=f"/hop/{left - 1}.mp3" if left else "/file.mp3")
            case "loop.mp3":
                self._answer(302, Location="/loop.mp3")
            case "away":
                self._answer(302, Location=self.path.removeprefix("/away/"))
            case "nohead.mp3" if self.command == "HEAD":
                self._answer(405)
            case "hangup.mp3" if self.command == "HEAD":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            case "nohead.mp3" | "hangup.mp3":
                self._answer(307, Location="/file.mp3")
            case "file.mp3" if self.headers.get("Range") == "bytes=0-0":
                self._answer(206, b"I", Content_Range="bytes 0-0/28800000", Content_Type="audio/mpeg")
            case "file.mp3":
                self._answer(200, b"ID3", Content_Type="audio/mpeg")
            case "whole.mp3":
                self._answer(200, b"ID3" * 100_000, Content_Type="audio/mpeg")
            case "page.mp3":
                self._answer(200, b"<html>", Content_Type="text/html; charset=utf-8")
            case "hang.mp3":
                self.server.released.wait(30)  # type: ignore[attr-defined]
                self.close_connection = True
            case _:
                self._answer(404)

    do_GET = do_HEAD = _serve  # noqa: N815 - the base class names them


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.released = threading.Event()  # type: ignore[attr-defined]
    httpd.asked = []  # type: ignore[attr-defined]
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield httpd
    httpd.released.set()  # type: ignore[attr-defined]
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def base(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


async def follow(url: str, *, timeout_s: float = 20.0) -> Chain:
    return await follow_chain(url, timeout_s=timeout_s, may_reach=is_own_address)


@pytest.mark.anyio
async def test_a_chain_is_followed_with_head_and_one_byte_is_taken_at_the_end(
    server: ThreadingHTTPServer, base: str
) -> None:
    chain = await follow(f"{base}/hop/2.mp3")
    assert [hop.url.removeprefix(base) for hop in chain.hops] == ["/hop/2.mp3", "/hop/1.mp3", "/hop/0.mp3", "/file.mp3"]
    assert [hop.status for hop in chain.hops] == [301, 301, 301, 206]
    assert (chain.fault, chain.range_status, chain.length_bytes) == (None, 206, 28_800_000)
    assert chain.media_type == "audio/mpeg"
    assert server.asked == [  # type: ignore[attr-defined]
        *(("HEAD", f"/hop/{left}.mp3", "") for left in (2, 1, 0)),
        ("HEAD", "/file.mp3", ""),
        ("GET", "/file.mp3", "bytes=0-0"),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/nohead.mp3", "/hangup.mp3"])
async def test_a_host_that_does_not_take_head_is_asked_as_players_ask(base: str, path: str) -> None:
    chain = await follow(base + path)
    assert (chain.fault, chain.range_status, len(chain.hops)) == (None, 206, 2)


@pytest.mark.anyio
async def test_a_host_that_sends_everything_is_noticed_without_reading_it(base: str) -> None:
    chain = await follow(f"{base}/whole.mp3")
    assert (chain.fault, chain.range_status, chain.length_bytes) == (None, 200, 300_000)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "fault", "says"),
    [
        ("/nothing.mp3", "hop_failed", "answered 404"),
        ("/loop.mp3", "too_many_redirects", "leads back"),
        (f"/hop/{MAX_REDIRECTS + 5}.mp3", "too_many_redirects", f"more than {MAX_REDIRECTS}"),
        ("/away/ftp://example.org/x", "hop_failed", "http://"),
        ("/away/http://127.0.0.1:1/x", "hop_failed", "cannot be asked"),
        ("/away/http://[x/", "hop_failed", "no web address"),
        ("/away/http://169.254.169.254/latest/meta-data", "address_not_public", "CASTLEDGER_FEED_ALLOW_PRIVATE"),
        ("/away/http://10.0.0.1/x", "address_not_public", "not public"),
    ],
)
async def test_a_way_that_ends_early_says_where_and_why(base: str, path: str, fault: str, says: str) -> None:
    chain = await follow(base + path)
    assert chain.fault == fault
    assert says in chain.detail
    assert chain.range_status is None


@pytest.mark.anyio
async def test_a_hop_that_never_answers_is_given_up(base: str) -> None:
    chain = await follow(f"{base}/hang.mp3", timeout_s=0.2)
    assert (chain.fault, chain.hops[0].status) == ("hop_failed", None)
    assert "no answer within 0.2 s" in chain.detail


@pytest.mark.anyio
async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    async def both(host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14", "192.168.0.1"]

    urls = ["https://cdn.example.org/1.mp3", "https://cdn.example.org/1.mp3", "https://cdn.example.org/2.mp3"]
    done: list[str] = []
    chains = await follow_chains(
        urls,
        timeout_s=5,
        may_reach=is_public_address,
        concurrency=1,
        resolver=both,
        on_done=lambda url, _: done.append(url),
    )
    assert [chain.fault for chain in chains.values()] == ["address_not_public"] * 2
    assert done == urls[1:]


def feed(base: str, *paths: str) -> bytes:
    host = base.removeprefix("http://")
    items = "".join(
        f"<item><guid>{number}</guid><title>E{number}\x85</title><pubDate>{number + 1:02} Nov 2026 08:00:00 +0000"
        f"</pubDate><itunes:duration>1800</itunes:duration>"
        f'<enclosure url="{base}/e,pg={GUID}/http://{host}{path}" type="audio/mpeg" length="28800000"/></item>'
        for number, path in enumerate(paths)
    )
    return (
        '<rss xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" '
        'xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel><title>Ours</title>'
        f"<podcast:guid>{GUID}</podcast:guid>{items}</channel></rss>"
    ).encode()


def test_a_feed_that_only_lacks_https_has_warnings_and_ends_with_0(
    server: ThreadingHTTPServer, base: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server.feed = feed(base, "/file.mp3", "/hop/1.mp3")  # type: ignore[attr-defined]
    arguments = ["feed", "check", f"{base}/feed.xml", "--public-url", base, "--data-dir", str(tmp_path)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "Ours: 2 episodes, 2 followed to their files" in said.out
    assert "0 faults, 2 warnings, 0 notes" in said.out
    assert "what it means:" in said.out
    assert "\x85" not in said.out
    assert "following the newest 2 of 2 episodes" in said.err
    assert "2/2 " in said.err


def test_faults_end_with_1_and_are_told_to_programs(
    server: ThreadingHTTPServer, base: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    paths = ("/nothing.mp3", "/hop/6.mp3", "/whole.mp3", "/page.mp3", "/file.mp3")
    (tmp_path / "feed.xml").write_bytes(feed(base, *paths))
    arguments = ["feed", "check", str(tmp_path / "feed.xml"), "--public-url", base, "--data-dir", str(tmp_path)]
    assert main([*arguments, "--json", "--episodes", "4", "--concurrency", "1"]) == 1
    report = json.loads(capsys.readouterr().out)
    found = [(finding["level"], finding["code"], finding["guid"]) for finding in report["findings"]]
    assert sorted(row for row in found if row[1] != "http") == [
        ("fault", "not_media", "3"),
        ("fault", "range_lost", "2"),
        ("fault", "range_lost", "3"),
        ("note", "length_differs", "2"),
        ("note", "length_differs", "3"),
        ("warning", "many_redirects", "1"),
    ]
    assert (report["episodes"], report["faults"], report["notes"]) == (5, 3, 2)
    assert [way["guid"] for way in report["followed"]] == ["4", "3", "2", "1"]
    assert all(finding["means"] and finding["remedy"] for finding in report["findings"])
    assert main([*arguments, "--json", "--episodes", "5"]) == 1
    assert "refused_here" in {finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    # Nobody is asked, and what stands in the feed is in order but for http.
    asked: list[object] = server.asked  # type: ignore[attr-defined]
    before = len(asked)
    assert main([*arguments, "--episodes", "0"]) == 0
    assert len(asked) == before


def test_without_the_trackers_name_the_rest_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "feed.xml").write_bytes(feed("http://127.0.0.1:1", "/x"))
    assert main(["feed", "check", str(tmp_path / "feed.xml"), "--data-dir", str(tmp_path), "--episodes", "0"]) == 1
    said = capsys.readouterr().out
    assert "note: prefix_unknown" in said
    assert "fault: extension_lost" in said
