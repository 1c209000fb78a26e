"""A tracker process for tests, real sockets, and its spool read back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from analytics_core.hits import Hit
from analytics_core.spool import HEADER_BYTES, Frame, Totals, decode_hits, parse_header, read_frames

__all__ = ("Answer", "Connection", "TrackerProcess", "read_spool", "spool_frames")

ROOT = Path(__file__).parents[1]


class Answer(NamedTuple):
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One TCP connection to a tracker; what is sent and what comes back is up to the test."""

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), timeout=20)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, *, has_body: bool = True) -> Answer | None:
        """Read the next answer; ``None`` when the tracker has closed."""
        line = self._file.readline()
        if not line:
            return None
        assert line.startswith(b"HTTP/1.1 "), line
        headers = {}
        while (header := self._file.readline().rstrip(b"\r\n")) != b"":
            name, _, value = header.decode("ascii").partition(": ")
            assert name not in headers, "a header was sent twice"
            headers[name] = value
        body = self._file.read(int(headers.get("Content-Length", "0"))) if has_body else b""
        return Answer(int(line.split()[1]), headers, body)

    def ask(self, path: str, *headers: str, method: str = "GET") -> Answer:
        """Send one request and read its answer."""
        lines = (f"{method} {path} HTTP/1.1", "Host: pod.example.net", *headers, "", "")
        self.send("\r\n".join(lines).encode())
        answer = self.read(has_body=method != "HEAD")
        assert answer is not None, "the tracker closed without an answer"
        return answer


class TrackerProcess:
    """``python -m prefix_redirect`` on free ports of loopback."""

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        environ: dict[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        self.data_dir = data_dir
        self.spool_dir = data_dir / "spool"
        ready_out, ready_in = os.pipe()
        listening = [part for descriptor in descriptors for part in ("--listen-fd", str(descriptor))]
        where = listening or ["--host", "127.0.0.1", "--port", "0"]
        command = (sys.executable, "-m", "prefix_redirect", "--data-dir", str(data_dir), "--admin-port", "0")
        self.process = subprocess.Popen(
            [*command, "--ready-fd", str(ready_in), *where, *options],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "SPOOL_RESERVE_MB": "0", **(environ or {})},
            pass_fds=(ready_in, *descriptors),
        )
        os.close(ready_in)
        with os.fdopen(ready_out) as ready:
            line = ready.readline()
        assert line, f"the tracker ended with {self.process.wait(10)}"
        ports = json.loads(line)
        self.port = int(ports["port"])
        self.admin_url = f"http://127.0.0.1:{ports['admin_port']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.kill()

    def connect(self) -> Connection:
        return Connection(self.port)

    def ask(self, path: str, *headers: str, method: str = "GET") -> Answer:
        """Ask once, on a connection of its own."""
        with self.connect() as connection:
            return connection.ask(path, *headers, method=method)

    def admin(self, path: str) -> tuple[int, bytes]:
        """Ask the admin server."""
        try:
            with urllib.request.urlopen(self.admin_url + path, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def stop(self) -> int:
        """End it with SIGTERM; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait(20)


def spool_frames(folder: Path) -> list[Frame]:
    """Read all whole frames of a spool, segments in order."""
    frames: list[Frame] = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".open", ".sealed")):
        data = path.read_bytes()
        parse_header(data)
        frames += read_frames(data[HEADER_BYTES:], offset=HEADER_BYTES)
    return frames


def read_spool(folder: Path) -> tuple[list[Hit], Totals]:
    """Read all hits of a spool, and the last running totals."""
    frames = spool_frames(folder)
    return [hit for frame in frames for hit in decode_hits(frame)], frames[-1].totals
