"""The collector as a process: what it survives, what it refuses rather than lose, and how much it lets anybody send."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from analytics_core.api_keys import hash_key, new_key
from analytics_core.registry import CollectorKey, Registry, write_registry
from tests.collectors import EVENTS, ORIGIN, ROOT, CollectorProcess, read_events, write_keys


def batch(count: int = 1) -> dict[str, Any]:
    return {"events": [{"event_id": str(uuid4()), "type": "signup"} for _ in range(count)]}


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.parametrize("sync", ["interval", "always"])
def test_what_was_answered_is_there_after_a_kill(tmp_path: Path, sync: str) -> None:
    keys = write_keys(tmp_path)
    with CollectorProcess(tmp_path, COLLECTOR_SYNC=sync) as collector:
        sent = [batch(7) for _ in range(20)]
        for one in sent:
            assert collector.send(keys.secret, one).json()["accepted"] == 7
        collector.kill()
        stored, totals = read_events(collector.spool_dir)
    assert [str(event.record.event_id) for event in stored] == [e["event_id"] for one in sent for e in one["events"]]
    assert (totals.answered, totals.recorded, totals.lost) == (140, 140, {})


def test_a_stop_seals_the_spool_and_a_new_life_begins_a_segment_of_its_own(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    for _ in range(2):
        with CollectorProcess(tmp_path) as collector:
            assert collector.send(keys.secret, batch()).status_code == 202
            assert collector.stop() == 0
    spool = tmp_path / "events"
    assert [path.suffix for path in sorted(spool.iterdir())] == [".sealed", ".sealed"]
    assert spool.stat().st_mode & 0o777 == 0o700
    assert len(read_events(spool)[0]) == 2


def test_a_segment_is_sealed_by_its_age_though_nothing_else_comes(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    with CollectorProcess(tmp_path, SPOOL_SEGMENT_SECONDS="1") as collector:
        assert collector.send(keys.secret, batch()).status_code == 202
        wait(lambda: [path.suffix for path in collector.spool_dir.iterdir()] == [".sealed"], "it stays open")
        assert len(collector.events()) == 1


def test_events_that_cannot_be_recorded_are_refused_until_they_can(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    with CollectorProcess(tmp_path, COLLECTOR_SPOOL_DIR=str(blocked / "events")) as collector:
        answer = collector.send(keys.secret, batch())
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert [fault.partition(":")[0] for fault in collector.faults()] == ["spool"]
        assert collector.metric("castledger_collector_spool_failing") == 1
        assert collector.metric("castledger_collector_events_total", source="server") == 0
        # An image is one all the same.
        pixel = collector.client.get(f"/p.gif?k={keys.publishable}")
        assert pixel.status_code == 200
        assert collector.metric("castledger_collector_unrecorded_pixels_total", reason="spool") == 1
        blocked.unlink()
        wait(lambda: collector.send(keys.secret, batch()).status_code == 202, "it does not heal")
        assert collector.faults() == []
        stored, totals = read_events(blocked / "events")
    assert len(stored) == 1
    assert (totals.answered, totals.recorded, totals.lost) == (1, 1, {})


def test_without_a_registry_senders_are_asked_to_wait_and_with_one_they_are_known(tmp_path: Path) -> None:
    with CollectorProcess(tmp_path) as collector:
        answer = collector.send(new_key(), batch())
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert [fault.partition(":")[0] for fault in collector.faults()] == ["registry"]
        keys = write_keys(tmp_path)
        wait(lambda: collector.send(keys.secret, batch()).status_code == 202, "the key is not known after 20 s")
        assert collector.faults() == []


def test_a_key_that_is_gone_from_the_registry_is_refused(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    with CollectorProcess(tmp_path) as collector:
        assert collector.send(keys.secret, batch()).status_code == 202
        write_registry(
            tmp_path / "registry.snapshot",
            Registry(version=2, keys={hash_key(keys.publishable): CollectorKey(tenant_no=7)}),
        )
        wait(lambda: collector.send(keys.secret, batch()).status_code == 401, "the key is known after 20 s")


def test_a_damaged_registry_leaves_the_last_one_in_force(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    with CollectorProcess(tmp_path) as collector:
        (tmp_path / "registry.snapshot").write_bytes(b"damaged")
        wait(lambda: collector.faults() != [], "nothing is noticed")
        assert collector.send(keys.secret, batch()).status_code == 202


def test_a_key_sends_no_more_events_than_it_may(tmp_path: Path) -> None:
    other = new_key()
    keys = write_keys(tmp_path, more={other: CollectorKey(tenant_no=8)})
    # The least burst is as large as a request may be; it takes 500 minutes to come back.
    with CollectorProcess(tmp_path, COLLECTOR_RATE="1") as collector:
        assert collector.send(keys.secret, batch(400)).status_code == 202
        refused = collector.send(keys.secret, batch(101))
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) in range(50, 61)
        # What was refused cost nothing, and is nobody else's fault.
        assert collector.send(keys.secret, batch(100)).status_code == 202
        assert collector.send(other, batch(400)).status_code == 202
        assert collector.metric("castledger_collector_rate_limited_total", by="key") == 1
        assert len(collector.events()) == 900


def test_a_network_without_a_secret_key_asks_no_more_often_than_it_may(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    environ = {"COLLECTOR_NETWORK_RATE": "50", "COLLECTOR_TRUSTED_PROXIES": "127.0.0.1/32"}
    with CollectorProcess(tmp_path, **environ) as collector:

        def ask(key: str, address: str) -> int:
            headers = {"X-Forwarded-For": address} | ({"Origin": ORIGIN} if key == keys.publishable else {})
            return collector.send(key, batch(), headers=headers).status_code

        statuses = [ask(keys.publishable, "203.0.113.1") for _ in range(12)]
        assert statuses[:10] == [202] * 10
        assert 429 in statuses[10:]
        # Keys that are not valid cost five times as much.
        assert [ask(new_key(), "203.0.113.2") for _ in range(3)] == [401, 401, 429]
        assert ask(keys.publishable, "203.0.113.2") == 429
        assert ask(keys.publishable, "203.0.113.3") == 202
        assert {ask(keys.secret, "203.0.113.1") for _ in range(20)} == {202}


def test_a_port_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    with CollectorProcess(tmp_path) as collector:
        done = subprocess.run(
            [sys.executable, "-m", "ingest.collector", "--host", "127.0.0.1", "--port", str(collector.port)],
            env={"PATH": os.environ["PATH"], "CASTLEDGER_DATA_DIR": str(tmp_path / "second")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert f"the port {collector.port} on 127.0.0.1 cannot be used" in done.stderr


def test_settings_that_cannot_be_used_are_told_all_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ingest.collector", "--data-dir", str(tmp_path)],
        env={"PATH": os.environ["PATH"], "COLLECTOR_PORT": "x", "COLLECTOR_SYNC": "never"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["COLLECTOR_PORT", "COLLECTOR_SYNC"]


def test_a_request_that_is_on_its_way_when_the_stop_comes_is_answered(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    with CollectorProcess(tmp_path, COLLECTOR_SYNC="always") as collector:

        def body() -> Any:
            yield b'{"events": ['
            collector.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            yield f'{{"event_id": "{uuid4()}", "type": "signup"}}]}}'.encode()

        headers = {"Authorization": f"Bearer {keys.secret}", "Content-Type": "application/json"}
        answer = httpx.post(collector.url + EVENTS, content=body(), headers=headers, timeout=20, trust_env=False)
        assert answer.status_code == 202
        assert collector.process.wait(20) == 0
        assert len(collector.events()) == 1
