"""Torture: whatever dies, is cut off or fills up while hits come in, each answered one lands once and counts right.

Thirty seconds of it are among the tests; ``nox -s torture`` takes ten minutes. ``docs/torture.md`` says what is done
and what is held up against what.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import pytest

from analytics_core.accounts import ANSWERED, difference
from analytics_core.db.pool import CONNECTION_LOST
from analytics_core.errors import Unavailable
from analytics_core.registry import read_registry
from analytics_core.settings import DatabaseSettings, Secret, Storage
from migrations.runner import migrate_up
from tests.acceptance.services import Service
from tests.factories import MadePodcast, make_episode, make_podcast, make_tenant
from tests.postgres import LOGIN, TestServer
from tests.torture.cast import IngestProcess, Shippers, descriptors, resident_kb
from tests.torture.load import Load
from tests.torture.proxy import Proxy
from tests.torture.truth import Kept, Winner, count_winners

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("native")]

SECONDS: Final = float(os.environ.get("CASTLEDGER_TORTURE_SECONDS") or 60)
SEED: Final = int(os.environ.get("CASTLEDGER_TORTURE_SEED") or random.SystemRandom().randrange(2**32))
RATE: Final = int(os.environ.get("CASTLEDGER_TORTURE_RATE") or 400)

SAFE: Final = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_connections": "50"}
LENGTH_BYTES: Final = 28_800_000
DURATION_S: Final = 1800
EPISODES: Final = 12
LATER: Final = 40
_DATABASE_FAULTS: Final = (
    "backend terminated",
    "backend killed",
    "postgres killed",
    "cut",
    "delayed",
    "truncated",
    "truncated",
    "published",
)
_INGEST_FAULTS: Final = ("ingest killed", "second ingest", "ingest killed", "disk full")
_QUIET_S: Final = 4.0
_DRAIN_S: Final = 120.0
_MOST_CONNECTIONS: Final = 10
"""Of one ingest: eight of its pool, one that ships, one that listens."""
_MOST_GROWTH_KB: Final = 96 * 1024
_COUNTED: Final = (
    "select (select count(*) from ts.listener_events) + (select count(*) from ops.pending_hits)"
    " + (select count(*) from ops.dead_letters)"
)


@pytest.fixture
def server() -> Iterator[TestServer]:
    """A PostgreSQL that is made to be killed."""
    server = TestServer(SAFE)
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def until(what: Callable[[], Awaitable[bool]], why: str, *, within_s: float = 60.0) -> None:
    """Wait until something holds; a database that is not there yet is waited for too."""
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(Unavailable, *CONNECTION_LOST):
            if await what():
                return
        assert time.monotonic() < deadline, why
        await asyncio.sleep(0.1)


class Deck:
    """Kinds of faults in a random order, each of which comes before any comes again."""

    def __init__(self, chance: random.Random, kinds: Sequence[str]) -> None:
        self._chance = chance
        self._kinds = kinds
        self._left: list[str] = []

    def draw(self) -> str:
        """Draw the next kind."""
        if not self._left:
            self._left = self._chance.sample(self._kinds, len(self._kinds))
        return self._left.pop()


class Torture:
    """All that takes part, and what is done to it.

    Args:
        server: A fresh one.
        folder: For spool, logs and what is kept.
    """

    def __init__(self, server: TestServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.database = DatabaseSettings(url=Secret(server.url("torture")), storage=Storage.NATIVE)
        self.proxy = Proxy(server.folder / ".s.PGSQL.5432", random.Random(f"{SEED} proxy"))
        self.kept = Kept(self._made("spool"), folder / "kept")
        self.faults: Counter[str] = Counter()
        self.episodes: dict[str, int] = {}
        self.hosts: list[str] = []
        self._began = time.monotonic()

    def _made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        return path

    def say(self, text: str) -> None:
        """Print a line with the seconds since the beginning."""
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    async def value(self, query: str) -> int:
        """Ask the database for a number, past the proxy, as its superuser."""
        conn = await asyncpg.connect(self.server.url("torture", user="postgres"), timeout=10)
        try:
            return int(await conn.fetchval(query))
        finally:
            await conn.close()

    async def rows(self, query: str) -> list[asyncpg.Record]:
        """Ask the database for rows, in the same way."""
        conn = await asyncpg.connect(self.server.url("torture", user="postgres"), timeout=10)
        try:
            return await conn.fetch(query)
        finally:
            await conn.close()

    async def set_up(self) -> None:
        """Make the database, its podcast, and the settings that all processes share."""
        conn = await asyncpg.connect(self.server.url("postgres", user="postgres"))
        await conn.execute(f"create role {LOGIN} login nosuperuser createrole createdb")
        await conn.execute(f"create database torture owner {LOGIN}")
        await conn.close()
        await migrate_up(self.database)
        self.tenant = await make_tenant(self.database)
        names = [f"e{number}" for number in range(EPISODES)]
        self.podcast = await make_podcast(
            self.database,
            self.tenant,
            *(
                make_episode(name, length_bytes=LENGTH_BYTES, duration_s=DURATION_S, published_at=None)
                for name in names
            ),
        )
        self._know(self.podcast)
        self.environ = {
            "DATABASE_URL": f"postgresql://{LOGIN}@127.0.0.1:{self.proxy.port}/torture",
            "CASTLEDGER_DATA_DIR": str(self._made("data")),
            "CASTLEDGER_LISTS_DIR": str(self._made("lists")),
            "CASTLEDGER_ADMIN_PORTS": "tracker=0,ingest=0",
            "SPOOL_DIR": str(self.folder / "spool"),
            "SPOOL_RESERVE_MB": "0",
            "SPOOL_SEGMENT_SECONDS": "5",
            "TRACKER_PUBLIC_URL": "https://pod.example.com",
            "TRACKER_TRUSTED_PROXIES": "127.0.0.0/8",
        }
        self.shippers = Shippers(self.environ, self.folder / "ingest.log")

    def _know(self, podcast: MadePodcast) -> None:
        self.episodes |= {f"cdn.example.com/{name}.mp3": number for name, number in podcast.episodes.items()}

    async def learn(self) -> None:
        """Read whose the targets are: of a feed whose transaction was cut off nobody knows here whether it ended."""
        rows = await self.rows("select distinct file_name, episode_no from app.enclosure_owners")
        self.episodes = {f"cdn.example.com/{row['file_name']}": row["episode_no"] for row in rows}
        assert len(self.episodes) == len(rows)

    def paths(self, *names: str) -> list[str]:
        """What is asked for by episodes' names."""
        return [f"/e,pg={self.podcast.guid}/cdn.example.com/{name}.mp3" for name in names]

    async def publish(self) -> None:
        """Have a feed bring an episode for which hits wait, on a host that the registry has to learn."""
        number = len(self.hosts)
        host = f"media{number}.example.com"
        episode = make_episode(
            f"later{number}",
            f"https://cdn.example.com/later{number}.mp3",
            f"https://{host}/later{number}.mp3",
            length_bytes=LENGTH_BYTES,
            duration_s=DURATION_S,
            published_at=None,
        )
        with contextlib.suppress(Unavailable, *CONNECTION_LOST):
            # What the database did not take is tried again under the same number.
            self._know(await make_podcast(self.database, self.tenant, episode))
            self.hosts.append(host)

    async def _pause(self, chance: random.Random, most_s: float) -> None:
        await asyncio.sleep(chance.uniform(0.2, most_s))

    async def end_backend(self, chance: random.Random, *, by_kill: bool) -> None:
        """End one of ingest's sessions: politely, or by a kill, after which PostgreSQL restarts all of them."""
        with contextlib.suppress(*CONNECTION_LOST):
            rows = await self.rows("select pid from pg_stat_activity where application_name = 'castledger-ingest'")
            if not rows:
                return
            pid = chance.choice(rows)["pid"]
            if by_kill:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            else:
                await self.value(f"select pg_terminate_backend({pid})::integer")

    async def kill_postgres(self, chance: random.Random) -> None:
        """Kill PostgreSQL as a whole, and start it again after a while."""
        self.server.kill()
        await self._pause(chance, 3.0)
        self.server.launch()
        deadline = time.monotonic() + 60
        while not await asyncio.to_thread(self.server.is_ready):
            assert time.monotonic() < deadline, "PostgreSQL does not come back"
            if not self.server.is_alive():
                # A process of the killed one had not let go of its memory yet.
                self.server.launch()
            await asyncio.sleep(0.1)

    async def cut(self, chance: random.Random) -> None:
        """Cut the network for a while."""
        self.proxy.is_cut = True
        self.proxy.cut()
        await self._pause(chance, 3.0)
        self.proxy.is_cut = False

    async def delay(self, chance: random.Random) -> None:
        """Slow the network down for a while."""
        self.proxy.delay_s = chance.uniform(0.02, 0.5)
        await self._pause(chance, 4.0)
        self.proxy.delay_s = 0.0

    async def harm_database(self, chance: random.Random, until_s: float) -> None:
        """Do something to the database or the way to it, again and again."""
        kinds = Deck(chance, _DATABASE_FAULTS)
        while time.monotonic() < until_s:
            kind = kinds.draw()
            self.say(kind)
            match kind:
                case "backend terminated" | "backend killed":
                    await self.end_backend(chance, by_kill=kind == "backend killed")
                case "postgres killed":
                    await self.kill_postgres(chance)
                case "cut":
                    await self.cut(chance)
                case "delayed":
                    await self.delay(chance)
                case "truncated":
                    self.proxy.truncate(chance.choice((100, 5_000, 100_000)))
                case _:
                    await self.publish()
            self.faults[kind] += 1
            await self._pause(chance, 2.5)

    async def harm_ingest(self, chance: random.Random, until_s: float) -> None:
        """Do something to ingest, again and again; one or two of them run but for moments."""
        kinds = Deck(chance, _INGEST_FAULTS)
        while time.monotonic() < until_s:
            await self._pause(chance, 3.0)
            self.shippers.check()
            ingest = chance.choice(self.shippers.all)
            kind = kinds.draw()
            if kind == "second ingest" and len(self.shippers.all) > 1:
                kind = "ingest killed"
            self.say(kind)
            match kind:
                case "ingest killed":
                    self.shippers.kill(ingest)
                    if not self.shippers.all:
                        await self._pause(chance, 2.0)
                        self.shippers.start()
                case "second ingest":
                    self.shippers.start()
                case _:
                    ingest.fill_disk(is_full=True)
                    await self.publish()
                    await self._pause(chance, 3.0)
                    ingest.fill_disk(is_full=False)
            self.faults[kind] += 1

    async def watch(self, load: Load) -> None:
        """Keep segments and tell of progress, until cancelled."""
        told_s = time.monotonic()
        while True:
            self.kept.look()
            if time.monotonic() - told_s >= 5.0:
                told_s = time.monotonic()
                landed: object = "?"
                with contextlib.suppress(*CONNECTION_LOST):
                    landed = await self.value(_COUNTED)
                self.say(f"{len(load.answered)} answered, {landed} landed, {sum(self.faults.values())} faults")
            await asyncio.sleep(0.1)

    async def connections(self) -> int:
        """Count ingest's sessions."""
        return await self.value("select count(*) from pg_stat_activity where application_name = 'castledger-ingest'")

    async def is_drained(self, answered: int) -> bool:
        """Say whether all is there, and nothing left to be done."""
        if list((self.folder / "spool").iterdir()) or await self.value(_COUNTED) < answered:
            return False
        known = [path.rpartition("/")[2] for path in self.episodes]
        waits = await self.value(
            f"select count(*) from ops.pending_hits where file_name in ({', '.join(map(repr, known))})"
        )
        marks = await self.value("select (select count(*) from ops.dirty_marks) + (select count(*) from ops.sum_marks)")
        return waits == 0 and marks == 0

    async def check(self, load: Load) -> None:
        """Hold what is in the database up against the client's own record and the segments that were kept."""
        kept = self.kept.read()
        assert Counter(hit.mark for hit in kept) == Counter(load.answered), "the spool is not what was answered"

        segments: dict[UUID, int] = {
            row["segment_id"]: row["segment_no"]
            for row in await self.rows("select segment_id, segment_no from ops.segments")
        }
        wanted = Counter((segments[hit.segment_id], hit.ordinal, hit.hit.at_us) for hit in kept)
        micros = "(extract(epoch from occurred_at) * 1000000)::bigint as at_us"
        found = Counter(
            tuple(row)
            for row in await self.rows(
                f"select segment_no, ordinal, {micros} from ts.listener_events"
                f" union all select segment_no, ordinal, {micros} from ops.pending_hits"
            )
        )
        assert await self.value("select count(*) from ops.dead_letters") == 0
        assert not wanted - found, f"{(wanted - found).total()} answered hits are missing"
        assert not found - wanted, f"{(found - wanted).total()} hits are there twice or were never answered"
        waiting = Counter(hit.path.rpartition("/")[2] for hit in kept if hit.path not in self.episodes)
        pending = await self.rows("select file_name, count(*) from ops.pending_hits group by 1")
        assert {row[0]: row[1] for row in pending} == dict(waiting)

        winners = count_winners(
            kept, segments=segments, episodes=self.episodes, length_bytes=LENGTH_BYTES, duration_s=DURATION_S
        )
        downloads = Counter(
            Winner(*row)
            for row in await self.rows(f"select episode_no, {micros}, segment_no, ordinal, evidence from ts.downloads")
        )
        assert not winners - downloads, f"{(winners - downloads).total()} downloads are missing"
        assert not downloads - winners, f"{(downloads - winners).total()} downloads are too many"

        rollups = {
            (row["episode_no"], row["day"]): (row["downloads"], Counter(dict(enumerate(row["quarters"]))))
            for row in await self.rows("select * from app.metrics_daily where dimension = 'total'")
        }
        counted: dict[tuple[int, object], Counter[int]] = {}
        for row in await self.rows("select episode_no, day, occurred_at from ts.downloads"):
            quarter = row["occurred_at"].hour * 4 + row["occurred_at"].minute // 15
            counted.setdefault((row["episode_no"], row["day"]), Counter())[quarter] += 1
        assert rollups == {key: (quarters.total(), quarters) for key, quarters in counted.items()}

        ledger = {
            row["what"]: int(row["hits"])
            for row in await self.rows("select what, sum(hits) as hits from ops.ledger_minutes group by 1")
        }
        assert ledger[ANSWERED] == len(load.answered)
        assert difference(ledger) == 0, ledger
        assert not any(what.startswith("lost:") for what, hits in ledger.items() if hits), ledger

        registry = read_registry(self.folder / "data" / "registry.snapshot")
        assert set(self.hosts) <= set(registry.hosts)


async def _settle(torture: Torture, answered: int, *, within_s: float = _DRAIN_S) -> None:
    await until(lambda: torture.is_drained(answered), "ingest does not come to an end", within_s=within_s)


@contextlib.asynccontextmanager
async def _tortured(server: TestServer, folder: Path) -> AsyncIterator[Torture]:
    torture = Torture(server, folder)
    async with torture.proxy:
        await torture.set_up()
        try:
            yield torture
        except BaseException:
            print((folder / "ingest.log").read_text()[-20_000:], flush=True)
            raise
        finally:
            torture.shippers.end()


async def test_nothing_is_lost_or_doubled_whatever_dies(server: TestServer, folder: Path) -> None:
    print(f"\nseed {SEED}: CASTLEDGER_TORTURE_SEED={SEED} draws the same faults")
    async with _tortured(server, folder) as torture:
        service = Service("prefix_redirect", "--replay", "--host", "127.0.0.1", "--port", "0", environ=torture.environ)
        try:
            port = int((await asyncio.to_thread(service.wait))["port"])
            load = Load(
                port,
                rate=RATE,
                chance=random.Random(f"{SEED} load"),
                paths=torture.paths(*(f"e{number}" for number in range(EPISODES))),
                # Such as a feed brings later, and one that none ever does.
                rare=torture.paths("never", *(f"later{number}" for number in range(LATER))),
            )
            first = torture.shippers.start()
            await asyncio.to_thread(first.wait)
            async with load.running():
                watching = asyncio.create_task(torture.watch(load))
                await asyncio.sleep(_QUIET_S)
                before = _measure(service, first)
                torture.say(f"faults begin: {before}")
                end_s = time.monotonic() + SECONDS
                await asyncio.gather(
                    torture.harm_database(random.Random(f"{SEED} database"), end_s),
                    torture.harm_ingest(random.Random(f"{SEED} ingest"), end_s),
                )
                torture.say("faults are over")
                torture.shippers.check()
                for ingest in torture.shippers.all[1:]:
                    torture.shippers.kill(ingest)
                await asyncio.sleep(_QUIET_S)
            torture.kept.look()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            (last,) = torture.shippers.all
            after = _measure(service, last)
            assert service.stop() == 0
            await torture.learn()
            await _settle(torture, len(load.answered))
            torture.say(f"drained: {after}")
            assert await torture.connections() <= _MOST_CONNECTIONS
            torture.shippers.check()
            torture.shippers.all.remove(last)
            await asyncio.to_thread(last.stop)
            assert await torture.connections() == 0
            await torture.check(load)
        finally:
            service.stop()
    assert torture.proxy.connections == 0
    for name, (kb, files) in after.items():
        assert kb < before[name][0] + _MOST_GROWTH_KB, f"{name} has grown"
        assert files < before[name][1] + _MOST_CONNECTIONS, f"{name} has left files open"
    torture.say(f"{len(load.answered)} hits, each there once; {len(torture.episodes)} episodes; faults:")
    for kind, number in sorted(torture.faults.items()):
        print(f"{number:8}  {kind}")


def _measure(service: Service, ingest: IngestProcess) -> dict[str, tuple[int, int]]:
    """Tell the memory in KiB and the open files of tracker and ingest."""
    return {
        name: (resident_kb(pid), descriptors(pid))
        for name, pid in (("tracker", service.process.pid), ("ingest", ingest.process.pid))
    }
