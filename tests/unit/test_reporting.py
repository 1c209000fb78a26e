"""Reports as data and as files: the same report is the same bytes, whatever its cells hold."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import re
import zipfile
from typing import Any
from uuid import UUID

import msgspec
import openpyxl
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.reporting import documents, files
from analytics_core.reporting.documents import MAX_ROWS, Cell, Column, Document, Kind, ReportFailed, Table
from analytics_core.reporting.files import Format, write_figures, write_file
from analytics_core.reporting.requests import MAX_DAYS, ReportKind, ReportParams, find_faults
from analytics_core.reporting.shares import hash_token, is_token, new_token

AT = dt.datetime(2026, 11, 1, 12, 30, tzinfo=dt.UTC)
COLUMNS = (
    Column("title", Kind.TEXT),
    Column("downloads"),
    Column("share", Kind.NUMBER),
    Column("is_late", Kind.FLAG),
    Column("day", Kind.DAY),
    Column("published_at", Kind.INSTANT),
)


def document(*rows: tuple[Cell, ...], title: str = "A report") -> Document:
    return Document(
        "podcast",
        title,
        {"podcast_id": UUID(int=7), "podcast": title, "from": dt.date(2026, 10, 1), "cutoff": AT, "partial": False},
        ["Nothing is added up."],
        [
            Table("rows", COLUMNS, list(rows)),
            Table("totals", (Column("downloads"), Column("listeners")), [(5, None)]),
        ],
    )


def read_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


_CELLS = st.tuples(
    st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["=1+1", "+1", "-1", "@x", "\tx", "\rx", "a,b", 'a"b'])),
    st.one_of(st.none(), st.integers(-(2**53), 2**53)),
    st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    st.one_of(st.none(), st.booleans()),
    st.one_of(st.none(), st.dates(dt.date(1970, 1, 1), dt.date(2200, 1, 1))),
    st.one_of(st.none(), st.just(AT)),
)


@given(st.lists(_CELLS, max_size=8))
def test_a_csv_has_every_cell_and_no_formula(rows: list[tuple[Cell, ...]]) -> None:
    read = [row for row in read_csv(write_file(document(*rows), Format.CSV)) if row["table"] == "rows"]
    assert len(read) == len(rows)
    for found, row in zip(read, rows, strict=True):
        title = row[0] or ""
        assert isinstance(title, str)
        assert not found["title"].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert found["title"].removeprefix("'") == title.removeprefix("'")
        # Numbers stay numbers, negative ones too.
        assert found["downloads"] == ("" if row[1] is None else str(row[1]))
        assert row[2] is None or float(found["share"]) == row[2]


@given(st.lists(_CELLS, max_size=5))
def test_the_same_report_is_the_same_bytes_in_every_format(rows: list[tuple[Cell, ...]]) -> None:
    for wanted in Format:
        assert write_file(document(*rows), wanted) == write_file(document(*rows), wanted)


@given(st.lists(_CELLS, max_size=5))
def test_its_json_is_read_back_and_says_the_digest_of_its_figures(rows: list[tuple[Cell, ...]]) -> None:
    made = document(*rows)
    read = msgspec.json.decode(write_file(made, Format.JSON))
    assert [list(row.values()) for row in read["tables"]["rows"]] == msgspec.json.decode(msgspec.json.encode(rows))
    assert read["about"]["podcast_id"] == str(UUID(int=7))
    assert read["figures_sha256"] == made.figures_sha256
    plain = [[name, [*table[0]], [[*row.values()] for row in table]] for name, table in read["tables"].items() if table]
    if rows:
        # Whoever has the file can check it without us.
        assert hashlib.sha256(msgspec.json.encode(plain)).hexdigest() == read["figures_sha256"]


def test_a_csv_begins_with_what_the_report_is_about_and_every_line_has_every_column() -> None:
    content = write_file(document(("x", 1, 0.5, True, dt.date(2026, 10, 1), AT), title="=Ham"), Format.CSV)
    lines = content.decode().split("\r\n")
    assert lines[0] == "table,name,value,title,downloads,share,is_late,day,published_at,listeners"
    assert lines[1:] == [
        "about,report,podcast,,,,,,,",
        "about,title,'=Ham,,,,,,,",
        "about,podcast_id,00000000-0000-0000-0000-000000000007,,,,,,,",
        "about,podcast,'=Ham,,,,,,,",
        "about,from,2026-10-01,,,,,,,",
        "about,cutoff,2026-11-01T12:30:00Z,,,,,,,",
        "about,partial,false,,,,,,,",
        lines[8],
        "about,note,Nothing is added up.,,,,,,,",
        "rows,,,x,1,0.5,true,2026-10-01,2026-11-01T12:30:00Z,",
        "totals,,,,5,,,,,",
        "",
    ]
    assert re.fullmatch("about,figures_sha256,[0-9a-f]{64},{7}", lines[8])


def sheet(content: bytes, name: str) -> list[tuple[Any, ...]]:
    return list(openpyxl.load_workbook(io.BytesIO(content))[name].iter_rows(values_only=True))


def test_an_xlsx_has_a_sheet_a_table_with_numbers_and_dates_and_no_formula() -> None:
    content = write_file(document(("=1+1", -3, 0.5, True, dt.date(2026, 10, 1), AT)), Format.XLSX)
    assert sheet(content, "rows") == [
        ("title", "downloads", "share", "is_late", "day", "published_at"),
        ("'=1+1", -3, 0.5, True, dt.datetime(2026, 10, 1), "2026-11-01T12:30:00Z"),  # noqa: DTZ001 - as sheets have them
    ]
    assert sheet(content, "totals") == [("downloads", "listeners"), (5, None)]
    assert ("podcast", "A report") in sheet(content, "about")
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        assert not any(b"<f>" in parts.read(name) for name in parts.namelist())


def test_a_parquet_has_one_table_with_types() -> None:
    content = write_file(document(("x", 1, 0.5, True, dt.date(2026, 10, 1), AT)), Format.PARQUET)
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    assert table.to_pylist() == [
        {
            "table": "rows",
            "title": "x",
            "downloads": 1,
            "share": 0.5,
            "is_late": True,
            "day": dt.date(2026, 10, 1),
            "published_at": AT,
            "listeners": None,
        },
        {**dict.fromkeys(table.column_names), "table": "totals", "downloads": 5},
    ]
    assert table.schema.metadata[b"cutoff"] == b"2026-11-01T12:30:00Z"
    assert table.schema.metadata[b"notes"] == b"Nothing is added up."


def test_a_report_with_too_many_rows_is_refused_and_one_too_large_for_a_page_has_none() -> None:
    row = ("x" * 200, 1, 0.5, True, dt.date(2026, 10, 1), AT)
    large = document(*[row] * 10_000)
    assert write_figures(large) is None
    assert write_figures(document(row)) == write_file(document(row), Format.JSON)
    with pytest.raises(ReportFailed, match=f"{MAX_ROWS:,}"):
        write_file(document(*[row] * MAX_ROWS), Format.CSV)


def test_columns_of_a_name_are_of_one_kind() -> None:
    names = [column.name for column in document().columns]
    assert len(names) == len(set(names))
    assert files.MEDIA_TYPES.keys() == set(Format)
    assert documents.MAX_PAGE_BYTES < documents.MAX_BYTES


def faults(kind: ReportKind, days: int = 30, **given_: Any) -> set[tuple[str, str]]:
    start = dt.date(2026, 1, 1)
    params = ReportParams(start=start, end=start + dt.timedelta(days=days), **given_)
    return {(fault.name, fault.code) for fault in find_faults(kind, params)}


def test_what_is_asked_for_is_checked() -> None:
    some = UUID(int=1)
    assert faults(ReportKind.PODCAST, podcast_id=some, tz="Europe/Berlin") == set()
    assert faults(ReportKind.SPONSOR, sponsor_id=some, campaign_id=some, run_id=some) == set()
    assert faults(ReportKind.DELIVERY) == set()
    assert faults(ReportKind.DELIVERY, MAX_DAYS) == set()
    assert faults(ReportKind.DELIVERY, MAX_DAYS + 1) == {("to", "range_too_long")}
    assert faults(ReportKind.DELIVERY, 0) == {("to", "empty_range")}
    assert faults(ReportKind.DELIVERY, -3) == {("to", "empty_range")}
    assert faults(ReportKind.DELIVERY, 100 * 365) == {("to", "range_too_long")}
    assert faults(ReportKind.DELIVERY, 200 * 365) == {("to", "out_of_range")}
    assert faults(ReportKind.PODCAST, sponsor_id=some, tz="Mars/Base") == {
        ("podcast_id", "missing"),
        ("sponsor_id", "unexpected"),
        ("tz", "unknown_time_zone"),
    }
    for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:45:00-12:00"):
        at = dt.datetime.fromisoformat(text)
        assert faults(ReportKind.SPONSOR, sponsor_id=some, received_before=at) == {("received_before", "out_of_range")}
    assert faults(ReportKind.SPONSOR, tz="Europe/Berlin") == {("sponsor_id", "missing"), ("tz", "unexpected")}


@given(st.text(max_size=80))
def test_nothing_but_a_token_is_one(text: str) -> None:
    token = new_token()
    assert is_token(token)
    assert not is_token(text)
    assert not is_token(token + text) or not text
    assert hash_token(token) != hash_token(new_token())
