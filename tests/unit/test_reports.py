"""Regrouping loses no download and invents none, whatever the zone does to its clocks."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analytics_core.reports import (
    QUARTERS_A_DAY,
    Bucket,
    Interval,
    Slice,
    in_one_month,
    plan_buckets,
    slice_days,
    slice_months,
    start_of_day,
    utc_days,
    whole_months,
)

QUARTER = dt.timedelta(minutes=15)
ORIGIN = dt.datetime(2010, 1, 1, tzinfo=dt.UTC)
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",  # skipped midnight until 2018
        "America/Havana",  # repeats midnight
        "Asia/Kolkata",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",  # moves its clocks by half an hour
        "Pacific/Apia",  # skipped a whole day in 2011
        "Pacific/Chatham",
        "Africa/Casablanca",
    )
]
zones = st.sampled_from(ZONES)
instants = st.integers(0, 96 * 365 * 18).map(lambda quarters: ORIGIN + quarters * QUARTER)
intervals = st.sampled_from(Interval)
lengths = st.integers(1, 96 * 70)


def quarters_of(start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    return [start + number * QUARTER for number in range((end - start) // QUARTER)]


def label(at: dt.datetime, interval: Interval, tz: ZoneInfo) -> tuple[object, ...]:
    """Name an instant's bucket from the calendar alone."""
    local = at.astimezone(tz)
    match interval:
        case Interval.HOUR:
            return (local.date(), local.hour, local.utcoffset())
        case Interval.DAY:
            return (local.date(),)
        case Interval.WEEK:
            return tuple(local.isocalendar()[:2])
        case Interval.MONTH:
            return (local.year, local.month)


@given(instants, lengths, intervals, zones)
@example(dt.datetime(2011, 12, 28, tzinfo=dt.UTC), 96 * 5, Interval.DAY, ZoneInfo("Pacific/Apia"))
@example(dt.datetime(2018, 11, 3, tzinfo=dt.UTC), 96 * 3, Interval.DAY, ZoneInfo("America/Sao_Paulo"))
@example(dt.datetime(2026, 4, 4, tzinfo=dt.UTC), 96 * 2, Interval.HOUR, ZoneInfo("Australia/Lord_Howe"))
@example(dt.datetime(2026, 10, 31, tzinfo=dt.UTC), 96 * 3, Interval.DAY, ZoneInfo("America/Havana"))
def test_every_quarter_hour_of_the_range_is_in_one_slice_of_its_own_bucket(
    start: dt.datetime, length: int, interval: Interval, tz: ZoneInfo
) -> None:
    end = start + length * QUARTER
    buckets = plan_buckets(start, end, interval=interval, tz=tz)
    covered: Counter[dt.datetime] = Counter()
    labels: dict[int, set[tuple[object, ...]]] = {}
    for part in slice_days(buckets):
        assert 0 <= part.first <= part.last < QUARTERS_A_DAY
        midnight = dt.datetime.combine(part.day, dt.time(), dt.UTC)
        for quarter in range(part.first, part.last + 1):
            at = midnight + quarter * QUARTER
            covered[at] += 1
            labels.setdefault(part.bucket, set()).add(label(at, interval, tz))
    assert covered == Counter(quarters_of(start, end))
    # Each bucket is one calendar unit, and no unit is cut in two.
    assert all(len(names) == 1 for names in labels.values())
    assert len(buckets) == len(labels) == len(set().union(*labels.values()))


@given(instants, lengths, intervals, zones)
def test_buckets_follow_one_another_without_gap_or_overlap(
    start: dt.datetime, length: int, interval: Interval, tz: ZoneInfo
) -> None:
    end = start + length * QUARTER
    buckets = plan_buckets(start, end, interval=interval, tz=tz)
    assert buckets[0].start == start
    assert buckets[-1].end == end
    assert all(bucket.start < bucket.end for bucket in buckets)
    assert all(one.end == other.start for one, other in itertools.pairwise(buckets))


@given(st.lists(st.integers(0, 1000), min_size=96 * 3, max_size=96 * 3), st.sampled_from(list(Interval)), zones, zones)
def test_every_interval_and_zone_adds_up_to_the_same_sum(
    counts: list[int], interval: Interval, tz: ZoneInfo, other: ZoneInfo
) -> None:
    first = dt.date(2026, 10, 24)
    start = dt.datetime.combine(first, dt.time(), dt.UTC)
    rollup = {first + dt.timedelta(days=day): counts[96 * day : 96 * (day + 1)] for day in range(3)}
    for zone in (tz, other):
        buckets = plan_buckets(start, start + dt.timedelta(days=3), interval=interval, tz=zone)
        sums = [0] * len(buckets)
        for part in slice_days(buckets):
            sums[part.bucket] += sum(rollup[part.day][part.first : part.last + 1])
        assert sum(sums) == sum(counts)


def test_a_day_in_a_half_hour_zone_is_cut_on_the_half_hour() -> None:
    tz = ZoneInfo("Asia/Kolkata")
    start = start_of_day(dt.date(2026, 11, 23), tz)
    assert start == dt.datetime(2026, 11, 22, 18, 30, tzinfo=dt.UTC)
    (bucket,) = plan_buckets(start, start + dt.timedelta(days=1), interval=Interval.DAY, tz=tz)
    assert [tuple(part)[1:] for part in slice_days([bucket])] == [
        (dt.date(2026, 11, 22), 74, 95),
        (dt.date(2026, 11, 23), 0, 73),
    ]


def test_the_hour_that_comes_twice_is_two_buckets() -> None:
    tz = ZoneInfo("Europe/Berlin")
    start = dt.datetime(2026, 10, 25, 0, tzinfo=dt.UTC)
    buckets = plan_buckets(start, start + dt.timedelta(hours=2), interval=Interval.HOUR, tz=tz)
    assert [bucket.start.astimezone(tz).isoformat() for bucket in buckets] == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
    ]


def test_weeks_begin_on_monday_and_ranges_cut_them_off() -> None:
    wednesday = dt.datetime(2026, 11, 18, tzinfo=dt.UTC)
    buckets = plan_buckets(wednesday, wednesday + dt.timedelta(days=7), interval=Interval.WEEK, tz=ZoneInfo("UTC"))
    assert [bucket.start.date() for bucket in buckets] == [dt.date(2026, 11, 18), dt.date(2026, 11, 23)]


def test_a_skipped_day_begins_with_the_next_one() -> None:
    tz = ZoneInfo("Pacific/Apia")
    assert start_of_day(dt.date(2011, 12, 30), tz) == start_of_day(dt.date(2011, 12, 31), tz)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (dt.datetime(2026, 11, 1), dt.datetime(2026, 11, 2, tzinfo=dt.UTC)),  # noqa: DTZ001
        (dt.datetime(2026, 11, 1, 0, 7, tzinfo=dt.UTC), dt.datetime(2026, 11, 2, tzinfo=dt.UTC)),
        (dt.datetime(2026, 11, 2, tzinfo=dt.UTC), dt.datetime(2026, 11, 2, tzinfo=dt.UTC)),
        (dt.datetime(2026, 11, 3, tzinfo=dt.UTC), dt.datetime(2026, 11, 2, tzinfo=dt.UTC)),
    ],
)
def test_a_range_that_cannot_be_cut_is_refused(start: dt.datetime, end: dt.datetime) -> None:
    with pytest.raises(ValueError, match="range"):
        plan_buckets(start, end, interval=Interval.DAY, tz=ZoneInfo("UTC"))


@given(instants, lengths)
def test_a_stretch_is_in_one_month_just_when_its_first_and_last_day_are(start: dt.datetime, length: int) -> None:
    end = start + length * QUARTER
    first, last = utc_days(start, end)
    assert in_one_month(start, end) == (first.replace(day=1) == last.replace(day=1))
    assert first <= last
    assert Bucket(start, end).end > dt.datetime.combine(last, dt.time(), dt.UTC)


@given(instants, lengths, intervals, zones)
def test_months_and_cut_days_are_all_slices_of_days(
    start: dt.datetime, length: int, interval: Interval, tz: ZoneInfo
) -> None:
    buckets = plan_buckets(start, start + length * QUARTER, interval=interval, tz=tz)
    months, cut = slice_months(buckets)
    whole = [
        Slice(part.bucket, part.month.replace(day=day), 0, QUARTERS_A_DAY - 1)
        for part in months
        for day in range(part.first, part.last + 1)
    ]
    assert sorted([*whole, *cut]) == list(slice_days(buckets))
    # One row a month and bucket is read, not one a day.
    assert len({part[:2] for part in months}) == len(months)


@given(st.dates(dt.date(2001, 1, 1), dt.date(2100, 1, 1)), st.integers(0, 800))
def test_whole_months_have_every_day_of_a_stretch_once(first: dt.date, more: int) -> None:
    months = whole_months(first, first + dt.timedelta(days=more), bucket=3)
    days = [part.month.replace(day=day) for part in months for day in range(part.first, part.last + 1)]
    assert days == [first + dt.timedelta(days=place) for place in range(more + 1)]
    assert [part.month for part in months] == sorted({day.replace(day=1) for day in days})
    assert {part.bucket for part in months} == {3}
    assert whole_months(first, first - dt.timedelta(days=1)) == []
