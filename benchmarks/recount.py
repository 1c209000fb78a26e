"""Recounts of stored hits: ``python benchmarks/recount.py``.

Some days of hits are made by SQL, downloads of them as a restatement makes them. Then ``castledger recount`` is called
as an operator calls it: once under the same rules, once after a table of agents has changed its mind about one agent,
whose hits are 2 % of all, and once under another profile. What counts is all processor time that this takes, of the
command and of the database together: hits a second of one core. The goal stands for the other side.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analytics_core.db.pool import connect
from analytics_core.db.restating import hold_day, replace_downloads
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from benchmarks.database import TIMESCALE_VARIABLE, owner, start_server
from benchmarks.ingest import fill_catalogue
from benchmarks.made_traffic import EPISODES_A_PODCAST, TrafficShape
from benchmarks.workbench import ROOT, CannotMeasure, Comparison, Workbench, WrongResult, host_load, run_measurement

GOAL: Final = 100_000.0
"""Hits a second of one core."""
MOST_MIB: Final = 300.0

_AGENTS: Final = 500
_REPEATS: Final = 0.3

_ADD_AGENTS: Final = """
insert into ops.agents (agent_hash, user_agent, kind, app, device, rule, table_version)
select md5(n::text)::uuid, 'Agent ' || n, case when n % 10 = 0 then 4 else 1 end, 'App ' || n, '', 'made', 'two'
from generate_series(1, $1::integer) as n"""

# One hit in fifty is of the first agent; the others are of all in turn. A lone probe is one in ten.
_ADD_HITS: Final = """
insert into ts.listener_events (occurred_at, range_first, range_last, listener_key, segment_no, ordinal, tenant_no,
    podcast_no, episode_no, agent_no, referrer_no, feed_app_no, verdict_bits, verdict, evidence, country, kind, method,
    range_kind, flags, source, rules, asn, networks)
select ($1::date)::timestamp at time zone 'UTC' + h.n * interval '1 day' / $2, case when h.probe then 0 else -1 end,
    case when h.probe then 1 else -1 end, md5(h.listener::text)::uuid, $3, h.n, t.tenant_no,
    1 + (h.listener % $4) / $5, 1 + h.listener % $4, h.agent, 0, 0, case when h.bot then 32 else 0 end,
    case when h.bot then 6 else 0 end, case when h.bot then 0 when h.probe then 1 else 3 end, 21843, 1, 0,
    case when h.probe then 1 else 0 end, 0, 1, 1, 0, 0
from (
    select n, (n::bigint * 7919) % ($2 * $7::float)::bigint as listener, n % 10 = 0 as probe,
        case when n % 50 = 0 then 1 else 1 + n % $6 end as agent,
        n % 50 <> 0 and (1 + n % $6) % 10 = 0 as bot
    from generate_series(0, $2::integer - 1) as n
) h cross join app.tenants t"""

_CHANGE_MIND: Final = """
with old as (
    update ops.agents set agent_hash = gen_random_uuid(), superseded_hash = agent_hash where agent_no = 1
    returning superseded_hash
)
insert into ops.agents (agent_hash, user_agent, kind, app, device, rule, table_version)
select superseded_hash, 'Agent 1', 4, 'Bot', '', 'made', 'two' from old"""


class Run(NamedTuple):
    """What one recount took."""

    label: str
    changed: int
    command_s: float
    database_s: float
    wall_s: float
    peak_mib: float

    @property
    def processor_s(self) -> float:
        """Of both."""
        return self.command_s + self.database_s


def _postmaster(bench: Workbench) -> int:
    found = list(bench.folder.rglob("postmaster.pid"))
    if not found:
        raise CannotMeasure(f"{TIMESCALE_VARIABLE} names a server whose processor time cannot be seen; leave it out")
    return int(found[0].read_text().split()[0])


def _database_s(pid: int) -> float:
    """Add up the processor time of the server's processes, those that have ended included, in seconds."""

    def fields(one: int) -> list[str]:
        return Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()

    ticks = sum(int(field) for field in fields(pid)[11:15])
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        ticks += sum(int(field) for field in fields(int(child))[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


async def _fill(database: DatabaseSettings, options: argparse.Namespace, days: list[dt.date]) -> None:
    """Make hits and downloads of some final days."""
    shape = TrafficShape(options.hits, options.episodes, _REPEATS, 32, days[-1])
    await fill_catalogue(database, shape)
    of_day = options.hits // len(days)
    async with owner(database) as conn:
        await conn.execute(_ADD_AGENTS, _AGENTS)
    ingest = await connect(database, Role.INGEST, application_name="bench")
    try:
        await ingest.execute("select ops.ensure_partitions($1::date[])", days)
        for number, day in enumerate(days):
            await ingest.execute(
                _ADD_HITS,
                day,
                of_day,
                number + 1,
                options.episodes,
                EPISODES_A_PODCAST,
                _AGENTS,
                1 - _REPEATS,
            )
            tenant_no = await ingest.fetchval("select tenant_no from app.tenants")
            await ingest.execute(
                "insert into ops.days (tenant_no, day, final_at) values ($1, $2, now())", tenant_no, day
            )
            async with ingest.transaction():
                await hold_day(ingest, tenant_no, day)
                await replace_downloads(ingest, tenant_no, day, hits=0)
    finally:
        await ingest.close()
    async with owner(database) as conn:
        await conn.execute("analyze")


def _recount(database: DatabaseSettings, postmaster: int, days: list[dt.date], label: str, *arguments: str) -> Run:
    """Call the command; see what it says, and what it took."""
    until = days[-1] + dt.timedelta(days=1)
    command = [sys.executable, "-m", "castledger_server", "recount", "--from", str(days[0]), "--to", str(until)]
    environ = {**os.environ, "DATABASE_URL": str(database.url)}
    before_s, began_s = _database_s(postmaster), time.perf_counter()
    process = subprocess.Popen([*command, *arguments], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read() if process.stdout is not None else ""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    found = re.search(r"^([\d,]+) hits were judged otherwise$", said, re.MULTILINE)
    if process.returncode or found is None:
        raise WrongResult(f"recount ended with {process.returncode}: {said[-500:]}")
    return Run(
        label,
        int(found[1].replace(",", "")),
        used.ru_utime + used.ru_stime,
        _database_s(postmaster) - before_s,
        time.perf_counter() - began_s,
        used.ru_maxrss / 1024,
    )


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Recount under the same rules, under another table of agents, and under another profile."""
    today = dt.datetime.now(dt.UTC).date()
    days = [today - dt.timedelta(days=20 - number) for number in range(options.days)]
    server = start_server(bench, ())
    postmaster = _postmaster(bench)
    asyncio.run(_fill(server.database, options, days))
    hits = options.hits // len(days) * len(days)
    print(f"PostgreSQL {server.version}; {hits:,} hits of {len(days)} days after {bench.elapsed_s:.0f} s", flush=True)

    async def change_mind() -> None:
        async with owner(server.database) as conn:
            await conn.execute(_CHANGE_MIND)

    runs = [_recount(server.database, postmaster, days, "the same rules")]
    asyncio.run(change_mind())
    runs.append(_recount(server.database, postmaster, days, "one agent a bot"))
    runs.append(_recount(server.database, postmaster, days, "ptmg-2.3", "--profile", "ptmg-2.3"))
    for run in runs:
        print(
            f"{run.label}: {run.changed:,} hits judged otherwise; {hits / run.processor_s:,.0f} hits/s of one core "
            f"(command {run.command_s:.1f} s, database {run.database_s:.1f} s), {hits / run.wall_s:,.0f} hits/s by the "
            f"clock, {run.peak_mib:.0f} MiB",
            flush=True,
        )
    same, changed, profile = runs
    if same.changed or not 0.015 < changed.changed / hits < 0.03 or not profile.changed:
        raise WrongResult(f"{[run.changed for run in runs]} hits were judged otherwise")
    if max(run.peak_mib for run in runs) > MOST_MIB:
        print(f"more than {MOST_MIB:.0f} MiB were held", flush=True)
    ours = hits / changed.processor_s
    return Comparison(
        "recount",
        ours,
        GOAL,
        "hits/s of one core",
        ours / GOAL,
        {
            "hits": hits,
            "changed": changed.changed,
            "same_rules": round(hits / same.processor_s),
            "other_profile": round(hits / profile.processor_s),
            "by_the_clock": round(hits / changed.wall_s),
            "command_only": round(hits / changed.command_s),
            "peak_mib": round(max(run.peak_mib for run in runs), 1),
            "peak_goal_mib": MOST_MIB,
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="recount.py", description=__doc__)
    add = parser.add_argument
    add("--hits", type=int, default=2_000_000, help="stored hits in all (default 2,000,000)")
    add("--days", type=int, default=3, help="days that they are of, one to ten (default 3)")
    add("--episodes", type=int, default=5_000, help="episodes in the catalogue (default 5,000)")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
