"""The tracker as a process, asked over real sockets; its spool read with the library that ingest reads it with."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from analytics_core.addresses import format_address, pack_address
from analytics_core.enclosures import identify
from analytics_core.hits import Hit, HitFlag, HitKind, Method
from analytics_core.registry import Link, Registry, write_registry
from analytics_core.spool import FrameKind
from tests.trackers import ROOT, Connection, TrackerProcess, read_spool, spool_frames

GUID = "9b024349-ccf0-5f69-a609-6b82873eab3c"
REGISTRY = Registry(
    version=7,
    hosts=frozenset({"known.example.com", "localhost"}),
    click_keys=frozenset({identify("https://known.example.com/1.mp3").key.hex}),
    own_hosts=frozenset({"pod.example.net"}),
    links={"offer": Link("https://shop.example.com/?a=1")},
    vanity_hosts={"acme.show.example.net": "offer"},
)
BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[TrackerProcess]:
    write_registry(tmp_path / "registry.snapshot", REGISTRY)
    with TrackerProcess(tmp_path) as process:
        yield process


def is_cut_off(connection: Connection) -> bool:
    try:
        return connection.read() is None
    except ConnectionError:
        return True


def hits_of(tracker: TrackerProcess) -> list[Hit]:
    return read_spool(tracker.spool_dir)[0]


OUTCOMES = [
    ("GET", "/e/cdn.example.com/a.mp3?x=1", 302, "https://cdn.example.com/a.mp3?x=1"),
    ("HEAD", f"/e,pg={GUID}/cdn.example.com/a.mp3", 302, "https://cdn.example.com/a.mp3"),
    ("GET", "/e/http%3A%2F%2Fcdn.example.com/a.mp3", 302, "http://cdn.example.com/a.mp3"),
    ("GET", f"/e/pg={GUID}//cdn.example.com//a/../b.mp3", 302, "https://cdn.example.com//a/../b.mp3"),
    ("GET", "/e/localhost:9/x", 302, "https://localhost:9/x"),
    ("GET", "http://pod.example.net/e/cdn.example.com/a.mp3", 302, "https://cdn.example.com/a.mp3"),
    ("GET", "/go/offer", 302, "https://shop.example.com/?a=1"),
    ("GET", "/e/cdn.example.com/login", 404, None),
    ("GET", "/go/nothing", 404, None),
    ("GET", "/", 404, None),
    ("HEAD", "/", 404, None),
    ("GET", "/health/live", 404, None),
    ("GET", "/robots.txt", 200, None),
    ("OPTIONS", "/e/cdn.example.com/a.mp3", 204, None),
    ("POST", "/e/cdn.example.com/a.mp3", 405, None),
    ("DELETE", "/e/cdn.example.com/a.mp3", 405, None),
    ("GET", "/e/", 400, None),
    ("GET", "/e/127.0.0.1/a.mp3", 400, None),
    ("GET", "/e/u@cdn.example.com/a.mp3", 400, None),
    ("GET", "/e/cdn.example.com\\a.mp3", 400, None),
]


def test_every_outcome_of_the_contract_on_one_connection(tracker: TrackerProcess) -> None:
    with tracker.connect() as connection:
        for method, path, status, location in OUTCOMES:
            answer = connection.ask(path, method=method)
            assert (answer.status, answer.headers.get("Location")) == (status, location), (method, path)
            assert "Connection" not in answer.headers
            assert answer.headers["Date"].endswith(" GMT")
            if status == 302:
                assert answer.headers["Cache-Control"] == "private, no-cache"
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
                assert answer.body == b""
    assert tracker.stop() == 0
    hits, totals = read_spool(tracker.spool_dir)
    redirected = [location for _, _, status, location in OUTCOMES if status == 302]
    assert len(hits) == totals.answered == totals.recorded == len(redirected)
    refused = Counter(status for _, _, status, _ in OUTCOMES if status >= 400)
    assert totals.refused == dict(refused)
    assert [hit.kind for hit in hits].count(HitKind.CLICK) == 1
    assert (totals.lost, totals.at_risk) == ({}, 0)


def test_a_hit_keeps_what_the_request_said(tracker: TrackerProcess) -> None:
    before_us = time.time_ns() // 1000
    tracker.ask(
        f"/e,pg={GUID},x=1/https:/cdn.example.com/a.mp3?_from=app",
        "User-Agent: " + "a" * 600,
        "Referer: https://app.example.com/",
        "Range: bytes=0-1",
        "X-Playback-Session-Id: 1",
        "Sec-Purpose: prefetch",
        "If-None-Match: x",
        "X-Forwarded-For: 9.9.9.9",
        method="HEAD",
    )
    tracker.ask("/e/known.example.com/1.mp3", BROWSER)
    first, second = hits_of(tracker)
    assert first == Hit(
        at_us=first.at_us,
        address=pack_address("127.0.0.1"),
        target=b"https://cdn.example.com/a.mp3?_from=app",
        arguments=f"pg={GUID},x=1".encode(),
        agent=b"a" * 512,
        referrer=b"https://app.example.com/",
        byte_range=b"bytes=0-1",
        method=Method.HEAD,
        kind=HitKind.REQUEST,
        flags=HitFlag.PREFETCH | HitFlag.PLAYBACK_SESSION | HitFlag.CONDITIONAL,
        status=302,
    )
    assert before_us <= first.at_us <= time.time_ns() // 1000
    assert (second.flags, second.target, second.agent) == (HitFlag.NAVIGATION, b"known.example.com/1.mp3", b"")


def test_pipelined_requests_are_answered_in_order(tracker: TrackerProcess) -> None:
    paths = [f"/e/cdn.example.com/{number}.mp3" if number % 3 else f"/{number}" for number in range(500)]
    with tracker.connect() as connection:
        connection.send("".join(f"GET {path} HTTP/1.1\r\n\r\n" for path in paths).encode())
        for path in paths:
            answer = connection.read()
            assert answer is not None
            assert answer.headers.get("Location") == (f"https://{path[3:]}" if path.startswith("/e") else None)
    assert [hit.target for hit in hits_of(tracker)] == [path[3:].encode() for path in paths if path.startswith("/e")]


def test_head_has_the_headers_of_get_and_no_body(tracker: TrackerProcess) -> None:
    with tracker.connect() as connection:
        head = connection.ask("/", method="HEAD")
        get = connection.ask("/")
        assert head.headers["Content-Length"] == get.headers["Content-Length"] == str(len(get.body))


def test_raw_utf8_and_spaces_are_encoded_and_redirected(tracker: TrackerProcess) -> None:
    answer = tracker.ask("/e/cdn.example.com/Größe 1.mp3?ä=ö")
    assert answer.status == 302
    assert answer.headers["Location"] == "https://cdn.example.com/Gr%C3%B6%C3%9Fe%201.mp3?%C3%A4=%C3%B6"
    (hit,) = hits_of(tracker)
    assert hit.target == b"cdn.example.com/Gr%C3%B6%C3%9Fe%201.mp3?%C3%A4=%C3%B6"
    assert hit.flags == HitFlag.LINE_REPAIRED


def test_a_wish_to_upgrade_is_ignored(tracker: TrackerProcess) -> None:
    with tracker.connect() as connection:
        for _ in range(2):
            answer = connection.ask("/e/cdn.example.com/a.mp3", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")
            assert answer.status == 302


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /" + b"a" * 300_000, 414),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 300_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
        (b"BREW /e/cdn.example.com/a.mp3 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_connection_closed(
    tracker: TrackerProcess, raw: bytes, status: int
) -> None:
    with tracker.connect() as connection:
        connection.send(b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\n\r\n" + raw)
        first, second = connection.read(), connection.read()
        assert first is not None
        assert second is not None
        assert (first.status, second.status) == (302, status)
        assert second.headers["Connection"] == "close"
        assert connection.read() is None
    assert tracker.ask("/robots.txt").status == 200
    assert tracker.stop() == 0
    assert read_spool(tracker.spool_dir)[1].refused == {status: 1}


@pytest.mark.parametrize(
    ("request_line", "headers", "expected"),
    [
        ("GET / HTTP/1.1", (), None),
        ("GET / HTTP/1.1", ("Connection: close",), "close"),
        ("GET / HTTP/1.0", (), "close"),
        ("GET / HTTP/1.0", ("Connection: keep-alive",), "keep-alive"),
    ],
)
def test_connections_are_kept_or_closed_as_asked(
    tracker: TrackerProcess, request_line: str, headers: tuple[str, ...], expected: str | None
) -> None:
    with tracker.connect() as connection:
        connection.send("\r\n".join((request_line, *headers, "", "")).encode())
        answer = connection.read()
        assert answer is not None
        assert answer.headers.get("Connection") == expected
        if expected == "close":
            assert connection.read() is None
        else:
            assert connection.ask("/robots.txt").status == 200


def test_a_client_that_shuts_its_side_still_gets_its_answer(tracker: TrackerProcess) -> None:
    with tracker.connect() as connection:
        connection.send(b"GET /robots.txt HTTP/1.1\r\n\r\n")
        connection.socket.shutdown(socket.SHUT_WR)
        answer = connection.read()
        assert answer is not None
        assert answer.status == 200
        assert connection.read() is None


def test_bodies_are_ignored_and_large_ones_end_the_connection(tracker: TrackerProcess) -> None:
    with tracker.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
        answer = connection.read()
        assert answer is not None
        assert answer.status == 405
        connection.send(b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n" + bytes(2_000_000))
        answer = connection.read()
        assert answer is not None
        assert (answer.status, answer.headers["Connection"]) == (302, "close")
        assert connection.read() is None


@pytest.mark.parametrize(
    ("trusted", "forwarded", "address"),
    [
        ("", ("9.9.9.9",), "127.0.0.1"),
        ("10.0.0.0/8", ("9.9.9.9",), "127.0.0.1"),
        ("127.0.0.0/8", ("9.9.9.9",), "9.9.9.9"),
        ("127.0.0.0/8", ("6.6.6.6, 9.9.9.9",), "9.9.9.9"),
        ("127.0.0.0/8", ("6.6.6.6", "9.9.9.9"), "9.9.9.9"),
        ("127.0.0.0/8,10.0.0.0/8", ("9.9.9.9, 10.1.1.1",), "9.9.9.9"),
        ("127.0.0.0/8", ("2606:4700::1111",), "2606:4700::1111"),
        ("127.0.0.0/8", (), "127.0.0.1"),
        ("127.0.0.0/8", ("nonsense",), "127.0.0.1"),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(
    tmp_path: Path, trusted: str, forwarded: tuple[str, ...], address: str
) -> None:
    with TrackerProcess(tmp_path, environ={"TRACKER_TRUSTED_PROXIES": trusted}) as tracker:
        for _ in range(2):
            tracker.ask("/e/cdn.example.com/a.mp3", *(f"X-Forwarded-For: {value}" for value in forwarded))
        assert [format_address(hit.address) for hit in hits_of(tracker)] == [address] * 2


@pytest.mark.parametrize(
    ("trusted", "headers", "address"),
    [
        ("10.0.0.0/8", ("Forwarded: for=9.9.9.9",), "127.0.0.1"),
        ("127.0.0.0/8", ("Forwarded: for=9.9.9.9",), "9.9.9.9"),
        ("127.0.0.0/8", ("Forwarded: for=6.6.6.6, proto=https;FOR=9.9.9.9 ;by=1.1.1.1",), "9.9.9.9"),
        ("127.0.0.0/8", ("Forwarded: for=6.6.6.6", "Forwarded: for=9.9.9.9"), "9.9.9.9"),
        ("127.0.0.0/8", ('Forwarded: for="[2606:4700::1111]:4711"',), "2606:4700::1111"),
        ("127.0.0.0/8,10.0.0.0/8", ("Forwarded: for=9.9.9.9, for=10.1.1.1",), "9.9.9.9"),
        ("127.0.0.0/8", ("Forwarded: for=_hidden",), "127.0.0.1"),
        ("127.0.0.0/8", ("Forwarded: for=9.9.9.9, proto=https",), "127.0.0.1"),
        ("127.0.0.0/8", ("Forwarded: for=6.6.6.6", "X-Forwarded-For: 9.9.9.9"), "9.9.9.9"),
    ],
)
def test_the_standard_forwarded_header_is_believed_where_there_is_no_other(
    tmp_path: Path, trusted: str, headers: tuple[str, ...], address: str
) -> None:
    with TrackerProcess(tmp_path, environ={"TRACKER_TRUSTED_PROXIES": trusted}) as tracker:
        tracker.ask("/e/cdn.example.com/a.mp3", *headers)
        assert [format_address(hit.address) for hit in hits_of(tracker)] == [address]


def test_the_proxy_protocol_names_the_client(tmp_path: Path) -> None:
    signature = b"\r\n\r\n\x00\r\nQUIT\n"
    four = signature + struct.pack("!BBH4s4sHH", 0x21, 0x11, 12, bytes((9, 9, 9, 9)), bytes(4), 1, 2)
    six = signature + struct.pack("!BBH16s16sHH", 0x21, 0x21, 36, pack_address("2606:4700::1"), bytes(16), 1, 2)
    local = signature + b"\x20\x00\x00\x00"
    request = b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\n\r\n"
    with TrackerProcess(tmp_path, environ={"TRACKER_PROXY_PROTOCOL": "true"}) as tracker:
        for head in (four, six, local):
            with tracker.connect() as connection:
                for byte in head:
                    connection.send(bytes((byte,)))
                connection.send(request)
                answer = connection.read()
                assert answer is not None
                assert answer.status == 302
        with tracker.connect() as connection:
            connection.send(request)
            assert is_cut_off(connection)
        addresses = [format_address(hit.address) for hit in hits_of(tracker)]
        assert addresses == ["9.9.9.9", "2606:4700::1", "127.0.0.1"]


def test_a_flood_is_redirected_but_only_counted(tmp_path: Path) -> None:
    environ = {"TRACKER_FLOOD_RATE": "1", "TRACKER_TRUSTED_PROXIES": "127.0.0.1/32"}
    with TrackerProcess(tmp_path, environ=environ) as tracker:
        with tracker.connect() as connection:
            flood = "GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n" * 100
            connection.send(flood.encode())
            answers = [connection.read() for _ in range(100)]
            assert [answer.status for answer in answers if answer] == [302] * 100
            connection.send(flood.replace("9.9.9.9", "10.0.0.1").encode())
            assert all(connection.read() for _ in range(100))
        assert tracker.stop() == 0
    hits, totals = read_spool(tmp_path / "spool")
    assert totals.answered == 200
    assert 10 <= totals.recorded - 100 <= 12
    assert totals.lost == {"flood": 200 - totals.recorded}
    assert len(hits) == totals.recorded


def hammer(port: int, worker: int, answered: list[int], *, stop: threading.Event) -> None:
    """Ask with a number each, until told to stop or cut off; keep the numbers that were answered."""
    number = worker * 1_000_000
    try:
        with Connection(port) as connection:
            while not stop.is_set():
                for ahead in range(10):
                    connection.send(b"GET /e/cdn.example.com/%d.mp3 HTTP/1.1\r\n\r\n" % (number + ahead))
                for _ in range(10):
                    answer = connection.read()
                    if answer is None:
                        return
                    answered.append(int(answer.headers["Location"].rpartition("/")[2].removesuffix(".mp3")))
                number += 10
    except OSError:
        return


def wait_for_answers(answered: list[list[int]], goal: int) -> None:
    wait_until(lambda: sum(map(len, answered)) >= goal, "answers")


@pytest.mark.parametrize("sync", ["interval", "always"])
def test_a_kill_loses_no_answered_hit(tmp_path: Path, sync: str) -> None:
    answered: list[list[int]] = [[] for _ in range(4)]
    for life in range(3):
        with TrackerProcess(tmp_path, environ={"TRACKER_SYNC": sync}) as tracker:
            stop = threading.Event()
            threads = [
                threading.Thread(
                    target=hammer, args=(tracker.port, 10 * life + worker, answered[worker]), kwargs={"stop": stop}
                )
                for worker in range(4)
            ]
            for thread in threads:
                thread.start()
            wait_for_answers(answered, (life + 1) * 500)
            tracker.kill()
            stop.set()
            for thread in threads:
                thread.join()
    numbers = [int(hit.target.rpartition(b"/")[2].removesuffix(b".mp3")) for hit in read_spool(tmp_path / "spool")[0]]
    asked = [number for worker in answered for number in worker]
    assert len(set(asked)) == len(asked) >= 1500
    assert len(set(numbers)) == len(numbers)
    assert set(asked) <= set(numbers)
    assert len(list((tmp_path / "spool").glob("*.open"))) == 3


def test_sigterm_answers_what_is_asked_closes_and_seals(tracker: TrackerProcess) -> None:
    with tracker.connect() as connection, tracker.connect() as idle:
        assert connection.ask("/e/cdn.example.com/a.mp3").status == 302
        tracker.process.send_signal(signal.SIGTERM)
        wait_until(lambda: tracker.admin("/health/ready")[0] == 503, "the end to begin")
        answer = connection.ask("/e/cdn.example.com/b.mp3")
        assert (answer.status, answer.headers["Connection"]) == (302, "close")
        assert connection.read() is None
        assert idle.read() is None
    assert tracker.process.wait(20) == 0
    (segment,) = tracker.spool_dir.iterdir()
    assert segment.suffix == ".sealed"
    frames = spool_frames(tracker.spool_dir)
    assert (frames[-1].kind, frames[-1].totals.recorded) == (FrameKind.SEAL, 2)


def test_an_inherited_socket_outlives_the_process(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        port = listening.getsockname()[1]
        with TrackerProcess(tmp_path, descriptors=(listening.fileno(),)) as first:
            assert first.port == port
            assert first.ask("/robots.txt").status == 200
            first.kill()
        with Connection(port) as waiting:
            waiting.send(b"GET /robots.txt HTTP/1.1\r\n\r\n")
            with TrackerProcess(tmp_path, "--slot", "3", descriptors=(listening.fileno(),)):
                answer = waiting.read()
                assert answer is not None
                assert answer.status == 200
    assert any("-tracker-3-" in path.name for path in (tmp_path / "spool").iterdir())


def test_a_new_registry_is_in_force_without_a_restart_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "registry.snapshot"
    with TrackerProcess(tmp_path) as tracker:
        assert tracker.admin("/health/ready")[0] == 200
        assert tracker.ask("/e/known.example.com/x").status == 404
        assert tracker.ask("/e/known.example.com/1.mp3", BROWSER).status == 404
        write_registry(path, REGISTRY)
        wait_until(lambda: tracker.ask("/e/known.example.com/x").status == 302, "the registry")
        assert tracker.ask("/e/known.example.com/1.mp3", BROWSER).status == 302
        assert tracker.ask("/go/offer").status == 302
        path.write_text("{")
        wait_until(lambda: tracker.admin("/health/ready")[0] == 503, "the damage to be told")
        assert b"registry" in tracker.admin("/health/ready")[1]
        assert tracker.ask("/e/known.example.com/x").status == 302
        write_registry(path, Registry(version=8))
        wait_until(lambda: tracker.ask("/e/known.example.com/x").status == 404, "the next registry")
        assert tracker.admin("/health/ready") == (200, b'{"ready": true, "not_ready": []}\n')


def test_replay_takes_the_time_from_the_request(tmp_path: Path) -> None:
    with TrackerProcess(tmp_path, "--replay") as tracker:
        for text in ("1700000000000000", "1600000000000001"):
            assert tracker.ask("/e/cdn.example.com/a.mp3", f"Castledger-Replay-Time: {text}").status == 302
        assert tracker.ask("/e/cdn.example.com/a.mp3", "Castledger-Replay-Time: yesterday").status == 400
        assert [hit.at_us for hit in hits_of(tracker)] == [1700000000000000, 1600000000000001]


def test_without_replay_nobody_sets_the_time(tracker: TrackerProcess) -> None:
    assert tracker.ask("/e/cdn.example.com/a.mp3", "Castledger-Replay-Time: 1700000000000000").status == 302
    assert hits_of(tracker)[0].at_us > 1700000000000000


def run(tmp_path: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "prefix_redirect", "--data-dir", str(tmp_path), *options)
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_settings_that_cannot_be_used_are_all_told_at_once(tmp_path: Path) -> None:
    ended = run(tmp_path, TRACKER_PORT="x", TRACKER_HOSTS="some", SPOOL_SEGMENT_MB="0")
    assert ended.returncode == 2
    for name in ("TRACKER_PORT", "TRACKER_HOSTS", "SPOOL_SEGMENT_MB"):
        assert name in ended.stderr


def test_replay_is_refused_where_others_could_reach_it(tmp_path: Path) -> None:
    ended = run(tmp_path, "--replay", "--host", "0.0.0.0", "--port", "0", "--admin-port", "0")
    assert ended.returncode == 2
    assert "--replay" in ended.stderr
    assert not (tmp_path / "spool").exists()


def test_taken_ports_are_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = run(tmp_path, "--host", "127.0.0.1", "--port", port, "--admin-port", "0")
        assert (ended.returncode, port in ended.stderr) == (2, True)
        ended = run(tmp_path, "--host", "127.0.0.1", "--port", "0", "--admin-port", port)
        assert (ended.returncode, port in ended.stderr) == (1, True)


def test_ipv6_is_served_where_there_is_any(tmp_path: Path) -> None:
    with TrackerProcess(tmp_path, "--host", "127.0.0.1,::1") as tracker:
        assert tracker.ask("/e/cdn.example.com/a.mp3").status == 302
        try:
            connection = Connection(tracker.port, host="::1")
        except OSError:
            pytest.skip("this machine has no IPv6")
        with connection:
            assert connection.ask("/e/cdn.example.com/a.mp3").status == 302
        assert [format_address(hit.address) for hit in hits_of(tracker)] == ["127.0.0.1", "::1"]


def test_health_metrics_and_certificates_are_on_the_admin_port(tracker: TrackerProcess) -> None:
    tracker.ask("/e/cdn.example.com/a.mp3")
    tracker.ask("/nothing")
    assert tracker.admin("/health/live") == (200, b'{"live": true}\n')
    assert tracker.admin("/health/ready")[0] == 200
    metrics = tracker.admin("/metrics")[1].decode()
    for line in (
        'castledger_tracker_answers_total{slot="0",status="302"} 1.0',
        'castledger_tracker_answers_total{slot="0",status="404"} 1.0',
        'castledger_tracker_recorded_hits_total{slot="0"} 1.0',
        'castledger_tracker_lost_hits_total{reason="disk_full",slot="0"} 0.0',
        'castledger_tracker_registry_version{slot="0"} 7.0',
    ):
        assert line in metrics
    assert tracker.admin("/internal/tls-ask?domain=POD.example.net")[0] == 200
    assert tracker.admin("/internal/tls-ask?domain=Acme.Show.example.net.")[0] == 200
    assert tracker.admin("/internal/tls-ask?domain=show.example.net")[0] == 404
    assert tracker.admin("/internal/tls-ask?domain=evil.example.net")[0] == 404
    assert tracker.admin("/internal/tls-ask")[0] == 404
    assert tracker.admin("/elsewhere")[0] == 404


def test_a_vanity_host_leads_to_its_link_on_one_connection_with_others(tracker: TrackerProcess) -> None:
    asked = ("pod.example.net", "acme.show.example.net", "ACME.show.example.net:80", "other.example.net")
    with tracker.connect() as connection:
        statuses = []
        for host in asked * 2:
            connection.send(f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answer = connection.read()
            assert answer is not None
            statuses.append((answer.status, answer.headers.get("Location")))
    here, nowhere = (302, "https://shop.example.com/?a=1"), (404, None)
    assert statuses == [nowhere, here, here, nowhere] * 2
    assert [(hit.kind, hit.arguments) for hit in hits_of(tracker)] == [(HitKind.CLICK, b"go=offer")] * 4


def samples_of(tracker: TrackerProcess) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Scrape a tracker as Prometheus does."""
    status, text = tracker.admin("/metrics")
    assert status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_metrics_tell_what_was_answered_how_fast_and_what_waits(tmp_path: Path) -> None:
    write_registry(tmp_path / "registry.snapshot", REGISTRY)
    with TrackerProcess(tmp_path) as tracker:
        with tracker.connect() as connection:
            for _ in range(3):
                assert connection.ask("/e/cdn.example.com/a.mp3").status == 302
            assert connection.ask("/go/offer").status == 302
            assert connection.ask("/nothing").status == 404
        slot = ("slot", "0")
        wait_until(
            lambda: samples_of(tracker)[("castledger_tracker_oldest_hit_seconds", frozenset({slot}))] > 0, "the look"
        )
        samples = samples_of(tracker)
        assert samples[("castledger_tracker_hits_total", frozenset({slot, ("kind", "request")}))] == 3
        assert samples[("castledger_tracker_hits_total", frozenset({slot, ("kind", "click")}))] == 1
        assert samples[("castledger_tracker_answers_total", frozenset({slot, ("status", "404")}))] == 1
        assert samples[("castledger_tracker_answer_seconds_count", frozenset({slot}))] == 5
        buckets = {
            dict(labels)["le"]: value
            for (name, labels), value in samples.items()
            if name == "castledger_tracker_answer_seconds_bucket"
        }
        assert buckets["+Inf"] == 5
        assert sorted(buckets.values()) == [buckets[bound] for bound in sorted(buckets, key=float)]


def test_any_slot_answers_for_all(tmp_path: Path) -> None:
    environ = {"TRACKER_WORKERS": "2"}
    answered = ("castledger_tracker_redirected_hits_total", frozenset({("slot", "7")}))
    with TrackerProcess(tmp_path, environ=environ) as one:
        with TrackerProcess(tmp_path, "--slot", "7", environ=environ) as other:
            for _ in range(4):
                other.ask("/e/cdn.example.com/a.mp3")
            one.ask("/e/cdn.example.com/a.mp3")
            wait_until(lambda: samples_of(one).get(answered) == 4, "the other slot's numbers")
            samples = samples_of(one)
            assert samples[("castledger_tracker_redirected_hits_total", frozenset({("slot", "0")}))] == 1
            other.stop()
        assert answered not in samples_of(one)
    assert not any(path.name.startswith("metrics-7") for path in (tmp_path / "spool").iterdir())


def test_without_descriptors_who_is_there_is_served_and_others_wait(tmp_path: Path) -> None:
    with TrackerProcess(tmp_path) as tracker, contextlib.ExitStack() as stack:
        pid = tracker.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        idle = [stack.enter_context(tracker.connect()) for _ in range(3)]
        held = stack.enter_context(tracker.connect())
        for connection in (*idle, held):
            assert connection.ask("/e/cdn.example.com/1.mp3").status == 302
        taken = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken + 4, hard))
        # Connections that are in the middle of a request stay; only idle ones may be let go.
        held.send(b"GET /e/cdn.example.com/2.mp3 HTTP/1.1\r\n")
        busy = [stack.enter_context(tracker.connect()) for _ in range(12)]
        for connection in busy:
            connection.send(b"GET /e/cdn.example.com/3.mp3 HTTP/1.1\r\n")
        # The one that is idle longest goes, as often as a client could not be taken in.
        assert idle[0].read() is None
        failures = ("castledger_tracker_accept_failures_total", frozenset({("slot", "0")}))
        held.send(b"\r\n")
        answer = held.read()
        assert answer is not None
        assert answer.status == 302
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        wait_until(lambda: samples_of(tracker)[failures] > 0, "the failures to be told")
        status, said = tracker.admin("/health/ready")
        assert (status, b"ulimit" in said) == (503, True)
        for connection in busy:
            connection.send(b"\r\n")
            answer = connection.read()
            assert answer is not None
            assert answer.status == 302
        # A moment's rest behind each: as fast as we can ask would be tens of thousands.
        assert samples_of(tracker)[failures] < 1000
        wait_until(lambda: tracker.admin("/health/ready")[0] == 200, "an end of it")
    assert len(read_spool(tmp_path / "spool")[0]) == 4 + 1 + 12


def test_a_spool_that_cannot_be_written_is_told_and_players_are_redirected_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where the folder belongs")
    with TrackerProcess(tmp_path) as tracker:
        assert tracker.ask("/e/cdn.example.com/a.mp3").status == 302
        status, body = tracker.admin("/health/ready")
        assert status == 503
        assert b"hits are being lost" in body
        (tmp_path / "spool").unlink()
        wait_until(lambda: bool(tracker.ask("/e/cdn.example.com/b.mp3")) and tracker.spool_dir.is_dir(), "recovery")
        wait_until(lambda: tracker.admin("/health/ready")[0] == 200, "readiness")
        assert tracker.stop() == 0
    hits, totals = read_spool(tmp_path / "spool")
    assert totals.lost["write_error"] >= 1
    assert totals.answered == totals.recorded + totals.lost["write_error"]
    assert len(hits) == totals.recorded


def test_the_process_stays_lean() -> None:
    code = "import sys, prefix_redirect.__main__; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ended.stdout.split())
    assert "uvloop" in loaded
    assert not loaded & {"asyncpg", "cryptography", "granian", "httpx", "litestar", "lxml", "numpy", "redis"}


def test_the_process_takes_at_most_80_mib(tracker: TrackerProcess) -> None:
    with tracker.connect() as connection:
        for start in range(0, 20_000, 500):
            numbers = range(start, start + 500)
            connection.send(b"".join(b"GET /e/cdn.example.com/%d.mp3 HTTP/1.1\r\n\r\n" % number for number in numbers))
            for _ in numbers:
                connection.read()
    status = Path(f"/proc/{tracker.process.pid}/status").read_text()
    resident_kib = int(status.partition("VmRSS:")[2].split()[0])
    assert resident_kib <= 80 * 1024
