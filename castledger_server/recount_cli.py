"""``castledger recount``: stored hits judged again by today's table of agents, and by a profile, by command."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final

from castledger_server.profile_cli import find_profile
from castledger_server.restate_cli import HEAD, add_range, find_tenant, read_range, read_reason, write_day
from castledger_server.retention_cli import find_settings

if TYPE_CHECKING:
    from analytics_core.db.list_versions import ListVersion
    from analytics_core.profiles import Profile
    from analytics_core.settings import DatabaseSettings
    from analytics_core.verdicts import Verdict

__all__ = ("add_recount", "recount_range")

_NAME: Final = "castledger recount"
_REASON: Final = "judged again by today's rules"
_NETWORKS: Final = (
    "Lists of networks act on hits that land once they are installed: addresses are not kept to look up again. What\n"
    "the lists said of an address then is kept with its hit; of hits that landed before Castledger kept it, only what\n"
    "spoke against them is known. In force when these days' hits landed:\n"
)
_UNKNOWN_LISTS: Final = "  not known: no ingest of a version that notes it was running\n"
_LIST_KINDS: Final = {"networks": "networks", "asns": "autonomous systems", "countries": "countries"}
_TABLES: Final = (
    "castledger: the job `agents` is not through with the newest table yet: agents that it has not come to are what\n"
    "castledger: they were, and their hits are for another recount\n"
)


def add_recount(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``recount`` to the command line."""
    recount = commands.add_parser(
        "recount",
        help="judge stored hits again by today's table of user agents, or by another profile",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Judge stored hits again by the table of user agents in force and by the profile of their day, make the\n"
            "downloads of these days anew, a day of a tenant at a time, and record what changed, for\n"
            "/api/v1/restatements. With --profile these days are judged by that one from then on, what lands on them\n"
            "later too. Under the same rules nothing changes. Days whose hits or downloads are not kept any more stay\n"
            "as they are. Of a day that is not final hits wait to land while it is recounted, for a dry run too;\n"
            "trackers record them meanwhile. What was stopped goes on when it is called again. Hits that are judged\n"
            "otherwise wait in a temporary file (TMPDIR), 200 bytes each."
        ),
        epilog=(
            "examples:\n  castledger recount --from 2026-11-01 --to 2026-12-01 --dry-run\n"
            "  castledger recount --from 2026-11-01 --to 2026-12-01 --reason 'Earwig is an app, not a bot'\n"
            "  castledger recount --from 2026-11-01 --to 2026-12-01 --profile ptmg-2.3 --dry-run\n"
            "\n`castledger profile ls` names profiles; `castledger profile use` has days to come judged by one.\n"
        ),
    )
    recount.add_argument(
        "--profile", metavar="NAME", help="judge these days by this one from now on (without: as they are judged)"
    )
    add_range(recount, reason=_REASON)
    recount.set_defaults(run=_recount)


def _recount(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    first, until = read_range(options)
    reason = read_reason(options)
    settings = find_settings(options, environ)
    profile = None if options.profile is None else find_profile(options.profile, settings)
    refused = asyncio.run(
        recount_range(
            settings.require_database(),
            first=first,
            until=until,
            slug=options.tenant,
            reason=reason,
            profile=profile,
            dry_run=options.dry_run,
        )
    )
    return int(refused > 0)


class _Progress:
    """Says on a terminal which day is read."""

    def __init__(self, days: int) -> None:
        self._days = days
        self._begun = 0
        self._last: tuple[str, date] | None = None
        self._is_terminal = sys.stderr.isatty()

    def begin(self, tenant: str, day: date) -> None:
        # A day that has to be tried again is begun once.
        self._begun += self._last != (tenant, day)
        self._last = tenant, day
        if self._is_terminal:
            sys.stderr.write(f"\r\x1b[Kcastledger: {tenant} {day}, {self._begun:,} of {self._days:,} days")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave the line to whatever is written next."""
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _write_moves(moves: Counter[tuple[Verdict, Verdict]], *, dry_run: bool) -> None:
    """Write which hits are judged otherwise, by verdict before and after, the most first."""
    for (before, after), hits in sorted(moves.items(), key=lambda item: (-item[1], item[0])):
        same = f"{before.label}, of another agent or evidence"
        move = same if before is after else f"{before.label} → {after.label}"
        sys.stdout.write(f"{hits:>42,}  {move}\n")
    sys.stdout.write(f"{moves.total():,} hits {'would be' if dry_run else 'were'} judged otherwise\n")


def _write_lists(versions: Sequence[ListVersion]) -> None:
    """Write what hits of the days were looked up in, and from when on: a list acts on nothing that landed before."""
    sys.stdout.write(_NETWORKS)
    for known in versions:
        since = f"{known.since:%Y-%m-%d %H:%M}Z"
        sys.stdout.write(f"  {_LIST_KINDS[known.kind]:<19}{known.version}, since {since}\n")
    if not versions:
        sys.stdout.write(_UNKNOWN_LISTS)


async def recount_range(
    database: DatabaseSettings,
    *,
    first: date,
    until: date,
    slug: str | None,
    reason: str,
    profile: Profile | None = None,
    dry_run: bool,
) -> int:
    """Recount the days from *first* to before *until*, and write a line for each that changes or cannot be recounted.

    Returns:
        How many days cannot be recounted.

    Raises:
        ConfigError: The login may not act as ingest.
        InvalidInput: There is no such tenant.
        Unavailable: The database does not answer; days that were told are done.
    """
    from analytics_core.clock import SystemClock
    from analytics_core.db.dictionaries import count_tables
    from analytics_core.db.list_versions import read_list_versions
    from analytics_core.db.pool import CONNECTION_LOST, connect
    from analytics_core.db.recounting import list_tenant_days
    from analytics_core.db.restating import NotRestated
    from analytics_core.db.tenants import list_slugs
    from analytics_core.errors import Unavailable
    from analytics_core.roles import Role
    from ingest.recounts import recount
    from ingest.restatements import DayOutcome

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    moves: Counter[tuple[Verdict, Verdict]] = Counter()
    refused = 0
    try:
        slugs = await list_slugs(conn)
        pairs = await list_tenant_days(conn, first=first, until=until, tenant_no=find_tenant(slugs, slug))
        if not pairs:
            sys.stdout.write("there are no hits of these days\n")
            return 0
        if await count_tables(conn) > 1:
            sys.stderr.write(_TABLES)
        progress = _Progress(len(pairs))

        def tell(tenant: str, told: DayOutcome) -> None:
            progress.clear()
            write_day(tenant, told)

        sys.stdout.write(HEAD)
        for number, group in groupby(pairs, key=lambda pair: pair.tenant_no):
            # Erased since they were listed.
            tenant = slugs.get(number, "")
            done = await recount(
                conn,
                number,
                [pair.day for pair in group],
                reason=reason,
                origin="command",
                clock=SystemClock(),
                profile=profile,
                dry_run=dry_run,
                tell=partial(tell, tenant),
                begin=partial(progress.begin, tenant),
            )
            moves += done.moves
            refused += sum(isinstance(outcome, NotRestated) for _, outcome in done.outcomes)
        progress.clear()
        instants = [datetime.combine(day, time(), UTC) for day in (first, until)]
        versions = await read_list_versions(conn, first=instants[0], until=instants[1])
    except CONNECTION_LOST as error:
        raise Unavailable("the database went away; days that were told are done") from error
    finally:
        conn.terminate()
    _write_moves(moves, dry_run=dry_run)
    if dry_run:
        _write_lists(versions)
    return refused
