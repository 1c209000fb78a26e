"""Charts: axes that can be read, shapes inside their box."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from analytics_core.db.states import State
from api.pages.charts import PLOT_HEIGHT, BarPoint, draw_bars, draw_lines, nice_top, spark


def points(*figures: int) -> list[BarPoint]:
    return [BarPoint(str(at), figure, figure // 2, None, State.FINAL) for at, figure in enumerate(figures)]


def heights(path: str) -> list[float]:
    return [
        float(number) for number in re.findall(r"V([\d.]+)|[ML][\d.]+ ([\d.]+)", path) for number in number if number
    ]


@given(st.integers(0, 10**12))
def test_an_axis_reaches_the_highest_figure_in_few_round_steps(highest: int) -> None:
    top, step = nice_top(highest)
    assert top >= highest
    assert top % step == 0
    assert 1 <= top // step <= 4
    # Hardly more than half of the plot stays empty at worst.
    assert highest < 2 or top <= highest * 2
    assert re.fullmatch(r"(1|2|25|5|4|3)?0*|[1-5]", str(step))


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=60))
def test_bars_stay_inside_their_box_and_the_strict_part_inside_the_whole(figures: list[tuple[int, int]]) -> None:
    chart = draw_bars([BarPoint("x", max(pair), min(pair), pair[0], State.FINAL) for pair in figures])
    assert all(0 <= y <= PLOT_HEIGHT for y in heights(chart.strict + chart.rest + chart.former))
    assert chart.width == len(figures) * 100
    assert [band.state for band in chart.bands] == [State.FINAL]
    assert len(chart.x_ticks) <= 10


def test_bands_follow_the_states_and_leave_days_without_hits_out() -> None:
    states = [None, State.FINAL, State.FINAL, None, State.PROVISIONAL, State.LIVE]
    chart = draw_bars([BarPoint("x", 4, 2, None, state) for state in states])
    assert [(band.start, band.width, band.state) for band in chart.bands] == [
        (16.667, 33.333, State.FINAL),
        (66.667, 16.667, State.PROVISIONAL),
        (83.333, 16.667, State.LIVE),
    ]
    assert chart.live.count("M") == 1
    assert chart.rest.count("M") == 5


def test_a_chart_without_any_download_has_an_axis_and_no_shapes() -> None:
    chart = draw_bars(points(0, 0))
    assert (chart.strict, chart.rest, chart.live, chart.former) == ("", "", "", "")
    assert [tick.text for tick in chart.y_ticks] == ["0", "1"]


def test_the_last_bar_is_always_labelled() -> None:
    for count in (1, 2, 7, 30, 90, 365):
        ticks = draw_bars(points(*range(count))).x_ticks
        assert ticks[-1].text == str(count - 1)
        assert not ticks[-1].is_minor


def test_lines_begin_at_nothing_end_where_time_has_come_and_the_main_one_lies_on_top() -> None:
    chart = draw_lines([("new", [5, 8]), ("old", [4, 6, 9, 10])], days=4)
    assert [(line.label, line.is_main) for line in chart.lines] == [("old", False), ("new", True)]
    assert all(line.path.startswith(f"M0 {PLOT_HEIGHT}L1 ") for line in chart.lines)
    assert chart.area.endswith(f"L2 {PLOT_HEIGHT}z")
    assert [tick.text for tick in chart.x_ticks] == ["published", "day 1", "day 2", "day 3", "day 4"]


def test_small_curves_share_one_scale() -> None:
    assert spark([10], top=10, days=30) == "M0 24L1 2"
    assert spark([5], top=10, days=30) == "M0 24L1 13"
    assert spark([], top=10, days=30) == ""
