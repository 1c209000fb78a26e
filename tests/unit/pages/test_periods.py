"""Periods: what is asked for, what it is compared with, and what cannot be asked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.reports import Interval
from api.pages.periods import group_days, read_period

TODAY = dt.date(2026, 11, 24)


def test_without_a_word_it_is_the_last_30_days_by_day() -> None:
    period = read_period({}, today=TODAY)
    assert (period.first, period.last, period.days) == (dt.date(2026, 10, 26), TODAY, 30)
    assert (period.preset, period.interval, period.fault) == ("30", Interval.DAY, None)
    assert period.former_first == dt.date(2026, 9, 26)


@pytest.mark.parametrize(
    ("first", "last", "listeners"),
    [
        ("2026-11-02", "2026-12-01", ("2026-11-02", "2026-11-30")),
        ("2026-11-16", "2026-12-15", ("2026-12-01", "2026-12-15")),
        ("2026-11-17", "2026-12-15", ("2026-12-01", "2026-12-15")),
        ("2026-11-15", "2026-12-15", ("2026-11-15", "2026-11-30")),
        ("2025-12-02", "2026-12-01", ("2026-11-01", "2026-11-30")),
        ("2026-12-01", "2026-12-01", ("2026-12-01", "2026-12-01")),
        ("2026-12-05", "2026-12-11", ("2026-12-05", "2026-12-11")),
        ("2026-02-28", "2026-03-01", ("2026-03-01", "2026-03-01")),
    ],
)
def test_listeners_are_those_of_the_month_it_has_more_of(first: str, last: str, listeners: tuple[str, str]) -> None:
    period = read_period({"first": first, "last": last}, today=dt.date(2026, 12, 20))
    assert tuple(day.isoformat() for day in period.listener_days) == listeners


@given(st.dates(dt.date(2024, 1, 1), TODAY), st.dates(dt.date(2024, 1, 1), TODAY))
def test_listeners_are_of_one_month_within_it(one: dt.date, other: dt.date) -> None:
    period = read_period({"first": str(min(one, other)), "last": str(max(one, other))}, today=TODAY)
    first, last = period.listener_days
    assert period.first <= first <= last <= period.last
    assert (first.year, first.month) == (last.year, last.month)


@pytest.mark.parametrize(
    ("params", "interval"),
    [
        ({"range": "7"}, Interval.DAY),
        ({"range": "year"}, Interval.WEEK),
        ({"range": "year", "by": "day"}, Interval.DAY),
        ({"range": "30", "by": "month"}, Interval.MONTH),
        ({"range": "30", "by": "hour"}, Interval.DAY),
        ({"range": "30", "by": "x"}, Interval.DAY),
        ({"first": "2020-01-01", "last": "2026-01-01"}, Interval.MONTH),
        # So many bars would be no chart.
        ({"first": "2020-01-01", "last": "2026-01-01", "by": "day"}, Interval.MONTH),
    ],
)
def test_the_interval_fits_the_period(params: Mapping[str, str], interval: Interval) -> None:
    assert read_period(params, today=TODAY).interval is interval


@pytest.mark.parametrize(
    ("first", "last", "word"),
    [
        ("2026-11-02", "2026-11-01", "before"),
        ("2026-12-01", "2026-12-24", "still to come"),
        ("", "2026-11-01", "Give the first"),
        ("2026-02-30", "2026-11-01", "Give the first"),
        ("1999-01-01", "2026-11-01", "that long ago"),
        ("2001-01-01", "2026-11-01", "too long"),
        ("9999-99-99", "x", "Give the first"),
    ],
)
def test_days_that_make_no_sense_are_told_and_the_default_taken(first: str, last: str, word: str) -> None:
    period = read_period({"first": first, "last": last}, today=TODAY)
    assert word in (period.fault or "")
    assert (period.preset, period.last) == ("30", TODAY)


def test_no_period_reaches_beyond_today() -> None:
    period = read_period({"first": "2026-11-20", "last": "2027-11-20"}, today=TODAY)
    assert (period.first, period.last, period.preset, period.fault) == (dt.date(2026, 11, 20), TODAY, "", None)
    assert period.query == "first=2026-11-20&last=2026-11-24"


@given(
    st.dates(dt.date(2001, 1, 1), dt.date(2030, 1, 1)), st.integers(0, 800), st.sampled_from(["day", "week", "month"])
)
def test_groups_hold_every_day_of_the_period_once_and_in_order(first: dt.date, days: int, by: str) -> None:
    last = first + dt.timedelta(days=days)
    period = read_period({"first": first.isoformat(), "last": last.isoformat(), "by": by}, today=last)
    groups = group_days(period)
    assert [index for group in groups for index in range(group.start, group.end + 1)] == list(range(period.days))
    assert (groups[0].first, groups[-1].last) == (first, last)
    assert all(group.last - group.first == dt.timedelta(days=group.end - group.start) for group in groups)
