"""Files of an archive: rows written to, and read back from, NDJSON or Parquet, some thousand at a time."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeAlias

import msgspec

from analytics_core.archives.columns import Kind, decoder, plain
from analytics_core.archives.manifest import Encoding
from analytics_core.archives.tables import Table
from analytics_core.errors import ConfigError, InvalidInput

__all__ = ("CHUNK_ROWS", "Row", "RowWriter", "open_writer", "read_rows", "require_encoding")

CHUNK_ROWS: Final = 5_000
_MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_LEVEL: Final = 6

Row: TypeAlias = Sequence[object]
"""Values in the order of their table's columns."""


class RowWriter(Protocol):
    """A file that is being written."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows as the database gives them."""

    def close(self) -> None:
        """End the file."""


def require_encoding(encoding: Encoding) -> None:
    """Make sure that files of an encoding can be read and written.

    Raises:
        ConfigError: Parquet, and pyarrow is not installed.
    """
    if encoding is Encoding.PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise ConfigError(["Parquet needs pyarrow: pip install '.[archive]', or take --format ndjson"])


class _NdjsonWriter:
    """Lines of JSON, an object a row, compressed by gzip without a time, so that equal rows are equal bytes."""

    def __init__(self, path: Path, table: Table) -> None:
        self._names = table.names
        self._kinds = [column.kind for column in table.columns]
        self._encoder = msgspec.json.Encoder()
        self._raw: IO[bytes] = path.open("xb")
        self._file = gzip.GzipFile("", "wb", _LEVEL, self._raw, mtime=0)

    def write(self, rows: Sequence[Row]) -> None:
        kinds = self._kinds
        self._file.write(
            self._encoder.encode_lines([dict(zip(self._names, map(plain, kinds, row), strict=True)) for row in rows])
        )

    def close(self) -> None:
        self._file.close()
        self._raw.close()


def _read_ndjson(path: Path, table: Table, name: str) -> Generator[tuple[int, Row]]:
    names = table.names
    expected = frozenset(names)
    decode = msgspec.json.Decoder(dict[str, object]).decode
    with gzip.open(path, "rb") as file:
        number = 0
        while True:
            try:
                line = file.readline(_MAX_LINE_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                raise InvalidInput(f"{name}:{number + 1}", f"is cut or damaged: {error}") from error
            if not line:
                return
            number += 1
            try:
                row = decode(line)
            except msgspec.DecodeError as error:
                raise InvalidInput(f"{name}:{number}", f"is no object of JSON: {error}") from error
            if row.keys() != expected:
                odd = sorted(row.keys() ^ expected)[0]
                raise InvalidInput(
                    f"{name}:{number}", f"column {odd!r} is {'missing' if odd in expected else 'unknown'}"
                )
            yield number, [row[column] for column in names]


class _ParquetWriter:
    """Row groups of a chunk each."""

    def __init__(self, path: Path, table: Table) -> None:
        import pyarrow.parquet

        self._schema = _arrow_schema(table)
        self._kinds = [column.kind for column in table.columns]
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: Sequence[Row]) -> None:
        import pyarrow

        arrays = [
            pyarrow.array([_parquet_value(kind, row[place]) for row in rows], field.type)
            for place, (kind, field) in enumerate(zip(self._kinds, self._schema, strict=True))
        ]
        self._writer.write_batch(pyarrow.record_batch(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _parquet_value(kind: Kind, value: object) -> object:
    if kind is Kind.JSON and value is not None:
        return msgspec.json.encode(value).decode()
    return plain(kind, value)


def _arrow_schema(table: Table) -> Any:
    import pyarrow as pa

    types = {
        Kind.INT16: pa.int16(),
        Kind.INT32: pa.int32(),
        Kind.INT64: pa.int64(),
        Kind.BOOL: pa.bool_(),
        Kind.TEXT: pa.string(),
        Kind.UUID: pa.string(),
        Kind.DATE: pa.date32(),
        Kind.INSTANT: pa.timestamp("us", tz="UTC"),
        Kind.BYTES: pa.string(),
        Kind.JSON: pa.string(),
        Kind.INT16_LIST: pa.list_(pa.int16()),
        Kind.INT32_LIST: pa.list_(pa.int32()),
        Kind.TEXT_LIST: pa.list_(pa.string()),
    }
    return pa.schema([pa.field(column.name, types[column.kind], column.nullable) for column in table.columns])


def _read_parquet(path: Path, table: Table, name: str) -> Generator[tuple[int, Row]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            found, expected = file.schema_arrow, _arrow_schema(table)
            if len(set(found.names)) < len(found.names):
                raise InvalidInput(name, "has a column twice")
            for odd in sorted(set(found.names) ^ set(expected.names)):
                raise InvalidInput(name, f"column {odd!r} is {'missing' if odd in table.names else 'unknown'}")
            for field in expected:
                if found.field(field.name).type != field.type:
                    raise InvalidInput(
                        name, f"column {field.name!r} is {found.field(field.name).type}, not {field.type}"
                    )
            for batch in file.iter_batches(CHUNK_ROWS, columns=list(table.names)):
                columns = [batch.column(column).to_pylist() for column in table.names]
                for row in zip(*columns, strict=True):
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{name}:{number + 1}", f"is cut or damaged: {error}") from error


_WRITERS: Final[dict[Encoding, Callable[[Path, Table], RowWriter]]] = {
    Encoding.NDJSON: _NdjsonWriter,
    Encoding.PARQUET: _ParquetWriter,
}
_READERS: Final[dict[Encoding, Callable[[Path, Table, str], Generator[tuple[int, Row]]]]] = {
    Encoding.NDJSON: _read_ndjson,
    Encoding.PARQUET: _read_parquet,
}


def open_writer(folder: Path, path: str, table: Table, encoding: Encoding) -> RowWriter:
    """Begin a file, which must not be there."""
    place = folder / path
    place.parent.mkdir(mode=0o700, exist_ok=True)
    return _WRITERS[encoding](place, table)


def read_rows(
    folder: Path, path: str, table: Table, encoding: Encoding, *, rows: int, chunk: int = CHUNK_ROWS
) -> Iterator[list[tuple[int, Row]]]:
    """Read a file's rows as the database takes them.

    Args:
        folder: Of the archive.
        path: Of the file.
        table: Whose rows they are.
        encoding: Of the file.
        rows: How many there have to be.
        chunk: How many at a time.

    Yields:
        Chunks of rows, each with its number from 1, which in NDJSON is its line's.

    Raises:
        InvalidInput: What is wrong, with file and row.
    """
    decoders = [decoder(column) for column in table.columns]
    found: list[tuple[int, Row]] = []
    number = 0
    with contextlib.closing(_READERS[encoding](folder / path, table, path)) as read:
        for number, row in read:
            if number > rows:
                raise InvalidInput(f"{path}:{number}", f"is a row more than the manifest says, which is {rows:,}")
            values = []
            for place, (decode, value) in enumerate(zip(decoders, row, strict=True)):
                try:
                    values.append(decode(value))
                except ValueError as error:
                    raise InvalidInput(f"{path}:{number}", f"{table.columns[place].name} {error}") from error
            found.append((number, values))
            if len(found) == chunk:
                yield found
                found = []
    if number < rows:
        raise InvalidInput(path, f"has {number:,} rows, and the manifest says {rows:,}")
    if found:
        yield found
