"""Workers die and restart under load: no answered hit is missing or doubled, and a restart costs nobody an answer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from analytics_core.spool import HEADER_BYTES, decode_hits, read_frames
from castledger_server.listeners import bind_slots, choose_port
from castledger_server.supervisor import ChildSpec, Supervisor
from ingest.spool_reader import SpoolFolder

pytestmark = pytest.mark.anyio

SLOTS: Final = 2
RESTARTS: Final = 20
KILLS: Final = 50
_PATIENCE_S: Final = 60.0


class Load:
    """Clients that ask all the while, each for a file of its own that nobody else ever asks for.

    Some keep their connection and think between two requests, some close it, some leave that to the tracker.
    """

    def __init__(self, port: int, *, seed: int, may_break: bool) -> None:
        self._port = port
        self._random = random.Random(seed)
        self._may_break = may_break
        self._is_over = False
        self._asked = 0
        self.answered: list[str] = []
        self.broken: list[str] = []
        """What became of requests that got no answer."""

    def _request(self, last: str) -> tuple[str, bytes]:
        self._asked += 1
        name = f"cdn.example.com/{id(self)}-{self._asked}.mp3"
        return name, f"GET /e/{name} HTTP/1.1\r\nHost: a\r\nUser-Agent: load\r\n{last}\r\n".encode()

    async def _keep(self, *, think_s: float) -> None:
        while not self._is_over:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                while not self._is_over:
                    await self._ask(reader, writer, "")
                    await asyncio.sleep(self._random.random() * think_s)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                self._note(error)
            finally:
                writer.close()

    async def _come_and_go(self, last: str) -> None:
        while not self._is_over:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                await asyncio.sleep(self._random.choice((0.0, 0.0, 0.02)))
                await self._ask(reader, writer, last)
                if last:
                    assert await reader.read() == b""
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                self._note(error)
            finally:
                writer.close()
            await asyncio.sleep(self._random.random() * 0.03)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, last: str) -> None:
        name, request = self._request(last)
        # In two pieces now and then: a restart may find half of a request.
        cut = self._random.choice((0, 0, 0, len(request) // 2))
        if cut:
            writer.write(request[:cut])
            await asyncio.sleep(0.01)
        writer.write(request[cut:])
        async with asyncio.timeout(_PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
        assert f"Location: https://{name}\r\n".encode() in head
        self.answered.append(name)

    def _note(self, error: Exception) -> None:
        self.broken.append(repr(error))
        assert self._may_break, f"a client lost its connection: {error!r}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask while the body runs."""
        async with asyncio.TaskGroup() as clients:
            for _ in range(12):
                clients.create_task(self._keep(think_s=0.05))
            for _ in range(12):
                clients.create_task(self._keep(think_s=0.6))
            for last in ("", "Connection: close\r\n") * 4:
                clients.create_task(self._come_and_go(last))
            try:
                yield
            finally:
                self._is_over = True


class Slots:
    """Worker slots as ``castledger up`` runs them: sockets held here, workers started again by the supervisor."""

    def __init__(self, folder: Path) -> None:
        self.spool = folder / "spool"
        self._folder = folder
        self._lines: list[str] = []
        self._supervisor = Supervisor(say=self._lines.append)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Run until the body ends; yields the port."""
        port = choose_port(["127.0.0.1"], 0, option="--tracker-port")
        slots = bind_slots(["127.0.0.1"], port, slots=SLOTS)
        pairs = [socket.socketpair() for _ in slots]
        try:
            for slot, ((listener,), pair) in enumerate(zip(slots, pairs, strict=True)):
                numbers = [str(end.fileno()) for end in pair]
                argv = [sys.executable, "-m", "prefix_redirect", "--slot", str(slot), "--admin-port", "0"]
                argv += ["--listen-fd", str(listener.fileno()), "--handover-fds", *numbers]
                env = {"PATH": os.environ["PATH"], "CASTLEDGER_DATA_DIR": str(self._folder), "SPOOL_RESERVE_MB": "0"}
                fds = (listener.fileno(), *(end.fileno() for end in pair))
                spec = ChildSpec(
                    name=f"slot-{slot}",
                    argv=argv,
                    env=env,
                    stop_order=1,
                    stop_after_s=15.0,
                    pass_fds=fds,
                    longest_delay_s=0.5,
                )
                await self._supervisor.start(spec)
            yield port
        finally:
            await self._supervisor.stop()
            for end in (*(one for sockets in slots for one in sockets), *(end for pair in pairs for end in pair)):
                end.close()

    async def end_worker(self, slot: int, number: signal.Signals) -> None:
        """Send a worker a signal, and wait until the next one serves."""
        backs = self._count(f"slot-{slot} is back")
        (pid,) = (pid for name, pid in self._supervisor.pids().items() if name == f"slot-{slot}")
        os.kill(pid, number)
        async with asyncio.timeout(_PATIENCE_S):
            while self._count(f"slot-{slot} is back") == backs:  # noqa: ASYNC110 - another process brings it about
                await asyncio.sleep(0.01)

    def _count(self, text: str) -> int:
        return sum(text in line for line in self._lines)

    def said(self, text: str) -> list[str]:
        return [line for line in self._lines if text in line]

    def landed(self) -> Counter[str]:
        """Read the spool as ingest does, and count the hits of each target."""
        folder = SpoolFolder(self.spool)
        found: Counter[str] = Counter()
        for file in folder.scan():
            assert file.is_final
            assert file.header is not None
            reading = folder.read(file, offset=HEADER_BYTES, max_hits=10**9)
            assert (reading.fault, reading.is_partial) == (None, False)
            data = file.path.read_bytes()[HEADER_BYTES : reading.end]
            for frame in read_frames(data, offset=HEADER_BYTES):
                found.update(hit.target.decode() for hit in decode_hits(frame))
        return found


async def test_restarts_cost_no_client_an_answer(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    async with slots.running() as port:
        load = Load(port, seed=1, may_break=False)
        async with load.running():
            for number in range(RESTARTS):
                await slots.end_worker(number % SLOTS, signal.SIGHUP)
        # Stopped for good, workers let their clients go: that is not a restart.
    assert load.broken == []
    assert len(slots.said("makes way for the next worker")) == RESTARTS
    assert any("goes on with" in line for line in slots.said("slot"))
    landed = slots.landed()
    assert landed == Counter(load.answered)
    assert len(load.answered) > RESTARTS * 10


async def test_killed_workers_lose_and_double_no_answered_hit(tmp_path: Path) -> None:
    chance = random.Random(2)
    slots = Slots(tmp_path)

    async def kill(slot: int) -> None:
        for _ in range(KILLS // SLOTS):
            await asyncio.sleep(chance.random() * 0.5)
            await slots.end_worker(slot, signal.SIGKILL)

    async with slots.running() as port:
        load = Load(port, seed=3, may_break=True)
        async with load.running():
            await asyncio.gather(*(kill(slot) for slot in range(SLOTS)))
    # Connections break with their worker; new ones wait in the slot's socket and are never refused.
    assert not any("Refused" in broken for broken in load.broken)
    assert load.broken
    landed = slots.landed()
    answered = Counter(load.answered)
    assert set(answered.values()) == {1}
    assert set(landed.values()) == {1}, "a hit is in the spool twice"
    assert not answered - landed, "an answered hit is not in the spool"
    # Recorded but not answered: what was in flight when its worker was killed, one for each broken client at most.
    assert len(landed - answered) <= len(load.broken)
