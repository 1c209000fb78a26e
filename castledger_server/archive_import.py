"""Import: an archive read into an empty tenant, all of it or nothing."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import asyncpg

from analytics_core.archives.checks import check_chunk
from analytics_core.archives.files import Chunk, read_rows, require_encoding
from analytics_core.archives.manifest import Manifest, TableEntry, day_of, read_manifest, verify_files
from analytics_core.archives.tables import TABLES, Table
from analytics_core.db.dictionaries import TermKind, find_agents, number_places, number_terms
from analytics_core.db.events import ensure_event_partitions
from analytics_core.db.hits import ensure_partitions
from analytics_core.db.imports import (
    COPIED,
    add_agents,
    add_rows,
    add_segments,
    adopt_settings,
    copy_rows,
    finish_import,
    lock_tenant,
    number_rows,
)
from analytics_core.db.pool import (
    Connection,
    Tenant,
    connect,
    connection,
    open_pool,
    set_tenant,
    tenant_transaction,
)
from analytics_core.db.tenants import TenantRow, create_key, create_tenant, find_tenant
from analytics_core.errors import Conflict, InvalidInput, Unavailable
from analytics_core.ids import TenantId, TenantNo, new_id
from analytics_core.places import parse_place
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.archive_progress import Progress
from castledger_server.archive_schema import require_schema

__all__ = ("Imported", "import_archive")

_NAME: Final = "castledger import"

_NAMED_BY: Final = {
    "podcast_id": "podcasts",
    "episode_id": "episodes",
    "ad_slot_id": "ad_slots",
    "link_id": "links",
    "segment_id": "segments",
    "agent_hash": "agents",
}
"""Columns that name rows of another table."""

_TERMS: Final = ("referrer", "feed_app")
_NUMBERED: Final = frozenset(_NAMED_BY.values())
_OWN_ID: Final = {
    "podcasts": "podcast_id",
    "episodes": "episode_id",
    "ad_slots": "ad_slot_id",
    "links": "link_id",
    "segments": "segment_id",
    "enclosure_owners": "enclosure_key",
    "vanity_hosts": "vanity_host_id",
    "clicks": "ordinal",
    "events": "event_id",
}
"""Columns by which a table's rows are told apart, where that matters."""

_TAKEN: Final = {
    "podcasts": "podcast {title!r} ({podcast_guid}) is another tenant's here, by its guid or its feed",
    "episodes": "episode {title!r} is in the archive twice",
    "enclosure_owners": "an enclosure of this archive ({file_name!r}) is of another tenant's podcast here",
    "links": "the slug {slug!r} is taken here",
    "vanity_hosts": "the host {host!r} leads to somebody else's link here",
    "clicks": "a click of {occurred_at} is known here",
    "events": "the event {event_id} is in the archive twice",
}
"""What it means that a row could not be added, by table."""


@contextlib.contextmanager
def _refusals(place: str) -> Iterator[None]:
    """Turn what the database says of rows into what is wrong with the archive."""
    try:
        yield
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.DatatypeMismatchError) as error:
        raise InvalidInput(place, f"the database refuses a row: {error}") from error


@contextlib.contextmanager
def _unlocked() -> Iterator[None]:
    """Say that somebody was in the way, who will be gone another time."""
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise Unavailable("what has to be written is locked by somebody; nothing was imported, try again") from error


def _json_value(value: object) -> object:
    return f"\\x{value.hex()}" if isinstance(value, bytes) else value


class _Import:
    """An import at work."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        tenant: Tenant,
        conn: Connection,
        aside: Connection,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._tenant = tenant
        self._conn = conn
        self._aside = aside
        self._progress = progress
        self._numbers: dict[str, dict[Any, int]] = {
            **{name: {None: 0} for name in _NUMBERED},
            **{name: {"": 0} for name in (*_TERMS, "place")},
        }

    async def run(self) -> None:
        """Read all tables in."""
        entries = {entry.name: entry for entry in self._manifest.tables}
        for table in TABLES:
            await self._read(table, entries[table.name])
        settings = self._manifest.tenant
        with _refusals("manifest.json"):
            await adopt_settings(self._conn, self._tenant, retention_hits_days=settings.retention_hits_days)
        filters = self._manifest.filters
        is_cut = filters.first is not None or filters.until is not None
        with _refusals("metrics_daily"):
            await finish_import(self._conn, self._tenant, is_cut=is_cut)

    async def _read(self, table: Table, entry: TableEntry) -> None:
        encoding = self._manifest.encoding
        for file in entry.files:
            day = day_of(table, encoding, file.path)
            if table.name in ("hits", "downloads") and day is not None:
                # Aside, as others who need room for a day would wait for this transaction otherwise.
                await ensure_partitions(self._aside, [day])
            for chunk in read_rows(self._folder, file.path, table, encoding, rows=file.rows):
                check_chunk(table, chunk, day)
                with _refusals(f"{chunk.place(0)}-{chunk.first + chunk.rows - 1}"):
                    await self._add(table, chunk)
                self._progress.add(file.path, chunk.rows)

    async def _add(self, table: Table, chunk: Chunk) -> None:
        if table.name == "agents":
            await self._add_agents(chunk)
            return
        if table.name == "segments":
            await add_segments(self._conn, _as_rows(chunk.columns))
        else:
            for name in _TERMS:
                if name in chunk.columns:
                    await self._number_terms(name, chunk.columns[name])
            if "place_no" in table.numbers:
                await self._number_places(chunk.columns["place"])
            stored = self._stored(table, chunk)
            if table.name in COPIED:
                await copy_rows(self._conn, table.name, list(stored), list(zip(*stored.values(), strict=True)))
            else:
                if table.name == "events":
                    days = {cast(dt.datetime, at).astimezone(dt.UTC).date() for at in chunk.columns["received_at"]}
                    await ensure_event_partitions(self._aside, days)
                await self._add_rows(table, chunk, stored)
        if table.name in _NUMBERED:
            ids = cast(list[UUID], chunk.columns[_OWN_ID[table.name]])
            self._numbers[table.name].update(await number_rows(self._conn, table.name, ids))

    def _stored(self, table: Table, chunk: Chunk) -> dict[str, Sequence[object]]:
        """Turn rows of the archive into those of the table that they are of."""
        stored: dict[str, Sequence[object]] = {
            column.name: chunk.columns[column.name] for column in table.columns if column.is_stored
        }
        for number, column in table.numbers.items():
            if table.name not in _NUMBERED or column != _OWN_ID[table.name]:
                stored[number] = self._numbers_of(chunk, column)
        if "tenant_id" in table.not_kept:
            stored["tenant_id"] = [UUID(int=self._tenant.tenant_id.int)] * chunk.rows
        if "tenant_no" in table.not_kept:
            stored["tenant_no"] = [int(self._tenant.tenant_no)] * chunk.rows
        return stored

    def _numbers_of(self, chunk: Chunk, column: str) -> list[int]:
        table = _NAMED_BY.get(column, column)
        known = self._numbers[table]
        values = chunk.columns[column]
        try:
            return [known[value] for value in values]
        except KeyError as error:
            value = error.args[0]
            raise InvalidInput(
                chunk.place(values.index(value)), f"{column} {value} is not among the archive's {table}"
            ) from None

    async def _add_rows(self, table: Table, chunk: Chunk, stored: Mapping[str, Sequence[object]]) -> None:
        added = await add_rows(self._conn, table.name, _as_rows(stored))
        if len(added) == chunk.rows:
            return
        ids, found = chunk.columns[_OWN_ID.get(table.name, table.names[0])], set(added)
        row = next((place for place, one in enumerate(ids) if one not in found), 0)
        taken = _TAKEN[table.name].format(**{name: values[row] for name, values in chunk.columns.items()})
        raise Conflict("taken", f"{chunk.place(row)}: {taken}; nothing was imported")

    async def _add_agents(self, chunk: Chunk) -> None:
        await add_agents(self._aside, _as_rows(chunk.columns))
        hashes = cast(list[UUID], chunk.columns["agent_hash"])
        for agent_hash, found in (await find_agents(self._aside, hashes)).items():
            self._numbers["agents"][UUID(int=agent_hash.int)] = found.agent_no

    async def _number_terms(self, column: str, terms: Sequence[object]) -> None:
        known = self._numbers[column]
        new = {str(term) for term in set(terms) if term not in known}
        if new:
            known.update(await number_terms(self._aside, TermKind(column), new))

    async def _number_places(self, places: Sequence[object]) -> None:
        known = self._numbers["place"]
        new = [parse_place(str(place)) for place in set(places) if place not in known]
        if new:
            known.update({str(place): number for place, number in (await number_places(self._aside, new)).items()})


def _as_rows(columns: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    """Turn columns into rows as the database reads them from JSON."""
    values = [[_json_value(value) for value in column] for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _podcast_ids(folder: Path, manifest: Manifest) -> set[UUID]:
    """Read which podcasts an archive has."""
    table = next(table for table in TABLES if table.name == "podcasts")
    entry = next(entry for entry in manifest.tables if entry.name == table.name)
    return {
        cast(UUID, podcast_id)
        for file in entry.files
        for chunk in read_rows(folder, file.path, table, manifest.encoding, rows=file.rows)
        for podcast_id in chunk.columns["podcast_id"]
    }


class Imported(NamedTuple):
    """What was imported.

    Attributes:
        slug: Of the tenant.
        key: The API key of a tenant that was made; ``None`` when it was there.
    """

    manifest: Manifest
    slug: str
    key: str | None


async def import_archive(database: DatabaseSettings, folder: Path, *, slug: str | None, progress: Progress) -> Imported:
    """Import an archive into a tenant that has nothing yet.

    Args:
        database: Where the tenant is.
        folder: The archive's.
        slug: The tenant's; ``None`` for the archive's own. It is made when it is not there.
        progress: Is told of rows.

    Returns:
        What was imported. When this raises, nothing was.

    Raises:
        ConfigError: The archive is Parquet and pyarrow is not there, the schema is of another version, or the login may
            not act as the owner.
        Conflict: ``already_imported``, ``not_empty``, or ``taken``: something belongs to another tenant.
        InvalidInput: The archive is damaged; file, row and reason are named.
        Unavailable: The database does not answer, or what has to be written is locked.
    """
    manifest = read_manifest(folder)
    require_encoding(manifest.encoding)
    await require_schema(database)
    verify_files(folder, manifest)
    slug = slug or manifest.tenant.slug
    podcast_ids = _podcast_ids(folder, manifest)
    found = await _find(database, slug)
    tenant = Tenant(TenantId(new_id()), TenantNo(0)) if found is None else found.tenant
    key: str | None = None
    pool = await open_pool(database, Role.OWNER, application_name=_NAME, max_size=2)
    try:
        with contextlib.closing(progress), _unlocked():
            async with connection(pool) as aside, tenant_transaction(pool, tenant) as conn:
                if found is None:
                    tenant, key = await _make_tenant(conn, tenant.tenant_id, slug, manifest.tenant.name)
                await _require_empty(conn, tenant, slug, podcast_ids)
                await _Import(folder, manifest, tenant, conn, aside, progress).run()
    finally:
        pool.terminate()
    return Imported(manifest, slug, key)


async def _find(database: DatabaseSettings, slug: str) -> TenantRow | None:
    conn = await connect(database, Role.AUTH, application_name=_NAME)
    try:
        return await find_tenant(conn, slug)
    finally:
        await conn.close()


async def _make_tenant(conn: Connection, tenant_id: TenantId, slug: str, name: str) -> tuple[Tenant, str]:
    with _refusals("--tenant"):
        row = await create_tenant(conn, slug=slug, name=name, tenant_id=tenant_id)
    await set_tenant(conn, row.tenant)
    return row.tenant, await create_key(conn, row.tenant, name="import")


async def _require_empty(conn: Connection, tenant: Tenant, slug: str, podcast_ids: set[UUID]) -> None:
    content = await lock_tenant(conn, tenant)
    if podcast_ids and podcast_ids <= content.podcast_ids:
        raise Conflict("already_imported", f"this archive is already imported: its podcasts are {slug}'s")
    if not content.is_empty:
        raise Conflict(
            "not_empty",
            f"{slug} has podcasts, links, sponsors, hits or events already; an archive goes into an empty tenant: "
            "--tenant",
        )
