"""`castledger migrate up|status|verify`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence

from analytics_core.errors import CastledgerError
from analytics_core.settings import DatabaseSettings, Service, load_settings
from migrations.runner import migrate_up, read_status, verify

__all__ = ("main",)


async def _up(settings: DatabaseSettings, phase: str | None) -> int:
    applied = await migrate_up(settings, phase=phase)
    for migration in applied:
        print(f"applied {migration.version}_{migration.phase}_{migration.slug}")  # noqa: T201
    if not applied:
        print("nothing to apply: the schema is up to date")  # noqa: T201
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
    arguments = parser.parse_args(argv)
    try:
        settings = load_settings(os.environ if environ is None else environ, service=Service.MIGRATE).require_database()
        if arguments.command == "up":
            return asyncio.run(_up(settings, arguments.phase))
        if arguments.command == "status":
            return asyncio.run(_status(settings))
        return asyncio.run(_verify(settings))
    except CastledgerError as error:
        print(f"castledger migrate: {error}", file=sys.stderr)  # noqa: T201
        return 2 if error.code == "config" else 1


if __name__ == "__main__":
    sys.exit(main())
