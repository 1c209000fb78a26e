"""Charts as geometry: from figures to coordinates, ticks and paths; templates turn them into SVG.

The plot stretches with its box: across, shapes live in a box of ``width`` units that the browser stretches, and labels
stand at per cents of it; down, a unit is a pixel. So text keeps its size on every screen without a script.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from analytics_core.db.states import State
from api.pages.words import compact, number, short_day

__all__ = (
    "Band",
    "BarChart",
    "BarPoint",
    "Line",
    "LineChart",
    "Tick",
    "draw_bars",
    "draw_lines",
    "draw_progress",
    "nice_top",
    "spark",
)

PLOT_HEIGHT: Final = 220
_STEP: Final = 100
_MAX_LABELS: Final = 10
_GAP: Final = 0.24
_TOP: Final = 12
"""Room above the highest gridline, so that its label is not cut."""


class Tick(msgspec.Struct, frozen=True):
    """A label of an axis.

    Attributes:
        at: Pixels from the top, or per cent from the left.
        is_minor: Whether it is left out where there is little room.
        anchor: Of a label below the plot: ``start``, ``middle`` or ``end``.
    """

    at: float
    text: str
    is_minor: bool = False
    anchor: str = "middle"


class BarPoint(msgspec.Struct, frozen=True):
    """One bar, the figure of the period before beside it, and how settled it is (``None``: there is nothing)."""

    label: str
    downloads: int
    downloads_strict: int
    former: int | None
    state: State | None


class Band(msgspec.Struct, frozen=True):
    """Bars next to each other that are equally settled; places in per cent."""

    start: float
    width: float
    state: State


class BarChart(msgspec.Struct, frozen=True, kw_only=True):
    """Bars of two heights each, a quiet line for comparison, and a strip that says how settled they are.

    Attributes:
        strict: Path of the lower part of settled bars.
        rest: Path of what the default profile counts beyond it.
        live: Path of bars that still grow.
        former: Path of the line of the period before; empty without one.
        is_fine: Whether the bars are so many that gaps between them would be all one sees.
    """

    width: int
    height: int
    bars: int
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    strict: str
    rest: str
    live: str
    former: str
    bands: list[Band]


class Line(msgspec.Struct, frozen=True):
    """A line of a chart; ``path`` is in its box."""

    label: str
    path: str
    is_main: bool


class LineChart(msgspec.Struct, frozen=True, kw_only=True):
    """Lines over days."""

    width: int
    height: int
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    lines: list[Line]
    area: str


def nice_top(highest: int) -> tuple[int, int]:
    """Choose where an axis of counts ends, and the step of its ticks: round numbers, three to five of them.

    >>> [nice_top(n) for n in (0, 1, 4, 7, 12, 95, 101, 1234, 99_999)]
    [(1, 1), (1, 1), (4, 1), (8, 2), (15, 5), (100, 25), (150, 50), (1500, 500), (100000, 25000)]
    """
    if highest <= 1:
        return 1, 1
    power = 10 ** max(0, math.floor(math.log10(highest)) - 1)
    for scale in (power, power * 10):
        for factor in (1.0, 2.0, 2.5, 5.0):
            step = factor * scale
            if step == int(step) and highest <= step * 4:
                return math.ceil(highest / step) * int(step), int(step)
    raise AssertionError("ten times the power is more than a quarter of any number with it")


def _coordinate(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _y_axis(highest: int) -> tuple[int, list[Tick]]:
    top, step = nice_top(highest)
    ticks = [
        Tick(round(_TOP + (PLOT_HEIGHT - _TOP) * (1 - value / top), 1), compact(value))
        for value in range(0, top + 1, step)
    ]
    return top, ticks


def _y(value: float, top: int) -> float:
    return _TOP + (PLOT_HEIGHT - _TOP) * (1 - value / top)


def _x_axis(labels: Sequence[str]) -> list[Tick]:
    """Label as many bars as there is room for, the last one always, every second label minor."""
    if not labels:
        return []
    every = max(1, math.ceil(len(labels) / _MAX_LABELS))
    ticks = []
    for count, index in enumerate(range(len(labels) - 1, -1, -every)):
        at = round((index + 0.5) * 100 / len(labels), 2)
        anchor = "end" if at > 96 else "start" if at < 4 else "middle"
        ticks.append(Tick(at, labels[index], bool(count % 3), anchor))
    return ticks[::-1]


def _bands(points: Sequence[BarPoint]) -> list[Band]:
    bands: list[Band] = []
    begun: tuple[int, State] | None = None
    share = 100 / len(points) if points else 0
    for index, state in enumerate([*(point.state for point in points), None]):
        if begun is not None and (state is None or state is not begun[1]):
            bands.append(Band(round(begun[0] * share, 3), round((index - begun[0]) * share, 3), begun[1]))
            begun = None
        if begun is None and state is not None:
            begun = index, state
    return bands


def draw_bars(points: Sequence[BarPoint]) -> BarChart:
    """Draw figures as bars, the strict one inside the default one.

    Args:
        points: In the order of time; at least one.
    """
    highest = max(max(point.downloads, point.former or 0) for point in points)
    top, y_ticks = _y_axis(highest)
    gap = _STEP * (_GAP if len(points) <= 120 else 0.1)
    paths: dict[str, list[str]] = {"strict": [], "rest": [], "live": []}
    for index, point in enumerate(points):
        if not point.downloads:
            continue
        left, wide = index * _STEP + gap / 2, _STEP - gap
        full, strict = _y(point.downloads, top), _y(point.downloads_strict, top)
        where = f"M{_coordinate(left)} "
        across = f"h{_coordinate(wide)}"
        if point.state is State.LIVE:
            paths["live"].append(f"{where}{PLOT_HEIGHT}V{_coordinate(full)}{across}V{PLOT_HEIGHT}z")
        elif point.downloads > point.downloads_strict:
            paths["rest"].append(f"{where}{_coordinate(strict)}V{_coordinate(full)}{across}V{_coordinate(strict)}z")
        if point.downloads_strict:
            paths["strict"].append(f"{where}{PLOT_HEIGHT}V{_coordinate(strict)}{across}V{PLOT_HEIGHT}z")
    former = ""
    if any(point.former for point in points):
        former = "M" + "L".join(
            f"{_coordinate((index + 0.5) * _STEP)} {_coordinate(_y(point.former or 0, top))}"
            for index, point in enumerate(points)
        )
    return BarChart(
        width=len(points) * _STEP,
        height=PLOT_HEIGHT,
        bars=len(points),
        y_ticks=y_ticks,
        x_ticks=_x_axis([point.label for point in points]),
        strict="".join(paths["strict"]),
        rest="".join(paths["rest"]),
        live="".join(paths["live"]),
        former=former,
        bands=_bands(points),
    )


def _polyline(values: Sequence[int], top: int, *, height: float, offset: float) -> str:
    """Draw a line that begins with 0 and reaches each value a step later."""
    scale = height - offset
    points = [f"0 {_coordinate(height)}"] + [
        f"{index} {_coordinate(offset + scale * (1 - value / top))}" for index, value in enumerate(values, 1)
    ]
    return "M" + "L".join(points)


def _draw(series: Sequence[tuple[str, Sequence[int]]], *, days: int, x_ticks: list[Tick]) -> LineChart:
    top, y_ticks = _y_axis(max((value for _, values in series for value in values[:days]), default=0))
    lines = [
        Line(label, _polyline(values[:days], top, height=PLOT_HEIGHT, offset=_TOP), index == 0)
        for index, (label, values) in enumerate(series)
    ]
    known = min(len(series[0][1]), days)
    return LineChart(
        width=days,
        height=PLOT_HEIGHT,
        y_ticks=y_ticks,
        x_ticks=x_ticks,
        lines=lines[::-1],
        area=f"{lines[0].path}L{known} {PLOT_HEIGHT}z" if known else "",
    )


def draw_lines(series: Sequence[tuple[str, Sequence[int]]], *, days: int) -> LineChart:
    """Draw running counts over the days since publishing, the first of them as the main line, with its area.

    Args:
        series: Label, and the count at the end of each day, as far as it is known; at least one.
        days: How many days the axis has.
    """
    every = 7 if days > 10 else 1
    x_ticks = [
        Tick(round(at * 100 / days, 2), "published" if at == 0 else f"day {number(at)}", at % (2 * every) != 0,
             "start" if at == 0 else "end" if at == days else "middle")
        for at in range(0, days + 1, every)
    ]  # fmt: skip
    return _draw(series, days=days, x_ticks=x_ticks)


def draw_progress(series: Sequence[tuple[str, Sequence[int]]], *, first: dt.date, days: int) -> LineChart:
    """Draw running counts over days of the calendar, the first of them as the main line, with its area.

    Args:
        series: Label, and the count at the end of each day, as far as it is known; at least one.
        first: The day with which the axis begins.
        days: How many days it has.
    """
    every = max(1, math.ceil(days / _MAX_LABELS))
    x_ticks = [
        Tick(round(at * 100 / days, 2), short_day(first + dt.timedelta(days=at)), (at // every) % 3 != 0,
             "start" if at == 0 else "end" if at > days * 0.96 else "middle")
        for at in range(0, days, every)
    ]  # fmt: skip
    return _draw(series, days=days, x_ticks=x_ticks)


def spark(values: Sequence[int], *, top: int, days: int, height: int = 24) -> str:
    """Draw a running count so small that only its shape tells, all on one scale.

    Args:
        values: The count at the end of each day, as far as it is known.
        top: The highest count of all that are compared.
        days: How many days the box is wide.

    >>> spark([5, 10], top=10, days=30)
    'M0 24L1 13L2 2'
    """
    return _polyline(values[:days], max(top, 1), height=height, offset=2) if values else ""
