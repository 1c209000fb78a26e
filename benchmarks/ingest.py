"""Ingest against psql: ``python benchmarks/ingest.py``.

Ours is one ingest process that takes a spool to committed rows: hits with their verdicts, downloads, marks,
checkpoints. Theirs is ``psql`` with ``\\copy`` of the very rows that ours landed, from a CSV file into a table of the
same kind, without any of that. Both use one server with one configuration; rounds alternate, medians are compared.

Ours lands two tables, theirs one. ``psql`` therefore copies the downloads too, behind the hits and in the order in
which they came: both together are what is left when nothing is read, judged or weighed, and a transaction holds a whole
table.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


from analytics_core.db.pool import connect
from analytics_core.errors import ConfigError, Unavailable
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from benchmarks.database import Server, add_tenant, owner, start_server
from benchmarks.made_traffic import (
    EPISODES_A_PODCAST,
    Expected,
    TrafficShape,
    made_episodes,
    podcast_guid,
    write_traffic,
)
from benchmarks.workbench import (
    CannotMeasure,
    Comparison,
    Workbench,
    WrongResult,
    host_load,
    need_program,
    run_measurement,
)
from castledger_server.postgres_programs import find_programs

TIMESCALE_VARIABLE: Final = "CASTLEDGER_TEST_TIMESCALE_URL"
BUDGET_S: Final = 480.0
"""No round begins that would probably end later."""

_PODCASTS_AT_ONCE: Final = 1000
"""A tenant's are counted one by one, in one row, whose versions a transaction has to walk through each time."""

_ADD_PODCASTS: Final = """
insert into app.podcasts (tenant_id, podcast_id, tenant_no, podcast_guid, title, guid_declared, verified_at)
select $1, n.guid, $2, n.guid, 'Podcast', true, now() from unnest($3::uuid[]) as n(guid)
returning podcast_no, podcast_id"""

_STAGE: Final = """
create temporary table staged (place integer, podcast_no integer, podcast_id uuid, file_name text,
    enclosure_key uuid, length_bytes bigint, duration_s integer)"""

_ADD_EPISODES: Final = """
insert into app.episodes (tenant_id, episode_id, episode_no, podcast_id, podcast_no, tenant_no, guid, guid_from_feed,
    title, published_at, duration_s)
overriding system value
select $1, gen_random_uuid(), s.place + 1, s.podcast_id, s.podcast_no, $2, s.place::text, true, 'Episode',
    $3::date - (s.place % 300) - 1, s.duration_s
from staged s"""

_ADD_OWNERS: Final = """
insert into app.enclosure_owners (enclosure_key, bare_key, file_name, tenant_no, podcast_no, episode_no, length_bytes)
select s.enclosure_key, s.enclosure_key, s.file_name, $1, s.podcast_no, s.place + 1, s.length_bytes from staged s"""

_RESET: Final = """
truncate ts.listener_events, ts.downloads, ops.segments, ops.ingest_status, ops.dirty_marks, ops.days,
    ops.pending_hits, app.metrics_daily restart identity"""

_COUNT: Final = """
select (select count(*) from ts.listener_events) as hits, (select count(*) from ts.downloads) as downloads,
    (select coalesce(sum(hits), 0)::bigint from ops.segments) as fenced,
    (select count(*) from (select distinct episode_no, listener_key from ts.listener_events where verdict = 0) k)
        as listeners,
    (select count(*) from (select distinct episode_no, day from ts.downloads
        except select episode_no, day from ops.dirty_marks) m) as unmarked,
    (select count(*) from ops.pending_hits) as pending"""

_NATIVE_TABLE: Final = """
create schema theirs;
create table theirs.hits (like ts.listener_events including defaults) partition by range (occurred_at);
create index hits_at on theirs.hits using brin (occurred_at) with (pages_per_range = 32);
create table theirs.hits_of_day partition of theirs.hits
    for values from ('{day} 00:00+00') to ('{next_day} 00:00+00');
create table theirs.downloads (like ts.downloads including defaults including indexes) partition by range (day);
create table theirs.downloads_of_day partition of theirs.downloads for values from ('{day}') to ('{next_day}')"""

_TIMESCALE_TABLE: Final = """
create schema theirs;
create table theirs.hits (like ts.listener_events including defaults);
select public.create_hypertable('theirs.hits', public.by_range('occurred_at', interval '1 day'),
    create_default_indexes => false);
create index hits_at on theirs.hits using brin (occurred_at) with (pages_per_range = 32);
create table theirs.downloads (like ts.downloads including defaults including indexes);
select public.create_hypertable('theirs.downloads', public.by_range('day', interval '1 day'),
    create_default_indexes => false)"""

_RESULTS: Final = {
    "hits": "select * from ts.listener_events",
    "downloads": "select * from ts.downloads order by segment_no, ordinal",
}
"""What ours landed, by what theirs calls it, in the order in which it came."""


def _find_psql() -> str:
    """Find ``psql``, the one that belongs to the server if there is one.

    Raises:
        CannotMeasure: There is none.
    """
    try:
        programs = find_programs()
    except ConfigError as error:
        raise CannotMeasure(" / ".join(error.faults)) from error
    beside = programs[0].bin_dir / "psql" if programs else None
    return str(beside) if beside is not None and beside.exists() else need_program("psql", package="postgresql")


async def fill_catalogue(database: DatabaseSettings, shape: TrafficShape) -> None:
    """Store the podcasts and episodes that are asked for."""
    tenant = await add_tenant(database)
    conn = await connect(database, Role.API, application_name="bench")
    try:
        await conn.execute(
            "select set_config('app.tenant_id', $1, false), set_config('app.tenant_no', $2, false)",
            str(tenant.tenant_id),
            str(int(tenant.tenant_no)),
        )
        guids = [podcast_guid(podcast) for podcast in range((shape.episodes - 1) // EPISODES_A_PODCAST + 1)]
        numbers: dict[UUID, int] = {}
        for at in range(0, len(guids), _PODCASTS_AT_ONCE):
            few = guids[at : at + _PODCASTS_AT_ONCE]
            rows = await conn.fetch(_ADD_PODCASTS, tenant.tenant_id, tenant.tenant_no, few)
            numbers |= {row["podcast_id"]: row["podcast_no"] for row in rows}

        def staged() -> Iterator[tuple[Any, ...]]:
            for episode in made_episodes(shape.episodes):
                guid = guids[episode.podcast]
                yield (
                    episode.place,
                    numbers[guid],
                    guid,
                    episode.file_name,
                    episode.enclosure_key,
                    episode.length_bytes,
                    episode.duration_s,
                )

        await conn.execute(_STAGE)
        await conn.copy_records_to_table("staged", records=staged(), schema_name="pg_temp")
        await conn.execute(_ADD_EPISODES, tenant.tenant_id, tenant.tenant_no, shape.day)
        await conn.execute(_ADD_OWNERS, tenant.tenant_no)
    finally:
        await conn.close()


class Work(NamedTuple):
    """What one side took.

    Attributes:
        seconds: On the clock.
        client_s: Processor time of the process that sends.
        server_s: Processor time of PostgreSQL; ``None`` where that is not known.
    """

    seconds: float
    client_s: float
    server_s: float | None


class Sides:
    """Both sides of the comparison.

    Args:
        bench: The bench.
        server: The database.
        shape: Of the traffic.
        batch_hits: Most hits that ingest lands at once; by default its own setting.
    """

    def __init__(self, bench: Workbench, server: Server, shape: TrafficShape, *, batch_hits: int | None) -> None:
        self._bench = bench
        self._server = server
        self._shape = shape
        self._psql_program = _find_psql()
        self._kept = bench.folder / "kept"
        self._data_dir = bench.folder / "ingest"
        self._environ = {
            "DATABASE_URL": str(server.database.url),
            "CASTLEDGER_DATA_DIR": str(self._data_dir),
            "CASTLEDGER_LOG_LEVEL": "warning",
        }
        if batch_hits is not None:
            self._environ["CASTLEDGER_INGEST_BATCH"] = str(batch_hits)
        self._kept.mkdir()
        self.expected = write_traffic(self._kept, shape)

    def ours(self, *, rollups: bool) -> dict[str, Any]:
        """Land the spool into an empty ledger and check what is there; return what it took."""
        asyncio.run(self._execute(_RESET))
        spool = self._data_dir / "spool"
        shutil.rmtree(spool, ignore_errors=True)
        spool.mkdir(parents=True)
        for path in self._kept.iterdir():
            # Ingest removes what has landed; this name of it stays.
            os.link(path, spool / path.name)
        os.sync()
        server_s = self._server_s()
        command = [sys.executable, "-m", "benchmarks.ship_spool"]
        found: dict[str, Any] = json.loads(
            self._bench.run([*command, "--rollups"] if rollups else command, environ=self._environ)
        )
        found["work"] = Work(found["seconds"], found["cpu_s"], self._since(server_s))
        self._check(rolled_up=rollups)
        return found

    def _server_s(self) -> float | None:
        return self._server.processor_s() if self._server.processor_s is not None else None

    def _since(self, before: float | None) -> float | None:
        now = self._server_s()
        return None if before is None or now is None else now - before

    def _check(self, *, rolled_up: bool) -> None:
        async def count() -> Any:
            async with owner(self._server.database) as conn:
                return await conn.fetchrow(_COUNT)

        there, expected = asyncio.run(count()), self.expected
        found = (there["hits"], there["fenced"], there["downloads"], there["listeners"], there["pending"])
        if found != (expected.hits, expected.hits, expected.downloads, expected.downloads, 0):
            raise WrongResult(f"landed {dict(there)}, expected {expected}")
        if there["unmarked"] and not rolled_up:
            raise WrongResult(f"{there['unmarked']} days of episodes have downloads but no mark")

    def theirs(self) -> dict[str, Work]:
        """Copy the rows that ours landed last into empty tables; return what each of ``_RESULTS`` took."""
        if not all(self._csv(table).exists() for table in _RESULTS):
            for table, rows in _RESULTS.items():
                self._psql(f"\\copy ({rows}) to '{self._csv(table)}' csv")
            day = self._shape.day
            made = _NATIVE_TABLE if self._server.storage == "daily partition" else _TIMESCALE_TABLE
            asyncio.run(self._execute(made.format(day=day, next_day=day + dt.timedelta(days=1))))
        asyncio.run(self._execute("truncate theirs.hits, theirs.downloads"))
        return {table: self._copy(table) for table in _RESULTS}

    def _copy(self, table: str) -> Work:
        os.sync()
        server_s, client = self._server_s(), resource.getrusage(resource.RUSAGE_CHILDREN)
        began_s = time.perf_counter()
        self._psql(f"\\copy theirs.{table} from '{self._csv(table)}' csv")
        seconds = time.perf_counter() - began_s
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        client_s = after.ru_utime + after.ru_stime - client.ru_utime - client.ru_stime
        work = Work(seconds, client_s, self._since(server_s))

        async def count() -> int:
            async with owner(self._server.database) as conn:
                return int(await conn.fetchval(f"select count(*) from theirs.{table}"))

        if asyncio.run(count()) != getattr(self.expected, table):
            raise WrongResult(f"psql has not copied all {table}")
        return work

    def _csv(self, table: str) -> Path:
        return self._bench.folder / f"{table}.csv"

    def _psql(self, command: str) -> None:
        self._bench.run(
            [self._psql_program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command, str(self._server.database.url)],
            environ={"PGOPTIONS": f"-c role={Role.OWNER.value} -c timezone=UTC"},
        )

    async def _execute(self, statements: str) -> None:
        async with owner(self._server.database) as conn:
            await conn.execute(statements)


def _describe(found: dict[str, Any], expected: Expected) -> str:
    steps = sorted(found["steps"].items(), key=lambda step: -step[1])
    named = ", ".join(f"{name} {seconds / expected.hits * 1e6:.2f}" for name, seconds in steps)
    other = (found["seconds"] - sum(found["steps"].values())) / expected.hits * 1e6
    return f"where the time goes, us a hit: {named}, reading and the rest {other:.2f}"


def _processor(works: list[Work], hits: int) -> dict[str, float]:
    """Name what a hit takes of each process, in microseconds: the median of all rounds."""
    taken = {"client": statistics.median(work.client_s for work in works)}
    server = [work.server_s for work in works if work.server_s is not None]
    if server:
        taken["postgresql"] = statistics.median(server)
    return {name: round(seconds / hits * 1e6, 2) for name, seconds in taken.items()}


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Run all rounds."""
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    shape = TrafficShape(options.hits, options.episodes, options.repeats, options.frame_hits, yesterday)
    try:
        server = start_server(bench, options.server_setting)
        asyncio.run(fill_catalogue(server.database, shape))
    except Unavailable as error:
        raise WrongResult(str(error)) from error
    sides = Sides(bench, server, shape, batch_hits=options.batch_hits)
    expected = sides.expected
    print(
        f"PostgreSQL {server.version}, {server.storage}; {expected.hits:,} hits, {shape.episodes:,} episodes, "
        f"{shape.repeats:.0%} repeats, {expected.downloads:,} downloads; spool of {expected.spool_bytes / 2**20:,.0f} "
        f"MiB in {expected.segments} segments; ready after {bench.elapsed_s:.0f} s",
        flush=True,
    )
    ours: list[float] = []
    theirs: list[float] = []
    both: list[float] = []
    their_work: list[Work] = []
    their_downloads: list[Work] = []
    runs: list[dict[str, Any]] = []
    longest_s = 0.0
    while len(ours) < options.rounds and (not ours or bench.elapsed_s + longest_s < BUDGET_S):
        began_s = bench.elapsed_s
        run = sides.ours(rollups=options.rollups and not ours)
        runs.append(run)
        ours.append(expected.hits / run["seconds"])
        copied = sides.theirs()
        their_work.append(copied["hits"])
        theirs.append(expected.hits / copied["hits"].seconds)
        their_downloads.append(copied["downloads"])
        both.append(expected.hits / sum(work.seconds for work in copied.values()))
        print(
            f"round {len(ours)}: {ours[-1]:,.0f} against {theirs[-1]:,.0f} rows/s: {ours[-1] / theirs[-1]:.2f}; "
            f"copied with its downloads {both[-1]:,.0f}: {both[-1] / theirs[-1]:.2f}; "
            f"peak memory of ingest {run['peak_mib']:.0f} MiB",
            flush=True,
        )
        longest_s = max(longest_s, bench.elapsed_s - began_s)
    middle = sorted(runs, key=lambda run: float(run["seconds"]))[len(runs) // 2]
    print(_describe(middle, expected))
    processor_us = {
        "ours": _processor([run["work"] for run in runs], expected.hits),
        "theirs": _processor(their_work, expected.hits),
        "copying downloads": _processor(their_downloads, expected.hits),
    }
    for side, taken in processor_us.items():
        parts = ", ".join(f"{name} {us:.2f}" for name, us in taken.items())
        print(f"processor time of {side}, us a hit: {parts}; together {sum(taken.values()):.2f}")
    if options.rollups:
        print(f"rollups of the whole day, afterwards: {runs[0]['rollups_s']:.1f} s", flush=True)
    one, other, bare = (statistics.median(rates) for rates in (ours, theirs, both))
    print(
        f"hits and downloads copied by psql: {bare:,.0f} hits/s, {bare / other:.2f} times \\copy of hits alone; "
        f"ours is {one / bare:.2f} times that",
        flush=True,
    )
    return Comparison(
        "ingest",
        one,
        other,
        "rows/s",
        one / other,
        {
            "hits": expected.hits,
            "episodes": shape.episodes,
            "downloads": expected.downloads,
            "storage": server.storage,
            "postgresql": server.version,
            "rounds": [[round(rate) for rate in rates] for rates in zip(ours, theirs, both, strict=True)],
            "both_tables": round(bare, 1),
            "steps_s": middle["steps"],
            "processor_us": processor_us,
            "peak_mib": round(max(run["peak_mib"] for run in runs), 1),
            "rollups_s": round(runs[0]["rollups_s"], 1) if options.rollups else None,
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="ingest.py", description=__doc__)
    add = parser.add_argument
    add("--hits", type=int, default=5_000_000, help="hits to land (default 5,000,000)")
    add("--episodes", type=int, default=5_000, help="episodes in the catalogue (default 5,000; try 5,000,000)")
    add("--repeats", type=float, default=0.3, help="share of hits that repeat a download (default 0.3)")
    add("--frame-hits", type=int, default=32, help="hits a frame of the spool (default 32; a quiet tracker writes 1)")
    add("--batch-hits", type=int, help="hits that ingest lands at once (default: its own setting)")
    add("--rounds", type=int, default=5, help="most alternating rounds, as time allows (default 5)")
    add("--rollups", action="store_true", help="time the rollups of the whole day too, after the first round")
    add("--server-setting", action="append", default=[], metavar="LINE", help="for postgresql.conf; repeatable")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
