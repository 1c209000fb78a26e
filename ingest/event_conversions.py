"""Makes conversions, and what is known of customers, of events that have landed.

Each batch of marks is one transaction: what follows from an event is written and its mark deleted, or neither. Several
processes take different marks, and whoever dies leaves its own to the others.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from analytics_core.attribution.counting import Adjustment
from analytics_core.clock import Clock
from analytics_core.conversions import ConversionSource
from analytics_core.db.conversion_actions import find_actions
from analytics_core.db.conversions import AdjustmentRow, Fate, NewConversion, add_adjustments, add_conversions
from analytics_core.db.event_intake import add_intake
from analytics_core.db.event_marks import (
    add_signals,
    drop_marks,
    find_known,
    find_refundable,
    find_tenant_ids,
    postpone_marks,
    take_marks,
)
from analytics_core.db.ownership import lock_ownership
from analytics_core.db.pool import Connection
from analytics_core.event_conversions import (
    Decision,
    MarkedEvent,
    Outcome,
    decide,
    given_of,
    has_signal,
    next_look,
    plan_refund,
)
from analytics_core.ids import new_id
from analytics_core.intake import IntakeKey
from ingest.sieve import is_refusal

__all__ = ("BATCH_MARKS", "convert_events")

BATCH_MARKS: Final = 2_000
"""Marks a transaction."""

_OF_FATE: Final = {
    Fate.CREATED: Outcome.CONVERSION,
    Fate.REPEATED: Outcome.REPEATED,
    Fate.DIFFERS: Outcome.DIFFERS,
}
_MANY: Final = 3

_log = logging.getLogger("castledger.ingest.conversions")


class _Followed(NamedTuple):
    """What followed from some events.

    Attributes:
        outcomes: By the numbers of their marks.
        later: When those that wait are looked at again.
        differing: Those that say something else than is stored.
    """

    outcomes: dict[int, Outcome]
    later: dict[int, dt.datetime]
    differing: list[MarkedEvent]


async def convert_events(conn: Connection, *, clock: Clock, limit: int = BATCH_MARKS) -> Counter[Outcome]:
    """Decide about some events that have landed.

    What the database refuses is found by taking fewer at a time, and alone it is let go, so that nothing waits behind
    it for ever.

    Args:
        conn: As ingest, outside a transaction.
        clock: The time.
        limit: How many at most.

    Returns:
        How many became what; nothing when none was due.
    """
    try:
        return await _convert(conn, now=clock.now(), limit=limit)
    except Exception as error:
        if limit == 1 or not is_refusal(error):
            raise
    return await convert_events(conn, clock=clock, limit=max(limit // 10, 1))


async def _convert(conn: Connection, *, now: dt.datetime, limit: int) -> Counter[Outcome]:
    async with conn.transaction():
        # No tenant goes meanwhile.
        await lock_ownership(conn)
        marks, events = await take_marks(conn, now=now, limit=limit)
        if not marks:
            return Counter()
        try:
            async with conn.transaction():
                followed = await _follow(conn, marks, events, now=now)
        except Exception as error:
            if limit > 1 or not is_refusal(error):
                raise
            _log.error("an event is no conversion since the database refuses it: %s", events[0].event_id)
            followed = _Followed({marks[0]: Outcome.REFUSED}, {}, [])
            tenants = await find_tenant_ids(conn, {events[0].tenant_no})
            await _count(conn, events, followed, tenants, {})
        await postpone_marks(conn, followed.later)
        await drop_marks(conn, followed.outcomes.keys() - followed.later.keys())
    _tell(followed.differing)
    return Counter(followed.outcomes.values())


async def _follow(
    conn: Connection, marks: Sequence[int], events: Sequence[MarkedEvent], *, now: dt.datetime
) -> _Followed:
    """Write what follows from events."""
    tenants = await find_tenant_ids(conn, {event.tenant_no for event in events})
    here = [event for event in events if event.tenant_no in tenants]
    known = await find_known(conn, here, tenants)
    decided = [(event, decide(event, known[event.tenant_no])) for event in here]
    outcomes: dict[int, Outcome] = dict.fromkeys(marks, Outcome.GONE)
    outcomes |= {event.mark_no: decision.outcome for event, decision in decided}
    outcomes |= await _add_conversions(conn, decided, tenants, now=now)
    owners = {event.mark_no: decision.sponsor_id for event, decision in decided}
    # After them: a refund may have come with its purchase.
    for mark_no, (outcome, owner) in (await _give_back(conn, decided, tenants, now=now)).items():
        outcomes[mark_no], owners[mark_no] = outcome, owner
    await _keep_signals(conn, here, outcomes, tenants, now=now)
    waiting = {event.mark_no: next_look(event, now) for event in here if outcomes[event.mark_no] is Outcome.WAITING}
    outcomes |= {mark: Outcome.NO_PURCHASE for mark, at in waiting.items() if at is None}
    followed = _Followed(
        outcomes,
        {mark: at for mark, at in waiting.items() if at is not None},
        [event for event in here if outcomes[event.mark_no] is Outcome.DIFFERS],
    )
    await _count(conn, here, followed, tenants, owners)
    return followed


async def _add_conversions(
    conn: Connection, decided: Sequence[tuple[MarkedEvent, Decision]], tenants: Mapping[int, UUID], *, now: dt.datetime
) -> dict[int, Outcome]:
    """Store those that are conversions, the first told of each name first; say what became of them."""
    meant = [(event, decision.action_id) for event, decision in decided if decision.action_id is not None]
    # Events of one request were received at one instant; their marks are numbered in the order in which it told them.
    meant.sort(key=lambda one: (one[0].received_at, one[0].mark_no))
    actions = await find_actions(conn, {action_id for _, action_id in meant})
    rows = [
        NewConversion.of(
            given_of(event, action_id),
            actions[action_id],
            tenant_id=tenants[event.tenant_no],
            customer_key=event.customer_key,
            source=ConversionSource.EVENT,
            # Since when it is known: a run has in it all that was received before its cutoff, whenever it is looked at.
            received_at=now,
        )
        for event, action_id in meant
    ]
    added = await add_conversions(conn, rows)
    return {event.mark_no: _OF_FATE[one.fate] for (event, _), one in zip(meant, added, strict=True)}


async def _give_back(
    conn: Connection,
    decided: Sequence[tuple[MarkedEvent, Decision]],
    tenants: Mapping[int, UUID],
    *,
    now: dt.datetime,
) -> dict[int, tuple[Outcome, UUID | None]]:
    """Adjust what refunds speak of, the earliest first; say what became of these, and whose they are."""
    refunds = [(event, decision.sponsor_id) for event, decision in decided if decision.outcome is Outcome.WAITING]
    if not refunds:
        return {}
    refunds.sort(key=lambda one: (one[0].occurred_at, one[0].mark_no))
    found = await find_refundable(conn, {(tenants[event.tenant_no], event.name) for event, _ in refunds})
    outcomes: dict[int, tuple[Outcome, UUID | None]] = {}
    for event, sponsor_id in refunds:
        tenant_id = tenants[event.tenant_no]
        of_name = found.get((tenant_id, event.name), [])
        outcome, planned = plan_refund(event, sponsor_id, of_name)
        taken = {one.conversion_id for one in planned}
        owners = {one.sponsor_id for one in of_name if not taken or one.conversion_id in taken}
        outcomes[event.mark_no] = outcome, sponsor_id or (owners.pop() if len(owners) == 1 else None)
        rows = [
            AdjustmentRow(
                adjustment_id=new_id(),
                conversion_id=one.conversion_id,
                kind=one.kind,
                value_amount=one.value_amount,
                external_id=one.external_id,
                said_hash=one.said_hash,
                reason=None,
                adjusted_at=one.adjusted_at,
                received_at=now,
            )
            for one in planned
        ]
        await add_adjustments(conn, tenant_id, rows)
        said = {
            row.conversion_id: (
                row.external_id,
                row.said_hash,
                Adjustment(row.adjusted_at, row.adjustment_id, row.value_amount),
            )
            for row in rows
        }
        found[tenant_id, event.name] = [
            one._replace(adjustments=[*one.adjustments, said[one.conversion_id]]) if one.conversion_id in said else one
            for one in of_name
        ]
    return outcomes


async def _keep_signals(
    conn: Connection,
    events: Sequence[MarkedEvent],
    outcomes: Mapping[int, Outcome],
    tenants: Mapping[int, UUID],
    *,
    now: dt.datetime,
) -> None:
    """Keep what led customers in; a conversion has its own signals."""
    own = (Outcome.CONVERSION, Outcome.BOT)
    told = [
        (tenants[event.tenant_no], event)
        for event in events
        if outcomes[event.mark_no] not in own and has_signal(event)
    ]
    await add_signals(conn, told, now=now)


async def _count(
    conn: Connection,
    events: Sequence[MarkedEvent],
    followed: _Followed,
    tenants: Mapping[int, UUID],
    owners: Mapping[int, UUID | None],
) -> None:
    """Count what became of events, each once: those that wait are counted when they do not any more."""
    await add_intake(
        conn,
        Counter(
            IntakeKey(
                tenants[event.tenant_no],
                event.received_at.astimezone(dt.UTC).date(),
                event.type,
                followed.outcomes[event.mark_no],
                owners.get(event.mark_no),
            )
            for event in events
            if event.mark_no not in followed.later
        ),
    )


def _tell(differing: Sequence[MarkedEvent]) -> None:
    """Say which events said something else than is stored under their name: nobody else would hear of it."""
    if differing:
        _log.warning(
            "%d events say something else than is stored under their external_id, which stays as it is; the first: %s",
            len(differing),
            ", ".join(str(event.event_id) for event in differing[:_MANY]),
        )
