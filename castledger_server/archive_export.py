"""Export: a tenant's ledger, or a part of it, as a folder of files, all from one instant."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from analytics_core.archives.files import CHUNK_ROWS, RowWriter, open_writer, require_encoding
from analytics_core.archives.manifest import (
    ArchivedTenant,
    Encoding,
    FileEntry,
    Filters,
    Manifest,
    TableEntry,
    describe_file,
    describe_table,
    file_path,
    write_manifest,
)
from analytics_core.archives.tables import TABLES, Table
from analytics_core.db.exports import (
    ExportScope,
    export_transaction,
    list_export_days,
    read_export,
    read_podcast_numbers,
    read_tenant_settings,
)
from analytics_core.db.pool import Connection, Tenant, open_pool
from analytics_core.db.segments import read_cutoff
from analytics_core.errors import Conflict, InvalidInput, Unavailable
from analytics_core.profiles import DEFAULT_PROFILE
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.archive_progress import Progress
from castledger_server.archive_schema import require_schema

__all__ = ("export_tenant",)

_NAMED: Final = {"segments": "segment_id", "agents": "agent_hash"}
"""Tables of which only what other tables name is exported, with the column that names it."""


class _Export:
    """An export at work."""

    def __init__(
        self, conn: Connection, folder: Path, scope: ExportScope, encoding: Encoding, progress: Progress
    ) -> None:
        self._conn = conn
        self._folder = folder
        self._scope = scope
        self._encoding = encoding
        self._progress = progress
        self._named: dict[str, set[UUID]] = {column: set() for column in _NAMED.values()}

    async def write_all(self) -> list[TableEntry]:
        """Write all tables, those last that the others name rows of."""
        entries = {table.name: await self._write(table) for table in TABLES if table.name not in _NAMED}
        entries |= {table.name: await self._write(table) for table in TABLES if table.name in _NAMED}
        return [entries[table.name] for table in TABLES]

    async def _write(self, table: Table) -> TableEntry:
        if table.day is None:
            return describe_table(table, await self._write_file(table, None))
        files = []
        for day in await list_export_days(self._conn, table.name, self._scope):
            files += await self._write_file(table, day)
        return describe_table(table, files)

    async def _write_file(self, table: Table, day: dt.date | None) -> list[FileEntry]:
        path = file_path(table, self._encoding, day)
        notes = [
            (place, self._named[column.name])
            for place, column in enumerate(table.columns)
            if column.name in self._named and table.name not in _NAMED
        ]
        named = self._named.get(_NAMED.get(table.name, ""), ())
        count = 0
        with contextlib.ExitStack() as opened:
            writer: RowWriter | None = None
            if table.day is None:
                writer = self._open(opened, path, table)
            async for rows in read_export(self._conn, table.name, self._scope, day=day, named=named, chunk=CHUNK_ROWS):
                if writer is None:
                    writer = self._open(opened, path, table)
                self._check(table, rows)
                with _writing(path):
                    writer.write(rows)
                for place, seen in notes:
                    seen.update(one for row in rows if isinstance(one := row[place], UUID))
                count += len(rows)
                self._progress.add(path, len(rows))
            is_empty = writer is None
        if is_empty:
            return []
        with _writing(path):
            return [describe_file(self._folder, path, count)]

    def _open(self, opened: contextlib.ExitStack, path: str, table: Table) -> RowWriter:
        opened.enter_context(_writing(path))
        return opened.enter_context(contextlib.closing(open_writer(self._folder, path, table, self._encoding)))

    @staticmethod
    def _check(table: Table, rows: Sequence[Sequence[object]]) -> None:
        for place, column in enumerate(table.columns):
            if not column.nullable and any(row[place] is None for row in rows):
                raise Conflict(
                    "inconsistent", f"{table.source} has rows without {column.name}: what their number means is gone"
                )


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """Say of a file that could not be written which one it was: what else fails as it does is the database."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{path} could not be written ({error.strerror or error})") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Conflict("not_empty", f"--out: {folder} is not empty; name a folder that is, or is not there")
    except OSError as error:
        raise InvalidInput("--out", f"{folder} cannot be made ({error.strerror})") from error


async def _find_podcasts(conn: Connection, wanted: Filters) -> list[int] | None:
    if wanted.podcasts is None:
        return None
    found = await read_podcast_numbers(conn, wanted.podcasts)
    for podcast_id in wanted.podcasts:
        if podcast_id not in found:
            raise InvalidInput("--podcast", f"the tenant has no podcast {podcast_id}")
    return sorted(found.values())


async def export_tenant(
    database: DatabaseSettings,
    tenant: Tenant,
    folder: Path,
    *,
    wanted: Filters,
    encoding: Encoding,
    now: Callable[[], dt.datetime],
    progress: Progress,
) -> Manifest:
    """Export a tenant's ledger.

    Args:
        database: Where it is.
        tenant: Whose.
        folder: Made when it is not there; has to be empty.
        wanted: Which part.
        encoding: Of the files.
        now: Tells when the snapshot is taken.
        progress: Is told of rows.

    Returns:
        The manifest, written last: a folder without one is an export that did not end.

    Raises:
        ConfigError: Parquet without pyarrow, a schema of another version, or a login that may not act as the owner.
        Conflict: The folder is not empty, or rows lack what they name.
        InvalidInput: A podcast is not the tenant's, or the folder cannot be made.
        Unavailable: The database does not answer.
    """
    require_encoding(encoding)
    schema = await require_schema(database)
    pool = await open_pool(database, Role.OWNER, application_name="castledger export", max_size=1)
    try:
        async with export_transaction(pool, tenant) as conn:
            podcast_nos = await _find_podcasts(conn, wanted)
            _make_folder(folder)
            exported_at = now()
            scope = ExportScope(podcast_nos, wanted.first or dt.date.min, wanted.until or dt.date.max)
            slug, name, hits_days = await read_tenant_settings(conn)
            cutoff = await read_cutoff(conn)
            with contextlib.closing(progress):
                tables = await _Export(conn, folder, scope, encoding, progress).write_all()
    finally:
        pool.terminate()
    manifest = Manifest(
        encoding=encoding,
        castledger=importlib.metadata.version("castledger-server"),
        schema=schema,
        exported_at=exported_at,
        tenant=ArchivedTenant(slug, name, hits_days),
        cutoff=cutoff,
        rules=DEFAULT_PROFILE.rules_version,
        profile=DEFAULT_PROFILE.name,
        filters=wanted,
        tables=tables,
    )
    write_manifest(folder, manifest)
    return manifest
