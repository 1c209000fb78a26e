"""Trackers learn at once what they have to know, and go on alone when everything else is dead."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from castledger_server.processes import is_running
from tests.acceptance.whole import Up, until
from tests.days import find_today
from tests.trackers import TrackerProcess, read_spool

_AGENT = "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"
_GUID = "0f5b9a3e-6d64-5d7c-9a0e-0c3f5a1b7d21"
# No file of a kind that players are redirected to anywhere: only what a feed has registered is.
_FEED = f"""<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel>
<title>Alone</title><podcast:guid>{_GUID}</podcast:guid>
<item><title>One</title><guid>one</guid><pubDate>Mon, 05 Oct 2026 06:00:00 GMT</pubDate>
<enclosure url="https://files.example.org/listen?episode=1" length="12000000" type="audio/mpeg"/></item>
</channel></rss>"""
_PATH = f"/e,pg={_GUID}/files.example.org/listen?episode=1"


@pytest.fixture
def up(folder: Path) -> Iterator[Up]:
    up = Up(folder)
    yield up
    if up.process.poll() is None:
        up.kill_all()


def _ask(said: dict[str, str], path: str, *, agent: str = _AGENT) -> int:
    tracker = urlsplit(said["tracker_url"])
    connection = HTTPConnection(str(tracker.hostname), tracker.port, timeout=20)
    try:
        connection.request("GET", path, headers={"User-Agent": agent})
        answer = connection.getresponse()
        answer.read()
    except ConnectionError:
        return 0
    finally:
        connection.close()
    return answer.status


def _add(said: dict[str, str]) -> str:
    answer = httpx.post(
        f"{said['api_url']}/api/v1/podcasts",
        content=_FEED,
        headers={"Authorization": f"Bearer {said['api_key']}", "Content-Type": "application/rss+xml"},
        timeout=30,
    )
    podcast_id: str = answer.raise_for_status().json()["podcast_id"]
    return podcast_id


def _is_tracker(pid: int) -> bool:
    return b"prefix_redirect" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_podcast_that_is_added_is_redirected_within_two_seconds(up: Up) -> None:
    said = up.wait()
    assert _ask(said, _PATH) == 404
    _add(said)
    added_s = time.monotonic()
    until(lambda: _ask(said, _PATH) == 302 or time.monotonic() - added_s > 2, "time stands still")
    assert _ask(said, _PATH) == 302, "two seconds were not enough"


def test_with_all_else_dead_a_restarted_tracker_redirects_and_records(folder: Path, up: Up) -> None:
    said, today = up.wait(), find_today(lasting_s=180)
    podcast_id = _add(said)
    until(lambda: _ask(said, _PATH, agent="before") == 302, "the podcast is not known")

    # The supervisor stands still, so that nothing comes back, and everything but the trackers dies.
    os.kill(up.process.pid, signal.SIGSTOP)
    family = [pid for pid in up.family() if pid != up.process.pid]
    others = [pid for pid in family if not _is_tracker(pid)]
    assert len(others) < len(family), "there is no tracker"
    for pid in others:
        # The database's own go with it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not any(is_running(pid) for pid in others), "a killed process lives")
    assert _ask(said, _PATH, agent="alone") == 302
    up.kill_all()

    # Only a tracker comes back, over what it finds on its disk.
    data_dir = folder / "ledger"
    with TrackerProcess(data_dir) as tracker:
        assert tracker.ask(_PATH, "User-Agent: restarted").status == 302
        assert tracker.ask("/e/nobody.example.org/listen?episode=1").status == 404
        assert tracker.admin("/health/ready")[0] == 200
    agents = [hit.agent for hit in read_spool(data_dir / "spool")[0]]
    assert agents.count(b"alone") == 1
    assert agents.count(b"restarted") == 1

    # And nothing of it is lost or counted twice: all lands once the rest is back.
    again = Up(folder)
    try:
        said = again.wait()
        with httpx.Client(
            base_url=f"{said['api_url']}/api/v1", headers={"Authorization": f"Bearer {said['api_key']}"}, timeout=30
        ) as api:

            def hits() -> int:
                query = {"podcast_id": podcast_id, "day": str(today)}
                return int(api.get("/analytics/explain", params=query).raise_for_status().json()["hits"])

            until(lambda: hits() >= 3, "hits went missing")
            assert hits() == 3
    finally:
        again.kill_all()
