"""The whole ledger as its owner runs it: one command, killed as a power cut would, told to stop, started again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from castledger_server.processes import is_running
from tests.acceptance.feeds import own_feed
from tests.acceptance.whole import Up, castledger, options, until

_AGENT = "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], Up]]:
    runs: list[Up] = []

    def run() -> Up:
        runs.append(Up(folder))
        return runs[-1]

    yield run
    for up in runs:
        if up.process.poll() is None:
            up.kill_all()


def _play(said: dict[str, str], path: str, *, first: int, count: int) -> None:
    """Have as many listeners ask for an episode."""
    tracker = urlsplit(said["tracker_url"])
    with httpx.Client(base_url=f"http://{tracker.hostname}:{tracker.port}", timeout=60) as player:
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


def test_it_survives_the_death_of_everything_and_ends_when_told(folder: Path, start: Callable[[], Up]) -> None:
    up = start()
    said = up.wait()
    assert set(said) == {"tracker_url", "prefix", "collector_url", "api_url", "api_key"}
    assert (folder / "ledger" / "api_key").stat().st_mode & 0o777 == 0o600

    feed = folder / "feed.xml"
    feed.write_bytes(own_feed())
    added = castledger("podcast", "add", str(feed), f"--data-dir={folder / 'ledger'}")
    assert added.returncode == 0, added.stderr
    podcast = dict(line.split(": ", 1) for line in added.stdout.splitlines())
    rewritten = castledger("feed", "rewrite", str(feed), f"--data-dir={folder / 'ledger'}")
    enclosure = re.search(r'<enclosure url="([^"]+)"', rewritten.stdout)
    assert enclosure is not None
    assert enclosure[1].startswith(podcast["prefix"])
    path = "/e," + enclosure[1].replace("&amp;", "&").partition("/e,")[2]

    second = castledger("up", *options(folder))
    assert second.returncode == 2
    assert f"in use by process {up.process.pid}" in second.stderr

    _play(said, path, first=0, count=150)
    up.kill_all()
    up = start()
    again = up.wait()
    assert again["api_key"] == said["api_key"]
    _play(again, path, first=100, count=100)
    with _api(again) as api:
        until(lambda: _counted(api, podcast["podcast_id"])[0] >= 250, "hits went missing")
        until(lambda: _counted(api, podcast["podcast_id"]) == (250, 200), "hits are counted twice")

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


def test_it_takes_at_most_400_mib_when_idle(start: Callable[[], Up]) -> None:
    up = start()
    up.wait()
    assert sum(_pss_bytes(pid) for pid in up.family()) <= 400 * 2**20
