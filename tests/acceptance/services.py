"""Services as processes of their own, told apart from the tests by nothing but their command line."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO


class Service:
    """A process that writes one JSON line to an inherited descriptor once it serves.

    What it logs goes to the file *log*, or where the tests' own errors go.
    """

    def __init__(self, module: str, *options: str, environ: Mapping[str, str], log: TextIO | None = None) -> None:
        self.module = module
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *options, "--ready-fd", str(write)],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
            pass_fds=(write,),
            stderr=log,
        )
        os.close(write)
        self._read = read

    def wait(self, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait for the ready line and return it."""
        line = b""
        try:
            while not line.endswith(b"\n"):
                ready, _, _ = select.select([self._read], [], [], timeout_s)
                chunk = os.read(self._read, 4096) if ready else b""
                if not chunk:
                    raise RuntimeError(f"{self.module} did not become ready: exit code {self.process.poll()}")
                line += chunk
        finally:
            os.close(self._read)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """End the process as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask the process to end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextlib.contextmanager
def running(
    module: str, *options: str, environ: Mapping[str, str], log: TextIO | None = None
) -> Iterator[dict[str, Any]]:
    """Run a service for a while."""
    service = Service(module, *options, environ=environ, log=log)
    try:
        yield service.wait()
    finally:
        service.stop()
