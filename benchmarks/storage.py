"""What a stored hit and a stored download weigh once compressed: ``python benchmarks/storage.py``.

A day of made-up traffic lands through ingest in a TimescaleDB server that is lent. Copies of its rows are compressed as
the schema has it, and then in each other way that is worth a thought; bytes, rows a batch, and the time of the queries
that read or change compressed rows are printed for each. The goal stands for the other side.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analytics_core.db.pool import Connection
from analytics_core.errors import Unavailable
from benchmarks.database import TIMESCALE_VARIABLE, owner, start_server
from benchmarks.ingest import Sides, fill_catalogue
from benchmarks.made_traffic import TrafficShape
from benchmarks.workbench import CannotMeasure, Comparison, Workbench, WrongResult, host_load, median, run_measurement

GOALS: Final = {"listener_events": 40.0, "downloads": 60.0}
"""Bytes a row, its share of everything that compression keeps included."""

_HITS: Final = (
    ("", "podcast_no, episode_no, occurred_at"),
    ("", "podcast_no, occurred_at"),
    ("", "podcast_no, episode_no, listener_key"),
    ("", "occurred_at"),
    ("tenant_no", "podcast_no, episode_no, occurred_at"),
    ("podcast_no", "episode_no, occurred_at"),
    ("podcast_no", "occurred_at"),
)
_DOWNLOADS: Final = (
    ("", "podcast_no, episode_no, listener_key"),
    ("", "episode_no, listener_key"),
    ("", "episode_no, occurred_at"),
    ("tenant_no", "episode_no, listener_key"),
    ("podcast_no", "episode_no, listener_key"),
)
"""Segments and order; the schema's comes first."""

_COPY: Final = """
create table theirs.{name} (like ts.{table} including defaults including indexes);
select public.create_hypertable('theirs.{name}', public.by_range('{column}', interval '1 day'),
    create_default_indexes => false);
alter table theirs.{name} set (timescaledb.compress, timescaledb.compress_segmentby = '{segment}',
    timescaledb.compress_orderby = '{order}');
insert into theirs.{name} select * from ts.{table}"""

_COMPRESS: Final = """
select public.compress_chunk(c) from public.show_chunks('theirs.{name}') c"""

_SIZE: Final = """
select sum(before_compression_total_bytes)::bigint as before, sum(after_compression_total_bytes)::bigint as after
from public.chunk_compression_stats('theirs.{name}')"""

_BATCHES: Final = """
select format('%I.%I', s.schema_name, s.table_name) from _timescaledb_catalog.chunk c
join _timescaledb_catalog.hypertable h on h.id = c.hypertable_id
join _timescaledb_catalog.chunk s on s.id = c.compressed_chunk_id
where h.schema_name = 'theirs' and h.table_name = $1"""

# A popular episode, one of the middle, and one of the long tail that somebody asked for.
_EPISODES: Final = """
select (array_agg(e order by n desc))[1], (array_agg(e order by n desc))[1000], (array_agg(e order by n))[1]
from (select (podcast_no, episode_no) as e, count(*) as n from ts.downloads group by 1) c"""

_EXPLAIN: Final = """
select verdict_bits, evidence, count(*) from theirs.{name}
where occurred_at >= $1::date and occurred_at < $1::date + 1 and podcast_no = $2 and episode_no = $3 group by 1, 2"""
_MINUTE: Final = """
select count(*) from theirs.{name} where occurred_at between $1::date + interval '12 hours'
    and $1::date + interval '12 hours 1 minute' and segment_no = $2 and ordinal = $3"""
_RECOMPUTE: Final = """
select agent_no, country, count(*) from theirs.{name} where day = $1::date and episode_no = $3 group by 1, 2
having $2::integer is not null"""
_LISTENERS: Final = """
select count(distinct listener_key) from theirs.{name} where day = $1::date and podcast_no = $2"""
_LATE: Final = """
insert into theirs.{name} as old select day, episode_no, md5(listener_key::text)::uuid, occurred_at, segment_no,
    ordinal, tenant_no, podcast_no, agent_no, referrer_no, feed_app_no, country, evidence, source
from ts.downloads where ordinal % 1000 = 0 order by 1, 2, 3
on conflict (day, episode_no, listener_key) do update set evidence = 3 where old.evidence < excluded.evidence"""


class Found(NamedTuple):
    """What one way of compressing came to: bytes and rows a batch, and milliseconds by query."""

    bytes_a_row: float
    plain_bytes_a_row: float
    rows_a_batch: float
    milliseconds: dict[str, float]


async def _milliseconds(conn: Connection, query: str, *arguments: Any, times: int = 5) -> float:
    taken = []
    for _ in range(times):
        began_s = time.perf_counter()
        await conn.fetch(query, *arguments)
        taken.append((time.perf_counter() - began_s) * 1e3)
    return round(median(taken), 1)


async def _try(conn: Connection, table: str, way: tuple[str, str], number: int, day: dt.date) -> Found:
    """Compress a copy of the rows in one way and measure it."""
    name = f"{table}_{number}"
    column = "day" if table == "downloads" else "occurred_at"
    await conn.execute(_COPY.format(name=name, table=table, column=column, segment=way[0], order=way[1]))
    await conn.execute(_COMPRESS.format(name=name))
    rows = await conn.fetchval(f"select count(*) from theirs.{name}")
    (size,) = await conn.fetch(_SIZE.format(name=name))
    batches = 0
    for row in await conn.fetch(_BATCHES, name):
        await conn.execute(f"analyze {row[0]}")
        batches += await conn.fetchval(f"select count(*) from {row[0]}")
    taken = {}
    popular, middle, small = (await conn.fetch(_EPISODES))[0]
    for label, (podcast_no, episode_no) in (("popular", popular), ("middle", middle), ("small", small)):
        query = _RECOMPUTE if table == "downloads" else _EXPLAIN
        taken[label] = await _milliseconds(conn, query.format(name=name), day, podcast_no, episode_no)
    if table == "downloads":
        taken["podcast"] = await _milliseconds(conn, _LISTENERS.format(name=name), day, popular[0])
        taken["late"] = await _milliseconds(conn, _LATE.format(name=name), times=1)
    else:
        taken["hit"] = await _milliseconds(conn, _MINUTE.format(name=name), day, 1, 500)
    await conn.execute(f"drop table theirs.{name}")
    return Found(size["after"] / rows, size["before"] / rows, rows / max(batches, 1), taken)


async def _measure(bench: Workbench, options: argparse.Namespace) -> dict[str, list[tuple[tuple[str, str], Found]]]:
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    shape = TrafficShape(options.hits, options.episodes, 0.3, 32, yesterday)
    server = await asyncio.to_thread(start_server, bench, ())
    await fill_catalogue(server.database, shape)
    sides = Sides(bench, server, shape, batch_hits=None)
    await asyncio.to_thread(sides.ours, rollups=False)
    print(
        f"PostgreSQL {server.version}, {server.storage}; {sides.expected.hits:,} hits and {sides.expected.downloads:,} "
        f"downloads of {shape.episodes:,} episodes; ready after {bench.elapsed_s:.0f} s",
        flush=True,
    )
    found: dict[str, list[tuple[tuple[str, str], Found]]] = {}
    async with owner(server.database) as conn:
        await conn.execute("create schema theirs; set timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
        for table, ways in (("listener_events", _HITS), ("downloads", _DOWNLOADS)):
            for number, way in enumerate(ways):
                one = await _try(conn, table, way, number, yesterday)
                found.setdefault(table, []).append((way, one))
                times = ", ".join(f"{label} {taken}" for label, taken in one.milliseconds.items())
                print(
                    f"{table}, segments by {way[0] or 'nothing'}, ordered by {way[1]}: {one.bytes_a_row:.1f} bytes a "
                    f"row ({one.plain_bytes_a_row:.0f} before), {one.rows_a_batch:.0f} rows a batch; ms: {times}",
                    flush=True,
                )
    return found


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Land the traffic, and compress it in all ways; the schema's comes first."""
    if not os.environ.get(TIMESCALE_VARIABLE):
        raise CannotMeasure(f"set {TIMESCALE_VARIABLE} to the URL of a superuser of a TimescaleDB server")
    try:
        found = asyncio.run(_measure(bench, options))
    except Unavailable as error:
        raise WrongResult(str(error)) from error
    hit, download = found["listener_events"][0][1], found["downloads"][0][1]
    return Comparison(
        "storage",
        round(hit.bytes_a_row, 1),
        GOALS["listener_events"],
        "bytes/hit",
        GOALS["listener_events"] / hit.bytes_a_row,
        {
            "download_bytes": round(download.bytes_a_row, 1),
            "download_goal": GOALS["downloads"],
            "ways": {
                table: [{"segment": way[0], "order": way[1], **one._asdict()} for way, one in ways]
                for table, ways in found.items()
            },
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="storage.py", description=__doc__)
    add = parser.add_argument
    add("--hits", type=int, default=1_000_000, help="hits to land (default 1,000,000)")
    add("--episodes", type=int, default=100_000, help="episodes in the catalogue (default 100,000)")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
