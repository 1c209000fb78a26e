"""The figures of a page: read from the rollups, then put into words and charts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from analytics_core.db.analytics import (
    Scope,
    StatusRow,
    count_listeners,
    read_status,
)
from analytics_core.db.days import DayRow, first_day, list_days
from analytics_core.db.listeners import read_listeners
from analytics_core.db.pool import Connection
from analytics_core.db.states import State
from analytics_core.db.whole_days import DayCounts, KeyRow, read_days, sum_by_keys
from analytics_core.reports import Bucket
from api.pages.charts import BarChart, BarPoint, draw_bars
from api.pages.periods import Group, Period, group_days
from api.pages.words import city_name, country_name, day_range, region_name

__all__ = ("BarList", "Bars", "Breakdown", "ListenerFigure", "Share", "Totals", "read_bars", "read_breakdown")

BREAKDOWNS: Final[Mapping[str, str]] = {
    "app": "Apps",
    "device": "Devices",
    "os": "Operating systems",
    "country": "Countries",
    "region": "Regions",
    "city": "Cities",
    "feed_app": "Feed apps",
}
_NAMES: Final[Mapping[str, Callable[[str], str]]] = {
    "country": country_name,
    "region": region_name,
    "city": city_name,
}
_ONLY_KNOWN: Final = frozenset({"region", "city"})
"""Only some installations know them: elsewhere there is nothing to be said of them."""
_SHOWN: Final = 8
_DAY: Final = dt.timedelta(days=1)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """A period in numbers, and the period before.

    Attributes:
        former: ``None`` when counting began after the period before did: there is nothing to compare with.
        today: Downloads of the live day, ``None`` when the period ends before it.
    """

    downloads: int
    downloads_strict: int
    former: int | None
    today: int | None
    state: State | None

    @property
    def change(self) -> float | None:
        """The change against the period before, as a share of it; ``None`` when that had none."""
        return None if not self.former else self.downloads / self.former - 1


class Row(msgspec.Struct, frozen=True):
    """A bar as a row of the table behind the chart."""

    group: Group
    downloads: int
    downloads_strict: int
    former: int
    state: State | None


class ListenerFigure(msgspec.Struct, frozen=True):
    """How many listeners there were in the days of one UTC month; ``None`` when it cannot be known any more."""

    name: str
    listeners: int | None


class Bars(msgspec.Struct, frozen=True, kw_only=True):
    """What the top of a page shows."""

    period: Period
    totals: Totals
    rows: list[Row]
    chart: BarChart
    status: StatusRow
    began: dt.date | None
    listeners: ListenerFigure | None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw, in the period and in the one before."""
        return not any(row.downloads or row.former for row in self.rows)


class Share(msgspec.Struct, frozen=True):
    """One line of a breakdown."""

    name: str
    downloads: int
    share: float
    is_rest: bool = False


class Breakdown(msgspec.Struct, frozen=True):
    """Downloads by the values of a dimension, the most frequent ones first, the others as one."""

    title: str
    total: int
    shares: list[Share]

    @property
    def is_known(self) -> bool:
        """Whether anything but "unknown" is in it."""
        return any(share.name != "unknown" for share in self.shares)


BarList = Sequence[Breakdown]


def _state(group: Group, known: Sequence[bool | None], today: dt.date) -> State | None:
    """Tell how settled the days of a bar are: as the least settled day on which there were hits."""
    if group.last >= today:
        return State.LIVE
    finals = known[group.start : group.end + 1]
    if False in finals:
        return State.PROVISIONAL
    return State.FINAL if True in finals else None


def _rows(period: Period, counts: DayCounts, days: Sequence[DayRow], today: dt.date) -> list[Row]:
    """Add days up by bar; a bar's former figure is that of as many days at the same places in the period before."""
    count = period.days
    downloads, strict = counts.downloads, counts.downloads_strict
    known: list[bool | None] = [None] * count
    for day in days:
        known[(day.day - period.first).days] = day.is_final
    rows = []
    for group in group_days(period):
        now = slice(count + group.start, count + group.end + 1)
        rows.append(
            Row(
                group,
                sum(downloads[now]),
                sum(strict[now]),
                sum(downloads[group.start : group.end + 1]),
                _state(group, known, today),
            )
        )
    return rows


def _totals(period: Period, rows: Sequence[Row], today_figure: int, began: dt.date | None, today: dt.date) -> Totals:
    states = {row.state for row in rows}
    state = next((state for state in State if state in states), None)
    return Totals(
        downloads=sum(row.downloads for row in rows),
        downloads_strict=sum(row.downloads_strict for row in rows),
        former=sum(row.former for row in rows) if began is not None and began <= period.former_first else None,
        today=today_figure if period.last == today else None,
        state=state,
    )


async def _listeners(conn: Connection, scope: Scope, period: Period, downloads: Sequence[int]) -> ListenerFigure:
    first, last = period.listener_days
    people = await read_listeners(conn, scope, first=first, last=last)
    if people is None:
        start = dt.datetime.combine(first, dt.time(), dt.UTC)
        end = dt.datetime.combine(last + _DAY, dt.time(), dt.UTC)
        found = await count_listeners(conn, scope, [Bucket(start, end)])
        kept = sum(row.downloads for row in found)
        begin = (first - period.first).days
        known = sum(downloads[begin : begin + (last - first).days + 1])
        # The rollup knows downloads whose rows are gone: whose they were cannot be told any more.
        people = sum(row.listeners for row in found) if kept >= known else None
    return ListenerFigure(day_range(first, last), people)


async def read_bars(conn: Connection, scope: Scope, period: Period, *, today: dt.date) -> Bars:
    """Read a period's downloads and those of the period before.

    Args:
        conn: In a transaction of the tenant.
        scope: A podcast, or one episode.
        period: Of UTC days.
        today: In UTC; the live day.
    """
    # First, so that what it says holds for figures that are read after it.
    status = await read_status(conn, scope, first=period.first, last=period.last)
    counts = await read_days(conn, scope, first=period.former_first, last=period.last)
    days = await list_days(conn, first=period.first, last=period.last)
    began = await first_day(conn, scope)
    by_day = counts.downloads[period.days :]
    rows = _rows(period, counts, days, today)
    listeners = await _listeners(conn, scope, period, by_day) if any(by_day) else None
    totals = _totals(period, rows, by_day[-1], began, today)
    points = [
        # A period of which only the end was counted would look like a rise.
        BarPoint(
            row.group.label,
            row.downloads,
            row.downloads_strict,
            row.former if totals.former is not None else 0,
            row.state,
        )
        for row in rows
    ]
    return Bars(
        period=period,
        totals=totals,
        rows=rows,
        chart=draw_bars(points),
        status=status,
        began=began,
        listeners=listeners,
    )


def _breakdown(dimension: str, rows: Sequence[KeyRow]) -> Breakdown:
    total = sum(row.downloads for row in rows)
    name = _NAMES.get(dimension, str)
    ranked = sorted(rows, key=lambda row: (not row.key, -row.downloads, row.key))
    # One too many is shown rather than an "others" of one.
    shown = ranked if len(ranked) <= _SHOWN + 1 else ranked[:_SHOWN]
    shares = [
        Share(
            name(row.key) or "unknown",
            row.downloads,
            row.downloads / total,
            not row.key,
        )
        for row in shown
    ]
    rest = ranked[len(shown) :]
    if rest:
        downloads = sum(row.downloads for row in rest)
        shares.append(Share(f"{len(rest)} others", downloads, downloads / total, True))
    return Breakdown(BREAKDOWNS[dimension], total, shares)


async def read_breakdown(conn: Connection, scope: Scope, period: Period) -> list[Breakdown]:
    """Break a period's downloads down by each of ``BREAKDOWNS``; by region and city where any is known."""
    rows = await sum_by_keys(conn, scope, first=period.first, last=period.last, dimensions=list(BREAKDOWNS))
    lists = ((by, _breakdown(by, [row for row in rows if row.dimension == by])) for by in BREAKDOWNS)
    return [found for by, found in lists if found.is_known or by not in _ONLY_KNOWN]
