"""A backlog: after hours without a database ingest catches up, oldest first, in the memory of a batch."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import re
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from analytics_core.db.segments import read_cutoff
from analytics_core.settings import DatabaseSettings
from tests.acceptance.services import Service
from tests.factories import MadePodcast, make_hit, write_segment
from tests.ledgers import NOW, Ledger
from tests.postgres import LOGIN, Server, TestServer
from tests.torture.proxy import Proxy

pytestmark = pytest.mark.anyio

SEGMENT_HITS = 10_000
_DEADLINE_S = 120.0
# Four hundred bytes more a hit: what is read at once shows.
_PADDING = "x" * 400


def write_backlog(folder: Path, segments: int, *, until: dt.datetime, hits: int = SEGMENT_HITS) -> None:
    """Write the segments of the hours before an instant, one a minute; of some listeners who come again and again."""
    for number in range(segments):
        began = until - dt.timedelta(minutes=segments - number)
        write_segment(
            folder,
            [
                make_hit(
                    began + dt.timedelta(microseconds=place * 60_000_000 // hits),
                    f"cdn.example.com/a.mp3?{_PADDING}",
                    address=f"192.0.{place % 8}.{place % 251}",
                )
                for place in range(hits)
            ],
        )


async def landed_by_segment(ledger: Ledger) -> list[int]:
    return [row["hits"] for row in await ledger.conn.fetch("select hits from ops.segments order by created_at")]


async def test_the_oldest_lands_first_and_the_lag_goes_down(ledger: Ledger, podcast: MadePodcast) -> None:
    write_backlog(ledger.folder, 12, until=NOW, hits=500)
    shipper = ledger.make_shipper(batch_hits=800)
    lags: list[float] = []
    backlogs: list[float] = []
    cutoffs: list[dt.datetime] = []
    while True:
        shipped = await shipper.ship(ledger.conn)
        if not shipped.moved:
            break
        landed = await landed_by_segment(ledger)
        # Whole segments, then at most one that is begun, then none.
        whole, begun = divmod(sum(landed), 500)
        assert landed == [500] * whole + [begun] * (begun > 0) + [0] * (12 - whole - (begun > 0))
        cutoff = await read_cutoff(ledger.conn)
        assert cutoff is not None
        cutoffs.append(cutoff)
        # Up to the cutoff all is there.
        due = whole * 500 + begun
        assert await ledger.conn.fetchval("select count(*) from ts.listener_events") == due
        newest = await ledger.conn.fetchval("select max(occurred_at) from ts.listener_events")
        assert shipped.caught_up or newest < cutoff <= newest + dt.timedelta(seconds=1)
        lags.append(value(ledger, "castledger_ingest_lag_seconds"))
        backlogs.append(value(ledger, "castledger_ingest_backlog_bytes"))
    assert len(cutoffs) == 6000 // 800 + 1
    assert cutoffs == sorted(set(cutoffs))
    assert cutoffs[-1] == NOW
    assert lags == sorted(set(lags), reverse=True)
    assert lags[-1] == 0
    assert backlogs == sorted(set(backlogs), reverse=True)


def value(ledger: Ledger, name: str) -> float:
    found = ledger.metrics.registry.get_sample_value(name)
    assert found is not None
    return found


def peak_kb(pid: int) -> int:
    """Tell the most memory that a process ever had, in KiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def metric(admin_url: str, name: str) -> float:
    with urllib.request.urlopen(f"{admin_url}/metrics", timeout=10) as answer:
        found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.fixture
def socket(postgres: Server) -> Path:
    """The server's socket, for the proxy."""
    if not isinstance(postgres, TestServer):
        pytest.skip("the proxy passes on to a socket")
    return postgres.folder / ".s.PGSQL.5432"


async def test_the_memory_of_catching_up_is_that_of_a_batch_and_not_of_the_backlog(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, socket: Path, tmp_path: Path
) -> None:
    peaks = []
    lags: list[float] = []
    expected = 0
    for segments in (5, 25):
        async with Proxy(socket, random.Random(1)) as proxy:
            # There is no database, for as long as the backlog grows.
            proxy.is_cut = True
            environ = {
                "DATABASE_URL": f"postgresql://{LOGIN}@127.0.0.1:{proxy.port}{urlsplit(str(database.url)).path}",
                "CASTLEDGER_DATA_DIR": str(tmp_path / "data"),
                "SPOOL_DIR": str(ledger.folder),
                "CASTLEDGER_ADMIN_PORTS": "ingest=0",
                "CASTLEDGER_INGEST_BATCH": "5000",
            }
            service = Service("ingest", environ=environ)
            try:
                admin_url = f"http://127.0.0.1:{(await asyncio.to_thread(service.wait))['admin_port']}"
                idle_kb = peak_kb(service.process.pid)
                await asyncio.to_thread(
                    write_backlog, ledger.folder, segments, until=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
                )
                size_kb = sum(path.stat().st_size for path in ledger.folder.iterdir()) // 1024
                assert peak_kb(service.process.pid) < idle_kb + size_kb // 4, "what waits is held in memory"
                expected += segments * SEGMENT_HITS
                proxy.is_cut = False
                deadline = time.monotonic() + _DEADLINE_S
                while list(ledger.folder.iterdir()) or lags[-1] > 30:
                    assert time.monotonic() < deadline, "the backlog does not land"
                    lags.append(await asyncio.to_thread(metric, admin_url, "castledger_ingest_lag_seconds"))
                    await asyncio.sleep(0.02)
                peaks.append((peak_kb(service.process.pid), size_kb))
            finally:
                assert await asyncio.to_thread(service.stop) == 0
    assert await ledger.count("ts.listener_events") == expected
    (small_kb, small_spool_kb), (large_kb, large_spool_kb) = peaks
    assert large_spool_kb - small_spool_kb > 80_000
    # A hundred megabytes more in the spool; half a one more in memory when it was measured.
    assert large_kb < small_kb + 24_000, peaks
    # Seen from outside: minutes behind at first, and up to date at the end.
    assert max(lags) > 60
