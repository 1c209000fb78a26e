"""What a command shows: the same rows as a table for people, as JSON, and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TextIO, TypeAlias

import msgspec

from castledger.cli._terminal import Terminal

__all__ = ("Column", "Row", "View", "flatten", "write_view")

Row: TypeAlias = Mapping[str, Any]
"""Plain values by field, as JSON has them."""

# What spreadsheets take for the beginning of a formula: titles and names of apps are written by others.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: Its head.
        show: A row's cell; a number becomes digits on the right, ``None`` a dash.
        is_bar: Whether numbers are drawn, the largest as long as there is room.
        is_whole: Whether texts are never cut, as nobody can use half of one.
    """

    title: str
    show: Callable[[Row], str | int | None]
    is_bar: bool = False
    is_whole: bool = False


class View(NamedTuple):
    """What a command found.

    Attributes:
        title: The table's first line.
        fields: Of a row, in the order of CSV.
        rows: All there is.
        columns: Of the table.
        notes: Lines below the table.
        about: What JSON has beside ``data``.
        if_empty: What a table says instead, when there are no rows.
    """

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
    """Write what a command found.

    Args:
        view: What.
        form: ``table``, ``json`` or ``csv``.
        terminal: How tables are drawn.
        out: Where to.
    """
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
