"""The stage: a tracker and a collector of the demo's own, on loopback, that take times from the requests.

They write into the spools of the running ``up``, whose ingest lands what it finds there, whoever wrote it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from analytics_core.errors import Unavailable
from analytics_core.registry import Registry, write_registry
from castledger_server.demo.podcast import HOST
from castledger_server.processes import die_with_parent

__all__ = ("COLLECTOR_SOURCE", "SOURCE", "replaying_collector", "replaying_tracker", "wait_until_landed")

_SLOT: Final = 9999
SOURCE: Final = f"tracker-{_SLOT}"
"""Under which name the demo's tracker writes into the spool; no other one has that many slots."""

COLLECTOR_SOURCE: Final = f"collector-{_SLOT}"
"""Under which name its collector does."""

_READY_S: Final = 30.0
_STOP_S: Final = 15.0
_STALL_S: Final = 60.0
_LOOK_S: Final = 0.1


def _environment(environ: Mapping[str, str], spool: str, spool_dir: Path, registry: Path) -> dict[str, str]:
    """Keep what a process needs; settings of those services that everybody reaches do not concern ours."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("TRACKER_", "COLLECTOR_", "SPOOL_", "CASTLEDGER_", "DATABASE_", "POSTGRES_"))
    }
    return kept | {
        spool: str(spool_dir),
        "SPOOL_RESERVE_MB": "0",
        "COLLECTOR_RESERVE_MB": "0",
        "COLLECTOR_RATE": "0",
        "CASTLEDGER_REGISTRY": str(registry),
        "CASTLEDGER_LOG_LEVEL": "warning",
        "TRACKER_TRUSTED_PROXIES": "127.0.0.0/8",
        "TRACKER_FLOOD_RATE": "0",
    }


async def _ready_port(process: asyncio.subprocess.Process, ready_fd: int, service: str) -> int:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ready_fd, "rb", buffering=0)
    )
    try:
        async with asyncio.timeout(_READY_S):
            line = await reader.readline()
        return int(json.loads(line)["port"])
    except (TimeoutError, ValueError) as error:
        raise Unavailable(f"the demo's {service} does not start (exit status {process.returncode})") from error
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def _replaying(module: str, service: str, environment: Mapping[str, str]) -> AsyncIterator[int]:
    ready_fd, say_ready_fd = os.pipe()
    listen = ("--host", "127.0.0.1", "--port", "0", "--admin-port", "0")
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, "--replay", "--slot", str(_SLOT), *listen),
            *("--ready-fd", str(say_ready_fd)),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(say_ready_fd,),
            umask=0o077,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
    except BaseException:
        os.close(ready_fd)
        raise
    finally:
        os.close(say_ready_fd)
    try:
        yield await _ready_port(process, ready_fd, service)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def replaying_tracker(
    spool_dir: Path, environ: Mapping[str, str], *, registry: Path | None = None
) -> AsyncIterator[int]:
    """Run the tracker; when it has ended all that it answered is in the spool, sealed.

    Args:
        spool_dir: Of the running ``up``.
        environ: Ours.
        registry: What it knows; by default the demo's podcast alone.

    Yields:
        Its port.

    Raises:
        Unavailable: It does not start.
    """
    with tempfile.TemporaryDirectory(prefix="castledger-demo-") as folder:
        if registry is None:
            registry = Path(folder) / "registry.snapshot"
            write_registry(registry, Registry(version=1, hosts=frozenset((HOST,))))
        async with _replaying(
            "prefix_redirect", "tracker", _environment(environ, "SPOOL_DIR", spool_dir, registry)
        ) as port:
            yield port


@contextlib.asynccontextmanager
async def replaying_collector(spool_dir: Path, environ: Mapping[str, str], *, registry: Path) -> AsyncIterator[int]:
    """Run the collector; when it has ended all that it accepted is in the spool, sealed.

    Args:
        spool_dir: Of events, of the running ``up``.
        environ: Ours.
        registry: That of the running ``up``, which knows the demo's key.

    Yields:
        Its port.

    Raises:
        Unavailable: It does not start.
    """
    async with _replaying(
        "ingest.collector", "collector", _environment(environ, "COLLECTOR_SPOOL_DIR", spool_dir, registry)
    ) as port:
        yield port


def _waiting_bytes(spool_dir: Path) -> int:
    """Add up what of the demo's is in the spool; names say whose a segment is."""
    waiting = 0
    for source in (SOURCE, COLLECTOR_SOURCE):
        for path in spool_dir.glob(f"*-{source}-*"):
            # Ingest removes what has landed at any moment.
            with contextlib.suppress(FileNotFoundError):
                if path.suffix in (".open", ".sealed"):
                    waiting += path.stat().st_size
    return waiting


async def wait_until_landed(spool_dir: Path) -> None:
    """Wait until ingest has landed all that the demo's tracker, or its collector, left in a spool.

    Raises:
        Unavailable: Nothing was landed for a minute.
    """
    left = _waiting_bytes(spool_dir)
    deadline = time.monotonic() + _STALL_S
    while left:
        if time.monotonic() > deadline:
            raise Unavailable(f"ingest does not land what the demo plays; {left:,} bytes of them wait in {spool_dir}")
        await asyncio.sleep(_LOOK_S)
        now_left = _waiting_bytes(spool_dir)
        if now_left < left:
            deadline = time.monotonic() + _STALL_S
        left = now_left
