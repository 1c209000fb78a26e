"""Reports as files: JSON, CSV, XLSX and Parquet, each written so that the same report is the same bytes.

Source:
    RFC 4180 (CSV); OWASP, "CSV Injection": cells that begin like a formula get an apostrophe in front.
"""

from __future__ import annotations

import csv
import datetime as dt
import enum
import importlib.util
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from analytics_core.reporting.documents import (
    MAX_BYTES,
    MAX_PAGE_BYTES,
    Cell,
    Column,
    Document,
    Kind,
    ReportFailed,
    Table,
    check_size,
)

__all__ = ("MEDIA_TYPES", "Format", "file_name", "is_available", "plain_text", "write_figures", "write_file")

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_EPOCH: Final = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - spreadsheets have no time zones
_MAX_CELL: Final = 32_767
_NAME, _VALUE, _TABLE = "name", "value", "table"


class Format(enum.StrEnum):
    """What a report's file can be."""

    JSON = "json"
    CSV = "csv"
    XLSX = "xlsx"
    PARQUET = "parquet"


MEDIA_TYPES: Final[Mapping[Format, str]] = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    Format.PARQUET: "application/vnd.apache.parquet",
}


def is_available(wanted: Format) -> bool:
    """Tell whether files of a format can be written: Parquet needs the extra ``archive``."""
    return wanted is not Format.PARQUET or importlib.util.find_spec("pyarrow") is not None


def file_name(kind: str, first: dt.date, end: dt.date, wanted: Format) -> str:
    """Name a report's file.

    >>> file_name("podcast", dt.date(2026, 10, 1), dt.date(2026, 11, 1), Format.CSV)
    'castledger-podcast-2026-10-01-2026-11-01.csv'
    """
    return f"castledger-{kind}-{first}-{end}.{wanted.value}"


def plain_text(text: str) -> str:
    """Write a text so that no spreadsheet takes it for a formula.

    >>> plain_text("=1+1"), plain_text("Ham & Eggs")
    ("'=1+1", 'Ham & Eggs')
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def _json(document: Document) -> bytes:
    tables = {
        table.name: [
            dict(zip([column.name for column in table.columns], row, strict=True)) for row in table.rows
        ]
        for table in document.tables
    }  # fmt: skip
    plain = {
        "report": document.kind,
        "title": document.title,
        "about": document.about,
        "notes": document.notes,
        "figures_sha256": document.figures_sha256,
        "tables": tables,
    }
    return msgspec.json.encode(plain) + b"\n"


def _about(document: Document) -> Iterator[tuple[str, Cell]]:
    """List what is said about a report beside its tables, for formats that have nothing but tables."""
    yield "report", document.kind
    yield "title", document.title
    yield from document.about.items()
    yield "figures_sha256", document.figures_sha256
    for note in document.notes:
        yield "note", note


def _text(cell: Cell) -> str:
    """Write a cell as text: nothing for null, ISO 8601 for dates and instants."""
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case str():
            return plain_text(cell)
        case dt.datetime():
            return cell.isoformat().replace("+00:00", "Z")
        case dt.date():
            return cell.isoformat()
        case _:
            return str(cell)


def _csv(document: Document) -> bytes:
    columns = [Column(_NAME, Kind.TEXT), Column(_VALUE, Kind.TEXT)]
    columns += [column for column in document.columns if column not in columns]
    places = {column: place for place, column in enumerate(columns)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([_TABLE, *(column.name for column in columns)])
    for name, value in _about(document):
        writer.writerow(["about", name, _text(value), *([""] * (len(columns) - 2))])
    for table in document.tables:
        at = [places[column] for column in table.columns]
        for row in table.rows:
            cells = [""] * len(columns)
            for place, cell in zip(at, row, strict=True):
                cells[place] = _text(cell)
            writer.writerow([table.name, *cells])
    return text.getvalue().encode()


def _write_sheet(sheet: Any, table: Table, formats: Mapping[Kind, Any], heading: Any) -> None:
    for at, column in enumerate(table.columns):
        sheet.write_string(0, at, column.name, heading)
        longest = max((len(_text(row[at])) for row in table.rows[:1_000]), default=0)
        sheet.set_column(at, at, min(max(len(column.name), longest) + 2, 60))
    sheet.freeze_panes(1, 0)
    for line, row in enumerate(table.rows, 1):
        for at, (column, cell) in enumerate(zip(table.columns, row, strict=True)):
            match cell:
                case None:
                    continue
                case bool():
                    sheet.write_boolean(line, at, cell)
                case int() | float():
                    sheet.write_number(line, at, cell, formats.get(column.kind))
                case dt.date() if not isinstance(cell, dt.datetime):
                    sheet.write_datetime(line, at, cell, formats[Kind.DAY])
                case _:
                    sheet.write_string(line, at, _text(cell)[:_MAX_CELL])


def _xlsx(document: Document) -> bytes:
    import xlsxwriter

    file = io.BytesIO()
    # Rows go out as they come: a hundred thousand of them would fill half a gigabyte.
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(file, options) as book:
        # Else it would say when it was written.
        book.set_properties({"title": document.title, "created": _EPOCH})
        heading = book.add_format({"bold": True, "bottom": 1})
        formats = {
            Kind.COUNT: book.add_format({"num_format": "#,##0"}),
            Kind.DAY: book.add_format({"num_format": "yyyy-mm-dd"}),
        }
        about = Table(
            "about",
            (Column(_NAME, Kind.TEXT), Column(_VALUE, Kind.TEXT)),
            [(name, value) for name, value in _about(document)],
        )
        for table in (about, *document.tables):
            _write_sheet(book.add_worksheet(table.name), table, formats, heading)
    return file.getvalue()


def _parquet(document: Document) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        Kind.TEXT: pa.string(),
        Kind.COUNT: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.FLAG: pa.bool_(),
        Kind.DAY: pa.date32(),
        Kind.INSTANT: pa.timestamp("us", tz="UTC"),
    }
    names = [table.name for table in document.tables for _ in table.rows]
    values: dict[Column, list[Cell]] = {column: [] for column in document.columns}
    for table in document.tables:
        found = dict(zip(table.columns, zip(*table.rows, strict=True), strict=True)) if table.rows else {}
        for column, cells in values.items():
            cells += found.get(column, [None] * len(table.rows))
    schema = pa.schema(
        [pa.field(_TABLE, pa.string(), False), *(pa.field(column.name, types[column.kind]) for column in values)],
        metadata={name: _text(value) for name, value in _about(document) if name != "note"}
        | {"notes": "\n".join(document.notes)},
    )
    arrays = [pa.array(names, pa.string())]
    for column, cells in values.items():
        plain = [str(cell) if isinstance(cell, UUID) else cell for cell in cells]
        arrays.append(pa.array(plain, types[column.kind]))
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file, compression="zstd")
    return file.getvalue()


_WRITERS: Final[Mapping[Format, Callable[[Document], bytes]]] = {
    Format.JSON: _json,
    Format.CSV: _csv,
    Format.XLSX: _xlsx,
    Format.PARQUET: _parquet,
}


def write_figures(document: Document) -> bytes | None:
    """Write a report as JSON for a page of it; ``None`` when it is too large for one."""
    content = _json(document)
    return content if len(content) <= MAX_PAGE_BYTES else None


def write_file(document: Document, wanted: Format) -> bytes:
    """Write a report's file.

    Args:
        document: The report.
        wanted: The format; Parquet only where it :func:`is_available`.

    Raises:
        ReportFailed: It is too large, or the format cannot be written here.
    """
    check_size(document)
    if not is_available(wanted):
        raise ReportFailed("Parquet needs pyarrow, which is not installed here: ask for csv, or tell your operator")
    content = _WRITERS[wanted](document)
    if len(content) > MAX_BYTES:
        raise ReportFailed(f"its file would have more than {MAX_BYTES // 2**20} MiB: ask for a shorter range")
    return content
