"""Lands a batch of events: rows, ids, entries of the ledger, dead letters and checkpoints in one transaction."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from analytics_core.accounts import DEAD, DUPLICATE, EVENT, NO_TENANT
from analytics_core.db.dead_letters import DeadLetter, add_dead_letters
from analytics_core.db.event_marks import add_marks
from analytics_core.db.events import EVENTS_SOURCE, StoredEvent, add_events, find_tenants
from analytics_core.db.ledger import Entry, add_entries
from analytics_core.db.ownership import lock_ownership
from analytics_core.db.pool import Connection
from analytics_core.db.segments import advance_cutoff, move_checkpoint
from analytics_core.event_conversions import is_marked
from analytics_core.hits import MAX_AGENT_BYTES
from ingest.events.reading import EventBatch, SpooledEvent
from ingest.sieve import Places, Refusal, Sieve, describe, is_refusal
from ingest.writer import FenceLost

__all__ = ("Landed", "land_events")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MINUTE: Final = dt.timedelta(minutes=1)


class Landed(NamedTuple):
    """What became of a batch.

    Attributes:
        accounts: How many events each account of the ledger was given.
        dead: Those that are dead.
    """

    accounts: Counter[str]
    dead: Sequence[DeadLetter]


class _Outcome(NamedTuple):
    """An event, and the account that it belongs to."""

    event: SpooledEvent
    account: str


async def _write(
    conn: Connection, events: Sequence[SpooledEvent], rows: Sequence[StoredEvent], *, now: dt.datetime
) -> list[_Outcome]:
    """Write the rows of some events, and marks of those that may be conversions; say what each of them was."""
    tenants = await find_tenants(conn, {row.tenant_no for row in rows})
    firsts: dict[object, StoredEvent] = {}
    for row in rows:
        if row.tenant_no in tenants:
            firsts.setdefault(row.key, row)
    new = await add_events(conn, list(firsts.values()))
    await add_marks(conn, (row for row in firsts.values() if row.key in new and is_marked(row)), now=now)
    outcomes = []
    for event, row in zip(events, rows, strict=True):
        if row.tenant_no not in tenants:
            account = NO_TENANT
        elif row.key in new and firsts[row.key] is row:
            account = EVENT
        else:
            account = DUPLICATE
        outcomes.append(_Outcome(event, account))
    return outcomes


def _book(outcomes: Sequence[_Outcome], dead: Sequence[DeadLetter]) -> list[Entry]:
    counts = Counter(
        (outcome.event.segment_no, (outcome.event.received_at - _EPOCH) // _MINUTE, outcome.account)
        for outcome in outcomes
    )
    counts.update((letter.segment_no, (letter.occurred_at - _EPOCH) // _MINUTE, DEAD) for letter in dead)
    return [Entry(*where, count) for where, count in counts.items()]


def _letter(event: SpooledEvent, refusal: Refusal) -> DeadLetter:
    """Write a dead letter: it names the event, and nobody."""
    reason, message = describe(refusal.error)
    return DeadLetter(
        segment_no=event.segment_no,
        ordinal=event.ordinal,
        # The minute in which it was answered: there the ledger looks for it.
        occurred_at=event.received_at,
        tenant_no=event.record.tenant_no,
        podcast_no=None,
        step="land",
        reason=reason,
        message=message,
        target=f"{event.record.type[:64]} {event.record.event_id}".replace("\x00", "\ufffd"),
        agent=event.record.agent[:MAX_AGENT_BYTES].replace("\x00", "\ufffd"),
    )


async def land_events(
    conn: Connection,
    batch: EventBatch,
    rows: Sequence[StoredEvent],
    *,
    cutoff: dt.datetime | None,
    now: dt.datetime,
    sieve: Sieve,
) -> Landed:
    """Land a batch in one transaction; those of its events that the database refuses alone are buried.

    Args:
        conn: Outside a transaction.
        batch: The events.
        rows: A row for each of them.
        cutoff: Up to when events have landed once the batch has; ``None`` when that is unknown.
        now: Aware instant.
        sieve: Finds what is refused.

    Returns:
        What became of them.

    Raises:
        FenceLost: Someone else landed it; nothing was written.
        Exception: The database refuses all of them: then it is not they that are wrong.
    """

    async def attempt(places: Places) -> list[_Outcome]:
        async with conn.transaction():
            chosen = places.tolist()
            events = [batch.events[place] for place in chosen]
            return await _write(conn, events, [rows[place] for place in chosen], now=now)

    async def probe(places: Places) -> None:
        savepoint = conn.transaction()
        await savepoint.start()
        try:
            await attempt(places)
        finally:
            await savepoint.rollback()

    async with conn.transaction():
        # In one order, and first of all: two shippers of one spool meet here, before either did any work.
        for step in sorted(batch.checkpoints, key=lambda step: step.segment_id):
            if not await move_checkpoint(conn, step):
                raise FenceLost(f"segment {step.segment_id} has moved on from {step.before}")
        # No tenant goes meanwhile.
        await lock_ownership(conn)
        dead = list(batch.dead)
        try:
            async with conn.transaction():
                outcomes = await _write(conn, batch.events, rows, now=now)
        except Exception as error:
            if not is_refusal(error):
                raise
            sifted = await sieve.sift(len(rows), attempt, probe, error)
            outcomes = [outcome for part in sifted.passed for outcome in part]
            dead += [_letter(batch.events[refusal.place], refusal) for refusal in sifted.refused]
        await add_dead_letters(conn, dead)
        await add_entries(conn, [*batch.answers, *_book(outcomes, dead)])
        if cutoff is not None:
            await advance_cutoff(conn, source=EVENTS_SOURCE, at=cutoff)
    accounts = Counter(outcome.account for outcome in outcomes)
    sieve.note(landed=len(outcomes), refused=len(dead) - len(batch.dead))
    return Landed(accounts, dead)
