"""What a command shows, as a table for people, as JSON and as CSV; and the terminal that it is shown on."""

from __future__ import annotations

import csv
import shutil
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TextIO, TypeAlias

import msgspec

__all__ = ("Column", "Row", "Terminal", "View", "flatten", "write_view")

_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
_GAP: Final = 2
_LEAST_TEXT: Final = 8
_LEAST_BAR: Final = 4
_MOST_BAR: Final = 40
_WIDTH_OF_FILES: Final = 100
_BOLD: Final = "\x1b[1m"
_CYAN: Final = "\x1b[36m"
_PLAIN: Final = "\x1b[0m"
Row: TypeAlias = Mapping[str, Any]
"""Plain values by field, as JSON has them."""
# What spreadsheets take for the beginning of a formula: titles and names of apps are written by others.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _width(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_char_width, text))


class Terminal(NamedTuple):
    """How tables are drawn: how wide, whether with characters beyond ASCII, and whether in colours."""

    width: int
    has_blocks: bool = True
    has_colour: bool = False

    @classmethod
    def of(cls, out: TextIO, environ: Mapping[str, str]) -> Terminal:
        """Look at where output goes; a file or a pipe gets no colours, and neither does one who sets ``NO_COLOR``."""
        is_terminal = out.isatty()
        columns = environ.get("COLUMNS", "")
        width = int(columns) if columns.isascii() and columns.isdigit() and 0 < int(columns) <= 1000 else 0
        if not width:
            width = shutil.get_terminal_size((_WIDTH_OF_FILES, 24)).columns if is_terminal else _WIDTH_OF_FILES
        try:
            (_BLOCKS + "…·").encode(getattr(out, "encoding", None) or "utf-8")
            has_blocks = True
        except (UnicodeEncodeError, LookupError):
            has_blocks = False
        has_colour = is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        return cls(width, has_blocks, has_colour)

    def clean(self, text: str) -> str:
        """Make text safe to show: titles are written by others, and may hold what a terminal obeys."""
        text = "".join(char if char.isprintable() else " " for char in text)
        if not self.has_blocks:
            text = text.replace("·", "-").replace("…", "...").encode("ascii", "replace").decode()
        return text

    def bar(self, value: int, most: int, room: int) -> str:
        """Draw a number; whatever is more than 0 is seen.

        >>> Terminal(80).bar(5, 16, 4), Terminal(80, has_blocks=False).bar(5, 16, 4)
        ('█▎', '#')
        """
        if value <= 0 or most <= 0:
            return ""
        if not self.has_blocks:
            return "#" * max(1, round(room * value / most))
        eighths = max(1, round(room * 8 * value / most))
        return _BLOCKS[8] * (eighths // 8) + _BLOCKS[eighths % 8].strip()

    def table(
        self,
        heads: Sequence[str],
        rows: Sequence[Sequence[str | int | None]],
        *,
        bars: Sequence[bool],
        wholes: Sequence[bool],
    ) -> list[str]:
        """Draw a table.

        Texts are cut where all does not fit, the longest first, and bars take what is left.
        """
        shown = [
            [self._show(cell) if not is_bar else "" for cell, is_bar in zip(row, bars, strict=True)] for row in rows
        ]
        heads = [self.clean(head) for head in heads]
        is_text = [any(isinstance(row[at], str) for row in rows) for at in range(len(heads))]
        is_right = [not (text or is_bar) for text, is_bar in zip(is_text, bars, strict=True)]
        widths = [max(map(_width, (head, *(row[at] for row in shown)))) for at, head in enumerate(heads)]
        for at, is_bar in enumerate(bars):
            if is_bar:
                widths[at] = max(_LEAST_BAR, _width(heads[at]))
        self._fit(widths, can_shrink=[text and not whole for text, whole in zip(is_text, wholes, strict=True)])
        room = self.width - sum(widths) - _GAP * (len(widths) - 1)
        for at, is_bar in enumerate(bars):
            if is_bar:
                widths[at] = max(widths[at], min(_MOST_BAR, widths[at] + room))
                most = max((cell for row in rows if isinstance(cell := row[at], int)), default=0)
                for cells, row in zip(shown, rows, strict=True):
                    value = row[at]
                    cells[at] = self.bar(value, most, widths[at]) if isinstance(value, int) else ""
        lines = [self._paint(_BOLD, self._line(heads, widths, is_right, bars=None))]
        return lines + [self._line(cells, widths, is_right, bars=bars) for cells in shown]

    def _show(self, cell: str | int | None) -> str:
        if cell is None:
            return "-"
        return f"{cell:,}" if isinstance(cell, int) else self.clean(cell)

    def _fit(self, widths: list[int], *, can_shrink: Sequence[bool]) -> None:
        """Take from the widest text, a character at a time, until all fits or none can be cut any further."""
        while sum(widths) + _GAP * (len(widths) - 1) > self.width:
            candidates = [at for at, can in enumerate(can_shrink) if can and widths[at] > _LEAST_TEXT]
            if not candidates:
                return
            widths[max(candidates, key=lambda at: widths[at])] -= 1

    def _cut(self, text: str, width: int) -> str:
        if _width(text) <= width:
            return text
        dots = "…" if self.has_blocks else "..."
        kept, used = "", len(dots)
        for char in text:
            used += _char_width(char)
            if used > width:
                break
            kept += char
        return kept + dots

    def _line(
        self, cells: Sequence[str], widths: Sequence[int], is_right: Sequence[bool], *, bars: Sequence[bool] | None
    ) -> str:
        parts = []
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            text = self._cut(cell, width)
            padding = " " * (width - _width(text))
            if bars is not None and bars[at]:
                text = self._paint(_CYAN, text)
            parts.append(padding + text if is_right[at] else text + padding)
        return (" " * _GAP).join(parts).rstrip()

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self.has_colour and text else text


class Column(NamedTuple):
    """A column of a table: its head, what it shows of a row, whether as a bar, and whether it is never cut."""

    title: str
    show: Callable[[Row], str | int | None]
    is_bar: bool = False
    is_whole: bool = False


class View(NamedTuple):
    """What a command found: fields and rows for CSV, what JSON says *about* them, and the table with its notes."""

    title: str
    fields: Sequence[str]
    rows: Sequence[Row]
    columns: Sequence[Column]
    notes: Sequence[str] = ()
    about: Mapping[str, Any] = {}
    if_empty: str = "Nothing is there."


def flatten(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Take fields of fields out, as ``range_first``; lists stay what they are.

    >>> flatten({"a": 1, "range": {"first": 0}})
    {'a': 1, 'range_first': 0}
    """
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}_{inner}": one for inner, one in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def _cell(value: Any) -> Any:
    if isinstance(value, (list, tuple, Mapping)):
        value = msgspec.json.encode(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def write_view(view: View, *, form: str, terminal: Terminal, out: TextIO) -> None:
    """Write what a command found."""
    match form:
        case "json":
            text = msgspec.json.format(msgspec.json.encode({**view.about, "data": view.rows}), indent=2)
            out.write(f"{text.decode()}\n")
        case "csv":
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(view.fields)
            writer.writerows([_cell(row.get(field)) for field in view.fields] for row in map(flatten, view.rows))
        case _:
            lines = [terminal.clean(view.title), ""]
            if view.rows:
                bars = [column.is_bar for column in view.columns]
                cells = [[column.show(row) for column in view.columns] for row in view.rows]
                wholes = [column.is_whole for column in view.columns]
                lines += terminal.table([column.title for column in view.columns], cells, bars=bars, wholes=wholes)
            else:
                lines.append(view.if_empty)
            if view.notes:
                lines += ["", *map(terminal.clean, view.notes)]
            out.writelines(f"{line}\n" for line in lines)
