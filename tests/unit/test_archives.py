"""Files of archives: what is written is read back, and what is not what was written is named."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import re
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.archives.columns import Column, Kind, decoder, plain
from analytics_core.archives.files import open_writer, read_rows
from analytics_core.archives.manifest import Encoding
from analytics_core.archives.tables import Table
from analytics_core.errors import InvalidInput

EVERYTHING = Table(
    name="everything",
    source="app.everything",
    columns=tuple(
        Column(f"{kind.name.lower()}{'_or_not' if nullable else ''}", kind, nullable)
        for nullable in (False, True)
        for kind in Kind
    ),
)

_TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
_INSTANTS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC))  # noqa: DTZ001
_INT16 = st.integers(-(2**15), 2**15 - 1)
_INT32 = st.integers(-(2**31), 2**31 - 1)
_OBJECTS = st.dictionaries(_TEXT, st.one_of(_TEXT, st.integers(-(2**53), 2**53), st.none(), st.lists(_TEXT)))
_VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.INT16: _INT16,
    Kind.INT32: _INT32,
    Kind.INT64: st.integers(-(2**63), 2**63 - 1),
    Kind.BOOL: st.booleans(),
    Kind.TEXT: _TEXT,
    Kind.UUID: st.uuids(),
    Kind.DATE: st.dates(),
    Kind.INSTANT: _INSTANTS,
    Kind.BYTES: st.binary(max_size=40),
    Kind.JSON: _OBJECTS,
    Kind.INT16_LIST: st.lists(_INT16, max_size=5),
    Kind.INT32_LIST: st.lists(_INT32, max_size=5),
    Kind.TEXT_LIST: st.lists(_TEXT, max_size=5),
    Kind.JSON_LIST: st.lists(_OBJECTS, max_size=3),
}
_ROWS = st.lists(
    st.tuples(
        *(
            st.none() | _VALUES[column.kind] if column.nullable else _VALUES[column.kind]
            for column in EVERYTHING.columns
        )
    ),
    max_size=7,
)


def write(folder: Path, encoding: Encoding, rows: list[tuple[Any, ...]], *, table: Table = EVERYTHING) -> str:
    path = f"{table.name}{encoding.suffix}"
    writer = open_writer(folder, path, table, encoding)
    for at in range(0, len(rows), 3):
        writer.write(rows[at : at + 3])
    writer.close()
    return path


def read(folder: Path, encoding: Encoding, path: str, *, rows: int, table: Table = EVERYTHING) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for chunk in read_rows(folder, path, table, encoding, rows=rows, chunk=2):
        assert chunk.place(0) == f"{path}:{len(found) + 1}"
        found += zip(*chunk.columns.values(), strict=True)
    return found


@pytest.mark.parametrize("encoding", list(Encoding))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=_ROWS)
def test_whatever_is_written_is_read_back(encoding: Encoding, rows: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder, encoding, rows)
        assert read(folder, encoding, path, rows=len(rows)) == rows
        # Equal rows are equal bytes.
        (folder / "again").mkdir()
        assert (folder / path).read_bytes() == (folder / "again" / write(folder / "again", encoding, rows)).read_bytes()


@given(kind=st.sampled_from(Kind), value=st.one_of(*_VALUES.values(), st.none(), st.floats()))
def test_a_value_is_read_or_refused_with_a_reason(kind: Kind, value: object) -> None:
    decode = decoder(Column("x", kind))
    with contextlib.suppress(ValueError):
        found = decode(plain(kind, [value])[0])
        # What was taken is what is written again.
        assert decode(plain(kind, [found])[0]) == found


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (Column("n", Kind.INT16), 32_768, "is not from -32768 to 32767: 32768"),
        (Column("n", Kind.INT16), True, "is no whole number: True"),
        (Column("n", Kind.INT64), 1.0, "is no whole number: 1.0"),
        (Column("n", Kind.INT16, low=0, high=12), 13, "is not from 0 to 12: 13"),
        (Column("n", Kind.INT32_LIST, low=0), [1, -1], "is not from 0 to 2147483647: -1"),
        (Column("n", Kind.INT32_LIST), [None], "is no whole number: None"),
        (Column("t", Kind.TEXT), "a\x00", "has a NUL character, which cannot be stored"),
        (Column("t", Kind.TEXT), None, "is missing"),
        (Column("t", Kind.TEXT_LIST), "a", "is no list: 'a'"),
        (Column("j", Kind.JSON), {"a": ["\x00"]}, "has a NUL character, which cannot be stored"),
        (Column("j", Kind.JSON), "[1]", "is no object: [1]"),
        (Column("b", Kind.BOOL), 1, "is neither true nor false: 1"),
        (Column("b", Kind.BYTES), "0", "is no bytes in hexadecimal digits: '0'"),
        (Column("d", Kind.DATE), "2026-02-30", "day is out of range for month"),
        (Column("d", Kind.DATE), "20260201", "is no date: '20260201'"),
        (Column("i", Kind.INSTANT), "2026-11-01T12:00:00", "is no instant in UTC such as 2026-11-01T12:00:00Z: "),
        (Column("u", Kind.UUID), "x" * 100, "is no id such as 019abc00-0000-7000-8000-000000000000: 'xxx"),
    ],
)
def test_a_value_that_is_none_of_its_column_is_refused(column: Column, value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
        decoder(column)(value)


SMALL = Table(
    name="small", source="app.small", columns=(Column("n", Kind.INT16, low=0), Column("u", Kind.UUID, nullable=True))
)


@pytest.mark.parametrize(
    ("lines", "rows", "fault"),
    [
        ('{"n":1,"u":null}\n{"n":2,"u":null}\n', 1, "small.ndjson.gz:2: is a row more than the manifest says"),
        ('{"n":1,"u":null}\n', 2, "small.ndjson.gz: has 1 rows, and the manifest says 2"),
        ('{"n":1,"u":null}\n{"n":-2,"u":null}\n', 2, "small.ndjson.gz:2: n is not from 0 to 32767: -2"),
        ('{"n":1,"u":null,"x":1}\n', 1, "small.ndjson.gz:1: column 'x' is unknown"),
        ('{"u":null}\n', 1, "small.ndjson.gz:1: column 'n' is missing"),
        ("[1]\n", 1, "small.ndjson.gz:1: is no object of JSON"),
        ('{"n":1,"u":\n', 1, "small.ndjson.gz:1: is no object of JSON"),
    ],
)
def test_a_line_that_is_wrong_is_named(lines: str, rows: int, fault: str, tmp_path: Path) -> None:
    (tmp_path / "small.ndjson.gz").write_bytes(gzip.compress(lines.encode()))
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, Encoding.NDJSON, "small.ndjson.gz", rows=rows, table=SMALL)
    assert str(caught.value).startswith(fault)


def refusal_of(folder: Path, encoding: Encoding, path: str) -> InvalidInput | None:
    try:
        read(folder, encoding, path, rows=50, table=SMALL)
    except InvalidInput as error:
        return error
    return None


@pytest.mark.parametrize("encoding", list(Encoding))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_reads_as_rows(encoding: Encoding, data: st.DataObject, tmp_path: Path) -> None:
    """Checksums catch damage before; without them nothing but a refusal with the file's name may come of it."""
    path = f"small{encoding.suffix}"
    (tmp_path / path).unlink(missing_ok=True)
    write(tmp_path, encoding, [(n, UUID(int=n)) for n in range(50)], table=SMALL)
    content = bytearray((tmp_path / path).read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / path).write_bytes(content)
    refusal = refusal_of(tmp_path, encoding, path)
    assert refusal is None or refusal.path.startswith(path)


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    other = Table(name="small", source="app.small", columns=(Column("n", Kind.INT32), Column("u", Kind.UUID)))
    path = write(tmp_path, Encoding.PARQUET, [(1, UUID(int=1))], table=other)
    with pytest.raises(InvalidInput, match="column 'n' is int32, not int16"):
        read(tmp_path, Encoding.PARQUET, path, rows=1, table=SMALL)
