"""``castledger spikes``: floods that were found, and what is decided about them, by command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID

from analytics_core.errors import InvalidInput, NotFound
from castledger_server.restate_cli import find_tenant, read_reason
from castledger_server.retention_cli import add_data_dir, find_settings

if TYPE_CHECKING:
    from analytics_core.db.pool import Connection
    from analytics_core.db.restating import RestatedDay
    from analytics_core.db.spikes import Decision, SpikeRow
    from analytics_core.settings import DatabaseSettings

__all__ = ("add_spikes", "decide_spike", "list_lines", "show_lines")

_NAME: Final = "castledger spikes"
_STATES: Final = ("open", "accepted", "dismissed", "reverted")
_SHOWN: Final = 20


def add_spikes(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``spikes`` with its actions to the command line."""
    spikes = commands.add_parser(
        "spikes",
        help="see floods of requests, and decide whether they count",
        description="See floods that were found beside the hits. They count like others until one is accepted.",
    )
    actions = spikes.add_subparsers(metavar="ACTION", required=True)
    ls = actions.add_parser(
        "ls",
        help="list spikes, those that began last first",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "List spikes: what their hits have in common, how many downloads go when one is accepted, and how many\n"
            "would have been usual in these hours."
        ),
        epilog="examples:\n  castledger spikes ls --state open\n  castledger spikes ls --tenant studio --limit 9\n",
    )
    ls.add_argument("--state", choices=_STATES, help="only those in this state")
    ls.add_argument("--tenant", metavar="TENANT", help="only of this one, as `castledger retention ls` names it")
    ls.add_argument("--limit", type=_limit, default=50, metavar="N", help="how many at most, 1 to 1000 (50)")
    add_data_dir(ls)
    ls.set_defaults(run=_list)
    show = actions.add_parser(
        "show",
        help="show one spike, with the episodes that it changes and some of its hits",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Show a spike by hour, the episodes that it changes most, and the first of its hits.",
        epilog="example:\n  castledger spikes show 019abc00-0000-7000-8000-000000000000\n",
    )
    _add_id(show)
    show.set_defaults(run=_show)
    _add_decision(
        actions,
        "accept",
        help_="leave a spike's hits out of downloads",
        description=(
            "Leave a spike's hits out: the downloads of its UTC day are made anew of all other hits, and the change\n"
            "is recorded for /api/v1/restatements. `castledger spikes revert` undoes it."
        ),
        example="a crawler",
    )
    _add_decision(
        actions,
        "dismiss",
        help_="say that a spike is none",
        description="Say that a spike is none: nothing changes, and the same is not told again for two weeks.",
        example="featured by the app",
    )
    _add_decision(
        actions,
        "revert",
        help_="take the hits of an accepted spike in again",
        description="Take the hits of an accepted spike in again: figures are what they were before. It is recorded.",
        example="it was a classroom",
    )


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spike", metavar="ID", help="as `castledger spikes ls` shows it")
    add_data_dir(parser)


def _add_decision(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    *,
    help_: str,
    description: str,
    example: str,
) -> None:
    parser = actions.add_parser(
        name,
        help=help_,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=description,
        epilog=f"example:\n  castledger spikes {name} 019abc00-0000-7000-8000-000000000000 --reason '{example}'\n",
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")
    if name != "dismiss":
        parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    _add_id(parser)
    parser.set_defaults(run=_decide, action=name)


def _limit(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 1000")
    return number


def _read_id(options: argparse.Namespace) -> UUID:
    try:
        return UUID(options.spike)
    except ValueError:
        raise InvalidInput("ID", f"{options.spike!r} is no id; `castledger spikes ls` shows them") from None


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    database = find_settings(options, environ).require_database()
    lines = asyncio.run(list_lines(database, state=options.state, slug=options.tenant, limit=options.limit))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _show(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    spike_id = _read_id(options)
    lines = asyncio.run(show_lines(find_settings(options, environ).require_database(), spike_id))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _decide(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    spike_id, reason = _read_id(options), read_reason(options)
    decisions: dict[str, Decision] = {"accept": "accepted", "dismiss": "dismissed", "revert": "reverted"}
    database = find_settings(options, environ).require_database()
    dry_run = getattr(options, "dry_run", False)
    told = asyncio.run(decide_spike(database, spike_id, decisions[options.action], reason=reason, dry_run=dry_run))
    sys.stdout.write(f"{told}\n")
    return 0


def _hours(spike: SpikeRow) -> str:
    return f"{spike.begins_at:%Y-%m-%d %H:%M} to {spike.ends_at:%H:%M} UTC"


async def list_lines(database: DatabaseSettings, *, state: str | None, slug: str | None, limit: int) -> list[str]:
    """List spikes, a line each under a heading.

    Raises:
        ConfigError: The login may not act as ingest.
        InvalidInput: There is no such tenant.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.pool import connect
    from analytics_core.db.spikes import SpikeFilter, list_spikes
    from analytics_core.db.tenants import list_slugs
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        slugs = await list_slugs(conn)
        wanted = SpikeFilter(state=state)  # type: ignore[arg-type]  # argparse has checked it
        rows = await list_spikes(conn, wanted, tenant_no=find_tenant(slugs, slug), limit=limit)
    finally:
        conn.terminate()
    if not rows:
        return ["there are no such spikes"]
    head = f"{'id':<38}{'tenant':<16}{'began (UTC)':<18}{'state':<11}{'downloads':>10}{'usual':>8}  what"
    return [
        head,
        *[
            f"{row.spike_id!s:<38}{slugs.get(row.tenant_no, ''):<16}{row.begins_at:%Y-%m-%d %H:%M}  "
            f"{row.state:<11}{row.downloads:>10,}{row.expected:>8,}  {row.kind}: {row.what}"
            for row in rows
        ],
    ]


async def _find(conn: Connection, spike_id: UUID) -> SpikeRow:
    from analytics_core.db.spikes import find_spike

    row = await find_spike(conn, spike_id)
    if row is None:
        raise NotFound("spike: `castledger spikes ls` shows those that there are")
    return row


async def show_lines(database: DatabaseSettings, spike_id: UUID) -> list[str]:
    """Show a spike in full.

    Raises:
        ConfigError: The login may not act as ingest or as the API.
        NotFound: There is no such spike.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.pool import connect, open_pool, tenant_transaction
    from analytics_core.db.spikes import find_owner, list_effects, list_spike_hits, list_spike_hours
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        row = await _find(conn, spike_id)
        tenant = await find_owner(conn, row)
    finally:
        conn.terminate()
    pool = await open_pool(database, Role.API, application_name=_NAME, max_size=1)
    try:
        async with tenant_transaction(pool, tenant, readonly=True) as reader:
            hours = {hour.hour: hour.requests for hour in await list_spike_hours(reader, row)}
            sample = await list_spike_hits(reader, row, limit=_SHOWN)
            effects = await list_effects(reader, row, limit=_SHOWN)
    finally:
        pool.terminate()
    many = "episode" if row.episodes == 1 else "episodes"
    lines = [
        f"{row.kind}: {row.what}",
        f"{_hours(row)}: {row.hits:,} hits of {row.episodes:,} {many}, {row.downloads:,} downloads; "
        f"{row.expected:,} would have been usual",
    ]
    if row.user_agent is not None:
        lines.append(f"agent: {row.user_agent}")
    state = row.state + (", not carried out yet" if row.is_due else "")
    lines.append(
        state if row.decided_at is None else f"{state} since {row.decided_at:%Y-%m-%d %H:%M} UTC: {row.reason}"
    )
    if row.refusal is not None:
        lines.append(f"the last decision was taken back: {row.refusal}")
    top = max(hours.values(), default=0)
    lines += [
        f"  {hour:02}:00 {number:>8,} {'#' * max(1, round(40 * number / top))}"
        for hour, number in sorted(hours.items())
    ]
    lines += [f"{effect.with_spike:>8,} → {effect.without_spike:<8,} {effect.title}" for effect in effects]
    if sample:
        lines.append("first hits: " + " ".join(sample))
    return lines


class _DryRun(Exception):
    """Undoes a transaction."""


def _told(spike: SpikeRow, outcome: RestatedDay, decision: Decision, *, dry_run: bool) -> str:
    change = f"downloads {outcome.downloads_before:,} → {outcome.downloads_after:,}"
    strict = f"strict {outcome.strict_before:,} → {outcome.strict_after:,}"
    done = f"would be {decision}" if dry_run else decision
    return f"{spike.what}: {done}; {outcome.hits:,} hits, {spike.day}: {change}, {strict}"


async def decide_spike(
    database: DatabaseSettings, spike_id: UUID, decision: Decision, *, reason: str, dry_run: bool
) -> str:
    """Decide about a spike, and carry it out at once.

    Returns:
        What was done, in a line.

    Raises:
        ConfigError: The login may not act as ingest.
        Conflict: It cannot be decided so, or its day cannot be counted anew.
        NotFound: There is no such spike.
        Unavailable: The database does not answer, or the day's rows were in use all the time.
    """
    from analytics_core.clock import SystemClock
    from analytics_core.db.pool import connect
    from analytics_core.db.restating import NotRestated
    from analytics_core.db.spikes import apply_decision, decide, list_due_spikes
    from analytics_core.errors import Conflict
    from analytics_core.roles import Role
    from ingest.spikes import carry_out

    clock = SystemClock()
    conn = await connect(database, Role.INGEST, application_name=_NAME)
    outcome: RestatedDay | NotRestated | None = None
    try:
        spike = await _find(conn, spike_id)
        with contextlib.suppress(_DryRun):
            async with conn.transaction():
                if not await decide(conn, spike_id, decision, reason=reason, key_id=None, now=clock.now()):
                    waits = ", and a decision about it waits for ingest" if spike.is_due else ""
                    raise Conflict("wrong_state", f"this spike is {spike.state}{waits}: it cannot be {decision} now")
                due = await list_due_spikes(conn, spike_id=spike_id, limit=1)
                if dry_run:
                    outcome = await apply_decision(conn, due[0], now=clock.now())
                    raise _DryRun
        if due and not dry_run:
            outcome = await carry_out(conn, due[0], clock=clock)
    finally:
        conn.terminate()
    if isinstance(outcome, NotRestated):
        raise Conflict("not_kept", f"{spike.day} cannot be counted anew: {outcome.value}")
    if outcome is None:
        return f"{spike.what}: {decision}; no figure changes" if not due else f"{spike.what}: {decision} by ingest"
    return _told(spike, outcome, decision, dry_run=dry_run)
