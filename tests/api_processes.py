"""The API as a process of its own, started for a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pytest

from analytics_core.db.pool import connect
from analytics_core.db.tenants import ensure_owner_key
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings

__all__ = ("Running", "environment", "make_owner_key", "start")

ROOT = Path(__file__).parents[1]


class Running(NamedTuple):
    """A started process with the ports that it told."""

    process: subprocess.Popen[str]
    url: str
    admin_url: str


def environment(tmp_path: Path, **given: str) -> dict[str, str]:
    """What the process is told."""
    return {"PATH": os.environ["PATH"], "CASTLEDGER_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), **given}


@contextlib.contextmanager
def start(tmp_path: Path, *arguments: str, log: TextIO | int = subprocess.PIPE, **given: str) -> Iterator[Running]:
    """Start the API and wait for its line; whoever sends many requests gives it a *log* that takes many lines."""
    read_fd, write_fd = os.pipe()
    command = [sys.executable, "-W", "error", "-m", "api", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
    process = subprocess.Popen(
        [*command, "--ready-fd", str(write_fd), *arguments],
        env=environment(tmp_path, **given),
        cwd=tmp_path,
        pass_fds=(write_fd,),
        stderr=log,
        text=True,
    )
    os.close(write_fd)
    try:
        with os.fdopen(read_fd) as ready:
            line = ready.readline()
        if not line:
            process.wait(10)
            pytest.fail(process.stderr.read() if process.stderr is not None else "it does not start")
        ports: dict[str, Any] = json.loads(line)
        assert set(ports) == {"port", "admin_port"}
        yield Running(process, f"http://127.0.0.1:{ports['port']}", f"http://127.0.0.1:{ports['admin_port']}")
    finally:
        process.kill()
        process.communicate()


def make_owner_key(database: DatabaseSettings) -> str:
    """Make the installation's own tenant with a key."""

    async def make() -> str:
        conn = await connect(database, Role.AUTH, application_name="test")
        try:
            return await ensure_owner_key(conn, None)
        finally:
            await conn.close()

    return asyncio.run(make())
