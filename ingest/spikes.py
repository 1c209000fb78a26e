"""Spikes: what their owners decided is carried out, a spike a transaction, with a record as of any restatement."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from analytics_core.clock import Clock
from analytics_core.db.pool import Connection
from analytics_core.db.restatements import (
    MAX_REASON,
    NewRestatement,
    add_restated_day,
    finish_restatement,
    stop_restatements,
)
from analytics_core.db.restating import NotRestated, RestatedDay
from analytics_core.db.spikes import DueSpike, apply_decision, list_due_spikes, refuse_decision
from analytics_core.errors import Unavailable
from analytics_core.ids import new_id
from ingest.writer import TRY_AGAIN

__all__ = ("apply_due", "carry_out")

_DECISIONS: Final = 1_000
_ATTEMPTS: Final = 5


def _restatement(due: DueSpike, *, now: dt.datetime) -> NewRestatement:
    return NewRestatement(
        tenant_no=due.tenant.tenant_no,
        restatement_id=new_id(),
        first_day=due.day,
        last_day=due.day,
        reason=f"spike {due.state}: {due.reason}"[:MAX_REASON],
        origin="command" if due.key_id is None else "key",
        key_id=due.key_id,
        started_at=now,
    )


async def _try(conn: Connection, due: DueSpike, *, now: dt.datetime) -> RestatedDay | NotRestated | None:
    """Carry a decision out and record it: both, or neither."""
    restatement = _restatement(due, now=now)
    async with conn.transaction():
        outcome = await apply_decision(conn, due, now=now)
        if isinstance(outcome, NotRestated):
            await refuse_decision(conn, due, outcome.value)
        elif outcome is not None:
            await stop_restatements(conn, restatement.tenant_no, now=now)
            await add_restated_day(conn, restatement, outcome)
            await finish_restatement(conn, restatement, now=now)
    return outcome


async def carry_out(conn: Connection, due: DueSpike, *, clock: Clock) -> RestatedDay | NotRestated | None:
    """Carry a decision out, in spite of who erases a listener of the day at the same time.

    Args:
        conn: As ingest, outside a transaction.
        due: What was decided.
        clock: Tells when it was done.

    Returns:
        What changed; ``None`` when somebody else has done it; or why it cannot be, and the decision was taken back.

    Raises:
        Unavailable: The day's rows were in use all the time.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(*TRY_AGAIN):
            return await _try(conn, due, now=clock.now())
    raise Unavailable(f"the spike of {due.day} could not be carried out: its rows are in use all the time")


async def apply_due(conn: Connection, *, clock: Clock, spike_id: UUID | None = None) -> Mapping[str, int]:
    """Carry out all that was decided: a part of the job.

    Returns:
        What was done: decisions carried out, and those that cannot be.

    Raises:
        Unavailable: A day's rows were in use all the time.
    """
    done = {"decisions": 0, "refused": 0}
    for due in await list_due_spikes(conn, limit=_DECISIONS, spike_id=spike_id):
        outcome = await carry_out(conn, due, clock=clock)
        done["decisions"] += isinstance(outcome, RestatedDay)
        done["refused"] += isinstance(outcome, NotRestated)
    return done
