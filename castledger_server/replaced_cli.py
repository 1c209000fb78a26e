"""``castledger replaced``: days that trackers and a log both tell of, which of the two counts, and the way back."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

from analytics_core.errors import InvalidInput
from castledger_server.restate_cli import HEAD, add_range, find_tenant, read_range, read_reason, write_day
from castledger_server.retention_cli import find_settings

if TYPE_CHECKING:
    from analytics_core.db.day_sources import DaySourceRow
    from analytics_core.db.pool import Connection
    from analytics_core.settings import DatabaseSettings

__all__ = ("add_replaced",)

_NAME: Final = "castledger replaced"
_REASON: Final = "trackers count again instead of imported logs"


def add_replaced(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``replaced`` with its actions to the command line."""
    replaced = commands.add_parser("replaced", help="see and undo where an imported log counts instead of trackers")
    actions = replaced.add_subparsers(metavar="ACTION", required=True)
    ls = actions.add_parser(
        "ls",
        help="list days that both tell of, and which of them counts",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  castledger replaced ls --from 2026-11-01 --to 2026-12-01\n",
    )
    undo = actions.add_parser(
        "undo",
        help="have trackers count again",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Have trackers count again on days on which a log counts instead of them (`import-log --replace`): a day\n"
            "at a time, with a record for /api/v1/restatements. The log's hits are kept. To have it count once more,\n"
            "import the same files with --replace again."
        ),
        epilog=(
            "examples:\n  castledger replaced undo --from 2026-11-01 --to 2026-12-01 --dry-run\n"
            "  castledger replaced undo --from 2026-11-03 --to 2026-11-04 --reason 'the log was of another host'\n"
        ),
    )
    add_range(ls, reason=None)
    add_range(undo, reason=_REASON)
    for action, name in ((ls, "ls"), (undo, "undo")):
        action.add_argument("--podcast", metavar="ID", help="only of this one")
        action.set_defaults(run=partial(_run, name))


def _run(action: str, options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    first, until = read_range(options)
    podcast_id = _read_id(options.podcast)
    database = find_settings(options, environ).require_database()
    if action == "ls":
        asyncio.run(_list(database, first=first, until=until, slug=options.tenant, podcast_id=podcast_id))
        return 0
    return asyncio.run(
        _undo(
            database,
            first=first,
            until=until,
            slug=options.tenant,
            podcast_id=podcast_id,
            reason=read_reason(options),
            dry_run=options.dry_run,
        )
    )


def _read_id(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise InvalidInput("--podcast", "is no podcast's id: `castledger replaced ls` names them") from None


async def _find(
    conn: Connection, *, first: date, until: date, slug: str | None, podcast_id: UUID | None
) -> list[tuple[int, str, list[DaySourceRow]]]:
    """List each tenant's days: its number, its short name, and the rows."""
    from analytics_core.db.day_sources import list_day_sources
    from analytics_core.db.tenants import list_slugs

    slugs = await list_slugs(conn)
    wanted = find_tenant(slugs, slug)
    return [
        (number, name, await list_day_sources(conn, number, first=first, until=until, podcast_id=podcast_id))
        for number, name in sorted(slugs.items())
        if wanted in (None, number)
    ]


async def _list(
    database: DatabaseSettings, *, first: date, until: date, slug: str | None, podcast_id: UUID | None
) -> None:
    from analytics_core.db.hits import HitSource
    from analytics_core.db.pool import connect
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        found = await _find(conn, first=first, until=until, slug=slug, podcast_id=podcast_id)
    finally:
        conn.terminate()
    if not any(rows for _, _, rows in found):
        sys.stdout.write("no day is told of by trackers and by a log\n")
        return
    sys.stdout.write(f"{'tenant':<20}{'day':<12}{'counts':<10}podcast\n")
    for _, name, rows in found:
        for row in rows:
            counts = "log" if row.source == HitSource.LOG else "trackers"
            sys.stdout.write(f"{name:<20}{row.day!s:<12}{counts:<10}{row.podcast_id}  {row.title}\n")


async def _undo(
    database: DatabaseSettings,
    *,
    first: date,
    until: date,
    slug: str | None,
    podcast_id: UUID | None,
    reason: str,
    dry_run: bool,
) -> int:
    """Have trackers count again; return 1 when a day could not be changed."""
    from analytics_core.clock import SystemClock
    from analytics_core.db.hits import HitSource
    from analytics_core.db.pool import CONNECTION_LOST, connect
    from analytics_core.db.restating import NotRestated
    from analytics_core.errors import Unavailable
    from analytics_core.roles import Role
    from ingest.replacing import change_sources

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    refused = changed = 0
    try:
        for number, name, rows in await _find(conn, first=first, until=until, slug=slug, podcast_id=podcast_id):
            days: dict[date, list[int]] = {}
            for row in rows:
                if row.source == HitSource.LOG:
                    days.setdefault(row.day, []).append(row.podcast_no)
            if not days:
                continue
            if not changed and not refused:
                sys.stdout.write(HEAD)
            outcomes = await change_sources(
                conn,
                number,
                days,
                source=HitSource.PREFIX,
                reason=reason,
                origin="command",
                clock=SystemClock(),
                dry_run=dry_run,
                tell=partial(write_day, name),
            )
            refused += sum(isinstance(one.outcome, NotRestated) for one in outcomes)
            changed += sum(not isinstance(one.outcome, NotRestated) for one in outcomes)
    except CONNECTION_LOST as error:
        raise Unavailable("the database went away; days that were told are done") from error
    finally:
        conn.terminate()
    if not changed and not refused:
        sys.stdout.write("no log counts instead of trackers on these days\n")
        return 0
    days_changed = f"{changed:,} day{'s' * (changed != 1)}"
    sys.stdout.write(f"trackers {'would count' if dry_run else 'count'} again on {days_changed}\n")
    return int(refused > 0)
