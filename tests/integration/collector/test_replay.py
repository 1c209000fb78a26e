"""A collector that replays: events are received when their request says so, and nobody else can reach it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.collectors import ROOT, CollectorProcess, write_keys

_LONG_AGO_US = 1_600_000_000_000_001


def _batch(**fields: Any) -> dict[str, Any]:
    return {"events": [{"event_id": str(uuid4()), "type": "signup", **fields}]}


def test_events_are_received_when_their_request_says_so(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    said = {"Castledger-Replay-Time": str(_LONG_AGO_US)}
    with CollectorProcess(tmp_path, "--replay", "--slot", "7") as collector:
        assert collector.send(keys.secret, _batch(), headers=said).json()["accepted"] == 1
        older = _batch(occurred_at="2019-01-01T00:00:00Z")
        assert collector.send(keys.secret, older, headers=said).json()["accepted"] == 1
        ahead = collector.send(keys.secret, _batch(occurred_at="2020-10-01T00:00:00Z"), headers=said).json()
        assert ahead["results"][0]["errors"][0]["code"] == "too_new"
        refused = collector.send(keys.secret, _batch(), headers={"Castledger-Replay-Time": "yesterday"})
        assert (refused.status_code, refused.json()["code"]) == (400, "replay_time_invalid")
        first, second = collector.wait_events(2)
        assert (first.received_us, first.record.occurred_us) == (_LONG_AGO_US, _LONG_AGO_US)
        assert (second.received_us, second.record.occurred_us) == (_LONG_AGO_US, 1_546_300_800_000_000)
        assert all("-collector-7-" in path.name for path in collector.spool_dir.glob("*.open"))


def test_without_replay_nobody_sets_the_time(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    began_us = time.time_ns() // 1000
    with CollectorProcess(tmp_path) as collector:
        headers = {"Castledger-Replay-Time": str(_LONG_AGO_US)}
        assert collector.send(keys.secret, _batch(), headers=headers).json()["accepted"] == 1
        assert collector.wait_events(1)[0].received_us >= began_us


def test_replay_is_refused_where_others_could_reach_it(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ingest.collector", "--data-dir", str(tmp_path), "--replay", "--host", "0.0.0.0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert "--replay" in ended.stderr
    assert not (tmp_path / "events").exists()
