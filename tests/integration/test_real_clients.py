"""Programs that people use, over the wire: each plays or downloads a real audio file whole, through the tracker."""

from __future__ import annotations

import http.server
import io
import json
import math
import re
import shutil
import struct
import subprocess
import threading
import urllib.parse
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import sync_playwright

from analytics_core.hits import Hit, Method
from analytics_core.registry import Registry, write_registry
from tests.trackers import TrackerProcess, read_spool

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 4
NAMES = ("episode 1.wav", "Folge 2 – Größe.wav")


def make_audio() -> bytes:
    """A tone, as a WAV file of some 170 KiB."""
    out = io.BytesIO()
    with wave.open(out, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(22_050)
        audio.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(n / 8))) for n in range(22_050 * SECONDS)))
    return out.getvalue()


AUDIO = make_audio()
PAGE = b"<!doctype html><title>Player</title><body></body>"


class _FileHost(http.server.BaseHTTPRequestHandler):
    """A podcast's file host, with ranges."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        path = urllib.parse.unquote(self.path.partition("?")[0]).lstrip("/")
        if path == "player":
            data, kind = PAGE, "text/html"
        elif path in NAMES:
            data, kind = AUDIO, "audio/wav"
        else:
            self.send_error(404)
            return b""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            body = data
            self.send_response(200)
        else:
            first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            body = data[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        return body

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


class Site(NamedTuple):
    """A tracker in front of a file host."""

    tracker: TrackerProcess
    host: str

    def url(self, name: str = NAMES[0], *, raw: bool = False) -> str:
        """The prefixed address of a file."""
        path = name if raw else urllib.parse.quote(name)
        return f"http://127.0.0.1:{self.tracker.port}/e,pg=1/http://{self.host}/{path}"

    def hits(self) -> list[Hit]:
        """End the tracker and read what it recorded."""
        self.tracker.stop()
        return read_spool(self.tracker.spool_dir)[0]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _FileHost)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    write_registry(tmp_path / "registry.snapshot", Registry(version=1, hosts=frozenset({"127.0.0.1"})))
    try:
        with TrackerProcess(tmp_path) as tracker:
            yield Site(tracker, f"127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(program: str, *arguments: str) -> str:
    """Run a program to its end; without it the test is skipped."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"no {program}: apt-get install {'ffmpeg' if program == 'ffprobe' else program}")
    ended = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("options", [(), ("--http2",), ("--http1.0",), ("--compressed",)])
def test_curl_downloads_whole(site: Site, tmp_path: Path, options: tuple[str, ...]) -> None:
    out = tmp_path / "out.wav"
    run("curl", "-sSfL", *options, "-o", str(out), site.url())
    assert out.read_bytes() == AUDIO
    (hit,) = site.hits()
    assert hit.agent.startswith(b"curl/")
    assert hit.target == f"http://{site.host}/episode%201.wav".encode()
    assert hit.arguments == b"pg=1"


def test_curl_asks_for_ranges_and_heads(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    run("curl", "-sSfL", "-r", "1000-1999", "-o", str(out), site.url())
    assert out.read_bytes() == AUDIO[1000:2000]
    assert f"Content-Length: {len(AUDIO)}" in run("curl", "-sSfIL", site.url())
    ranged, head = site.hits()
    assert (ranged.byte_range, head.method) == (b"bytes=1000-1999", Method.HEAD)


def test_curl_sends_a_name_that_is_not_ascii_as_it_is(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    run("curl", "-sSfL", "-o", str(out), site.url(NAMES[1].replace(" ", "%20"), raw=True))
    assert out.read_bytes() == AUDIO
    (hit,) = site.hits()
    assert urllib.parse.unquote(hit.target.decode()).endswith("/" + NAMES[1])


def test_a_name_with_spaces_that_is_sent_raw_is_found(site: Site) -> None:
    with site.tracker.connect() as connection:
        path = site.url(NAMES[1], raw=True).partition(str(site.tracker.port))[2]
        connection.send(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        answer = connection.read()
    assert answer is not None
    assert httpx.get(answer.headers["Location"], trust_env=False, timeout=60).content == AUDIO


def test_wget_downloads_and_goes_on_where_it_was_cut_off(site: Site, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.wav", tmp_path / "part.wav"
    run("wget", "-q", "--no-proxy", "-O", str(whole), site.url())
    assert whole.read_bytes() == AUDIO
    part.write_bytes(AUDIO[:50_000])
    run("wget", "-q", "--no-proxy", "-c", "-O", str(part), site.url())
    assert part.read_bytes() == AUDIO
    first, second = site.hits()
    assert (first.byte_range, second.byte_range) == (b"", b"bytes=50000-")
    assert first.agent.startswith(b"Wget/")


def test_httpx_downloads_over_one_connection_and_many(site: Site) -> None:
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=60) as client:
        for name in NAMES * 2:
            assert client.get(site.url(name)).content == AUDIO
    assert httpx.get(site.url(), follow_redirects=True, trust_env=False, timeout=60).content == AUDIO
    assert len(site.hits()) == 5


def test_ffprobe_reads_how_long_it_is(site: Site) -> None:
    said = run("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "json", site.url(NAMES[1]))
    assert float(json.loads(said)["format"]["duration"]) == pytest.approx(SECONDS, abs=0.1)
    hits = site.hits()
    assert hits
    assert all(hit.agent.startswith(b"Lavf/") for hit in hits)


@pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("cors", [None, "anonymous"])
def test_chromium_plays_to_the_end(site: Site, cors: str | None) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        page = browser.new_page()
        page.goto(f"http://{site.host}/player")
        played = page.evaluate(
            """([url, cors]) => new Promise((resolve, reject) => {
                const audio = new Audio();
                audio.crossOrigin = cors;
                audio.muted = true;
                audio.playbackRate = 8;
                audio.onended = () => resolve([audio.duration, audio.currentTime]);
                audio.onerror = () => reject(new Error(audio.error.message));
                audio.src = url;
                audio.play().catch(reject);
            })""",
            [site.url(NAMES[1]), cors],
        )
        browser.close()
    assert played == [pytest.approx(SECONDS, abs=0.1)] * 2
    hits = site.hits()
    assert {hit.byte_range for hit in hits} >= {b"bytes=0-"}
    assert all(b"Chrome/" in hit.agent for hit in hits)
