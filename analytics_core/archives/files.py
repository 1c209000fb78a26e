"""Files of an archive: rows written to, and read back from, NDJSON or Parquet, some thousand at a time."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol, TypeAlias, cast

import msgspec

from analytics_core.archives.columns import BadValue, Kind, column_decoder, plain
from analytics_core.archives.manifest import Encoding
from analytics_core.archives.tables import Table
from analytics_core.errors import ConfigError, InvalidInput

__all__ = ("CHUNK_ROWS", "Chunk", "Row", "RowWriter", "open_writer", "read_rows", "require_encoding")

CHUNK_ROWS: Final = 5_000
_MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_LEVEL: Final = 6
_GROUP_ROWS: Final = 20_000

Row: TypeAlias = Sequence[object]
"""Values in the order of their table's columns."""

Columns: TypeAlias = Sequence[Sequence[object]]
"""The values of some rows, column by column."""


class Chunk(NamedTuple):
    """Some of a file's rows, one behind the other.

    Attributes:
        path: Of the file.
        first: The first row's number, from 1; in NDJSON it is its line's.
        columns: Values as the database takes them, by column.
    """

    path: str
    first: int
    columns: dict[str, list[object]]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values())))

    def place(self, row: int) -> str:
        """Name one of the rows, for a message."""
        return f"{self.path}:{self.first + row}"


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
        columns = [plain(kind, values) for kind, values in zip(self._kinds, zip(*rows, strict=True), strict=True)]
        self._file.write(
            self._encoder.encode_lines([dict(zip(self._names, row, strict=True)) for row in zip(*columns, strict=True)])
        )

    def close(self) -> None:
        self._file.close()
        self._raw.close()


def _read_ndjson(path: Path, table: Table, name: str, chunk: int) -> Generator[Columns]:
    names = table.names
    expected = frozenset(names)
    decode = msgspec.json.Decoder(dict[str, object]).decode
    rows: list[list[object]] = []
    number = 0
    with gzip.open(path, "rb") as file:
        while True:
            number += 1
            try:
                line = file.readline(_MAX_LINE_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                raise InvalidInput(f"{name}:{number}", f"is cut or damaged: {error}") from error
            if not line:
                break
            try:
                row = decode(line)
            except msgspec.DecodeError as error:
                raise InvalidInput(f"{name}:{number}", f"is no object of JSON: {error}") from error
            if row.keys() != expected:
                odd = sorted(row.keys() ^ expected)[0]
                raise InvalidInput(
                    f"{name}:{number}", f"column {odd!r} is {'missing' if odd in expected else 'unknown'}"
                )
            rows.append([row[column] for column in names])
            if len(rows) == chunk:
                yield list(zip(*rows, strict=True))
                rows = []
    if rows:
        yield list(zip(*rows, strict=True))


class _ParquetWriter:
    """Row groups of some thousand rows."""

    def __init__(self, path: Path, table: Table) -> None:
        import pyarrow.parquet

        self._schema = _arrow_schema(table)
        self._kinds = [column.kind for column in table.columns]
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._batches: list[Any] = []

    def write(self, rows: Sequence[Row]) -> None:
        import pyarrow

        columns = zip(self._kinds, self._schema, zip(*rows, strict=True), strict=True)
        arrays = [pyarrow.array(_parquet_values(kind, values), field.type) for kind, field, values in columns]
        self._batches.append(pyarrow.record_batch(arrays, schema=self._schema))
        if sum(map(len, self._batches)) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._batches:
            self._writer.write_table(pyarrow.Table.from_batches(self._batches, self._schema))
            self._batches = []

    def close(self) -> None:
        self._flush()
        self._writer.close()


def _parquet_values(kind: Kind, values: Sequence[object]) -> Sequence[object]:
    if kind is Kind.JSON:
        return [None if value is None else msgspec.json.encode(value).decode() for value in values]
    if kind is Kind.JSON_LIST:
        return [
            None if value is None else [msgspec.json.encode(one).decode() for one in cast(list[object], value)]
            for value in values
        ]
    return plain(kind, values)


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
        Kind.JSON_LIST: pa.list_(pa.string()),
    }
    return pa.schema([pa.field(column.name, types[column.kind], column.nullable) for column in table.columns])


def _read_parquet(path: Path, table: Table, name: str, chunk: int) -> Generator[Columns]:
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
            # A row group at a time: asked for all of them, it reads ahead as far as it can.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(chunk, row_groups=[group], columns=list(table.names)):
                    columns = [batch.column(column).to_pylist() for column in table.names]
                    number += len(batch)
                    yield columns
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{name}:{number + 1}", f"is cut or damaged: {error}") from error


_WRITERS: Final[dict[Encoding, Callable[[Path, Table], RowWriter]]] = {
    Encoding.NDJSON: _NdjsonWriter,
    Encoding.PARQUET: _ParquetWriter,
}
_READERS: Final[dict[Encoding, Callable[[Path, Table, str, int], Generator[Columns]]]] = {
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
) -> Iterator[Chunk]:
    """Read a file's rows as the database takes them.

    Args:
        folder: Of the archive.
        path: Of the file.
        table: Whose rows they are.
        encoding: Of the file.
        rows: How many there have to be.
        chunk: How many at a time, at most.

    Raises:
        InvalidInput: What is wrong, with file and row.
    """
    decoders = [column_decoder(column) for column in table.columns]
    done = 0
    with contextlib.closing(_READERS[encoding](folder / path, table, path, chunk)) as read:
        for columns in read:
            found = Chunk(path, done + 1, {})
            for column, decode, values in zip(table.columns, decoders, columns, strict=True):
                try:
                    found.columns[column.name] = decode(values)
                except BadValue as error:
                    raise InvalidInput(found.place(error.place), f"{column.name} {error}") from error
            if done + found.rows > rows:
                raise InvalidInput(f"{path}:{rows + 1}", f"is a row more than the manifest says, which is {rows:,}")
            done += found.rows
            yield found
    if done < rows:
        raise InvalidInput(path, f"has {done:,} rows, and the manifest says {rows:,}")
