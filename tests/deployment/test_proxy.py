"""Caddy in front of a tracker, with the file that is shipped: certificates by name, addresses and targets unharmed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from analytics_core.addresses import format_address
from analytics_core.registry import Registry, write_registry
from tests.collectors import EVENTS, ORIGIN, CollectorProcess, Keys, write_keys
from tests.trackers import TrackerProcess, read_spool

pytestmark = pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")

ROOT = Path(__file__).parents[2]
_DEADLINE_S = 60.0
_AGENT = "AntennaPod/3.3.2"


class Front(NamedTuple):
    """Caddy's ports, its certificates' root, and the tracker and the collector behind it."""

    https_port: int
    http_port: int
    root: Path
    tracker: TrackerProcess
    collector: CollectorProcess
    keys: Keys


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    write_registry(tmp_path / "registry.snapshot", Registry(version=1, own_hosts=frozenset(("own.example.net",))))
    (tmp_path / "collector").mkdir()
    keys = write_keys(tmp_path / "collector")
    environ = {"TRACKER_PUBLIC_URL": "https://pod.example.com", "TRACKER_TRUSTED_PROXIES": "127.0.0.1/32"}
    with (
        TrackerProcess(tmp_path, environ=environ) as tracker,
        CollectorProcess(tmp_path / "collector", TRACKER_TRUSTED_PROXIES="127.0.0.1/32") as collector,
    ):
        https_port, http_port = free_port(), free_port()
        home = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
        home |= {"TRACKER": f"127.0.0.1:{tracker.port}", "TLS_ASK": f"{tracker.admin_url}/internal/tls-ask"}
        home |= {"COLLECTOR": f"127.0.0.1:{collector.port}", "LEDGER_NAME": "ledger.example.com"}
        adapted = subprocess.run(
            ["caddy", "adapt", "--adapter", "caddyfile", "--config", str(ROOT / "deploy" / "Caddyfile")],
            capture_output=True,
            env=home,
            check=True,
        ).stdout
        (tmp_path / "caddy.json").write_text(json.dumps(_on_this_machine(json.loads(adapted), https_port, http_port)))
        command = ["caddy", "run", "--config", str(tmp_path / "caddy.json")]
        with (tmp_path / "caddy.log").open("wb") as log, subprocess.Popen(command, env=home, stderr=log) as caddy:
            try:
                _wait_for(https_port, caddy)
                yield Front(
                    https_port, http_port, tmp_path / "caddy/pki/authorities/local/root.crt", tracker, collector, keys
                )
            finally:
                caddy.terminate()


def _on_this_machine(config: dict[str, Any], https_port: int, http_port: int) -> dict[str, Any]:
    """Let Caddy sign its certificates itself and use ports that are free; all else stays as the file says."""
    config["admin"] = {"disabled": True}
    apps = config["apps"]
    apps["http"] |= {"https_port": https_port, "http_port": http_port}
    for server in apps["http"]["servers"].values():
        server["listen"] = [
            f"127.0.0.1:{http_port if address == ':80' else https_port}" for address in server["listen"]
        ]
    for policy in apps["tls"]["automation"]["policies"]:
        policy["issuers"] = [{"module": "internal"}]
    apps["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
    return config


def _wait_for(port: int, caddy: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert caddy.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def ask(
    front: Front, name: str, path: str, *, source: str = "127.0.0.1", method: str = "GET", **headers: str
) -> HTTPResponse:
    context = ssl.create_default_context(cafile=str(front.root))
    plain = socket.create_connection(("127.0.0.1", front.https_port), timeout=30, source_address=(source, 0))
    connection = HTTPConnection(name)
    connection.sock = context.wrap_socket(plain, server_hostname=name)
    return _send(connection, path, headers, method=method)


def _send(connection: HTTPConnection, path: str, headers: dict[str, str], *, method: str = "GET") -> HTTPResponse:
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("User-Agent", _AGENT)
        for header, value in headers.items():
            connection.putheader(header.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


def _wait_for_certificate(front: Front, name: str) -> None:
    """Wait for what Caddy has at its start, a moment after it listens."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            ask(front, name, "/")
        except (ssl.SSLError, ConnectionError):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def test_names_of_ours_get_a_certificate_and_others_none(front: Front) -> None:
    for name in ("pod.example.com", "own.example.net"):
        assert ask(front, name, "/robots.txt").status == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(front, "evil.example.net", "/robots.txt")


def test_events_are_the_ledgers_name_and_come_from_whoever_sent_them(front: Front) -> None:
    _wait_for_certificate(front, "ledger.example.com")
    assert ask(front, "ledger.example.com", "/c.js").getheader("Content-Type", "").startswith("text/javascript")
    shown = ask(
        front, "ledger.example.com", f"/p.gif?k={front.keys.publishable}", source="127.0.0.9", Referer=ORIGIN + "/"
    )
    assert shown.status == 200
    [stored] = front.collector.events()
    assert format_address(stored.address) == "127.0.0.9"
    # Everything else of that name is the API's, which is not there; events are read from it, and sent to the collector.
    for path in ("/api/v1/health", EVENTS):
        assert ask(front, "ledger.example.com", path).status == 502
    assert ask(front, "ledger.example.com", EVENTS, method="POST").status == 401


def test_a_name_that_comes_later_gets_its_certificate_then(front: Front) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(front, "late.example.net", "/robots.txt")
    registry = Registry(version=2, own_hosts=frozenset(("late.example.net",)))
    write_registry(front.tracker.data_dir / "registry.snapshot", registry)
    deadline = time.monotonic() + _DEADLINE_S
    while front.tracker.admin("/internal/tls-ask?domain=late.example.net")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ask(front, "late.example.net", "/robots.txt").status == 200


@pytest.mark.parametrize(
    "target",
    [
        "cdn.example.org/a.mp3",
        "cdn.example.org//a/../b.mp3?x=1;y=2&z=%2F%20+",
        "cdn.example.org/%e6%92%ad/%7Ea%2Fb.mp3?q=a%26b&&",
        "cdn.example.org/it's,(1)*!.mp3?=&",
    ],
)
def test_a_target_passes_the_proxy_byte_for_byte(front: Front, target: str) -> None:
    answer = ask(front, "pod.example.com", f"/e/{target}")
    assert (answer.status, answer.headers["Location"]) == (302, f"https://{target}")
    assert answer.headers["Cache-Control"] == "private, no-cache"


def test_players_over_http_are_answered_without_a_detour(front: Front) -> None:
    connection = HTTPConnection("127.0.0.1", front.http_port, timeout=30)
    answer = _send(connection, "/e/cdn.example.org/a.mp3", {})
    assert (answer.status, answer.headers["Location"]) == (302, "https://cdn.example.org/a.mp3")


def test_the_listeners_own_address_is_recorded_whatever_they_say(front: Front) -> None:
    ask(front, "pod.example.com", "/e/cdn.example.org/a.mp3", source="127.0.0.2", X_Forwarded_For="203.0.113.9")
    assert front.tracker.stop() == 0
    [hit], _ = read_spool(front.tracker.spool_dir)
    assert format_address(hit.address) == "127.0.0.2"


def test_plays_wait_while_a_tracker_restarts(front: Front) -> None:
    assert ask(front, "pod.example.com", "/e/cdn.example.org/a.mp3").status == 302
    assert front.tracker.stop() == 0
    answers: list[int] = []
    waiting = threading.Thread(
        target=lambda: answers.append(ask(front, "pod.example.com", "/e/cdn.example.org/b.mp3").status)
    )
    waiting.start()
    with TrackerProcess(front.tracker.data_dir, "--port", str(front.tracker.port)) as again:
        waiting.join(_DEADLINE_S)
        assert again.port == front.tracker.port
    assert answers == [302]


def test_what_is_on_the_admin_port_is_not_on_the_public_name(front: Front) -> None:
    for path in ("/internal/tls-ask?domain=pod.example.com", "/metrics", "/health/ready"):
        assert ask(front, "pod.example.com", path).status == 404
