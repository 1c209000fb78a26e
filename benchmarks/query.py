"""Reports over a year of a large podcast: ``python benchmarks/query.py``.

One podcast with 1,000 episodes and 100 million downloads in a year, as its rollups say. The API as it is served is
asked over one kept connection, one request at a time; ranges change from request to request, no entity tag is sent, and
the API keeps no figures in memory. Ours is the slowest of four kinds of reports by its 99th percentile (by day, and by
episode, app and country by month); what it is held against is the goal of 20 ms.

Beside them the same reports of a smaller podcast, once by the API and once counted from its hits by plain SQL: the
answers have to be equal.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import http.client
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analytics_core.db.pool import Connection, Tenant, connect
from analytics_core.db.tenants import create_key
from analytics_core.errors import Unavailable
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from benchmarks.database import add_tenant, owner, start_server
from benchmarks.made_podcast import MadeYear, add_made_podcast, make_downloads
from benchmarks.made_rollups import make_rollups
from benchmarks.page import Timing, serve
from benchmarks.workbench import Comparison, Workbench, WrongResult, host_load, resident_mib, run_measurement
from ingest.rollups import refresh_listeners, refresh_rollups

GOAL_MS: Final = 20.0
PART_DAYS: Final = 30
_DAY: Final = dt.timedelta(days=1)
_VACUUMED: Final = (
    "app.metrics_daily, app.podcast_daily, app.podcast_months, app.listener_months, app.episodes, ts.downloads,"
    " ts.listener_events"
)

# Three of ten downloads are asked for once more, later on the same day.
_HITS: Final = """
insert into ts.listener_events (occurred_at, range_kind, range_first, range_last, listener_key, segment_no, ordinal,
    tenant_no, podcast_no, episode_no, agent_no, referrer_no, feed_app_no, verdict_bits, verdict, evidence, country,
    kind, method, flags, source, rules)
select occurred_at + (d.day + 1 - occurred_at at time zone 'UTC') / 2 * n, 0, -1, -1, listener_key, segment_no,
    ordinal + 100000000 * n, tenant_no, podcast_no, episode_no, agent_no, referrer_no, feed_app_no, 0, 0, evidence,
    country, 1, 0, 0, 1, 1
from ts.downloads d cross join generate_series(0, 1) as n where podcast_no = $1 and (n = 0 or ordinal % 10 < 3)"""

# The rule of downloads as anyone would write it down: the best hit of a listener, an episode and a day.
_PLAIN: Final = """
select {key}, count(*) as downloads from (
    select distinct on (day, episode_no, listener_key) *
    from (
        select *, (occurred_at at time zone 'UTC')::date as day from ts.listener_events
        where podcast_no = $1 and verdict_bits = 0 and kind = 1 and occurred_at >= $2 and occurred_at < $3
    ) h order by day, episode_no, listener_key, evidence desc, occurred_at, segment_no, ordinal
) w {join} group by 1"""
_PLAIN_PARTS: Final = {
    "day": ("w.day::text", ""),
    "episode": ("e.episode_id::text", "join app.episodes e using (episode_no)"),
    "app": ("a.app", "join ops.agents a using (agent_no)"),
    "country": ("case w.country when 0 then '' else chr(w.country / 256) || chr(w.country % 256) end", ""),
}


class Podcast(NamedTuple):
    """A podcast to be asked about."""

    podcast_id: str
    podcast_no: int
    downloads: int


class Made(NamedTuple):
    """The large podcast, and the one that has its hits too."""

    key: str
    large: Podcast
    part: Podcast


class Report(NamedTuple):
    """A kind of request: the parameters of the nth one."""

    name: str
    path: str
    query: Callable[[int], dict[str, str]]
    is_goal: bool = False


class Client:
    """One client on one kept connection.

    Args:
        port: Of the API, on loopback.
        key: To sign with.
    """

    def __init__(self, port: int, key: str) -> None:
        self._headers = {"Authorization": f"Bearer {key}"}
        self._conn = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def get(self, path: str, query: dict[str, str]) -> tuple[float, bytes]:
        """Ask; return the milliseconds that it took, and the body.

        Raises:
            WrongResult: The answer is not good.
        """
        began_s = time.perf_counter()
        self._conn.request("GET", f"/api/v1/analytics/{path}?{urlencode(query)}", headers=self._headers)
        answer = self._conn.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - began_s) * 1000
        if answer.status != 200:
            raise WrongResult(f"{path} {query} was answered with {answer.status}: {body[:300]!r}")
        return took_ms, body

    def rows(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """Read the rows of an answer."""
        found: list[dict[str, Any]] = json.loads(self.get(path, query)[1])["data"]
        return found


async def fill(database: DatabaseSettings, large: MadeYear, part: MadeYear, *, downloads: int) -> Made:
    """Make both podcasts."""
    tenant: Tenant = await add_tenant(database)
    auth = await connect(database, Role.AUTH, application_name="bench")
    try:
        key = await create_key(auth, tenant, name="bench")
    finally:
        await auth.close()
    api = await connect(database, Role.API, application_name="bench")
    try:
        async with api.transaction():
            await api.execute(
                "select set_config('app.tenant_id', $1, true), set_config('app.tenant_no', $2, true)",
                str(tenant.tenant_id),
                str(int(tenant.tenant_no)),
            )
            rows = [await add_made_podcast(api, tenant, year) for year in (large, part)]
    finally:
        await api.close()
    ingest = await connect(database, Role.INGEST, application_name="bench")
    try:
        counts = [
            await make_rollups(ingest, tenant, rows[0].podcast_no, large, downloads=downloads),
            await make_downloads(ingest, tenant, rows[1].podcast_no, part),
        ]
        await ingest.execute(_HITS, rows[1].podcast_no)
        while await refresh_rollups(ingest):
            continue
        while await refresh_listeners(ingest, at_most_every=None):
            continue
    finally:
        await ingest.close()
    # What autovacuum would have done in a year.
    async with owner(database) as conn:
        await conn.execute(f"vacuum (analyze) {_VACUUMED}")
    podcasts = [Podcast(str(row.podcast_id), row.podcast_no, count) for row, count in zip(rows, counts, strict=True)]
    return Made(key, *podcasts)


def find_reports(made: Made, episode_ids: Sequence[str], today: dt.date) -> list[Report]:
    """Name the reports that are measured."""

    def year(number: int) -> dict[str, str]:
        # A year that ends on another day each time.
        end = today + _DAY - number % 31 * _DAY
        return {"podcast_id": made.large.podcast_id, "from": str(end - 335 * _DAY), "to": str(end)}

    def by(dimension: str, **more: str) -> Callable[[int], dict[str, str]]:
        return lambda number: {**year(number), "by": dimension, "limit": "20", **more}

    def of_episode(number: int) -> dict[str, str]:
        return {**year(number), "podcast_id": "", "episode_id": episode_ids[number % len(episode_ids)]}

    return [
        Report("by day", "downloads", year, True),
        Report("by episode, month by month", "downloads", by("episode", interval="month"), True),
        Report("by app, month by month", "downloads", by("app", interval="month"), True),
        Report("by country, month by month", "downloads", by("country", interval="month"), True),
        Report("by app, day by day", "downloads", by("app")),
        Report("by episode, day by day", "downloads", by("episode")),
        Report("by app, months of Kathmandu", "downloads", by("app", interval="month", tz="Asia/Kathmandu")),
        Report("an episode by day", "downloads", lambda number: {k: v for k, v in of_episode(number).items() if v}),
        Report("overview", "overview", year),
        Report("curves of 50 episodes", "curves", lambda number: {"podcast_id": made.large.podcast_id}),
    ]


def time_reports(client: Client, reports: Sequence[Report], *, requests: int, budget_s: float) -> dict[str, Timing]:
    """Ask for all reports in turn, each so many times or as often as time allows."""
    times: dict[str, list[float]] = {report.name: [] for report in reports}
    sizes = dict.fromkeys(times, 0)
    ends_s = time.monotonic() + budget_s
    for number, report in itertools.product(range(requests), reports):
        if report is reports[0] and number > 1 and time.monotonic() > ends_s:
            break
        took_ms, body = client.get(report.path, report.query(number))
        times[report.name].append(took_ms)
        sizes[report.name] = max(sizes[report.name], len(body))
    return {name: Timing(times[name], sizes[name]) for name in times}


async def count_plainly(
    conn: Connection, podcast_no: int, first: dt.date, end: dt.date, by: str
) -> tuple[float, dict[str, int]]:
    """Count a podcast's downloads from its hits; return the milliseconds, the median of three, and the figures."""
    key, join = _PLAIN_PARTS[by]
    start, until = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (first, end))
    times = []
    counted: dict[str, int] = {}
    for _ in range(3):
        began_s = time.perf_counter()
        rows = await conn.fetch(_PLAIN.format(key=key, join=join), podcast_no, start, until)
        times.append((time.perf_counter() - began_s) * 1000)
        counted = {row[0]: row["downloads"] for row in rows}
    return statistics.median(times), counted


async def compare_with_hits(
    database: DatabaseSettings, client: Client, part: Podcast, today: dt.date
) -> dict[str, tuple[float, float]]:
    """Ask the API and the hits for the same figures; return the milliseconds of both by the kind of report.

    Raises:
        WrongResult: They differ.
    """
    first, end = today - (PART_DAYS - 1) * _DAY, today + _DAY
    query = {"podcast_id": part.podcast_id, "from": str(first), "to": str(end)}
    found = {}
    conn = await connect(database, Role.INGEST, application_name="bench")
    try:
        for by in _PLAIN_PARTS:
            asked = query if by == "day" else {**query, "by": by, "interval": "month", "limit": "1000"}
            ours = [client.get("downloads", asked)[0] for _ in range(3)]
            figures: dict[str, int] = {}
            for row in client.rows("downloads", asked):
                key = row["start"][:10] if by == "day" else row["key"]
                figures[key] = figures.get(key, 0) + row["downloads"]
            plain_ms, counted = await count_plainly(conn, part.podcast_no, first, end, by)
            if {key: n for key, n in figures.items() if n} != counted:
                raise WrongResult(f"by {by} the API's figures are not what the hits say")
            found[by] = (statistics.median(ours), plain_ms)
    finally:
        await conn.close()
    return found


def check_sums(client: Client, made: Made, year: MadeYear) -> None:
    """Make sure that every breakdown adds up to what was made.

    Raises:
        WrongResult: One does not.
    """
    query = {"podcast_id": made.large.podcast_id, "from": str(year.first), "to": str(year.today + _DAY)}
    for more in (
        {},
        {"by": "app", "limit": "20"},
        {"by": "episode", "limit": "20"},
        {"by": "country", "tz": "Asia/Kathmandu", "limit": "5"},
    ):
        rows = client.rows("downloads", {**query, **more, "interval": "month"})
        total = sum(row["downloads"] for row in rows)
        if "tz" not in more and total != made.large.downloads:
            raise WrongResult(f"{more} adds up to {total:,} of {made.large.downloads:,} downloads")
        if "by" in more and not any(row["values"] for row in rows):
            raise WrongResult(f"{more} has nothing beyond its limit")


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Make the podcasts and time their reports."""
    today = dt.datetime.now(dt.UTC).date()
    large = MadeYear(today, days=options.days, episodes=options.episodes, host="large.example.com")
    part = MadeYear(today, days=PART_DAYS, episodes=100)
    try:
        server = start_server(bench, options.server_setting)
        made = asyncio.run(fill(server.database, large, part, downloads=options.downloads))
    except Unavailable as error:
        raise WrongResult(str(error)) from error
    print(
        f"PostgreSQL {server.version}, {server.storage}; {made.large.downloads:,} downloads in rollups and"
        f" {made.part.downloads:,} with their hits; ready after {bench.elapsed_s:.0f} s",
        flush=True,
    )
    pid, port = serve(bench, server.database)
    client = Client(port, made.key)
    check_sums(client, made, large)
    curves = client.rows("curves", {"podcast_id": made.large.podcast_id, "limit": "200"})
    reports = find_reports(made, [row["episode_id"] for row in curves], today)
    found = time_reports(client, reports, requests=options.requests, budget_s=options.budget_s)
    print(f"{'ms':34}{'p50':>7}{'p99':>8}{'most':>8}{'KB':>9}")
    for name, timing in found.items():
        print(
            f"{name:34}{timing.percentile(50):7.1f}{timing.percentile(99):8.1f}{max(timing.times):8.1f}"
            f"{timing.size / 1000:9.1f}"
        )
    beside = asyncio.run(compare_with_hits(server.database, client, made.part, today))
    print(f"{'the same figures, ms':34}{'rollups':>9}{'hits by SQL':>13}")
    for by, (ours_ms, plain_ms) in beside.items():
        print(f"{'by ' + by:34}{ours_ms:9.1f}{plain_ms:13.1f}")
    goals = [report.name for report in reports if report.is_goal]
    slowest = max(found[name].percentile(99) for name in goals)
    return Comparison(
        "query",
        slowest,
        GOAL_MS,
        "ms",
        GOAL_MS / slowest,
        {
            "episodes": large.episodes,
            "days": large.days,
            "downloads": made.large.downloads,
            "storage": server.storage,
            "postgresql": server.version,
            "requests": min(len(timing.times) for timing in found.values()),
            "p50_ms": {name: round(timing.percentile(50), 1) for name, timing in found.items()},
            "p99_ms": {name: round(timing.percentile(99), 1) for name, timing in found.items()},
            "p99_of_rounds_ms": {
                name: [round(value, 1) for value in timing.percentiles(99)] for name, timing in found.items()
            },
            "part_downloads": made.part.downloads,
            "part_ms": {by: [round(value, 1) for value in pair] for by, pair in beside.items()},
            "api_mib": round(resident_mib(pid), 1),
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="query.py", description=__doc__)
    add = parser.add_argument
    add("--episodes", type=int, default=1000, help="episodes of the large podcast (default 1000)")
    add("--days", type=int, default=366, help="days with downloads (default 366)")
    add("--downloads", type=int, default=100_000_000, help="downloads of the large podcast (default 100 million)")
    add("--requests", type=int, default=500, help="requests of each kind in five rounds, as time allows (default 500)")
    add("--budget-s", type=float, default=240.0, help="seconds to ask for (default 240)")
    add("--server-setting", action="append", default=[], metavar="LINE", help="for postgresql.conf; repeatable")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
