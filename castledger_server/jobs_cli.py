"""``castledger jobs``: how the jobs of ingest stand, and one of them run at once."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping

from analytics_core.errors import InvalidInput
from analytics_core.settings import DatabaseSettings
from castledger_server.retention_cli import add_data_dir, find_settings

__all__ = ("add_jobs", "list_lines", "make_job_due")

_NAME = "castledger jobs"


def add_jobs(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``jobs`` with its actions to the command line."""
    jobs = commands.add_parser("jobs", help="look at the jobs of ingest, and have one run at once")
    actions = jobs.add_subparsers(metavar="ACTION", required=True)
    ls = actions.add_parser(
        "ls",
        help="list jobs, and the runs that ended last",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "List the jobs in the database's queue, and below them the runs that ended last, newest first. A run is\n"
            "`lost` when its process died or outlived its lease; another process then runs the job again."
        ),
        epilog="example:\n  castledger jobs ls --runs 50\n",
    )
    ls.add_argument("--runs", type=_runs, default=20, metavar="N", help="how many runs to show, 0 to 1000 (20)")
    add_data_dir(ls)
    ls.set_defaults(run=_list)
    run = actions.add_parser(
        "run",
        help="have a job run at once",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make a job due, so that an ingest that is up runs it within seconds; it does not run by itself.",
        epilog="example:\n  castledger jobs run finality\n",
    )
    run.add_argument("kind", metavar="KIND", help="as `castledger jobs ls` names it")
    add_data_dir(run)
    run.set_defaults(run=_run)


def _runs(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1000")
    return number


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    database = find_settings(options, environ).require_database()
    for line in asyncio.run(list_lines(database, runs=options.runs)):
        sys.stdout.write(f"{line}\n")
    return 0


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    asyncio.run(make_job_due(find_settings(options, environ).require_database(), options.kind))
    sys.stdout.write(f"{options.kind} is due now; an ingest that is up runs it within seconds\n")
    return 0


async def list_lines(database: DatabaseSettings, *, runs: int) -> list[str]:
    """Tell how jobs stand and how the last runs of them ended, a line each.

    Raises:
        ConfigError: The login may not act as ingest.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.jobs import list_jobs, list_runs
    from analytics_core.db.pool import connect
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        jobs, last = await list_jobs(conn), await list_runs(conn, limit=runs)
    finally:
        await conn.close()

    def lines() -> Iterator[str]:
        if not jobs:
            yield "there is no job yet: ingest enters them when it starts"
        for job in jobs:
            name = f"{job.kind} {job.key}".rstrip()
            state = "running" if job.is_running else f"due {job.due_at:%Y-%m-%d %H:%M:%S}Z"
            yield f"{name:<24}{state:<26}" + (f"failed runs in a row: {job.failures}" if job.failures else "")
        for run in last:
            name = f"{run.kind} {run.key}".rstrip()
            took_s = (run.ended_at - run.started_at).total_seconds()
            did = ", ".join(f"{count} {what}" for what, count in run.counts.items())
            yield f"{run.started_at:%Y-%m-%d %H:%M:%S}Z  {name:<24}{run.outcome:<8}{took_s:>9.1f} s  {run.error or did}"

    return [line.rstrip() for line in lines()]


async def make_job_due(database: DatabaseSettings, kind: str) -> None:
    """Have a kind of job run as soon as an ingest is free.

    Raises:
        ConfigError: The login may not act as ingest.
        InvalidInput: The queue has no job of that kind.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.jobs import list_jobs, make_due
    from analytics_core.db.pool import connect
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        if not await make_due(conn, kind):
            known = ", ".join(sorted({job.kind for job in await list_jobs(conn)}))
            raise InvalidInput("KIND", f"there is no job {kind!r}; there are: {known or 'none yet'}")
    finally:
        await conn.close()
