"""The admin server that every service carries."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from analytics_core.admin_server import AdminAnswer, AdminServer

FAULTS: list[str] = []
WARNINGS: list[str] = []


@pytest.fixture
def server() -> Iterator[AdminServer]:
    metrics = CollectorRegistry()
    Counter("things", "Things.", registry=metrics).inc()
    FAULTS.clear()
    WARNINGS.clear()
    server = AdminServer(
        "127.0.0.1",
        0,
        not_ready=lambda: FAULTS,
        warnings=lambda: WARNINGS,
        metrics=metrics,
        routes={"/echo": lambda query: AdminAnswer(200 if query else 404, dict(query))},
    )
    yield server
    server.close()


def ask(server: AdminServer, path: str, *, method: str = "GET") -> tuple[int, bytes]:
    request = urllib.request.Request(server.url + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_free_port_is_taken_and_given_back(server: AdminServer) -> None:
    assert server.port > 0
    other = AdminServer("127.0.0.1", 0, not_ready=lambda: (), metrics=CollectorRegistry())
    other.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", other.port))


def test_a_taken_port_is_told(server: AdminServer) -> None:
    with pytest.raises(OSError, match=rf"admin port {server.port} on 127\.0\.0\.1"):
        AdminServer("127.0.0.1", server.port, not_ready=lambda: (), metrics=CollectorRegistry())


def test_readiness_lists_what_is_missing(server: AdminServer) -> None:
    status, body = ask(server, "/health/ready")
    assert (status, json.loads(body)) == (200, {"ready": True, "not_ready": []})
    FAULTS.append("database: no answer")
    status, body = ask(server, "/health/ready")
    assert (status, json.loads(body)) == (503, {"ready": False, "not_ready": ["database: no answer"]})
    assert ask(server, "/health/live")[0] == 200


def test_a_warning_is_told_and_keeps_nobody_from_work(server: AdminServer) -> None:
    WARNINGS.append("lists: to be seen to")
    status, body = ask(server, "/health/ready")
    told = {"ready": True, "not_ready": [], "warnings": ["lists: to be seen to"]}
    assert (status, json.loads(body)) == (200, told)


@pytest.mark.parametrize(
    ("path", "method", "status", "body"),
    [
        ("/metrics", "GET", 200, b"things_total 1.0"),
        ("/echo?domain=a.example&x=%20", "GET", 200, b'{"domain": "a.example", "x": " "}'),
        ("/echo", "GET", 404, b"{}"),
        ("/echo?a=1", "HEAD", 200, b""),
        ("/nothing", "GET", 404, b"no such path"),
        ("/metrics", "POST", 405, b"only GET and HEAD"),
    ],
)
def test_routes_answer(server: AdminServer, path: str, method: str, status: int, body: bytes) -> None:
    answered = ask(server, path, method=method)
    assert answered[0] == status
    assert body in answered[1]


def test_ipv6_is_served_where_there_is_any() -> None:
    try:
        server = AdminServer("::1", 0, not_ready=lambda: (), metrics=CollectorRegistry())
    except OSError:
        pytest.skip("this machine has no IPv6")
    try:
        assert server.url == f"http://[::1]:{server.port}"
        assert ask(server, "/health/live")[0] == 200
    finally:
        server.close()


def test_requests_are_not_logged(server: AdminServer, capfd: pytest.CaptureFixture[str]) -> None:
    ask(server, "/health/live")
    ask(server, "/nothing")
    assert capfd.readouterr() == ("", "")
