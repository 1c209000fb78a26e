"""The form of what came in as events, and what became of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from analytics_core.db.event_intake import IntakeRow
from analytics_core.event_conversions import Outcome
from analytics_core.intake import OUTCOME_WORDS

__all__ = ("DecidedEvents", "IntakeAnswer")


class DecidedEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Events of a type that were received on a UTC day and became the same; nobody's have no sponsor."""

    day: dt.date
    type: str
    sponsor_id: UUID | None
    sponsor: str | None
    outcome: Outcome
    explanation: str
    events: int

    @classmethod
    def of(cls, row: IntakeRow) -> DecidedEvents:
        """Show a count of a day."""
        if row.day is None:
            raise ValueError("the count is of several days")
        return cls(
            day=row.day,
            type=row.type,
            sponsor_id=row.sponsor_id,
            sponsor=row.sponsor,
            outcome=row.outcome,
            explanation=OUTCOME_WORDS[row.outcome],
            events=row.events,
        )


class IntakeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of events that came in, the last day first; `totals` are of all of it, `left_out` of how many rows.

    `undecided` are events of the tenant that nothing has become of yet: they have just landed, or they are refunds that
    wait for their purchase. It is null for a sponsor's login.
    """

    data: list[DecidedEvents]
    totals: dict[Outcome, int]
    undecided: int | None
    left_out: int
    first: dt.date = msgspec.field(name="from")
    until: dt.date = msgspec.field(name="to")

    @classmethod
    def of(
        cls,
        rows: Sequence[IntakeRow],
        *,
        rows_in_all: int,
        totals: Mapping[Outcome, int],
        undecided: int | None,
        first: dt.date,
        until: dt.date,
    ) -> IntakeAnswer:
        """Show the counts of some days."""
        return cls(
            data=[DecidedEvents.of(row) for row in rows],
            totals=dict(totals),
            undecided=undecided,
            left_out=rows_in_all - len(rows),
            first=first,
            until=until,
        )
