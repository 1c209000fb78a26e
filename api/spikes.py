"""Reading a spike and deciding about it: the part that the API and the page share."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request

from analytics_core.db.pool import Connection
from analytics_core.db.restatements import MAX_REASON
from analytics_core.db.spikes import (
    Decision,
    SpikeRow,
    decide,
    find_refusal,
    find_spike,
    list_effects,
    list_spike_hits,
    list_spike_hours,
)
from analytics_core.errors import Conflict, InvalidInput, NotFound
from api.resources import resources_of
from api.schemas.spikes import Spike, SpikeAnswer
from api.writing import writing

__all__ = ("decide_on", "read_spike")

_SAMPLE: Final = 20
_EPISODES: Final = 50
_ACTIONS: Final[dict[Decision, str]] = {"accepted": "accept", "dismissed": "dismiss", "reverted": "revert"}
_FROM: Final[dict[Decision, str]] = {
    "accepted": "it is accepted already",
    "dismissed": "only one that is open or reverted can be dismissed; revert it first",
    "reverted": "only one that is accepted can be reverted",
}


async def read_spike(conn: Connection, spike_id: UUID) -> tuple[SpikeRow, SpikeAnswer]:
    """Read a spike with what it is made of, in a transaction of the tenant.

    Raises:
        NotFound: There is none, or it is another tenant's.
    """
    row = await find_spike(conn, spike_id)
    if row is None:
        raise NotFound("spike")
    hours = await list_spike_hours(conn, row)
    sample = await list_spike_hits(conn, row, limit=_SAMPLE)
    return row, SpikeAnswer.made_of(row, hours, sample, await list_effects(conn, row, limit=_EPISODES))


async def decide_on(spike_id: UUID, decision: Decision, reason: str, *, request: Request[Any, Any, Any]) -> Spike:
    """Enter what was decided about a spike; ingest carries it out within seconds.

    Args:
        spike_id: Which.
        decision: What it becomes.
        reason: As somebody wrote it.
        request: Of whose spike it has to be.

    Returns:
        The spike as it stands then.

    Raises:
        NotFound: There is none, or it is another tenant's.
        Conflict: ``not_kept``, ``decision_pending``, or ``wrong_state``.
        InvalidInput: On ``reason``: it is empty, too long, or more than a line.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= MAX_REASON or not reason.isprintable():
        raise InvalidInput("/reason", f"is a line of 1 to {MAX_REASON} characters")
    async with writing(request, f"spike.{_ACTIONS[decision]}") as work:
        row = await find_spike(work.conn, spike_id)
        if row is None:
            raise NotFound("spike")
        if decision != "dismissed":
            refusal = await find_refusal(work.conn, row.day)
            if refusal is not None:
                raise Conflict("not_kept", f"{row.day} cannot be counted anew: {refusal.value}")
        now = resources_of(request).clock.now()
        if not await decide(work.conn, spike_id, decision, reason=reason, key_id=work.caller.key_id, now=now):
            if row.is_due:
                raise Conflict("decision_pending", "the decision before has not been carried out yet; try in a minute")
            raise Conflict("wrong_state", f"this spike is {row.state}: {_FROM[decision]}")
        decided = await find_spike(work.conn, spike_id)
        if decided is None:
            raise AssertionError("a spike that was decided about is there")
        return work.done(Spike.of(decided), resource=spike_id, before=Spike.of(row))
