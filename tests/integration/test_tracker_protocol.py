"""Connections and disks that misbehave: the protocol in this process, with short times, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from analytics_core.addresses import format_address
from analytics_core.registry import Registry
from analytics_core.segments import OsDisk
from analytics_core.settings import HostPolicyMode, Service, SyncMode, TrackerSettings, load_settings
from analytics_core.spool_writer import SpoolWriter
from prefix_redirect.acceptor import Acceptor
from prefix_redirect.app import listen
from prefix_redirect.replies import Replies
from prefix_redirect.requests import Limits
from prefix_redirect.tracker import Tracker
from tests.trackers import read_spool

REQUEST = b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\n\r\n"
SHORT = Limits(header_s=0.2, idle_s=0.2, write_s=0.2, linger_s=0.2, drain_s=0.5)


def run(main: Coroutine[object, object, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def settings_of(folder: Path, **changes: object) -> TrackerSettings:
    tracker = load_settings({}, service=Service.TRACKER, data_dir=folder).tracker
    return msgspec.structs.replace(tracker, **changes)


@contextlib.asynccontextmanager
async def serving(
    folder: Path, *, limits: Limits | None = None, disk: OsDisk | None = None, **changes: object
) -> AsyncIterator[tuple[Tracker, int]]:
    """A tracker in this loop, swept often."""
    loop = asyncio.get_running_loop()
    settings = settings_of(folder, **changes)
    writer = SpoolWriter(settings.spool_dir, "tracker-0", disk=disk)
    writer.open()
    tracker = Tracker(settings, loop=loop, writer=writer, limits=limits)
    sockets = listen("127.0.0.1", 0)
    acceptor = Acceptor(tracker, sockets)
    acceptor.start()

    async def sweep() -> None:
        while True:
            await asyncio.sleep(0.02)
            tracker.sweep()

    sweeping = asyncio.create_task(sweep())
    try:
        yield tracker, sockets[0].getsockname()[1]
    finally:
        sweeping.cancel()
        acceptor.stop()
        await tracker.drain()
        await tracker.turns.close()
        for one in sockets:
            one.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def everything(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize("begun", [b"G", b"GET /e/cdn", b"GET / HTTP/1.1\r\nA: b\r\n", "GET /é".encode()])
def test_a_client_that_dawdles_over_its_headers_is_timed_out(tmp_path: Path, begun: bytes) -> None:
    async def main() -> None:
        async with serving(tmp_path, limits=SHORT) as (tracker, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST + begun)
            answers = await everything(reader)
            assert answers.startswith(b"HTTP/1.1 302 ")
            assert b"HTTP/1.1 408 " in answers
            assert tracker.writer.totals.refused == {408: 1}
            writer.close()
            await until(lambda: not tracker.connections)

    run(main())


async def begin_slowly(tracker: Tracker, writer: asyncio.StreamWriter, said: bytes) -> bytes:
    """Send byte by byte until that is too slow for the tracker; return what is left to be said."""
    before = len(tracker.slow_lane)
    while len(tracker.slow_lane) == before:
        assert said, "all was said and the client does not count as slow"
        writer.write(said[:1])
        said = said[1:]
        # Bytes that come together are one piece; how many pieces it takes is not asked for here.
        await asyncio.sleep(0.001)
    return said


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection off."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("sync", [SyncMode.INTERVAL, SyncMode.ALWAYS])
def test_a_client_that_sends_bit_by_bit_is_answered_and_then_read_at_once_again(tmp_path: Path, sync: SyncMode) -> None:
    async def main() -> None:
        async with serving(tmp_path, sync=sync) as (tracker, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(3):
                rest = await begin_slowly(tracker, writer, REQUEST)
                writer.write(rest + REQUEST * 2)
                for _ in range(3):
                    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 302 ")
                assert not len(tracker.slow_lane)
            writer.close()
            await until(lambda: not tracker.connections)

    run(main())
    assert len(read_spool(settings_of(tmp_path).spool_dir)[0]) == 9


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /robots.txt HTTP/1.1\r\nContent-Length: 300\r\n\r\n" + b"b" * 300, 200),
        (b"POST /e/cdn.example.com/a.mp3 HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", 405),
        (b"POST /e/cdn.example.com/a.mp3 HTTP/1.1\r\nContent-Length: 500000\r\n\r\n" + b"b" * 500_000, 405),
        ("GET /e/cdn.example.com/\N{LATIN SMALL LETTER E WITH ACUTE}.mp3 HTTP/1.1\r\n\r\n".encode(), 302),
        (b"GET /" + b"e" * 20_000, 414),
        (b"GET / HTTP/1.1\r\nX-Long: " + b"e" * 200_000, 431),
        (b"GET nonsense\r\n", 400),
    ],
    ids=["body", "post", "long-body", "raw", "long-line", "long-header", "malformed"],
)
def test_what_comes_bit_by_bit_is_read_like_what_comes_at_once(tmp_path: Path, request_: bytes, status: int) -> None:
    async def main() -> None:
        async with serving(tmp_path) as (tracker, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(await begin_slowly(tracker, writer, request_))
            assert (await reader.readline()).startswith(b"HTTP/1.1 %d " % status)
            writer.close()
            await until(lambda: not tracker.connections)
            assert not len(tracker.slow_lane)

    run(main())


def test_slow_clients_are_read_however_many_they_are(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as (tracker, port):
            crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
            rests = [await begin_slowly(tracker, writer, REQUEST) for _, writer in crowd]
            for (_, writer), rest in zip(crowd, rests, strict=True):
                writer.write(rest)
            for reader, writer in crowd:
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 302 ")
                writer.close()
            await until(lambda: not tracker.connections)
            assert not len(tracker.slow_lane)

    run(main())


@pytest.mark.parametrize("leave", ["close", "reset", "shut", "time"])
def test_a_slow_client_that_goes_is_let_go(tmp_path: Path, leave: str) -> None:
    async def main() -> None:
        limits = SHORT if leave == "time" else Limits()
        async with serving(tmp_path, limits=limits) as (tracker, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await begin_slowly(tracker, writer, REQUEST)
            if leave == "close":
                writer.close()
            elif leave == "reset":
                reset(writer)
            elif leave == "shut":
                writer.write_eof()
            answer = await everything(reader)
            assert answer.startswith(b"HTTP/1.1 408 ") if leave == "time" else not answer
            writer.close()
            await until(lambda: not tracker.connections)
            assert not len(tracker.slow_lane)

    run(main())


class Silent:
    """A connection whose time is up, as the tracker sees it."""

    def __init__(self, tracker: Tracker) -> None:
        self.deadline_s = self.idle_since_s = 0.0
        self.is_idle = False
        self.is_over = False
        self._tracker = tracker

    def as_member(self) -> None:
        return None

    def expire(self) -> None:
        self.is_over = True
        self._tracker.leave(self)

    def close_if_idle(self) -> None:
        raise AssertionError("its time is up")

    def abort(self) -> None:
        self._tracker.leave(self)


def test_a_crowd_whose_time_is_up_holds_up_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as (tracker, port):
            crowd = [Silent(tracker) for _ in range(1000)]
            tracker.connections |= dict.fromkeys(crowd)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            # Swept here, in the turn in which the request is sent: its answer need not wait until all are gone.
            tracker.sweep()
            writer.write(REQUEST)
            crowd[-1].deadline_s = tracker.loop.time() + 60
            assert (await reader.readline()).startswith(b"HTTP/1.1 302 ")
            gone = sum(one.is_over for one in crowd)
            assert 0 < gone < len(crowd) - 1
            await until(lambda: all(one.is_over for one in crowd[:-1]))
            assert not crowd[-1].is_over
            crowd[-1].abort()
            writer.close()

    run(main())


def test_dripping_bytes_do_not_keep_a_connection_open(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, limits=SHORT) as (tracker, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nA: ")
            async with asyncio.timeout(20):
                while not tracker.writer.totals.refused:
                    writer.write(b"a")
                    await asyncio.sleep(0.02)
            writer.close()
            assert tracker.writer.totals.refused == {408: 1}

    run(main())


@pytest.mark.parametrize("sent", [b"", REQUEST])
def test_an_idle_connection_is_closed_without_a_word(tmp_path: Path, sent: bytes) -> None:
    async def main() -> None:
        async with serving(tmp_path, limits=SHORT) as (tracker, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            assert (await everything(reader)).count(b"HTTP/1.1") == bool(sent)
            assert tracker.writer.totals.refused == {}
            writer.close()

    run(main())


def test_a_client_that_never_reads_is_no_longer_read_and_then_dropped(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, limits=msgspec.structs.replace(SHORT, idle_s=60, header_s=60)) as (tracker, port):
            deaf = socket.socket()
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", port))
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(20):
                    while True:
                        await loop.sock_sendall(deaf, REQUEST * 1000)
            await until(lambda: not tracker.connections)
            deaf.close()
            # What it could not read was bounded by what the kernel buffers, not by what it sent.
            assert tracker.writer.totals.answered < 200_000

    run(main())


def test_a_refused_client_that_goes_on_sending_is_let_go_of(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, limits=SHORT) as (tracker, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/9.9\r\n\r\n" + b"x" * 100_000)
            assert (await everything(reader)).startswith(b"HTTP/1.1 400 ")
            await until(lambda: not tracker.connections)
            writer.close()

    run(main())


def test_above_the_limit_the_longest_idle_connection_goes_first(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, max_connections=16) as (tracker, port):
            clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(16)]
            await until(lambda: len(tracker.connections) == 16)
            for reader, writer in clients[1:]:
                writer.write(REQUEST)
                await reader.readuntil(b"\r\n\r\n")
            late = await asyncio.open_connection("127.0.0.1", port)
            late[1].write(REQUEST)
            assert (await late[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 302 ")
            assert await everything(clients[0][0]) == b""
            assert len(tracker.connections) == 16
            for _, writer in (*clients, late):
                writer.close()

    run(main())


class StuckDisk(OsDisk):
    """A disk whose syncs wait until they are let go, and may fail."""

    def __init__(self) -> None:
        self.syncs = 0
        self.is_failing = False

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        if self.is_failing:
            raise OSError(errno.EIO, "Input/output error")
        super().sync(descriptor)


@pytest.mark.parametrize("is_failing", [False, True])
def test_with_sync_always_answers_wait_for_the_sync_of_their_hits(tmp_path: Path, is_failing: bool) -> None:
    class Watched(StuckDisk):
        """Notes how many bytes had been answered when a sync began."""

        def __init__(self) -> None:
            super().__init__()
            self.answered_before: list[int] = []
            self.answered = 0

        def sync(self, descriptor: int) -> None:
            self.answered_before.append(self.answered)
            super().sync(descriptor)

    async def main() -> None:
        disk = Watched()
        disk.is_failing = is_failing
        async with serving(tmp_path, disk=disk, sync=SyncMode.ALWAYS) as (tracker, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in range(1, 6):
                writer.write(REQUEST + b"GET /nothing HTTP/1.1\r\n\r\n")
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 302 ")
                assert (await reader.readuntil(b"redirects podcast players to their episodes.\n")).startswith(
                    b"HTTP/1.1 404 "
                )
                assert disk.syncs >= number
                disk.answered = number
            assert set(range(5)) <= set(disk.answered_before)
            assert tracker.writer.totals.at_risk == (5 if is_failing else 0)
            writer.close()
        hits, totals = read_spool(tmp_path / "spool")
        assert len(hits) == totals.recorded == 5

    run(main())


def test_a_client_that_goes_on_while_its_last_answer_waits_for_the_sync_disturbs_nobody(tmp_path: Path) -> None:
    close = b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nConnection: close\r\n\r\n"

    class HeldDisk(OsDisk):
        """A disk whose syncs wait until they are let go."""

        def __init__(self) -> None:
            self.is_free = threading.Event()
            self.is_free.set()

        def sync(self, descriptor: int) -> None:
            assert self.is_free.wait(20)
            super().sync(descriptor)

    faults: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        disk = HeldDisk()
        async with serving(tmp_path, disk=disk, sync=SyncMode.ALWAYS) as (tracker, port):
            # Its request is known from here on, so that the next one to ask gets its answer at the door.
            assert (await ask_in_pieces(tracker, port, (close,))).count(b" 302 ") == 1
            disk.is_free.clear()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(close)
            await until(lambda: tracker.writer.totals.recorded == 2)
            writer.write(b"more")
            writer.write_eof()
            other = await asyncio.open_connection("127.0.0.1", port)
            other[1].write(REQUEST)
            await until(lambda: tracker.writer.totals.recorded == 3)
            disk.is_free.set()
            assert (await other[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 302 ")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            for one in (writer, other[1]):
                one.close()

    run(main())
    assert faults == []


def test_hits_are_in_the_spool_before_their_answers_leave(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in range(1, 50):
                writer.write(REQUEST)
                await reader.readuntil(b"\r\n\r\n")
                assert len(read_spool(tmp_path / "spool")[0]) == number
            writer.close()

    run(main())


KINDS = (
    b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nUser-Agent: one\r\nRange: bytes=0-1\r\n\r\n",
    b"HEAD /e,pg=x/cdn.example.com/a.mp3 HTTP/1.1\r\nReferer: https://example.com/\r\n\r\n",
    b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nSec-Purpose: prefetch\r\nIf-None-Match: x\r\n\r\n",
    b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nAccept: text/html\r\n\r\n",
    b"GET /e/cdn.example.com/\xc3\xa9 1.mp3 HTTP/1.1\r\n\r\n",
    b"OPTIONS /e/cdn.example.com/a.mp3 HTTP/1.1\r\n\r\n",
    b"POST /e/cdn.example.com/a.mp3 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /robots.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\n\r\nGET /robots.txt HTTP/1.1\r\n\r\n",
    b"\r\nGET /e/cdn.example.com/a.mp3 HTTP/1.1\r\n\r\n",
)
LAST_KINDS = (
    b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nUser-Agent: two\r\nConnection: close\r\n\r\n",
    b"HEAD /nothing HTTP/1.0\r\n\r\n",
    b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nConnection: close\r\n\r\nrest",
    b"nonsense\r\n\r\n",
)


def undated(answers: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]*\r\n", b"", answers)


async def ask_in_pieces(tracker: Tracker, port: int, pieces: Sequence[bytes]) -> bytes:
    """Send pieces, each once the one before has been read: what is whole of it was answered, the rest has begun."""

    def answered() -> int:
        return tracker.writer.totals.answered + sum(tracker.recorder.others.values())

    async def answered_more(than: int) -> None:
        await until(lambda: answered() > than)

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    *before_last, last = pieces
    for piece in before_last:
        before = answered()
        writer.write(piece)
        if b"\r\n\r\n" in piece:
            await answered_more(before)
        else:
            await until(lambda: any(not one.is_idle for one in tracker.connections))
    writer.write(last)
    answers = await everything(reader)
    writer.close()
    return undated(answers)


@pytest.mark.parametrize("last", LAST_KINDS, ids=["close", "old", "rest", "nonsense"])
@pytest.mark.parametrize("is_known", [True, False])
def test_requests_that_come_at_once_are_answered_like_those_that_come_one_by_one(
    tmp_path: Path, last: bytes, is_known: bool
) -> None:
    at_once = b"".join(KINDS) + last
    cuts = [1, len(KINDS[0]) - 2, len(KINDS[0]) + 1, len(at_once) // 2, len(at_once) - len(last)]

    async def main() -> None:
        async with serving(tmp_path) as (tracker, port):
            if not is_known:
                tracker.replies = Replies(most=0)
            one_by_one = await ask_in_pieces(tracker, port, (*KINDS, last))
            assert bool(len(tracker.replies)) is is_known
            assert await ask_in_pieces(tracker, port, (at_once,)) == one_by_one
            for cut in cuts:
                assert await ask_in_pieces(tracker, port, (at_once[:cut], at_once[cut:])) == one_by_one

    run(main())
    hits = [msgspec.structs.replace(hit, at_us=0) for hit in read_spool(tmp_path / "spool")[0]]
    each = len(hits) // (2 + len(cuts))
    assert hits == hits[:each] * (2 + len(cuts))
    assert each >= 6


def test_nothing_is_answered_or_recorded_behind_a_known_request_that_closes(tmp_path: Path) -> None:
    close = b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nConnection: close\r\n\r\n"

    async def main() -> None:
        async with serving(tmp_path) as (tracker, port):
            for pieces in ((REQUEST, close), (REQUEST + close + REQUEST * 2,)):
                answers = await ask_in_pieces(tracker, port, pieces)
                assert answers.count(b"HTTP/1.1 302 ") == 2
                assert answers.count(b"Connection: close") == 1

    run(main())
    assert len(read_spool(tmp_path / "spool")[0]) == 4


@pytest.mark.parametrize("sync", list(SyncMode))
def test_what_is_known_by_its_bytes_is_answered_and_recorded_as_ever(tmp_path: Path, sync: SyncMode) -> None:
    redirects: list[int] = []

    async def main() -> None:
        async with serving(tmp_path, sync=sync) as (tracker, port):
            for last in LAST_KINDS:
                unknown = await ask_in_pieces(tracker, port, (*KINDS, last))
                assert unknown.count(b"HTTP/1.1 ") == len(KINDS) + 2
                assert await ask_in_pieces(tracker, port, (*KINDS, last)) == unknown
                alone = await ask_in_pieces(tracker, port, (last,))
                assert unknown.endswith(alone)
                assert await ask_in_pieces(tracker, port, (last,)) == alone
                redirects.extend(answers.count(b" 302 ") for answers in (unknown, alone))
            # All but those that came as two, or were refused.
            assert len(tracker.replies) == len(KINDS) - 1 + len(LAST_KINDS) - 1

    run(main())
    hits = [msgspec.structs.replace(hit, at_us=0) for hit in read_spool(tmp_path / "spool")[0]]
    assert len(hits) == 2 * sum(redirects) > 0
    for count in redirects:
        first, second, hits = hits[:count], hits[count : 2 * count], hits[2 * count :]
        assert first == second


@pytest.mark.parametrize("is_trusted", [True, False])
def test_behind_a_proxy_what_is_known_is_each_clients_own(tmp_path: Path, is_trusted: bool) -> None:
    def request(*lines: str, close: bool = False) -> bytes:
        last = ("Connection: close",) if close else ()
        return "\r\n".join(("GET /e/cdn.example.com/a.mp3 HTTP/1.1", "Host: a", *lines, *last, "", "")).encode()

    cases = [
        (("X-Forwarded-For: 9.9.9.1",), "9.9.9.1"),
        (("X-Forwarded-For: 9.9.9.2",), "9.9.9.2"),
        (("X-Forwarded-For: 6.6.6.6, 9.9.9.3",), "9.9.9.3"),
        ((), "127.0.0.1"),
        (("X-Forwarded-For: 9.9.9.4",), "9.9.9.4"),
        (("x-forwarded-for: 9.9.9.5",), "9.9.9.5"),
        (("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 9.9.9.6"), "9.9.9.6"),
        (("X-Forwarded-For: 6.6.6.6", "x-forwarded-for : 9.9.9.7"), None),
        (("X-Forwarded-For: nonsense",), "127.0.0.1"),
        (("Forwarded: for=9.9.9.8",), "9.9.9.8"),
        (("Forwarded: for=6.6.6.6", "X-Forwarded-For: 9.9.9.9"), "9.9.9.9"),
        (("Forwarded: for=9.9.9.10",), "9.9.9.10"),
        (("X-Forwarded-For: 2606:4700::1",), "2606:4700::1"),
    ]

    async def main() -> None:
        networks = "127.0.0.0/8" if is_trusted else ""
        trusted = load_settings({"TRACKER_TRUSTED_PROXIES": networks}, service=Service.TRACKER).tracker.trusted_proxies
        async with serving(tmp_path, trusted_proxies=trusted) as (_, port):
            for _ in range(2):
                for lines, _ in cases:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(request(*lines))
                    await asyncio.sleep(0.01)
                    writer.write(request(*lines, close=True))
                    await everything(reader)
                    writer.close()

    run(main())
    wanted = [address if is_trusted else "127.0.0.1" for _, address in cases if address is not None]
    seen = [format_address(hit.address) for hit in read_spool(tmp_path / "spool")[0]]
    assert seen == [address for address in wanted for _ in range(2)] * 2


def test_a_new_registry_forgets_what_was_known(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, hosts=HostPolicyMode.KNOWN) as (tracker, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)

            async def ask() -> bytes:
                writer.write(REQUEST)
                return (await reader.readuntil(b"\r\n\r\n"))[9:12]

            assert await ask() == b"404"
            await reader.readuntil(b".\n")
            tracker.take_registry(Registry(hosts=frozenset({"cdn.example.com"})))
            assert [await ask() for _ in range(3)] == [b"302"] * 3
            writer.close()

    run(main())


def test_a_client_that_says_nothing_is_let_go_and_one_that_begins_is_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, limits=SHORT) as (tracker, port):
            silent, first = await asyncio.open_connection("127.0.0.1", port)
            begun, second = await asyncio.open_connection("127.0.0.1", port)
            second.write(REQUEST[:1])
            await until(lambda: len(tracker.connections) == 2)
            assert await everything(silent) == b""
            first.close()
            assert b" 408 " in await everything(begun)
            second.close()
            _, third = await asyncio.open_connection("127.0.0.1", port)
            third.close()
            await until(lambda: not tracker.connections)

    run(main())


def test_a_head_longer_than_the_first_look_is_read_whole(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as (_, port):
            for close in (b"", b"Connection: close\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(REQUEST[:-2] + b"X-Long: " + b"x" * 9000 + b"\r\n" + close + b"\r\n")
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 302 ")
                writer.close()

    run(main())


def test_a_drain_ends_however_clients_behave(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, limits=Limits(drain_s=1.5)) as (tracker, port):
            silent, first = await asyncio.open_connection("127.0.0.1", port)
            halfway, second = await asyncio.open_connection("127.0.0.1", port)
            second.write(REQUEST[:20])
            deaf = socket.create_connection(("127.0.0.1", port))
            deaf.setblocking(False)
            # It asks for more than all buffers hold, and reads nothing.
            with contextlib.suppress(BlockingIOError):
                while True:
                    deaf.send(REQUEST * 1000)
                    await asyncio.sleep(0)
            await until(lambda: any(not one.is_idle for one in tracker.connections))
            draining = asyncio.create_task(tracker.drain())
            assert await everything(silent) == b""
            await draining
            assert not tracker.connections
            assert await everything(halfway) == b""
            deaf.close()
            first.close()
            second.close()

    run(main())
