"""Reports over time: which quarter hours of which UTC days make up the buckets of a range, in any time zone.

Rollups keep each UTC day's downloads by quarter hour. A report names a range, an interval and a time zone; this
module says which slices of which days belong to which bucket, so that every quarter hour of the range is in exactly
one of them and storage only has to add.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

__all__ = (
    "CURVE_DAYS",
    "EARLIEST",
    "LATEST",
    "MAX_HOURLY_DAYS",
    "MAX_RANGE_DAYS",
    "QUARTERS_A_DAY",
    "Bucket",
    "Interval",
    "MonthSlice",
    "Slice",
    "find_time_zone",
    "in_one_month",
    "is_quarter_hour",
    "plan_buckets",
    "slice_days",
    "slice_months",
    "start_of_day",
    "utc_days",
    "whole_months",
)

QUARTERS_A_DAY: Final = 96
CURVE_DAYS: Final = (1, 3, 7, 14, 28, 30, 60, 90)
"""After how many times 24 hours a curve has a point."""
MAX_HOURLY_DAYS: Final = 366
"""A longer range is not answered by the hour."""
MAX_RANGE_DAYS: Final = 3660
"""Ten years and a little: no report is longer."""
EARLIEST: Final = dt.date(2000, 1, 1)
LATEST: Final = dt.date(2200, 1, 1)
"""Days from ``EARLIEST`` to before ``LATEST`` can be asked for; no podcast is older."""

_QUARTER: Final = dt.timedelta(minutes=15)
_DAY: Final = dt.timedelta(days=1)
# Names are files in the end: what is no plain name never gets there.
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,40}(?:/[A-Za-z0-9_+-]{1,40}){0,2}")


class Interval(enum.Enum):
    """How long a bucket is, by the clock and calendar of the report's time zone; weeks begin on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def find_time_zone(name: str) -> ZoneInfo | None:
    """Find a time zone by its name; ``None`` when there is none.

    >>> find_time_zone("Europe/Berlin"), find_time_zone("../etc/passwd")
    (zoneinfo.ZoneInfo(key='Europe/Berlin'), None)
    """
    if _ZONE.fullmatch(name) is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


class Bucket(NamedTuple):
    """A half-open stretch of time, both ends in UTC: instants in other zones do not compare where clocks go back."""

    start: dt.datetime
    end: dt.datetime


class Slice(NamedTuple):
    """Quarter hours of one UTC day that belong to one bucket.

    Attributes:
        bucket: The bucket's place in the plan, from 0.
        day: The UTC day.
        first: First quarter hour, from 0 to 95.
        last: Last quarter hour, inclusive.
    """

    bucket: int
    day: dt.date
    first: int
    last: int


class MonthSlice(NamedTuple):
    """Whole days of one month that belong to one bucket.

    Attributes:
        bucket: The bucket's place in the plan, from 0.
        month: The month's first day.
        first: First day of the month, from 1.
        last: Last day, inclusive.
    """

    bucket: int
    month: dt.date
    first: int
    last: int


def is_quarter_hour(at: dt.datetime) -> bool:
    """Tell whether an instant is one at which rollups can be cut.

    >>> is_quarter_hour(dt.datetime(2026, 11, 1, 0, 45, tzinfo=dt.UTC))
    True
    >>> is_quarter_hour(dt.datetime(2026, 11, 1, 0, 50, tzinfo=dt.UTC))
    False
    """
    return at.minute % 15 == 0 and at.second == 0 and at.microsecond == 0


def start_of_day(day: dt.date, tz: ZoneInfo) -> dt.datetime:
    """Return the first instant of a calendar day in a time zone, in UTC.

    Where clocks skip midnight the day begins with the first quarter hour that the clocks show; a day that is skipped
    as a whole begins with the next one.

    >>> start_of_day(dt.date(2018, 11, 4), ZoneInfo("America/Sao_Paulo")).isoformat()
    '2018-11-04T03:00:00+00:00'
    """
    at = dt.datetime.combine(day, dt.time(), tz).astimezone(dt.UTC)
    while (at - _QUARTER).astimezone(tz).date() >= day:
        at -= _QUARTER
    return at


def _next_day(day: dt.date, interval: Interval) -> dt.date:
    match interval:
        case Interval.WEEK:
            return day + dt.timedelta(days=7 - day.weekday())
        case Interval.MONTH:
            return (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
        case _:
            return day + _DAY


def _next_hour(at: dt.datetime, tz: ZoneInfo) -> dt.datetime:
    """Return when the clocks' next hour begins: on the hour, or where they are moved."""
    local = at.astimezone(tz)
    following = at + dt.timedelta(minutes=60 - local.minute)
    if following.astimezone(tz).utcoffset() == local.utcoffset():
        return following
    while (at + _QUARTER).astimezone(tz).utcoffset() == local.utcoffset():
        at += _QUARTER
    return min(at + _QUARTER, following)


def plan_buckets(start: dt.datetime, end: dt.datetime, *, interval: Interval, tz: ZoneInfo) -> list[Bucket]:
    """Cut a range into buckets.

    The first and the last bucket are cut off where the range begins and ends.

    Args:
        start: Aware instant on a quarter hour.
        end: Aware instant on a quarter hour, behind *start*.
        interval: How long a bucket is.
        tz: Whose calendar and clocks decide.

    Returns:
        At least one bucket; each begins where the one before ends, and together they are the range.

    Raises:
        ValueError: *end* is not behind *start*, or one of them is naive or off the quarter hour.

    >>> days = (dt.datetime(2026, 3, 28, 23, tzinfo=dt.UTC), dt.datetime(2026, 3, 30, 22, tzinfo=dt.UTC))
    >>> for bucket in plan_buckets(*days, interval=Interval.DAY, tz=ZoneInfo("Europe/Berlin")):
    ...     print(bucket.start.isoformat(), bucket.end - bucket.start)
    2026-03-28T23:00:00+00:00 23:00:00
    2026-03-29T22:00:00+00:00 1 day, 0:00:00
    """
    for at in (start, end):
        if at.tzinfo is None or not is_quarter_hour(at):
            raise ValueError("a range begins and ends at aware instants on the quarter hour")
    start, end = start.astimezone(dt.UTC), end.astimezone(dt.UTC)
    if end <= start:
        raise ValueError("a range ends behind its start")
    buckets: list[Bucket] = []
    at = start
    while at < end:
        if interval is Interval.HOUR:
            following = _next_hour(at, tz)
        else:
            day = at.astimezone(tz).date()
            following = at
            # A day that the zone's calendar skips begins and ends at the same instant.
            while following <= at:
                day = _next_day(day, interval)
                following = start_of_day(day, tz)
        following = min(following, end)
        buckets.append(Bucket(at, following))
        at = following
    return buckets


def slice_days(buckets: Sequence[Bucket]) -> Iterator[Slice]:
    """Say which quarter hours of which UTC days belong to each bucket.

    Args:
        buckets: As :func:`plan_buckets` makes them.

    Yields:
        Slices by bucket and day: together every quarter hour of every bucket, once.

    >>> day = Bucket(dt.datetime(2026, 11, 1, 22, 30, tzinfo=dt.UTC), dt.datetime(2026, 11, 3, 0, 15, tzinfo=dt.UTC))
    >>> [(str(part.day), part.first, part.last) for part in slice_days([day])]
    [('2026-11-01', 90, 95), ('2026-11-02', 0, 95), ('2026-11-03', 0, 0)]
    """
    for number, bucket in enumerate(buckets):
        at = bucket.start
        while at < bucket.end:
            midnight = dt.datetime.combine(at.date(), dt.time(), dt.UTC)
            until = min(bucket.end, midnight + _DAY)
            yield Slice(number, at.date(), (at - midnight) // _QUARTER, (until - midnight) // _QUARTER - 1)
            at = until


def whole_months(first: dt.date, last: dt.date, *, bucket: int = 0) -> list[MonthSlice]:
    """Cut a stretch of whole days, both ends included, by month; none where it ends before it begins.

    >>> [part[1:] for part in whole_months(dt.date(2026, 1, 30), dt.date(2026, 2, 2))]
    [(datetime.date(2026, 1, 1), 30, 31), (datetime.date(2026, 2, 1), 1, 2)]
    """
    parts = []
    while first <= last:
        month = first.replace(day=1)
        if (first.year, first.month) == (last.year, last.month):
            parts.append(MonthSlice(bucket, month, first.day, last.day))
            break
        following = (month + 31 * _DAY).replace(day=1)
        parts.append(MonthSlice(bucket, month, first.day, (following - _DAY).day))
        first = following
    return parts


def slice_months(buckets: Sequence[Bucket]) -> tuple[list[MonthSlice], list[Slice]]:
    """Say which whole days of which months belong to each bucket, and which quarter hours of the days that it cuts.

    Args:
        buckets: As :func:`plan_buckets` makes them.

    Returns:
        Whole days by month, and slices of the other days: together what :func:`slice_days` yields.

    >>> start, end = dt.datetime(2026, 1, 30, tzinfo=dt.UTC), dt.datetime(2026, 2, 2, 6, tzinfo=dt.UTC)
    >>> months, cut = slice_months([Bucket(start, end)])
    >>> [(str(part.month), part.first, part.last) for part in months]
    [('2026-01-01', 30, 31), ('2026-02-01', 1, 1)]
    >>> [(str(part.day), part.first, part.last) for part in cut]
    [('2026-02-02', 0, 23)]
    """
    months: list[MonthSlice] = []
    cut: list[Slice] = []
    for number, (start, end) in enumerate(buckets):
        day, last = start.date(), end.date()
        first_quarter, end_quarter = _quarter_of(start), _quarter_of(end)
        if first_quarter:
            if day == last:
                cut.append(Slice(number, day, first_quarter, end_quarter - 1))
                continue
            cut.append(Slice(number, day, first_quarter, QUARTERS_A_DAY - 1))
            day += _DAY
        months += whole_months(day, last - _DAY, bucket=number)
        if end_quarter:
            cut.append(Slice(number, last, 0, end_quarter - 1))
    return months, cut


def _quarter_of(at: dt.datetime) -> int:
    return at.hour * 4 + at.minute // 15


def in_one_month(start: dt.datetime, end: dt.datetime) -> bool:
    """Tell whether a half-open stretch lies inside one UTC month: only there are listener keys comparable.

    >>> in_one_month(dt.datetime(2026, 11, 1, tzinfo=dt.UTC), dt.datetime(2026, 12, 1, tzinfo=dt.UTC))
    True
    >>> in_one_month(dt.datetime(2026, 11, 30, tzinfo=dt.UTC), dt.datetime(2026, 12, 1, 0, 15, tzinfo=dt.UTC))
    False
    """
    first, last = utc_days(start, end)
    return (first.year, first.month) == (last.year, last.month)


def utc_days(start: dt.datetime, end: dt.datetime) -> tuple[dt.date, dt.date]:
    """Name the first and the last UTC day that a half-open stretch touches.

    >>> first, last = utc_days(dt.datetime(2026, 11, 1, tzinfo=dt.UTC), dt.datetime(2026, 11, 2, tzinfo=dt.UTC))
    >>> first == last == dt.date(2026, 11, 1)
    True
    """
    return start.astimezone(dt.UTC).date(), (end.astimezone(dt.UTC) - dt.timedelta(microseconds=1)).date()
