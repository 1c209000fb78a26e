"""``castledger restate``: late hits of final days taken in, by command."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Final

from analytics_core.errors import InvalidInput
from castledger_server.retention_cli import add_data_dir, find_settings

if TYPE_CHECKING:
    from analytics_core.db.pool import Connection
    from analytics_core.settings import DatabaseSettings
    from ingest.restatements import DayOutcome

__all__ = ("HEAD", "add_range", "add_restate", "find_tenant", "read_range", "read_reason", "restate_range", "write_day")

HEAD: Final = f"{'tenant':<20}{'day':<12}{'hits':>10}  {'downloads':<24}strict\n"
"""Above the lines of :func:`write_day`."""

_NAME: Final = "castledger restate"
_REASON: Final = "hits that came late"
_MAX_DAYS: Final = 3_660
_TELL_EVERY: Final = 10


def add_restate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``restate`` to the command line."""
    restate = commands.add_parser(
        "restate",
        help="count hits that landed after their day was final",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Take late hits in: make the downloads of their days anew from all hits, a day of a tenant at a time, and\n"
            "record what changed, for /api/v1/restatements. Days whose hits or downloads are not kept any more stay\n"
            "as they are. What was stopped goes on when it is called again; what is done is not done twice."
        ),
        epilog=(
            "examples:\n  castledger restate --from 2026-11-01 --to 2026-12-01 --dry-run\n"
            "  castledger restate --from 2026-11-01 --to 2026-12-01 --reason 'tracker-2 was away'\n"
        ),
    )
    add_range(restate, reason=_REASON)
    restate.set_defaults(run=_restate)


def add_range(parser: argparse.ArgumentParser, *, reason: str | None) -> None:
    """Add what is said of days that are counted anew, with the reason that is recorded where none is given.

    Without a reason nothing is counted anew, and days are only looked at.
    """
    parser.add_argument("--from", dest="first", required=True, metavar="DATE", help="the first UTC day")
    parser.add_argument("--to", dest="until", required=True, metavar="DATE", help="the UTC day after the last one")
    parser.add_argument("--tenant", metavar="TENANT", help="only of this one, as `castledger retention ls` names it")
    if reason is not None:
        parser.add_argument("--reason", default=reason, metavar="TEXT", help=f"why, for the record ({reason})")
        parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    add_data_dir(parser)


def _date(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(name, f"is a date such as 2026-11-01, not {text!r}") from None


def read_range(options: argparse.Namespace) -> tuple[date, date]:
    """Read which days are meant: the first one, and the one after the last.

    Raises:
        InvalidInput: One is no date, or there are none or too many.
    """
    first, until = _date(options.first, "--from"), _date(options.until, "--to")
    if not 0 < (until - first).days <= _MAX_DAYS:
        raise InvalidInput("--to", f"lies 1 to {_MAX_DAYS:,} days behind --from")
    return first, until


def read_reason(options: argparse.Namespace) -> str:
    """Read the reason.

    Raises:
        InvalidInput: It is empty, too long, or more than a line.
    """
    from analytics_core.db.restatements import MAX_REASON

    reason: str = options.reason.strip()
    if not 0 < len(reason) <= MAX_REASON or not reason.isprintable():
        raise InvalidInput("--reason", f"is a line of 1 to {MAX_REASON} characters")
    return reason


def find_tenant(slugs: Mapping[int, str], slug: str | None) -> int | None:
    """Find the number of the tenant that is meant; ``None`` when all are.

    Raises:
        InvalidInput: There is no such tenant.
    """
    tenant_no = next((number for number, name in slugs.items() if name == slug), None)
    if slug is not None and tenant_no is None:
        raise InvalidInput("--tenant", f"there is no tenant {slug!r}; `castledger retention ls` names them")
    return tenant_no


def _restate(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    first, until = read_range(options)
    reason = read_reason(options)
    database = find_settings(options, environ).require_database()
    refused = asyncio.run(
        restate_range(database, first=first, until=until, slug=options.tenant, reason=reason, dry_run=options.dry_run)
    )
    return int(refused > 0)


def write_day(tenant: str, told: DayOutcome) -> None:
    """Write a day's line of the table, as soon as the day is done."""
    from analytics_core.db.restating import NotRestated

    outcome = told.outcome
    head = f"{tenant:<20}{told.day!s:<12}"
    if isinstance(outcome, NotRestated):
        line = f"{head}{'–':>10}  not restated: {outcome.value}"
    else:
        downloads = f"{outcome.downloads_before:,} → {outcome.downloads_after:,}"
        line = f"{head}{outcome.hits:>10,}  {downloads:<24}{outcome.strict_before:,} → {outcome.strict_after:,}"
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _find_late(conn: Connection, *, first: date, until: date, tenant_no: int | None) -> dict[int, list[date]]:
    """Find the days with late hits of each tenant, which takes a reading of all hits of these days."""
    from analytics_core.db.restating import find_late_hits, list_final_days

    found: dict[int, list[date]] = {}
    days = await list_final_days(conn, first=first, until=until, tenant_no=tenant_no)
    for number, day in enumerate(days, 1):
        for late in await find_late_hits(conn, day, tenant_no=tenant_no):
            found.setdefault(late.tenant_no, []).append(day)
        if number % _TELL_EVERY == 0:
            sys.stderr.write(f"castledger: looked at {number:,} of {len(days):,} days\n")
    return found


async def restate_range(
    database: DatabaseSettings, *, first: date, until: date, slug: str | None, reason: str, dry_run: bool
) -> int:
    """Restate the days from *first* to before *until* that have late hits, and write a line for each.

    Returns:
        How many days had late hits and could not be restated.

    Raises:
        ConfigError: The login may not act as ingest.
        InvalidInput: There is no such tenant.
        Unavailable: The database does not answer; days that were told are done.
    """
    from analytics_core.clock import SystemClock
    from analytics_core.db.pool import CONNECTION_LOST, connect
    from analytics_core.db.restating import RestatedDay
    from analytics_core.db.tenants import list_slugs
    from analytics_core.errors import Unavailable
    from analytics_core.roles import Role
    from ingest.restatements import restate

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    outcomes: list[DayOutcome] = []
    try:
        slugs = await list_slugs(conn)
        tenant_no = find_tenant(slugs, slug)
        late = await _find_late(conn, first=first, until=until, tenant_no=tenant_no)
        if not late:
            sys.stdout.write("no hit came late for these days\n")
            return 0
        sys.stdout.write(HEAD)
        for number, days in sorted(late.items()):
            outcomes += await restate(
                conn,
                number,
                days,
                reason=reason,
                origin="command",
                clock=SystemClock(),
                dry_run=dry_run,
                tell=partial(write_day, slugs[number]),
            )
    except CONNECTION_LOST as error:
        raise Unavailable("the database went away; days that were told are done") from error
    finally:
        conn.terminate()
    hits = sum(outcome.hits for _, outcome in outcomes if isinstance(outcome, RestatedDay))
    sys.stdout.write(f"{hits:,} late hits {'would be' if dry_run else 'were'} taken in\n")
    return sum(not isinstance(outcome, RestatedDay) for _, outcome in outcomes)
