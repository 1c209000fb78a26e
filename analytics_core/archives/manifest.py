"""An archive's manifest: what its files are, written last, and checked first."""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from analytics_core.archives.tables import TABLES, Table
from analytics_core.errors import InvalidInput

__all__ = (
    "FORMAT",
    "FORMAT_VERSION",
    "MANIFEST",
    "ArchivedTenant",
    "Encoding",
    "FileEntry",
    "Filters",
    "Manifest",
    "TableEntry",
    "day_of",
    "describe_file",
    "describe_table",
    "file_path",
    "read_manifest",
    "verify_files",
    "write_manifest",
)

FORMAT: Final = "castledger-archive"
FORMAT_VERSION: Final = 1
"""Raised with any change of tables or columns; an import takes its own version alone."""

MANIFEST: Final = "manifest.json"
_MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024


class Encoding(enum.StrEnum):
    """How files are written."""

    PARQUET = "parquet"
    NDJSON = "ndjson"

    @property
    def suffix(self) -> str:
        """The end of a file's name."""
        return ".parquet" if self is Encoding.PARQUET else ".ndjson.gz"


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file.

    Attributes:
        path: Below the archive's folder.
        sha256: Of its bytes, in hexadecimal digits.
    """

    path: str
    rows: int
    bytes: int
    sha256: str


class ColumnEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column; ``type`` is a :class:`~analytics_core.archives.columns.Kind`."""

    name: str
    type: str
    nullable: bool


class TableEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table with its files; one that is written by day has none for a day without rows."""

    name: str
    columns: list[ColumnEntry]
    files: list[FileEntry]


class ArchivedTenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose ledger it is, and what they have set."""

    slug: str
    name: str
    retention_hits_days: int | None


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"first": "from", "until": "to"}):
    """What was asked for: ``None`` for all. *until* is the first UTC day that is not in the archive."""

    podcasts: list[UUID] | None = None
    first: dt.date | None = None
    until: dt.date | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an archive says of itself.

    Attributes:
        schema: The last migration of the database that it was made of.
        cutoff: Every hit answered before this instant had landed; ``None`` when nothing had.
        rules: The rules of counting in one word.
        profile: The profile that they belong to.
    """

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    encoding: Encoding
    castledger: str
    schema: str
    exported_at: dt.datetime
    tenant: ArchivedTenant
    cutoff: dt.datetime | None
    rules: str
    profile: str
    filters: Filters
    tables: list[TableEntry]


class _Version(msgspec.Struct):
    format: str
    format_version: int


def _columns(table: Table) -> list[ColumnEntry]:
    return [ColumnEntry(column.name, column.kind.value, column.nullable) for column in table.columns]


def describe_table(table: Table, files: Iterable[FileEntry]) -> TableEntry:
    """Write a table's entry."""
    return TableEntry(table.name, _columns(table), list(files))


def file_path(table: Table, encoding: Encoding, day: dt.date | None) -> str:
    """Name the file of a table, or of one of its days.

    >>> file_path(TABLES[0], Encoding.NDJSON, None)
    'segments.ndjson.gz'
    """
    return f"{table.name}{'' if day is None else f'/{day.isoformat()}'}{encoding.suffix}"


def describe_file(folder: Path, path: str, rows: int) -> FileEntry:
    """Measure a file that was written, once it is on the disk."""
    with (folder / path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return FileEntry(path, rows, file.tell(), digest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest in one step, which makes the folder an archive."""
    partial = folder / f"{MANIFEST}.partial"
    with partial.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MANIFEST)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> Manifest:
    """Read a manifest and check that its tables and columns are those of this version.

    Raises:
        InvalidInput: There is none, it is damaged, or of another version; each names what.
    """
    try:
        with (folder / MANIFEST).open("rb") as file:
            data = file.read(_MAX_MANIFEST_BYTES)
    except OSError as error:
        raise InvalidInput(
            MANIFEST, f"cannot be read ({error.strerror}): {folder} is no archive, or its export did not end"
        ) from error
    try:
        version = msgspec.json.decode(data, type=_Version)
        if version.format != FORMAT or version.format_version != FORMAT_VERSION:
            raise InvalidInput(
                MANIFEST,
                f"is of {version.format} {version.format_version}, and this version of Castledger reads "
                f"{FORMAT} {FORMAT_VERSION}",
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise InvalidInput(MANIFEST, f"is damaged: {error}") from error
    _check_tables(manifest.tables, manifest.encoding)
    return manifest


def _check_tables(tables: Sequence[TableEntry], encoding: Encoding) -> None:
    entries = {entry.name: entry for entry in tables}
    paths = [file.path for entry in tables for file in entry.files]
    if len(entries) < len(tables) or len(set(paths)) < len(paths):
        raise InvalidInput(MANIFEST, "names a table or a file twice")
    for name in entries.keys() - {table.name for table in TABLES}:
        raise InvalidInput(MANIFEST, f"has a table {name!r}, which is unknown")
    for table in TABLES:
        entry = entries.get(table.name)
        if entry is None:
            raise InvalidInput(MANIFEST, f"has no table {table.name!r}")
        expected = {column.name: column for column in _columns(table)}
        for column in entry.columns:
            if expected.pop(column.name, None) != column:
                raise InvalidInput(MANIFEST, f"{table.name}: column {column.name!r} is unknown, repeated or another")
        if expected:
            raise InvalidInput(MANIFEST, f"{table.name}: column {next(iter(expected))!r} is missing")
        for file in entry.files:
            if file.path != file_path(table, encoding, day_of(table, encoding, file.path)):
                raise InvalidInput(MANIFEST, f"{table.name}: {file.path!r} is no name of a file of this table")


def day_of(table: Table, encoding: Encoding, path: str) -> dt.date | None:
    """Read the UTC day from the name of a file; ``None`` of a table that has one file alone, and of another name."""
    if table.day is None:
        return None
    try:
        return dt.date.fromisoformat(path.rpartition("/")[2].removesuffix(encoding.suffix))
    except ValueError:
        return None


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Check that every file is there, and byte for byte what was written.

    Raises:
        InvalidInput: One is not; it is named with what is wrong.
    """
    for entry in manifest.tables:
        for file in entry.files:
            try:
                with (folder / file.path).open("rb") as opened:
                    digest = hashlib.file_digest(opened, "sha256").hexdigest()
                    size = opened.tell()
            except OSError as error:
                raise InvalidInput(file.path, f"cannot be read ({error.strerror})") from error
            if size != file.bytes:
                raise InvalidInput(file.path, f"has {size:,} bytes, and the manifest says {file.bytes:,}")
            if digest != file.sha256:
                raise InvalidInput(file.path, "is damaged: its SHA-256 is not the one of the manifest")
