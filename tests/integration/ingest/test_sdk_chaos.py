"""Hosts of the SDK are killed, the collector too, and the network between them is as bad as networks get.

Whatever was on a host's disk is in the database, once.
"""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from analytics_core.api_keys import new_key
from analytics_core.clock import SystemClock
from analytics_core.db.pool import Tenant
from analytics_core.registry import CollectorKey
from analytics_core.settings import DatabaseSettings
from castledger import Castledger
from tests.collectors import CollectorProcess, write_keys
from tests.event_ledgers import Events
from tests.factories import make_tenant
from tests.ledgers import Ledger

pytestmark = pytest.mark.anyio

SEED: Final = 8
LIVES: Final = 4
HOSTS: Final = 2
_PATIENCE_S: Final = 90.0

_HOST = """
import logging, sys, time
from castledger import Castledger
logging.getLogger("castledger").addHandler(logging.NullHandler())
key, url, folder = sys.argv[1:]
client = Castledger(key, collector_url=url, spool_dir=folder, flush_interval=0.02, batch_size=30, timeout=2.0)
while True:
    ids = [str(client.track("purchase", value_amount=n, currency="EUR")) for n in range(7)]
    print(client.stats().spooled, *ids, ".", flush=True)
    time.sleep(0.02)
"""


class Proxy:
    """Between hosts and collector; as bad as it is told to be."""

    def __init__(self, target: str, chance: random.Random) -> None:
        self.target = target
        self.is_bad = True
        self.done: dict[str, int] = {}
        self.client = httpx.Client(trust_env=False)
        # In turn, so that a few requests see all of it.
        deeds = itertools.cycle(chance.sample(_DEEDS, len(_DEEDS)))
        proxy, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
                """Say nothing."""

            def do_POST(self) -> None:
                """Pass a batch on, or do something else with it."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    what = next(deeds) if proxy.is_bad else "pass"
                    proxy.done[what] = proxy.done.get(what, 0) + 1
                try:
                    self._do(what, body)
                except (OSError, httpx.HTTPError):
                    # The host has been killed, or the collector.
                    self.close_connection = True

            def _do(self, what: str, body: bytes) -> None:
                if what == "cut":
                    self.close_connection = True
                    return
                if what in _ANSWERS:
                    self._answer(*_ANSWERS[what])
                    return
                if what == "delay":
                    time.sleep(0.3)
                headers = {name: self.headers[name] for name in ("Authorization", "Content-Type")}
                answer = proxy.client.post(f"{proxy.target}{self.path}", content=body, headers=headers)
                if what == "lose the answer":
                    self.close_connection = True
                    return
                content = answer.content[: len(answer.content) // 2] if what == "cut the answer" else answer.content
                self._answer(answer.status_code, content, size=len(answer.content))

            def _answer(self, status: int, content: bytes, *, size: int | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content) if size is None else size))
                if status == 429:
                    self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = size is not None and size != len(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Take it away."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.client.close()


_ANSWERS: Final = {
    "429": (429, b'{"code":"rate_limited"}'),
    "500": (500, b"oops"),
    "503": (503, b'{"code":"unavailable"}'),
    "garbage": (202, b"<html>Welcome to the hotel</html>"),
}
_DEEDS: Final = ("pass", "pass", "pass", "delay", "cut", "lose the answer", "cut the answer", *_ANSWERS)


class Host:
    """A process that tracks events until it is killed."""

    def __init__(self, key: str, url: str, folder: Path) -> None:
        command = [sys.executable, "-c", _HOST, key, url, str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.append(line)

    @property
    def spooled(self) -> int:
        """How many it has said to be on disk."""
        return int(self._said[-1].split()[0]) if self._said else 0

    def kill(self) -> tuple[list[str], int]:
        """End it; return what it tracked, and how many of these it has said to be on disk."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        whole = [line.split() for line in self._said if line.endswith(" .\n")]
        return [event_id for _, *ids, _ in whole for event_id in ids], int(whole[-1][0])


def wait_for(host: Host, spooled: int) -> None:
    """Let a host live until it has so many events on disk."""
    deadline = time.monotonic() + _PATIENCE_S
    while host.spooled < spooled:
        assert time.monotonic() < deadline, "the host does not get on"
        assert host.process.poll() is None, "the host has ended"
        time.sleep(0.01)


async def test_what_was_on_disk_is_in_the_database_once(
    ledger: Ledger, database: DatabaseSettings, tmp_path: Path
) -> None:
    ledger.clock = SystemClock()  # type: ignore[assignment]
    events = Events(ledger)
    tenant: Tenant = await make_tenant(database)
    key, chance = new_key(), random.Random(SEED)
    write_keys(tmp_path, more={key: CollectorKey(tenant_no=tenant.tenant_no)})
    environ = {"COLLECTOR_RATE": "0"}
    collector = CollectorProcess(tmp_path, **environ)
    proxy = Proxy(collector.url, chance)
    folder = tmp_path / "sdk"
    tracked: set[str] = set()
    safe: set[str] = set()
    try:
        for _ in range(LIVES):
            hosts = [Host(key, proxy.url, folder) for _ in range(HOSTS)]
            for number, host in enumerate(hosts):
                wait_for(host, chance.randint(50, 400))
                if not number:
                    collector.kill()
                    collector = CollectorProcess(tmp_path, **environ)
                    proxy.target = collector.url
                ids, spooled = host.kill()
                tracked.update(ids)
                safe.update(ids[:spooled])
        assert {*proxy.done} == {*_DEEDS}
        proxy.is_bad = False
        with Castledger(key, collector_url=proxy.url, spool_dir=folder) as last:
            assert last.flush(_PATIENCE_S)
            assert last.stats().adopted > 0
            assert dict(last.stats().lost) == dict(last.stats().refused) == {}
        assert [*folder.glob("*.events")] == []
        assert collector.stop() == 0
    finally:
        proxy.end()
        collector.__exit__(None, None, None)
    await events.ship_all()
    landed = [str(UUID(int=row["event_id"].int)) for row in await events.rows()]
    assert len(landed) == len({*landed})
    assert safe <= {*landed}
    # What a host had tracked and had not said yet may be there too; nothing else is.
    assert len({*landed} - tracked) <= LIVES * HOSTS * 7
    assert len(safe) >= LIVES * HOSTS * 50
