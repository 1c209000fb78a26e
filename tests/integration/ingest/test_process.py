"""Ingest as a process: killed at any moment, stopped, started without a database, told to drain and end."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from analytics_core.registry import read_registry
from analytics_core.settings import DatabaseSettings
from tests.acceptance.services import Service, running
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, write_segment
from tests.integration.ingest.erasing import Eraser
from tests.ledgers import Ledger
from tests.postgres import LOGIN, Server, TestServer
from tests.torture.proxy import Proxy

pytestmark = pytest.mark.anyio

DEADLINE_S = 60.0
TODAY = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=1, microsecond=0)


@pytest.fixture
def environ(database: DatabaseSettings, ledger: Ledger, tmp_path: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": str(database.url),
        "CASTLEDGER_DATA_DIR": str(tmp_path / "data"),
        "SPOOL_DIR": str(ledger.folder),
        "CASTLEDGER_ADMIN_PORTS": "ingest=0",
        "TRACKER_PUBLIC_URL": "https://pod.example.org",
    }


def run(environ: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run ingest to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ingest", *options],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def read(url: str) -> tuple[int, str]:
    """Get what an admin server answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


async def wait_for(ledger: Ledger, query: str, wanted: object) -> None:
    """Look at the database until a query's first value is the wanted one."""
    deadline = time.monotonic() + DEADLINE_S
    found = None
    while time.monotonic() < deadline:
        found = await ledger.conn.fetchval(query)
        if found == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{query}: {found} instead of {wanted}")


async def test_killed_in_the_middle_everything_lands_once(
    ledger: Ledger, podcast: MadePodcast, environ: dict[str, str]
) -> None:
    count = 12_000
    for part in range(3):
        hits = [
            make_hit(
                TODAY + dt.timedelta(microseconds=number),
                f"cdn.example.com/{'ab'[number % 2]}.mp3",
                address=f"10.{part}.{number >> 8}.{number & 255}",
            )
            for number in range(count // 3)
        ]
        write_segment(ledger.folder, hits, frame_hits=20)
    environ["CASTLEDGER_INGEST_BATCH"] = "100"
    killed_at = []
    for share in (0.1, 0.4, 0.7):
        service = Service("ingest", environ=environ)
        service.wait()
        deadline = time.monotonic() + DEADLINE_S
        while await ledger.count("ts.listener_events") < count * share:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        service.kill()
        killed_at.append(await ledger.count("ts.listener_events"))
    assert killed_at[0] < count
    ended = run(environ, "--once")
    assert ended.returncode == 0, ended.stderr
    rows = await ledger.conn.fetch("select segment_no, ordinal from ts.listener_events")
    assert len(rows) == len({tuple(row) for row in rows}) == count
    segments = await ledger.conn.fetch("select hits, finished_why from ops.segments")
    assert [tuple(row) for row in segments] == [(count // 3, "sealed")] * 3
    totals = await ledger.conn.fetch(
        "select episode_no, downloads from app.metrics_daily where dimension = 'total' order by 1"
    )
    assert [row["downloads"] for row in totals] == [count // 2, count // 2]
    assert await ledger.count("ops.dirty_marks") == 0
    assert list(ledger.folder.iterdir()) == []


async def test_a_running_ingest_erases_what_is_asked_for_and_trackers_hear_of_it(
    ledger: Ledger, podcast: MadePodcast, eraser: Eraser, environ: dict[str, str], tmp_path: Path
) -> None:
    snapshot = tmp_path / "data" / "registry.snapshot"
    with running("ingest", environ=environ):
        write_segment(ledger.folder, [make_hit(TODAY)])
        await wait_for(ledger, "select sum(downloads) from app.metrics_daily where dimension = 'total'", 1)
        assert "cdn.example.com" in read_registry(snapshot).hosts
        await eraser.ask_for_podcast(podcast, now=TODAY)
        await wait_for(ledger, "select count(*) from app.erasures where finished_at is not null", 1)
        deadline = time.monotonic() + DEADLINE_S
        while "cdn.example.com" in read_registry(snapshot).hosts:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        write_segment(ledger.folder, [make_hit(TODAY, arguments=f"pg={podcast.guid}")])
        await wait_for(ledger, "select count(*) from ops.pending_hits where podcast_no = 0 and tenant_no = 0", 1)
    [stored] = await eraser.all_of(podcast.tenant)
    assert stored.is_whole
    assert (stored.record.removed["hits"], stored.record.removed["podcasts"]) == (1, 1)


async def test_a_running_ingest_lands_rolls_up_and_writes_the_registry(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, environ: dict[str, str], tmp_path: Path
) -> None:
    with running("ingest", environ=environ) as ready:
        admin = f"http://127.0.0.1:{ready['admin_port']}"
        # Just now: ingest is not ready any more once a tracker has been silent for three minutes.
        heard = dt.datetime.now(dt.UTC)
        write_segment(ledger.folder, [make_hit(heard), make_hit(heard, "cdn.example.com/new.mp3")])
        await wait_for(ledger, "select sum(downloads) from app.metrics_daily where dimension = 'total'", 1)
        await wait_for(ledger, "select count(*) from ops.pending_hits", 1)
        late = await make_podcast(database, podcast.tenant, make_episode("new"))
        await wait_for(ledger, "select sum(downloads) from app.metrics_daily where dimension = 'total'", 2)
        await wait_for(ledger, "select cutoff_at > now() - interval '5 seconds' from ops.ingest_status", True)
        number = late.episodes["new"]
        await wait_for(ledger, f"select count(*) from ts.downloads where episode_no = {number}", 1)
        assert read(f"{admin}/health/ready") == (200, '{"ready": true, "not_ready": []}\n')
        _, metrics = read(f"{admin}/metrics")
        assert 'castledger_ingest_hits_total{verdict="eligible"} 1.0' in metrics
        registry = read_registry(tmp_path / "data" / "registry.snapshot")
        assert set(registry.hosts) == {"cdn.example.com"}
        assert registry.own_hosts == {"pod.example.org"}
        assert len(registry.click_keys) == 3


async def test_shared_addresses_that_are_due_are_named_while_ingest_goes_on(
    ledger: Ledger, environ: dict[str, str], tmp_path: Path
) -> None:
    lists = tmp_path / "data" / "lists"
    lists.mkdir(parents=True)
    validated = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=80)
    (lists / "shared.txt").write_text(f"192.0.2.0/24 {validated} Dormitory\n2001:db8::/48 2026-01-01 Campus\n")
    with running("ingest", environ=environ) as ready:
        admin = f"http://127.0.0.1:{ready['admin_port']}"
        status, body = read(f"{admin}/health/ready")
        for _ in range(200):
            if status == 200 and "warnings" in body:
                break
            await asyncio.sleep(0.1)
            status, body = read(f"{admin}/health/ready")
        (warning,) = json.loads(body)["warnings"]
        assert status == 200
        assert warning.startswith("shared addresses: 2001:db8::/48 (Campus): validated ")
        assert "acts no longer; 192.0.2.0/24 (Dormitory): validated 80 days ago, acts for 10 days more" in warning
        assert "castledger_ingest_shared_addresses_due 2.0" in read(f"{admin}/metrics")[1]


async def test_ingest_stops_when_asked_to(ledger: Ledger, environ: dict[str, str]) -> None:
    service = Service("ingest", environ=environ)
    service.wait()
    assert service.stop() == 0


async def test_hits_wait_in_the_spool_while_there_is_no_database(
    ledger: Ledger, podcast: MadePodcast, environ: dict[str, str], tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    away = {**environ, "DATABASE_URL": f"postgresql://castledger@/castledger?host={nowhere}"}
    path = write_segment(ledger.folder, [make_hit(TODAY)])
    with running("ingest", environ=away) as ready:
        status, body = read(f"http://127.0.0.1:{ready['admin_port']}/health/ready")
        assert status == 503
        assert "database" in json.loads(body)["not_ready"][0]
    assert path.exists()
    ended = run(away, "--once")
    assert (ended.returncode, ended.stderr.strip().splitlines()[-1]) == (1, "the database does not answer")
    assert run(environ, "--once").returncode == 0
    assert await ledger.count("ts.listener_events") == 1


async def test_faulty_settings_are_all_named(environ: dict[str, str]) -> None:
    ended = run({**environ, "DATABASE_URL": "", "CASTLEDGER_INGEST_BATCH": "0", "CASTLEDGER_HITS_MONTHS": "x"})
    assert ended.returncode == 2
    for name in ("DATABASE_URL", "CASTLEDGER_INGEST_BATCH", "CASTLEDGER_HITS_MONTHS"):
        assert name in ended.stderr


async def test_a_faulty_list_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    lists = tmp_path / "data" / "lists"
    lists.mkdir(parents=True)
    (lists / "vpn.txt").write_text("10.0.0.0/8\nnonsense\n")
    ended = run(environ)
    assert ended.returncode == 2
    assert "vpn.txt:2" in ended.stderr


async def test_a_database_that_was_not_migrated_is_refused(
    empty_database: DatabaseSettings, environ: dict[str, str]
) -> None:
    ended = run({**environ, "DATABASE_URL": str(empty_database.url)})
    assert ended.returncode == 2
    assert "migrate up" in ended.stderr


async def test_a_database_that_goes_away_while_ingest_starts_is_waited_for(
    ledger: Ledger, podcast: MadePodcast, postgres: Server, database: DatabaseSettings, environ: dict[str, str]
) -> None:
    if not isinstance(postgres, TestServer):
        pytest.skip("the proxy passes on to a socket")
    write_segment(ledger.folder, [make_hit(TODAY)])
    async with Proxy(postgres.folder / ".s.PGSQL.5432", random.Random(1)) as proxy:
        # The first connections end in the greeting, which is some 600 bytes, and in the questions after it.
        proxy.budgets = [100, 700, 850]
        name = urlsplit(str(database.url)).path
        service = Service(
            "ingest", environ={**environ, "DATABASE_URL": f"postgresql://{LOGIN}@127.0.0.1:{proxy.port}{name}"}
        )
        try:
            await asyncio.to_thread(service.wait)
            await wait_for(ledger, "select count(*) from ts.listener_events", 1)
            assert proxy.budgets == []
        finally:
            assert await asyncio.to_thread(service.stop) == 0


@pytest.mark.usefixtures("timescale")
async def test_timescales_policy_follows_the_settings(ledger: Ledger, environ: dict[str, str]) -> None:
    ended = run({**environ, "CASTLEDGER_HITS_MONTHS": "36"}, "--once")
    assert ended.returncode == 0, ended.stderr
    kept = "select config ->> 'drop_after' from timescaledb_information.jobs where proc_name = 'policy_retention'"
    assert await ledger.conn.fetchval(kept) == "3 years 7 days"
