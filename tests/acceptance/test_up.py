"""The whole ledger as its owner runs it: one command, killed as a power cut would, told to stop, started again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from castledger_server.processes import is_running
from tests.acceptance.feeds import own_feed

_DEADLINE_S = 90.0
_AGENT = "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"
# Settings of whoever runs the tests would lead `up` to another database or name.
_ENVIRON = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("DATABASE_", "POSTGRES_", "CASTLEDGER_", "TRACKER_", "SPOOL_", "REDIS_", "PG"))
}


def _until(what: Callable[[], bool], why: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


def _castledger(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "castledger_server", *arguments],
        env=_ENVIRON,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )


class _Up:
    """`castledger up` as a process."""

    def __init__(self, folder: Path) -> None:
        self.ready_file = folder / "ready.json"
        # That of a killed run tells of ports which nobody serves.
        self.ready_file.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "castledger_server", "up", *_options(folder)],
            env=_ENVIRON,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> dict[str, str]:
        _until(lambda: self.ready_file.exists() or self.process.poll() is not None, "`up` neither answered nor gave up")
        assert self.process.poll() is None, "`up` gave up"
        said: dict[str, str] = json.loads(self.ready_file.read_text())
        return said

    def family(self) -> list[int]:
        """All processes of ours, the database's own included."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                parents.setdefault(int((entry / "stat").read_text().rpartition(")")[2].split()[1]), []).append(pid)
        found = [self.process.pid]
        for pid in found:
            found += parents.get(pid, [])
        return found

    def kill_all(self) -> None:
        family = self.family()
        for pid in family:
            # Whatever dies with its parent may be gone already.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()
        _until(lambda: not any(is_running(pid) for pid in family), "a killed process lives")

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=_DEADLINE_S)
        return said


def _options(folder: Path) -> list[str]:
    return [
        f"--data-dir={folder / 'ledger'}",
        "--tracker-port=0",
        "--api-port=0",
        f"--ready-file={folder / 'ready.json'}",
    ]


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], _Up]]:
    runs: list[_Up] = []

    def run() -> _Up:
        runs.append(_Up(folder))
        return runs[-1]

    yield run
    for up in runs:
        if up.process.poll() is None:
            up.kill_all()


def _play(said: dict[str, str], path: str, *, first: int, count: int) -> None:
    """Have as many listeners ask for an episode."""
    tracker = urlsplit(said["tracker_url"])
    with httpx.Client(base_url=f"http://{tracker.hostname}:{tracker.port}", follow_redirects=False) as player:
        for number in range(first, first + count):
            answer = player.get(path, headers={"User-Agent": f"{_AGENT} {number}"})
            assert answer.status_code == 302


def _counted(api: httpx.Client, podcast_id: str) -> tuple[int, int]:
    """The podcast's hits and downloads, of all days that the test may touch."""
    rows = api.get("/analytics/downloads", params={"podcast_id": podcast_id}).raise_for_status().json()["data"]
    hits = 0
    for row in rows:
        if row["downloads"]:
            day = api.get("/analytics/explain", params={"podcast_id": podcast_id, "day": row["start"][:10]}).json()
            hits += day["hits"]
    return hits, sum(row["downloads"] for row in rows)


def _api(said: dict[str, str]) -> httpx.Client:
    return httpx.Client(
        base_url=f"{said['api_url']}/api/v1", headers={"Authorization": f"Bearer {said['api_key']}"}, timeout=30
    )


def test_it_survives_the_death_of_everything_and_ends_when_told(folder: Path, start: Callable[[], _Up]) -> None:
    up = start()
    said = up.wait()
    assert set(said) == {"tracker_url", "prefix", "api_url", "api_key"}
    assert (folder / "ledger" / "api_key").stat().st_mode & 0o777 == 0o600

    feed = folder / "feed.xml"
    feed.write_bytes(own_feed())
    added = _castledger("podcast", "add", str(feed), f"--data-dir={folder / 'ledger'}")
    assert added.returncode == 0, added.stderr
    podcast = dict(line.split(": ", 1) for line in added.stdout.splitlines())
    rewritten = _castledger("feed", "rewrite", str(feed), f"--data-dir={folder / 'ledger'}")
    enclosure = re.search(r'<enclosure url="([^"]+)"', rewritten.stdout)
    assert enclosure is not None
    assert enclosure[1].startswith(podcast["prefix"])
    path = "/e," + enclosure[1].replace("&amp;", "&").partition("/e,")[2]

    second = _castledger("up", *_options(folder))
    assert second.returncode == 2
    assert f"in use by process {up.process.pid}" in second.stderr

    _play(said, path, first=0, count=150)
    up.kill_all()
    up = start()
    again = up.wait()
    assert again["api_key"] == said["api_key"]
    _play(again, path, first=100, count=100)
    with _api(again) as api:
        _until(lambda: _counted(api, podcast["podcast_id"])[0] >= 250, "hits went missing")
        _until(lambda: _counted(api, podcast["podcast_id"]) == (250, 200), "hits are counted twice")

    family = up.family()
    assert len(family) > 5
    printed = up.stop()
    assert up.process.returncode == 0
    assert dict(line.split(": ", 1) for line in printed.splitlines()) == again
    assert not any(is_running(pid) for pid in family)
    assert not (folder / "ledger" / "postgres" / "data" / "postmaster.pid").exists()


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell")


def test_it_takes_at_most_400_mib_when_idle(start: Callable[[], _Up]) -> None:
    up = start()
    up.wait()
    assert sum(_pss_bytes(pid) for pid in up.family()) <= 400 * 2**20
