"""The two files of a backup: what ``pg_dump`` wrote, and beside it a manifest that says what has to be in it."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import importlib.metadata
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from analytics_core.db.backups import StoredSequence
from analytics_core.errors import Conflict, InvalidInput
from castledger_server.data_dir import write_secret

__all__ = (
    "FORMAT",
    "CountedTable",
    "Manifest",
    "check_free",
    "check_whole",
    "digest_file",
    "manifest_path",
    "our_version",
    "publish",
    "read_manifest",
    "temporary_beside",
)

FORMAT: Final = 1
"""Version of the manifest's form."""

_MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024


class CountedTable(msgspec.Struct, frozen=True):
    """A table as the snapshot had it.

    Attributes:
        name: With its schema.
        rows: How many.
        checksum: Sum of a hash of every row, in decimal digits.
    """

    name: str
    rows: int
    checksum: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup holds.

    Attributes:
        format: Of the manifest.
        castledger: The version that made it.
        made_at: The instant whose rows it holds, UTC.
        database: Name of the database.
        storage: Branch of the schema, ``native`` or ``timescale``.
        postgres: Version of the server.
        postgres_major: Such as 18.
        timescale: Version of TimescaleDB; ``None`` on the native branch.
        pg_dump_major: Of the program that wrote it.
        migrations: Numbers of the migrations that were applied.
        bytes: Size of the dump.
        sha256: Of the dump, in hexadecimal digits.
        tables: All tables, also those whose rows were left out, with none.
        sequences: All sequences, with a number that they had given by then.
        left_out: Tables whose rows are secrets, when those were left out.
        rekeyed_months: First days of months that lose their listener secrets by that.
        verified: Whether it was restored into a scratch database and compared.
    """

    format: int
    castledger: str
    made_at: dt.datetime
    database: str
    storage: str
    postgres: str
    postgres_major: int
    timescale: str | None
    pg_dump_major: int
    migrations: list[str]
    bytes: int
    sha256: str
    tables: list[CountedTable]
    sequences: list[StoredSequence]
    left_out: list[str]
    rekeyed_months: list[dt.date]
    verified: bool


def our_version() -> str:
    """Tell which version of Castledger this is."""
    try:
        return importlib.metadata.version("castledger-server")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def manifest_path(dump: Path) -> Path:
    """Name the manifest of a dump."""
    return dump.with_name(f"{dump.name}.json")


def check_free(out: Path) -> None:
    """Make sure that a backup can be written there and writes over nothing.

    Raises:
        Conflict: There is a file of that name, or a manifest.
        InvalidInput: There is no such folder.
    """
    if not out.name or not out.parent.is_dir():
        raise InvalidInput("--out", f"{out.parent} is no folder")
    for path in (out, manifest_path(out)):
        if os.path.lexists(path):
            raise Conflict("exists", f"--out: {path} is there already; a backup never writes over a file")


@contextlib.contextmanager
def temporary_beside(out: Path) -> Iterator[Path]:
    """Lend an empty file of mode 0600 in the folder of *out*, which is gone afterwards unless it was published.

    Raises:
        InvalidInput: The folder cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise InvalidInput("--out", f"{out.parent} cannot be written ({error.strerror})") from error
    os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def digest_file(path: Path) -> tuple[int, str]:
    """Tell a file's size and SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def publish(temporary: Path, out: Path, manifest: Manifest) -> None:
    """Give a dump its name, once it and its manifest are on the disk.

    Raises:
        Conflict: Somebody has made a file of that name meanwhile.
        OSError: It cannot be written; neither file is there.
    """
    handle = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    check_free(out)
    write_secret(manifest_path(out), msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    try:
        temporary.rename(out)
        folder = os.open(out.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        manifest_path(out).unlink(missing_ok=True)
        raise


def read_manifest(dump: Path) -> Manifest:
    """Read what is to be in a dump.

    Raises:
        InvalidInput: There is no dump, no manifest, or none that we can read; with the reason.
    """
    path = manifest_path(dump)
    if not dump.is_file():
        raise InvalidInput("FILE", f"there is no file {dump}")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise InvalidInput("FILE", f"its manifest {path} cannot be read ({error.strerror})") from error
    try:
        if len(content) > _MAX_MANIFEST_BYTES:
            raise ValueError("it is too large to be one")
        found = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        version = msgspec.json.decode(found.get("format", msgspec.Raw(b"0")), type=int)
        if version != FORMAT:
            raise ValueError(f"its format is {version}, and this version of Castledger reads format {FORMAT}")
        return msgspec.json.decode(content, type=Manifest)
    except ValueError as error:
        raise InvalidInput(str(path), f"is no manifest of a backup: {error}") from error


def check_whole(dump: Path, manifest: Manifest) -> None:
    """Make sure that a dump is the one that its manifest was written for, byte for byte.

    Raises:
        InvalidInput: It is not; with what differs.
    """
    try:
        size, sha256 = digest_file(dump)
    except OSError as error:
        raise InvalidInput("FILE", f"{dump} cannot be read ({error.strerror})") from error
    if size != manifest.bytes:
        raise InvalidInput("FILE", f"{dump} is damaged: it has {size} bytes, and its manifest says {manifest.bytes}")
    if sha256 != manifest.sha256:
        raise InvalidInput(
            "FILE", f"{dump} is damaged: its SHA-256 is {sha256}, and its manifest says {manifest.sha256}"
        )
