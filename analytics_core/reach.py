"""Reach: how many listeners heard something, and how often; known for one UTC month at a time.

A listener key is another one in each month, so that there is no reach of two months; and a listener of two flights is
one of the campaign, so that reach is never added over flights.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

__all__ = ("MonthReach", "NoReach", "Reach", "frequency_of", "reach_of")

NoReach: TypeAlias = Literal["no_impressions", "across_months", "not_counted", "changed_since"]

_PLACES = 4


class MonthReach(msgspec.Struct, frozen=True, kw_only=True):
    """A month of a flight, a campaign or a sponsor.

    Attributes:
        month: Its first day.
        delivered: Impressions by now.
        reach: Listeners when they were counted; ``None`` where they were not.
        impressions: Those that the listeners were counted of.
        is_final: Whether nothing more is expected of the month.
        computed_at: When they were counted.
    """

    month: dt.date
    delivered: int
    reach: int | None
    impressions: int | None
    is_final: bool
    computed_at: dt.datetime | None

    @property
    def reason(self) -> NoReach | None:
        """Tell why there is no reach: not counted yet, or of other impressions than those of a month that is final."""
        if self.reach is None:
            return "not_counted"
        return "changed_since" if self.is_final and self.impressions != self.delivered else None


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """The reach of all time, which there is where all of it lies in one month."""

    reach: int | None
    frequency: float | None
    reason: NoReach | None


def frequency_of(impressions: int | None, reach: int | None) -> float | None:
    """Divide impressions by the listeners who had them, to four decimals; ``None`` without any.

    >>> frequency_of(5, 3)
    1.6667
    """
    return round(impressions / reach, _PLACES) if reach and impressions is not None else None


def reach_of(months: Sequence[MonthReach]) -> Reach:
    """Tell the reach of all months together.

    >>> reach_of([]).reason
    'no_impressions'
    """
    heard = [month for month in months if month.delivered or month.reach]
    reason: NoReach | None
    if not heard:
        reason = "no_impressions"
    elif len(heard) > 1:
        reason = "across_months"
    else:
        reason = heard[0].reason
    if reason is not None:
        return Reach(reach=None, frequency=None, reason=reason)
    only = heard[0]
    return Reach(
        reach=only.reach,
        frequency=frequency_of(only.impressions, only.reach),
        reason=None,
    )
