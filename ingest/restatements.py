"""Restatements: final days counted anew, a day a transaction, with a record of what changed and why.

Hits that came late only because they had waited for their episode are taken in by a job, without being asked for. Those
of a tracker that was silent for so long are taken in when an operator says so. A recount (:mod:`ingest.recounts`) is
recorded in the same way.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Final, Literal, NamedTuple, TypeAlias

from analytics_core.clock import Clock
from analytics_core.db.pool import Connection
from analytics_core.db.restatements import (
    NewRestatement,
    Origin,
    add_restated_day,
    finish_restatement,
    stop_restatements,
)
from analytics_core.db.restating import NotRestated, RestatedDay, list_due_days, rebuild_day
from analytics_core.errors import Unavailable
from analytics_core.hits import HitFlag
from analytics_core.ids import new_id
from analytics_core.profiles import Profile
from ingest.writer import TRY_AGAIN

__all__ = (
    "WAITED_REASON",
    "DayOutcome",
    "Isolation",
    "IsolationOf",
    "Remake",
    "Told",
    "restate",
    "restate_days",
    "restate_due",
)

WAITED_REASON: Final = "hits that had waited for their episode"
"""Why the job restates."""

_DAYS: Final = 1_000
_ATTEMPTS: Final = 5

Isolation: TypeAlias = Literal["read_committed", "repeatable_read"]

IsolationOf: TypeAlias = "Callable[[Connection, dt.date], Awaitable[Isolation]]"
"""Tells the isolation of the transaction that a day is counted anew in, outside of it."""

Told: TypeAlias = "Callable[[DayOutcome], None]"

Remake: TypeAlias = "Callable[[Connection, int, dt.date], Awaitable[RestatedDay | NotRestated | None]]"
"""Counts a tenant's day anew, in a transaction: what changed, ``None`` when nothing did, or why it cannot be."""


class DayOutcome(NamedTuple):
    """A day that was restated, or why it was not."""

    day: dt.date
    outcome: RestatedDay | NotRestated


class _DryRun(Exception):
    """Undoes a transaction."""


async def _try_day(
    conn: Connection,
    restatement: NewRestatement,
    day: dt.date,
    remake: Remake,
    *,
    isolation: IsolationOf,
    dry_run: bool,
) -> RestatedDay | NotRestated | None:
    """Restate a day and record it: both, or neither."""
    outcome: RestatedDay | NotRestated | None = None
    with contextlib.suppress(_DryRun):
        async with conn.transaction(isolation=await isolation(conn, day)):
            outcome = await remake(conn, restatement.tenant_no, day)
            if isinstance(outcome, RestatedDay):
                await add_restated_day(conn, restatement, outcome)
            if dry_run:
                raise _DryRun
    return outcome


async def _restate_day(
    conn: Connection,
    restatement: NewRestatement,
    day: dt.date,
    remake: Remake,
    *,
    isolation: IsolationOf,
    dry_run: bool,
) -> RestatedDay | NotRestated | None:
    """Restate a day in spite of who erases a listener of it at the same time."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(*TRY_AGAIN):
            return await _try_day(conn, restatement, day, remake, isolation=isolation, dry_run=dry_run)
    raise Unavailable(f"{day} could not be restated: its rows are in use all the time")


async def restate_days(
    conn: Connection,
    tenant_no: int,
    days: Sequence[dt.date],
    remake: Remake,
    *,
    isolation: IsolationOf,
    reason: str,
    origin: Origin,
    clock: Clock,
    profile: Profile | None = None,
    dry_run: bool = False,
    tell: Told | None = None,
) -> list[DayOutcome]:
    """Count some days anew, each with its record.

    What was stopped in the middle has changed whole days or nothing of them; to do it again does the rest.

    Args:
        conn: As ingest, outside a transaction.
        tenant_no: Whose days.
        days: UTC days, sorted; at least one.
        remake: Does it. Called again where somebody else was in the way.
        isolation: Of the transactions that *remake* is called in.
        reason: For people.
        origin: Who restates.
        clock: Tells when it began and when it was done.
        profile: What their hits are judged by from then on, for the record; ``None`` where that stays as it is.
        dry_run: Find out what would change, and change nothing.
        tell: Called with each day that changed or cannot be counted anew, once it is done.

    Returns:
        These days.

    Raises:
        Unavailable: A day's rows were in use all the time.
    """
    restatement = NewRestatement(
        tenant_no=tenant_no,
        restatement_id=new_id(),
        first_day=days[0],
        last_day=days[-1],
        reason=reason,
        origin=origin,
        rules=None if profile is None else profile.rules_version,
        started_at=clock.now(),
    )
    if not dry_run:
        await stop_restatements(conn, tenant_no, now=restatement.started_at)
    outcomes = []
    for day in days:
        outcome = await _restate_day(conn, restatement, day, remake, isolation=isolation, dry_run=dry_run)
        if outcome is not None:
            outcomes.append(DayOutcome(day, outcome))
            if tell is not None:
                tell(outcomes[-1])
    if not dry_run:
        await finish_restatement(conn, restatement, now=clock.now())
    return outcomes


async def _read_committed(conn: Connection, day: dt.date) -> Isolation:
    return "read_committed"


async def restate(
    conn: Connection,
    tenant_no: int,
    days: Sequence[dt.date],
    *,
    reason: str,
    origin: Origin,
    clock: Clock,
    flagged: HitFlag = HitFlag.NONE,
    dry_run: bool = False,
    tell: Told | None = None,
) -> list[DayOutcome]:
    """Take the late hits of some days in, as :func:`restate_days` does; only those with the flags *flagged*.

    Returns:
        The days that had late hits, or may have and cannot be restated.

    Raises:
        Unavailable: A day's rows were in use all the time.
    """
    return await restate_days(
        conn,
        tenant_no,
        days,
        partial(rebuild_day, flagged=flagged),
        isolation=_read_committed,
        reason=reason,
        origin=origin,
        clock=clock,
        dry_run=dry_run,
        tell=tell,
    )


async def restate_due(conn: Connection, *, clock: Clock) -> Mapping[str, int]:
    """Take in what came late because it had waited for its episode: the job.

    Args:
        conn: As ingest, outside a transaction.
        clock: As for :func:`restate`.

    Returns:
        What was done: days, hits, and days that cannot be restated any more.
    """
    done = {"days": 0, "hits": 0, "refused": 0}
    due = await list_due_days(conn, limit=_DAYS)
    for tenant_no, pairs in groupby(due, key=lambda pair: pair[0]):
        days = [day for _, day in pairs]
        outcomes = await restate(
            conn, tenant_no, days, reason=WAITED_REASON, origin="job", clock=clock, flagged=HitFlag.WAITED
        )
        for _, outcome in outcomes:
            if isinstance(outcome, RestatedDay):
                done["days"] += 1
                done["hits"] += outcome.hits
            else:
                done["refused"] += 1
    return done
