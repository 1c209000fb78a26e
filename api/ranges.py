"""The range that a request asks for: days of a time zone or instants, half-open, with sensible defaults."""

from __future__ import annotations

import datetime as dt
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from analytics_core.reports import MAX_HOURLY_DAYS, MAX_RANGE_DAYS, Interval, start_of_day
from api.queries import Moment, Parameter, Query, choice, moment, quarter_moment, time_zone

__all__ = ("FROM", "HIT_FROM", "HIT_TO", "INTERVAL", "TO", "TZ", "UTC", "TimeRange", "read_hit_range", "read_range")

UTC: Final = ZoneInfo("UTC")
_MAX_HIT_DAYS: Final = 31
_DEFAULT_DAYS: Final = 30
_FORM: Final = {"type": "string", "examples": ["2026-11-01", "2026-11-01T12:00:00+01:00"]}
# Where clocks are set back, as many calendar days last an hour longer.
_SLACK: Final = dt.timedelta(hours=1)

FROM: Final[Parameter[Moment | None]] = Parameter(
    "from",
    quarter_moment,
    None,
    "Where the range begins: a date, meaning its first instant in `tz`, or an instant with an offset, on the quarter "
    "hour. By default as many days before its end as the tenant's setting `range_days` says, 30 unless it is set.",
    _FORM,
)
TO: Final[Parameter[Moment | None]] = Parameter(
    "to",
    quarter_moment,
    None,
    "Where the range ends, itself excluded: as `from`. By default the end of today in `tz`.",
    _FORM,
)
HIT_FROM: Final[Parameter[Moment | None]] = Parameter(
    "from",
    moment,
    None,
    "Where the range begins: a date (UTC) or an instant with an offset. By default a day before its end.",
    _FORM,
)
HIT_TO: Final[Parameter[Moment | None]] = Parameter(
    "to",
    moment,
    None,
    "Where the range ends, itself excluded: as `from`, at most 31 days later. By default a day after `from`, or the "
    "end of today.",
    _FORM,
)
TZ: Final = Parameter(
    "tz",
    time_zone,
    UTC,
    "Whose days and clocks decide: a name such as `Europe/Berlin`. By default the tenant's setting `timezone`, UTC "
    "unless it is set.",
    {"type": "string"},
)
INTERVAL: Final = Parameter(
    "interval",
    choice(Interval),
    Interval.DAY,
    "How long a bucket is; weeks begin on Monday, and the range cuts off the first and the last bucket. By default the "
    "tenant's setting `interval`, a day unless it is set.",
    {"type": "string", "enum": [interval.value for interval in Interval]},
)


class TimeRange(NamedTuple):
    """Two instants in UTC, the second excluded."""

    start: dt.datetime
    end: dt.datetime


def _instant(at: Moment, tz: ZoneInfo) -> dt.datetime:
    return at.astimezone(dt.UTC) if isinstance(at, dt.datetime) else start_of_day(at, tz)


def _check(query: Query, found: TimeRange, longest: dt.timedelta, hint: str) -> None:
    if found.end < found.start:
        query.refuse("to", "reversed_range", "lies before `from`")
    elif found.end == found.start:
        query.refuse("to", "empty_range", "is the same as `from`: the range is half-open and would be empty")
    elif found.end - found.start > longest + _SLACK:
        query.refuse("to", "range_too_long", f"lies more than {longest.days} days behind `from`{hint}")


def read_range(query: Query, *, now: dt.datetime, days: int = _DEFAULT_DAYS) -> TimeRange:
    """Read the range of a report from ``from``, ``to``, ``tz`` and ``interval``; its faults are noted in *query*.

    Args:
        query: Of the request.
        now: Aware instant.
        days: How far it goes back without a ``from``.
    """
    start, end, tz, interval = query.get(FROM), query.get(TO), query.get(TZ), query.get(INTERVAL)
    today = now.astimezone(tz).date()
    until = start_of_day(today + dt.timedelta(days=1), tz) if end is None else _instant(end, tz)
    if start is None:
        since = start_of_day(until.astimezone(tz).date() - dt.timedelta(days=days), tz)
    else:
        since = _instant(start, tz)
    found = TimeRange(since, until)
    if query.is_good(FROM, TO, TZ, INTERVAL):
        is_hourly = interval is Interval.HOUR
        longest = dt.timedelta(days=MAX_HOURLY_DAYS if is_hourly else MAX_RANGE_DAYS)
        _check(query, found, longest, ", too long by the hour" if is_hourly else "")
    return found


def read_hit_range(query: Query, *, now: dt.datetime) -> TimeRange:
    """Read the range of a list of hits from ``from`` and ``to``; its faults are noted in *query*."""
    start, end = query.get(HIT_FROM), query.get(HIT_TO)
    day = dt.timedelta(days=1)
    if end is not None:
        until = _instant(end, UTC)
        since = until - day if start is None else _instant(start, UTC)
    elif start is not None:
        since = _instant(start, UTC)
        until = since + day
    else:
        since = start_of_day(now.astimezone(dt.UTC).date(), UTC)
        until = since + day
    found = TimeRange(since, until)
    if query.is_good(HIT_FROM, HIT_TO):
        _check(query, found, dt.timedelta(days=_MAX_HIT_DAYS), "")
    return found
