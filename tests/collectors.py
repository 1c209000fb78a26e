"""A collector process for tests: a registry file, no database, real sockets, and its spool read back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from analytics_core.api_keys import KeyKind, hash_key, new_key
from analytics_core.events import EventRecord, decode_record
from analytics_core.registry import CollectorKey, Registry, write_registry
from analytics_core.spool import EVENT_ROW, FrameKind, Totals
from tests.trackers import spool_frames

__all__ = ("EVENTS", "ORIGIN", "CollectorProcess", "Keys", "Stored", "read_events", "write_keys")

ROOT = Path(__file__).parents[1]
ORIGIN = "https://shop.example.com"
EVENTS = "/api/v1/attribution/events"


class Keys(NamedTuple):
    """A secret key and a publishable one of the tenant 7, the second for pages of ``ORIGIN``."""

    secret: str
    publishable: str


class Stored(NamedTuple):
    """An event as the spool has it."""

    received_us: int
    address: bytes
    record: EventRecord


def write_keys(
    data_dir: Path, *, origins: Sequence[str] = (ORIGIN,), more: Mapping[str, CollectorKey] | None = None
) -> Keys:
    """Write a registry that knows two new keys, and those that are named."""
    keys = Keys(new_key(), new_key(KeyKind.PUBLISHABLE))
    known = {
        keys.secret: CollectorKey(tenant_no=7),
        keys.publishable: CollectorKey(tenant_no=7, kind=KeyKind.PUBLISHABLE, origins=tuple(origins)),
        **(more or {}),
    }
    registry = Registry(version=1, keys={hash_key(key): about for key, about in known.items()})
    write_registry(data_dir / "registry.snapshot", registry)
    return keys


def read_events(folder: Path) -> tuple[list[Stored], Totals]:
    """Read all events of a spool in order, and the last running totals."""
    stored: list[Stored] = []
    frames = spool_frames(folder)
    for frame in frames:
        if frame.kind is FrameKind.EVENTS:
            at = 0
            for received_us, address, length in EVENT_ROW.iter_unpack(frame.rows):
                stored.append(Stored(received_us, address, decode_record(frame.texts[at : at + length])))
                at += length
            assert at == len(frame.texts)
    return stored, frames[-1].totals


class CollectorProcess:
    """``python -m ingest.collector`` on free ports of loopback."""

    def __init__(self, data_dir: Path, *options: str, **environ: str) -> None:
        self.spool_dir = data_dir / "events"
        ready_out, ready_in = os.pipe()
        command = (sys.executable, "-W", "error", "-m", "ingest.collector", "--data-dir", str(data_dir), *options)
        self.log_path = data_dir / "collector.log"
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", "0", "--admin-port", "0", "--ready-fd", str(ready_in)],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "COLLECTOR_RESERVE_MB": "0", **environ},
                pass_fds=(ready_in,),
                stderr=log,
            )
        os.close(ready_in)
        with os.fdopen(ready_out) as ready:
            line = ready.readline()
        assert line, f"the collector ended with {self.process.wait(10)}: {self.log_path.read_text()}"
        ports = json.loads(line)
        self.port = int(ports["port"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{ports['admin_port']}"
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.kill()

    def send(self, key: str, body: Any, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Post a body: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {key}".strip(), "Content-Type": "application/json", **(headers or {})}
        return self.client.post(EVENTS, content=content, headers=given)

    def metric(self, series: str, **labels: str) -> float:
        """Read one number; 0 when it is not there."""
        wanted = ",".join(f'{name}="{value}"' for name, value in labels.items())
        start = f"{series}{{{wanted}}} " if labels else f"{series} "
        text = httpx.get(f"{self.admin_url}/metrics", timeout=20, trust_env=False).text
        return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start)), 0.0)

    def faults(self) -> list[str]:
        """Ask whether it is ready, and what keeps it from it."""
        answer = httpx.get(f"{self.admin_url}/health/ready", timeout=20, trust_env=False)
        told: list[str] = answer.json()["not_ready"]
        assert (answer.status_code == 200) is not bool(told)
        return told

    def events(self) -> list[Stored]:
        """Read what it has recorded so far."""
        return read_events(self.spool_dir)[0]

    def wait_events(self, count: int) -> list[Stored]:
        """Wait until so many are recorded."""
        deadline = time.monotonic() + 20
        while len(found := self.events()) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def stop(self) -> int:
        """End it with SIGTERM; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait(20)
