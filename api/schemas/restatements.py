"""The forms of restatements."""

from __future__ import annotations

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec

from analytics_core.db.restatements import RestatementRow
from analytics_core.db.restating import RestatedDay

__all__ = ("Restatement", "RestatementAnswer", "RestatementDay")


class RestatementDay(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC day with its figures before and after, of all podcasts together.

    `hits` had come late and were taken in, were judged otherwise by a recount, or are of a spike that was accepted or
    reverted.
    """

    day: dt.date
    hits: int
    downloads_before: int
    downloads_after: int
    downloads_strict_before: int
    downloads_strict_after: int

    @classmethod
    def of(cls, row: RestatedDay) -> RestatementDay:
        """Show a day of a restatement."""
        return cls(
            day=row.day,
            hits=row.hits,
            downloads_before=row.downloads_before,
            downloads_after=row.downloads_after,
            downloads_strict_before=row.strict_before,
            downloads_strict_after=row.strict_after,
        )


class Restatement(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of days that were counted anew: which, why, and by whom.

    `origin` is `job` where it was done by itself, `command` by an operator, `key` with the API key `key_id`. Of the UTC
    days from `first_day` to `last_day` it changed `days`, and figures are of these together. One that was `stopped` has
    changed whole days. `rules` names the profile, with its version, that hits of these days have been judged by since;
    null where that stayed as it was.
    """

    restatement_id: UUID
    first_day: dt.date
    last_day: dt.date
    reason: str
    origin: Literal["job", "command", "key"]
    key_id: UUID | None
    state: Literal["running", "done", "stopped"]
    started_at: dt.datetime
    finished_at: dt.datetime | None
    days: int
    hits: int
    downloads_before: int
    downloads_after: int
    downloads_strict_before: int
    downloads_strict_after: int
    rules: str | None

    @classmethod
    def of(cls, row: RestatementRow) -> Restatement:
        """Show a restatement."""
        return cls(
            restatement_id=row.restatement_id,
            first_day=row.first_day,
            last_day=row.last_day,
            reason=row.reason,
            origin=row.origin,
            key_id=row.key_id,
            state=row.state,
            started_at=row.started_at.astimezone(dt.UTC),
            finished_at=None if row.finished_at is None else row.finished_at.astimezone(dt.UTC),
            rules=row.rules,
            days=row.days,
            hits=row.hits,
            downloads_before=row.downloads_before,
            downloads_after=row.downloads_after,
            downloads_strict_before=row.strict_before,
            downloads_strict_after=row.strict_after,
        )


class RestatementAnswer(Restatement, frozen=True, kw_only=True):
    """A restatement, and the days that it changed, in order."""

    data: list[RestatementDay]
