"""The forms of clicks counted by time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import msgspec

from analytics_core.db.clicks import ClickCounts, Clicks
from analytics_core.reports import Bucket, Interval

__all__ = ("ClickFigure", "ClickTotals", "ClicksAnswer")


class ClickTotals(msgspec.Struct, frozen=True):
    """Clicks by anyone but bots, and by bots."""

    clicks: int
    bots: int

    @classmethod
    def of(cls, counts: Sequence[ClickCounts]) -> ClickTotals:
        """Add up."""
        return cls(sum(one.clicks for one in counts), sum(one.bots for one in counts))


class ClickFigure(msgspec.Struct, frozen=True):
    """The clicks of the stretch of time that begins at `start`."""

    start: dt.datetime
    clicks: int
    bots: int


class ClicksAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Clicks by time; `totals` are the sum of `data`.

    `undated` are clicks of all times of which only the number is kept: hits are kept for 25 months, or as long as the
    installation says, and with a hit goes when it was. Clicks before `cutoff` have all landed; null before the first.
    """

    data: list[ClickFigure]
    totals: ClickTotals
    undated: ClickTotals
    cutoff: dt.datetime | None
    tz: str
    interval: str
    start: dt.datetime = msgspec.field(name="from")
    end: dt.datetime = msgspec.field(name="to")

    @classmethod
    def of(cls, found: Clicks, buckets: Sequence[Bucket], *, interval: Interval, tz: ZoneInfo) -> ClicksAnswer:
        """Show what was counted, bucket by bucket."""
        return cls(
            data=[
                ClickFigure(bucket.start.astimezone(tz), counts.clicks, counts.bots)
                for bucket, counts in zip(buckets, found.buckets, strict=True)
            ],
            totals=ClickTotals.of(found.buckets),
            undated=ClickTotals.of([found.undated]),
            cutoff=found.cutoff_at,
            tz=tz.key,
            interval=interval.value,
            start=buckets[0].start.astimezone(tz),
            end=buckets[-1].end.astimezone(tz),
        )
