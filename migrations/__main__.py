"""`castledger migrate up|status|verify|move-to-timescale`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from analytics_core.errors import CastledgerError
from analytics_core.settings import DatabaseSettings, Secret, Service, load_settings
from migrations.moving import move_to_timescale
from migrations.runner import migrate_up, read_status, verify

__all__ = ("main",)


_MOST_NAMED: Final = 10
"""A new database gets all that there are: nobody reads their names."""


async def _up(settings: DatabaseSettings, phase: str | None) -> int:
    applied = await migrate_up(settings, phase=phase)
    names = [f"{migration.version}_{migration.phase}_{migration.slug}" for migration in applied]
    if not names:
        print("nothing to apply: the schema is up to date")  # noqa: T201
    elif len(names) > _MOST_NAMED:
        print(f"applied {len(names)} migrations, {names[0]} to {names[-1]}")  # noqa: T201
    else:
        print("\n".join(f"applied {name}" for name in names))  # noqa: T201
    return 0


async def _status(settings: DatabaseSettings) -> int:
    status = await read_status(settings)
    print(f"storage: {status.storage.value if status.storage else 'not chosen yet'}")  # noqa: T201
    for row in status.applied:
        print(f"applied  {row.version}_{row.slug}  {row.applied_at:%Y-%m-%d %H:%M:%S}Z  {row.duration_ms} ms")  # noqa: T201
    for migration in status.pending:
        print(f"pending  {migration.version}_{migration.slug}")  # noqa: T201
    for fault in status.faults:
        print(f"fault    {fault}")  # noqa: T201
    return 1 if status.faults else 0


async def _verify(settings: DatabaseSettings) -> int:
    status = await verify(settings)
    print(f"all {len(status.applied)} migrations are applied and unchanged, and so is the schema")  # noqa: T201
    return 0


async def _move(settings: DatabaseSettings, to: str) -> int:
    def say(line: str) -> None:
        print(line, flush=True)  # noqa: T201

    moved = await move_to_timescale(settings, DatabaseSettings(url=Secret(to)), say=say)
    say(f"moved and compared: {moved.hits} hits and {moved.downloads} downloads of {moved.days} days, all else too")
    say("next: name the new database in DATABASE_URL and start the services")
    return 0


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="castledger migrate",
        description="Bring the database named by DATABASE_URL to the schema of this version.",
        epilog="Run `up --phase pre` before the new version starts and `up` after it runs, and nobody waits.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="apply what waits")
    up.add_argument("--phase", choices=("pre",), help="only what is safe while the old version still runs")
    commands.add_parser("status", help="list what was applied and what waits")
    commands.add_parser("verify", help="exit with 1 unless everything is applied and unchanged")
    move = commands.add_parser(
        "move-to-timescale",
        help="copy a native database into an empty one of a TimescaleDB server",
        description="Copies all rows and compares them. Services are stopped before; the old database only stops to "
        "take writes. Broken off, it is run again and goes on.",
    )
    move.add_argument("--to", required=True, metavar="URL", help="the new database; its password may be in ~/.pgpass")
    arguments = parser.parse_args(argv)
    try:
        settings = load_settings(os.environ if environ is None else environ, service=Service.MIGRATE).require_database()
        if arguments.command == "up":
            return asyncio.run(_up(settings, arguments.phase))
        if arguments.command == "status":
            return asyncio.run(_status(settings))
        if arguments.command == "move-to-timescale":
            return asyncio.run(_move(settings, arguments.to))
        return asyncio.run(_verify(settings))
    except CastledgerError as error:
        print(f"castledger migrate: {error}", file=sys.stderr)  # noqa: T201
        return 2 if error.code == "config" else 1


if __name__ == "__main__":
    sys.exit(main())
