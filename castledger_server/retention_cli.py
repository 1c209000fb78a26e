"""``castledger retention``: for how long each tenant's hits are kept."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from analytics_core.errors import InvalidInput
from analytics_core.settings import DatabaseSettings, Settings, load_settings

__all__ = ("add_data_dir", "add_retention", "find_settings", "keep_hits", "list_lines")

_NAME = "castledger retention"


def add_retention(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``retention`` with its actions to the command line."""
    retention = commands.add_parser("retention", help="see and set for how long tenants' hits are kept")
    actions = retention.add_subparsers(metavar="ACTION", required=True)
    ls = actions.add_parser("ls", help="list tenants, and for how long their hits are kept")
    add_data_dir(ls)
    ls.set_defaults(run=_list)
    keep = actions.add_parser(
        "set",
        help="have a tenant's hits go earlier than those of all",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Keep a tenant's hits and clicks for so many days, from 30, at most CASTLEDGER_HITS_MONTHS; its downloads\n"
            "go once their whole month is as old. What ingest deletes then cannot be had back. Figures stay."
        ),
        epilog="examples:\n  castledger retention set studio 90\n  castledger retention set studio default\n",
    )
    keep.add_argument("tenant", metavar="TENANT", help="as `castledger retention ls` names it")
    keep.add_argument("days", metavar="DAYS", help="how many, or `default` for as long as those of all")
    add_data_dir(keep)
    keep.set_defaults(run=_set)


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the folder of a running ``up``."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="of a running `up`, whose database it is without DATABASE_URL (CASTLEDGER_DATA_DIR)",
    )


def find_settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """Load the settings; without a database of their own, with that of a running ``up``."""
    from castledger_server.data_dir import read_running_up

    data_dir: Path | None = options.data_dir
    settings = load_settings(environ, data_dir=data_dir.absolute() if data_dir else None)
    if settings.database is None:
        running = read_running_up(settings.data_dir)
        if running is not None and running.database_url:
            return load_settings({**environ, "DATABASE_URL": running.database_url})
    return settings


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = find_settings(options, environ)
    months = settings.ingest.hits_months
    for line in asyncio.run(list_lines(settings.require_database(), hits_months=months)):
        sys.stdout.write(f"{line}\n")
    return 0


def _set(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.db.retention import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS

    days: int | None = None
    if options.days != "default":
        if not (options.days.isascii() and options.days.isdigit() and len(options.days) <= 5) or not (
            MIN_RETENTION_DAYS <= int(options.days) <= MAX_RETENTION_DAYS
        ):
            raise InvalidInput(
                "DAYS", f"is from {MIN_RETENTION_DAYS} to {MAX_RETENTION_DAYS}, or `default`, not {options.days!r}"
            )
        days = int(options.days)
    settings = find_settings(options, environ)
    asyncio.run(keep_hits(settings.require_database(), options.tenant, days))
    kept = "as long as those of all" if days is None else f"for {days} days"
    sys.stdout.write(f"hits of {options.tenant} are kept {kept}\n")
    return 0


async def list_lines(database: DatabaseSettings, *, hits_months: int) -> list[str]:
    """Tell for how long each tenant's hits are kept, a line each.

    Raises:
        ConfigError: The login may not act as the role that authenticates.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.pool import connect
    from analytics_core.db.retention import list_retention
    from analytics_core.roles import Role

    conn = await connect(database, Role.AUTH, application_name=_NAME)
    try:
        tenants = await list_retention(conn)
    finally:
        await conn.close()
    default = f"{hits_months} months (default)"
    return [
        f"{tenant.slug:<24}{default if tenant.hits_days is None else f'{tenant.hits_days} days'}" for tenant in tenants
    ]


async def keep_hits(database: DatabaseSettings, slug: str, days: int | None) -> None:
    """Have a tenant's hits kept for so many days, or, with ``None``, as long as those of all; its record says so.

    Raises:
        ConfigError: The login may not act as the role that authenticates.
        InvalidInput: There is no such tenant.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.audit import add_command
    from analytics_core.db.pool import connect
    from analytics_core.db.retention import set_retention
    from analytics_core.roles import Role
    from castledger_server.command_records import AS_COMMAND

    conn = await connect(database, Role.AUTH, application_name=_NAME)
    try:
        async with conn.transaction():
            was = await set_retention(conn, slug, days)
            if was is None:
                raise InvalidInput("TENANT", f"there is no tenant {slug!r}; `castledger retention ls` names them")
            await conn.execute(AS_COMMAND)
            await add_command(
                conn,
                was.tenant_no,
                action="retention.set",
                resource_id=None,
                before={"hits_days": was.hits_days},
                after={"hits_days": days},
            )
    finally:
        await conn.close()
