"""The forms of the ledger of answers."""

from __future__ import annotations

import datetime as dt

import msgspec

from analytics_core.accounts import ANSWERED, DEAD, LOST, PENDING, difference
from analytics_core.db.ledger import BucketRow, SilentSource

__all__ = ("LedgerAnswer", "LedgerBucket", "SilentTracker")


class LedgerBucket(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a tracker's answers in a span of time.

    `landed` is by verdict, with `click` for links; `pending` hits wait for their episode; `dead` ones were refused by
    the database or by a rule; `lost` is by reason, `damaged` being hits that were recorded and can no longer be read.
    `difference` is what was answered less all of these: 0.
    """

    start: dt.datetime
    source: str
    answered: int
    landed: dict[str, int]
    pending: int
    dead: int
    lost: dict[str, int]
    difference: int

    @classmethod
    def of(cls, row: BucketRow) -> LedgerBucket:
        """Show a bucket of the ledger."""
        accounts = row.accounts
        named = {ANSWERED, PENDING, DEAD}
        return cls(
            start=row.start.astimezone(dt.UTC),
            source=row.source,
            answered=accounts.get(ANSWERED, 0),
            landed={what: n for what, n in accounts.items() if what not in named and not what.startswith(LOST)},
            pending=accounts.get(PENDING, 0),
            dead=accounts.get(DEAD, 0),
            lost={what.removeprefix(LOST): n for what, n in accounts.items() if what.startswith(LOST)},
            difference=difference(accounts),
        )


class SilentTracker(msgspec.Struct, frozen=True, kw_only=True):
    """A tracker that has not been heard of for three minutes, though it did not stop."""

    source: str
    last_frame_at: dt.datetime

    @classmethod
    def of(cls, row: SilentSource) -> SilentTracker:
        """Show a silent tracker."""
        return cls(source=row.source, last_frame_at=row.last_frame_at.astimezone(dt.UTC))


class LedgerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger of answers over a range.

    `balanced` says that all that was answered is accounted for in each bucket; up to `cutoff` all has landed.
    """

    data: list[LedgerBucket]
    balanced: bool
    cutoff: dt.datetime | None
    silent: list[SilentTracker]
