"""A report as data: what it is about, and tables of figures, the same for every format that it is written in."""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.errors import CastledgerError

__all__ = (
    "MAX_BYTES",
    "MAX_PAGE_BYTES",
    "MAX_ROWS",
    "Cell",
    "Column",
    "Document",
    "Kind",
    "ReportFailed",
    "Table",
    "check_size",
)

MAX_ROWS: Final = 100_000
"""Rows of all tables of a report together, which XLSX takes 20 seconds of a processor for."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a report's file."""
MAX_PAGE_BYTES: Final = 2 * 1024 * 1024
"""Bytes of JSON of a report that a page is made of."""

Cell: TypeAlias = "str | int | float | bool | dt.date | dt.datetime | UUID | None"


class ReportFailed(CastledgerError):
    """A report that cannot be made, whoever tries it again; the message is for whoever asked for it."""

    code = "report_failed"


class Kind(enum.StrEnum):
    """What the cells of a column are, each or null."""

    TEXT = "text"
    COUNT = "count"
    NUMBER = "number"
    FLAG = "flag"
    DAY = "day"
    INSTANT = "instant"


class Column(NamedTuple):
    """A column; one of a name is of one kind in all tables of a report, as some formats have one table only."""

    name: str
    kind: Kind = Kind.COUNT


class Table(msgspec.Struct, frozen=True):
    """A table of a report.

    Attributes:
        name: In lower case, one word or several with underscores; up to 31 characters, as a sheet's.
        columns: In the order in which they are shown.
        rows: Cells in the order of the columns.
    """

    name: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Cell, ...]]


class Document(msgspec.Struct, frozen=True):
    """A report. Nothing in it says when it was made or under which id: what was the same is the same bytes.

    Attributes:
        kind: Such as ``podcast``.
        title: In one line, for people.
        about: What was asked for, up to when hits had landed, by which rules they were counted; in order.
        notes: What has to be known to read the figures, a sentence or two each.
        tables: In the order in which they are shown.
    """

    kind: str
    title: str
    about: Mapping[str, Cell]
    notes: Sequence[str]
    tables: Sequence[Table]

    @property
    def figures_sha256(self) -> str:
        """SHA-256 over the tables' names, columns and cells as JSON: the same in every format of one report."""
        plain = [[table.name, [column.name for column in table.columns], table.rows] for table in self.tables]
        return hashlib.sha256(msgspec.json.encode(plain)).hexdigest()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of all tables, each once, in the order in which they are first seen."""
        return tuple(dict.fromkeys(column for table in self.tables for column in table.columns))


def check_size(document: Document) -> None:
    """Refuse a report with too many rows.

    Raises:
        ReportFailed: It has.
    """
    rows = sum(len(table.rows) for table in document.tables)
    if rows > MAX_ROWS:
        raise ReportFailed(f"it has {rows:,} rows, and a report has at most {MAX_ROWS:,}: ask for a shorter range")
