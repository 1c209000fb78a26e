"""What ``castledger import-log`` does: look through all files, refuse or land them, and tell what became of them."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple

from analytics_core.agent_lists import AgentLists
from analytics_core.clock import Clock, SystemClock
from analytics_core.db.hits import HitSource, hold_days_open
from analytics_core.db.log_imports import LiveDay
from analytics_core.db.pool import CONNECTION_LOST, Connection, connect, open_pool
from analytics_core.db.restating import RestatedDay, find_late_hits, list_final_days
from analytics_core.db.tenants import list_slugs
from analytics_core.errors import Conflict, InvalidInput, Unavailable
from analytics_core.log_formats import Skip
from analytics_core.roles import Role
from analytics_core.settings import Settings
from castledger_server.archive_progress import Progress
from castledger_server.log_replacing import is_covered, replace_days, tell_comparison, tell_uncovered
from ingest.log_files import TIME, LogFile
from ingest.log_import import BEYOND, NO_EPISODE, REFUSED, LogImport, LogSummary
from ingest.metrics import Metrics
from ingest.pipeline import Pipeline
from ingest.place_sources import open_places
from ingest.registry_writer import own_hosts
from ingest.restatements import restate
from ingest.secrets import SecretStore

__all__ = ("ImportOptions", "import_logs")

_NAME: Final = "castledger import-log"
_REASON: Final = "imported logs"
_SHOWN_DAYS: Final = 3

_REASONS: Final = {
    Skip.MALFORMED.value: "not of the format",
    Skip.TOO_LONG.value: "longer than any request",
    Skip.ADDRESS.value: "without a whole address; `castledger spool cat` needs --addresses",
    Skip.HOST.value: "name no host, and there is no --host",
    Skip.METHOD.value: "neither GET nor HEAD",
    Skip.STATUS.value: "the file was not given: errors, and 304",
    Skip.CLICK.value: "clicks on short links",
    TIME: "in the future, or more than ten years old",
    BEYOND: "on or behind the day of --before",
    NO_EPISODE: "for no episode of the tenant's podcasts",
    REFUSED: "could not be stored, and are kept as dead letters",
}


class ImportOptions(NamedTuple):
    """What is wanted of an import.

    Attributes:
        tenant: The short name of whose podcasts are counted; the only one when there is no other.
        before: The UTC day before which it ends; ``None`` for all days.
        strict: Import nothing when a line is damaged.
        dry_run: Change nothing.
        restate: Take in what comes late.
        replace: Count instead of trackers on the days of podcasts that both tell of.
        reason: For the record of what is replaced.
    """

    tenant: str | None = None
    before: dt.date | None = None
    strict: bool = False
    dry_run: bool = False
    restate: bool = False
    replace: bool = False
    reason: str = ""


async def import_logs(
    settings: Settings,
    files: Sequence[LogFile],
    options: ImportOptions,
    *,
    write: Callable[[str], object],
    clock: Clock | None = None,
) -> bool:
    """Import logs and tell about it.

    Args:
        settings: With a database.
        files: All of one format, in the order of their time.
        options: What is wanted.
        write: Takes lines for people, with their ends.
        clock: The time; the system's by default.

    Returns:
        Whether all files could be read to their ends, and all was taken in and replaced that was to be.

    Raises:
        ConfigError: A file or a list cannot be read; files before it have landed.
        Conflict: ``overlap``: trackers have counted the same podcasts on the same days, and are not to be replaced;
            nothing was imported.
        InvalidInput: There is no such tenant, or, if *strict*, a line is damaged; nothing was imported.
        Unavailable: The database went away; what has landed stays, and another call goes on behind it.
    """
    clock = clock or SystemClock()
    progress = Progress()
    try:
        async with _open(settings, options, clock) as (conn, tenant_no, slug, run):
            weigh = options.replace and options.dry_run
            looks = [
                await run.look(file, weigh=weigh, tell=lambda lines: progress.add("looked through", lines))
                for file in files
            ]
            progress.close()
            _require_sound(files, looks, options)
            live = await run.find_overlap(looks)
            if not options.replace:
                _require_alone(live)
            done = looks
            if not options.dry_run:
                await hold_days_open(conn, tenant_no)
                await run.hold_back(live)
                done = [await run.land(file, tell=lambda lines: progress.add("imported", lines)) for file in files]
                progress.close()
            for file, summary in zip(files, done, strict=True):
                _tell_file(file, summary, write)
            days = sorted({day for summary in done for day in summary.days})
            hits = sum(summary.hits for summary in done)
            if options.dry_run:
                write(f"{hits:,} hits {_span(days)} would be imported\n")
                if options.replace:
                    tell_comparison(live, looks, await run.weighed(), write)
                return all(summary.fault is None for summary in done)
            is_replaced = True
            if options.replace:
                is_replaced = await _replace(conn, tenant_no, slug, run, looks, options, clock=clock, write=write)
            downloads = await run.count_downloads(days)
            if hits:
                write(f"{hits:,} hits {_span(days)} were imported; {downloads:,} downloads of these days are theirs\n")
            else:
                write("there was no new hit to import\n")
            is_taken_in = await _see_to_late(conn, tenant_no, slug, days, options, clock=clock, write=write)
            return is_taken_in and is_replaced and all(summary.fault is None for summary in done)
    except CONNECTION_LOST as error:
        raise Unavailable("the database went away; what has landed stays, another call goes on behind it") from error
    finally:
        progress.close()


@contextlib.asynccontextmanager
async def _open(
    settings: Settings, options: ImportOptions, clock: Clock
) -> AsyncIterator[tuple[Connection, int, str, LogImport]]:
    """Open what an import needs: a connection, the tenant's number and name, and the run."""
    database = settings.require_database()
    lists = AgentLists(
        settings.ingest.agent_lists, settings.ingest.agent_lists_mode, keep=settings.ingest.agent_lists_kept
    )
    places = open_places(settings.ingest)
    conn = await connect(database, Role.INGEST, application_name=_NAME)
    pool = await open_pool(database, Role.INGEST, application_name=_NAME, max_size=1)
    try:
        tenant_no, slug = _choose_tenant(await list_slugs(conn), options.tenant)
        pipeline = Pipeline(
            clock=clock,
            # What is only looked at is keyed for the moment.
            secrets=SecretStore(None if options.dry_run else pool, clock),
            own_hosts=own_hosts(settings.tracker.public_url),
            places=places,
            metrics=Metrics(),
            agent_table=lambda: lists.table,
            source=HitSource.LOG,
        )
        yield (
            conn,
            tenant_no,
            slug,
            LogImport(conn, pipeline, tenant_no=tenant_no, clock=clock, before=options.before, replace=options.replace),
        )
    finally:
        conn.terminate()
        pool.terminate()


def _choose_tenant(slugs: dict[int, str], wanted: str | None) -> tuple[int, str]:
    if wanted is None and len(slugs) != 1:
        raise InvalidInput("--tenant", "is needed: `castledger retention ls` names them")
    for number, slug in slugs.items():
        if wanted in (None, slug):
            return number, slug
    raise InvalidInput("--tenant", f"there is no tenant {wanted!r}; `castledger retention ls` names them")


def _require_sound(files: Sequence[LogFile], looks: Sequence[LogSummary], options: ImportOptions) -> None:
    for file, look in zip(files, looks, strict=True):
        if options.strict and look.damage is not None:
            raise InvalidInput(
                f"{file.path}, line {look.damage.line:,}", f"{_REASONS[look.damage.reason]}; nothing was imported"
            )
        if options.strict and look.fault is not None:
            raise InvalidInput(str(file.path), f"cannot be read to its end ({look.fault}); nothing was imported")


def _require_alone(live: Sequence[LiveDay]) -> None:
    if live:
        shown = ", ".join(f"{one.title} on {one.day}" for one in live[:_SHOWN_DAYS])
        more = f" and {len(live) - _SHOWN_DAYS:,} more" if len(live) > _SHOWN_DAYS else ""
        raise Conflict(
            "overlap",
            f"trackers have counted {shown}{more}, so that listeners would count twice; nothing was imported. "
            f"Import what is before, with --before {live[0].day}, or have the log count instead, with --replace",
        )


async def _replace(
    conn: Connection,
    tenant_no: int,
    slug: str,
    run: LogImport,
    looks: Sequence[LogSummary],
    options: ImportOptions,
    *,
    clock: Clock,
    write: Callable[[str], object],
) -> bool:
    """Have the log count instead of trackers; on all days that they have counted by now, which may be more than before.

    Returns:
        Whether it counts on all of them.
    """
    live = await run.find_overlap(looks)
    await run.hold_back(live)
    covered = [one for one in live if is_covered(one, looks)]
    uncovered = [one for one in live if not is_covered(one, looks)]
    tell_uncovered(uncovered, looks, write)
    is_whole = not covered or await replace_days(
        conn, tenant_no, slug, covered, reason=options.reason, clock=clock, write=write
    )
    return is_whole and not uncovered


def _span(days: Sequence[dt.date]) -> str:
    if not days:
        return "on no day"
    return f"on {days[0]}" if len(days) == 1 else f"on {len(days):,} days from {days[0]} to {days[-1]}"


def _tell_file(file: LogFile, summary: LogSummary, write: Callable[[str], object]) -> None:
    waiting = f", of which {summary.waiting:,} wait for their episode" if summary.waiting else ""
    write(f"{file.path}: {summary.lines:,} lines, {summary.hits:,} hits{waiting}\n")
    for reason, lines in Counter(summary.skipped).most_common():
        first = ""
        if summary.damage is not None and summary.damage.reason == reason:
            first = f", the first in line {summary.damage.line:,}"
        write(f"  {lines:>12,}  {reason}: {_REASONS[reason]}{first}\n")
    if summary.tail_bytes:
        write("  the last line has no end yet, and is left for another call\n")
    if summary.fault is not None:
        write(f"  the file cannot be read on behind these lines: {summary.fault}\n")


async def _see_to_late(
    conn: Connection,
    tenant_no: int,
    slug: str,
    days: Sequence[dt.date],
    options: ImportOptions,
    *,
    clock: Clock,
    write: Callable[[str], object],
) -> bool:
    """Take in what came late for final days, or say how that is done."""
    if not days:
        return True
    until = days[-1] + dt.timedelta(days=1)
    late: dict[dt.date, int] = {}
    final = set(await list_final_days(conn, first=days[0], until=until, tenant_no=tenant_no))
    for day in sorted(final.intersection(days)):
        for found in await find_late_hits(conn, day, tenant_no=tenant_no):
            late[day] = found.hits
    if not late:
        return True
    if not options.restate:
        write(
            f"{sum(late.values()):,} hits came late for {len(late):,} final days, and count once they are taken in:\n"
            f"  castledger restate --from {days[0]} --to {until} --tenant {slug} --reason '{_REASON}'\n"
        )
        return True
    outcomes = await restate(conn, tenant_no, sorted(late), reason=_REASON, origin="command", clock=clock)
    taken = [one.outcome for one in outcomes if isinstance(one.outcome, RestatedDay)]
    write(f"{sum(one.hits for one in taken):,} late hits of {len(taken):,} final days were taken in\n")
    for day, outcome in outcomes:
        if not isinstance(outcome, RestatedDay):
            write(f"  {day} was not restated: {outcome.value}\n")
    return len(taken) == len(outcomes)
