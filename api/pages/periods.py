"""Which days a page is about, which days these are compared with, and in what steps they are shown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec

from analytics_core.reports import EARLIEST, MAX_RANGE_DAYS, Interval, whole_months
from api.pages.words import day_range, short_day

__all__ = ("PRESETS", "Group", "Period", "group_days", "read_period")

PRESETS: Final[Mapping[str, tuple[str, int]]] = {
    "7": ("7 days", 7),
    "30": ("30 days", 30),
    "90": ("90 days", 90),
    "year": ("Year", 365),
}
"""By what stands in the address: its name and its days."""

_DEFAULT: Final = "30"
_DAY: Final = dt.timedelta(days=1)
_MAX_BARS: Final = 400


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of UTC days, both ends included.

    Attributes:
        preset: A key of ``PRESETS``, or empty for days of one's own.
        interval: The length of a bar.
        fault: What was wrong with the days that were asked for; then they are the default ones.
    """

    first: dt.date
    last: dt.date
    preset: str
    interval: Interval
    fault: str | None = None

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def former_first(self) -> dt.date:
        """The first day of the period before, which is as long."""
        return self.first - dt.timedelta(days=self.days)

    @property
    def listener_days(self) -> tuple[dt.date, dt.date]:
        """The first and the last of those of its days whose listeners are shown; listeners change with the UTC month.

        Its last month, but at that month's beginning, which hardly anybody has been in yet, the one before: whichever
        the period has more days of.
        """
        begun = max(self.first, self.last.replace(day=1))
        before = begun - _DAY
        if before < self.first:
            return begun, self.last
        first = max(self.first, before.replace(day=1))
        return (first, before) if before - first > self.last - begun else (begun, self.last)

    @property
    def query(self) -> str:
        """The period as it stands in an address, without the interval."""
        if self.preset:
            return urlencode({"range": self.preset})
        return urlencode({"first": self.first.isoformat(), "last": self.last.isoformat()})

    @property
    def name(self) -> str:
        """The period in words."""
        return day_range(self.first, self.last)

    def at(self, index: int) -> dt.date:
        """Name one of its days, from 0."""
        return self.first + index * _DAY


class Group(msgspec.Struct, frozen=True):
    """The days of one bar, by their places in the period, both included."""

    start: int
    end: int
    first: dt.date
    last: dt.date
    label: str

    @property
    def name(self) -> str:
        """Its days in words."""
        return day_range(self.first, self.last)


def _default_interval(days: int) -> Interval:
    if days <= 92:
        return Interval.DAY
    return Interval.WEEK if days <= 750 else Interval.MONTH


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


def _own_days(params: Mapping[str, str], today: dt.date) -> tuple[dt.date, dt.date] | str:
    """Read days of one's own, or say what is wrong with them."""
    first, last = _day(params.get("first", "")), _day(params.get("last", ""))
    if first is None or last is None:
        return "Give the first and the last day, each as year, month and day: 2026-11-03."
    last = min(last, today)
    if first <= EARLIEST:
        return "There were no podcasts to count that long ago."
    if last < first:
        return "The last day lies before the first, or the first one is still to come."
    if (last - first).days >= MAX_RANGE_DAYS:
        return f"That is too long: {MAX_RANGE_DAYS:,} days are the most."
    return first, last


def read_period(params: Mapping[str, str], *, today: dt.date) -> Period:
    """Read the period from an address's parameters: ``range``, or ``first`` and ``last``, and ``by``.

    What cannot be read is the default; days of one's own that make no sense are told in ``fault``.

    Args:
        params: As they stand in the address.
        today: In UTC; no period reaches beyond it.
    """
    preset = params.get("range", "")
    fault = None
    own = ("first" in params or "last" in params) and preset not in PRESETS
    found = _own_days(params, today) if own else None
    if isinstance(found, tuple):
        (first, last), preset = found, ""
    else:
        fault = found
        preset = preset if preset in PRESETS else _DEFAULT
        last = today
        first = today - (PRESETS[preset][1] - 1) * _DAY
    days = (last - first).days + 1
    try:
        interval = Interval(params.get("by", ""))
    except ValueError:
        interval = _default_interval(days)
    if interval is Interval.HOUR or (interval is Interval.DAY and days > _MAX_BARS):
        interval = _default_interval(days)
    return Period(first=first, last=last, preset=preset, interval=interval, fault=fault)


def _starts(period: Period) -> list[int]:
    """Name the places at which groups begin: the first day, then Mondays or first days of months."""
    match period.interval:
        case Interval.WEEK:
            return [0, *range(7 - period.first.weekday(), period.days, 7)]
        case Interval.MONTH:
            return [max((part.month - period.first).days, 0) for part in whole_months(period.first, period.last)]
        case _:
            return list(range(period.days))


def group_days(period: Period) -> list[Group]:
    """Group a period's days by its interval; the period cuts off the first and the last group.

    >>> period = read_period({"range": "7", "by": "week"}, today=dt.date(2026, 11, 24))
    >>> [(group.start, group.end, group.name) for group in group_days(period)]
    [(0, 4, '18–22 Nov 2026'), (5, 6, '23–24 Nov 2026')]
    """
    starts = _starts(period)
    ends: Sequence[int] = [start - 1 for start in starts[1:]] + [period.days - 1]
    return [
        Group(start, end, period.at(start), period.at(end), _label(period.at(start), period))
        for start, end in zip(starts, ends, strict=True)
    ]


def _label(first: dt.date, period: Period) -> str:
    if period.interval is Interval.MONTH:
        return f"{first:%b} {first.year}" if first.month == 1 or period.days > 800 else f"{first:%b}"
    return short_day(first)
