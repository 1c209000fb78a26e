"""The API as a process: it tells its ports, answers over HTTP, and ends in order."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from analytics_core.settings import DatabaseSettings
from tests.api_processes import environment, make_owner_key, start


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


def test_the_process_answers_and_ends_in_order(database: DatabaseSettings, tmp_path: Path) -> None:
    key = make_owner_key(database)
    with start(tmp_path, DATABASE_URL=str(database.url)) as running:
        assert httpx.get(f"{running.url}/api/v1/health", timeout=60).json() == {"status": "up"}
        answer = httpx.get(f"{running.url}/api/v1/podcasts", headers={"Authorization": f"Bearer {key}"}, timeout=60)
        assert answer.json() == {"data": [], "next_cursor": None}
        assert httpx.get(f"{running.url}/api/v1/podcasts", timeout=60).status_code == 401
        assert httpx.get(f"{running.admin_url}/health/ready", timeout=60).json() == {"ready": True, "not_ready": []}
        metrics = httpx.get(f"{running.admin_url}/metrics", timeout=60).text
        assert 'castledger_api_requests_total{method="GET",route="/api/v1/health",status="200"} 1.0' in metrics
        running.process.send_signal(signal.SIGTERM)
        _, errors = running.process.communicate(timeout=20)
    assert running.process.returncode == 0
    events = [json.loads(line)["event"] for line in errors.splitlines()]
    assert (events[0], events[-1]) == ("ready", "stopped")
    assert key not in errors


def test_it_starts_without_a_database_and_says_so(tmp_path: Path) -> None:
    with start(tmp_path, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none") as running:
        answer = httpx.get(f"{running.url}/api/v1/health", timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert httpx.get(f"{running.admin_url}/health/live", timeout=60).status_code == 200
        ready = httpx.get(f"{running.admin_url}/health/ready", timeout=60)
        assert (ready.status_code, ready.json()["not_ready"]) == (503, ["the database does not answer"])
        running.process.send_signal(signal.SIGINT)
        running.process.communicate(timeout=20)
    assert running.process.returncode == 0


def test_a_request_on_its_way_is_answered_before_the_end(database: DatabaseSettings, tmp_path: Path) -> None:
    key = make_owner_key(database)
    asked, may_answer = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def slow_feed() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        asked.set()
        may_answer.wait(20)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.close()

    statuses: list[int] = []

    def add() -> None:
        feed_url = f"http://127.0.0.1:{listener.getsockname()[1]}/feed"
        answer = httpx.post(
            f"{running.url}/api/v1/podcasts",
            json={"feed_url": feed_url},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
        )
        statuses.append(answer.status_code)

    with start(tmp_path, DATABASE_URL=str(database.url), CASTLEDGER_FEED_ALLOW_PRIVATE="true") as running:
        threads = [threading.Thread(target=slow_feed), threading.Thread(target=add)]
        for thread in threads:
            thread.start()
        assert asked.wait(20)
        running.process.send_signal(signal.SIGTERM)
        port = int(running.url.rpartition(":")[2])

        def refuses() -> bool:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                return False
            return True

        wait_for(refuses)
        may_answer.set()
        for thread in threads:
            thread.join(20)
        running.process.communicate(timeout=20)
    listener.close()
    assert statuses == [422]
    assert running.process.returncode == 0


def run(tmp_path: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api", *arguments],
        env=environment(tmp_path, **given),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_faults_of_the_settings_are_told_at_once(tmp_path: Path) -> None:
    ended = run(tmp_path, CASTLEDGER_API_PORT="many", CASTLEDGER_LOG_LEVEL="loud")
    assert ended.returncode == 2
    for name in ("DATABASE_URL", "CASTLEDGER_API_PORT", "CASTLEDGER_LOG_LEVEL"):
        assert name in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ("--host", "127.0.0.1", "--port", str(port), "--admin-port", "0")
        ended = run(tmp_path, *arguments, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert ended.returncode == 1
    assert f"the port {port} on 127.0.0.1 cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr
