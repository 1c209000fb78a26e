"""Draw what the documentation shows, from the data that tests hold the code to."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from analytics_core.windows import DAY_US, Window, touch

__all__ = ("draw_windows",)

_VECTORS: Final = Path(__file__).parents[1] / "vectors" / "windows.toml"
_NAMES: Final = {
    Window.CALENDAR_DAY: "UTC calendar day",
    Window.FIRST_TOUCH: "24 hours from the first request",
    Window.LAST_TOUCH: "24 hours from the last request",
}
_LEFT: Final = 24
_HOUR: Final = 7.75
_TOP: Final = 40
_ROW: Final = 84
_HEIGHT: Final = _TOP + 3 * _ROW + 24
_WIDTH: Final = int(_LEFT * 2 + 96 * _HOUR)

_STYLE: Final = """
text { font: 14px system-ui, sans-serif; fill: #1f2933 }
.quiet { fill: #56616f }
.count { font-weight: 600 }
.midnight { stroke: #c9d1d9 }
.window { fill: #cfe3f5; stroke: #2f6fab }
.download { fill: #2f6fab; stroke: #2f6fab }
.repeat { fill: #fff; stroke: #2f6fab; stroke-dasharray: 3 2 }
.paper { fill: #fff }
.on { fill: #fff; font-weight: 600 }
.off { fill: #1f2933 }
@media (prefers-color-scheme: dark) {
text, .off { fill: #e6edf3 }
.quiet { fill: #9aa7b4 }
.midnight { stroke: #3d4752 }
.window { fill: #1d3a56; stroke: #6cb0ee }
.download { fill: #6cb0ee; stroke: #6cb0ee }
.repeat { fill: #0d1117; stroke: #6cb0ee }
.paper { fill: #0d1117 }
.on { fill: #0d1117 }
}
"""


class _Span(NamedTuple):
    start_us: int
    end_us: int


def _spans(window: Window, times: Sequence[int]) -> tuple[list[_Span], list[bool]]:
    """Find the windows that requests open, and which of the requests do."""
    spans: list[_Span] = []
    found: list[bool] = []
    mark = None
    for at_us in times:
        opens, mark = touch(window, at_us, mark)
        found.append(opens)
        if window is Window.CALENDAR_DAY:
            start = at_us // DAY_US * DAY_US
            end = start + DAY_US
        else:
            start, end = at_us, at_us + DAY_US
        if opens:
            spans.append(_Span(start, end))
        elif window is Window.LAST_TOUCH:
            spans[-1] = _Span(spans[-1].start_us, end)
    return spans, found


def _row(window: Window, number: int, times: Sequence[int], first_us: int) -> Iterator[str]:
    def place(at_us: int) -> float:
        return round(_LEFT + (at_us - first_us) / 3_600_000_000 * _HOUR, 1)

    spans, found = _spans(window, times)
    top = _TOP + number * _ROW
    counted = {2: "two", 3: "three"}[sum(found)]
    yield f'<text x="{_LEFT + 6}" y="{top + 22}">{_NAMES[window]}</text>'
    yield f'<text class="count" x="{_WIDTH - _LEFT - 6}" y="{top + 22}" text-anchor="end">{counted} downloads</text>'
    for span in spans:
        width = round(place(span.end_us) - place(span.start_us), 1)
        yield f'<rect class="window" x="{place(span.start_us)}" y="{top + 34}" width="{width}" height="36" rx="4"/>'
    for at_us, opens in zip(times, found, strict=True):
        x, kind, word = place(at_us), "download" if opens else "repeat", "on" if opens else "off"
        yield f'<circle class="{kind}" cx="{x}" cy="{top + 52}" r="12"/>'
        yield f'<text class="{word}" x="{x}" y="{top + 57}" text-anchor="middle">{int(opens)}</text>'


def draw_windows() -> str:
    """Draw the guideline's example of the three windows, as the vector has it."""
    vector = tomllib.loads(_VECTORS.read_text("utf-8"))["vector"][0]
    moments = [dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) for text in vector["at"]]
    times = [round(moment.timestamp() * 1_000_000) for moment in moments]
    first_us = times[0] // DAY_US * DAY_US
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        "<title>Four requests under three windows</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{_WIDTH}" height="{_HEIGHT}"/>',
    ]
    for day in range(5):
        x = round(_LEFT + day * 24 * _HOUR, 1)
        lines.append(f'<path class="midnight" d="M{x} 30V{_HEIGHT - 16}"/>')
        if day < 4:
            name = (moments[0] + dt.timedelta(days=day)).strftime("%A")
            lines.append(f'<text class="quiet" x="{x + 12 * _HOUR}" y="24" text-anchor="middle">{name}</text>')
    for number, window in enumerate(Window):
        lines += _row(window, number, times, first_us)
    return "\n".join([*lines, "</svg>", ""])
