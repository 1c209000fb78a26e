"""A backup: one snapshot, counted and dumped, then restored into a scratch database and counted again."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from analytics_core.clock import SystemClock
from analytics_core.db.backups import (
    SECRET_TABLES,
    DatabaseFacts,
    StoredTable,
    count_rows,
    create_scratch,
    drop_scratch,
    export_snapshot,
    list_applied,
    list_live_months,
    list_sequences,
    list_tables,
    read_facts,
)
from analytics_core.db.pool import Connection, connect
from analytics_core.errors import CastledgerError
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Secret, Storage
from castledger_server.backup_files import (
    FORMAT,
    CountedTable,
    Manifest,
    check_free,
    digest_file,
    our_version,
    publish,
    temporary_beside,
)
from castledger_server.postgres_clients import Clients, choose_clients, find_clients, run_tool
from castledger_server.restore import compare, load
from migrations.runner import connect_to_migrate

__all__ = ("SCHEMAS", "SCRATCH", "BackupError", "Made", "make_backup")

_NAME = "castledger backup"

SCRATCH: Final = "castledger_verify_"
"""How the names of scratch databases begin; the name of the database that is backed up follows."""

_OF_NOTHING: Final = (0, "0")
SCHEMAS: Final = ("app", "ts", "ops", "api", "migrations")
"""Our schemas, which a backup is of."""


class BackupError(CastledgerError):
    """There is no backup: not all rows can be seen, or what was written is not what was read."""

    code = "backup"


class Made(NamedTuple):
    """A backup that was written.

    Attributes:
        manifest: What it holds.
        unverified: Why it could not be verified; empty when it was, or nobody wanted it to be.
    """

    manifest: Manifest
    unverified: str


def _check_sight(tables: list[StoredTable]) -> None:
    """Make sure that the role of backups sees every row of every table: row security hides without a word."""
    faults = [f"{table.name}: the role may not read it" for table in tables if not table.is_readable]
    faults += [f"{table.name}: row security hides rows from the role" for table in tables if not table.is_whole]
    if faults:
        raise BackupError(
            f"a backup would leave rows out, so none was made; {Role.DUMP.value} has to see all of:\n"
            + "\n".join(faults)
            + "\n`castledger migrate up` grants what our own tables need; a table of yours in our schemas needs "
            f"`grant select … to {Role.DUMP.value}`, or another schema"
        )


async def _read(
    conn: Connection, facts: DatabaseFacts, clients: Clients, *, with_secrets: bool, say: Callable[[str], None]
) -> Manifest:
    """Count all rows of the transaction's snapshot; size and checksum of the file are still to come."""
    tables = await list_tables(conn)
    _check_sight(tables)
    left_out = () if with_secrets else SECRET_TABLES
    wholes = [table for table in tables if not table.is_part]
    counted = []
    for place, table in enumerate(wholes, 1):
        say(f"counting {table.name} ({place} of {len(wholes)})")
        rows, checksum = _OF_NOTHING if table.name in left_out else await count_rows(conn, table)
        counted.append(CountedTable(table.name, rows, checksum))
    return Manifest(
        format=FORMAT,
        castledger=our_version(),
        made_at=SystemClock().now(),
        database=facts.name,
        storage=str(facts.storage),
        postgres=facts.postgres,
        postgres_major=facts.postgres_major,
        timescale=facts.timescale if facts.storage == Storage.TIMESCALE.value else None,
        pg_dump_major=clients.major,
        migrations=await list_applied(conn),
        bytes=0,
        sha256="",
        tables=counted,
        sequences=await list_sequences(conn),
        left_out=list(left_out),
        rekeyed_months=[] if with_secrets else await list_live_months(conn),
        verified=False,
    )


def _dump_options(manifest: Manifest, snapshot: str, path: Path) -> list[str]:
    options = ["--format=custom", f"--role={Role.DUMP.value}", "--enable-row-security", f"--snapshot={snapshot}"]
    options += [f"--exclude-table-data={table}" for table in manifest.left_out]
    if manifest.timescale is None:
        # What else is in the database is not ours, and the role may not read it. TimescaleDB has tables of its own.
        options += [f"--schema={schema}" for schema in SCHEMAS]
    return [*options, f"--file={path}"]


async def _dump(
    database: DatabaseSettings,
    path: Path,
    *,
    with_secrets: bool,
    bin_dir: Path | None,
    say: Callable[[str], None],
) -> tuple[Manifest, DatabaseFacts]:
    conn = await connect(database, Role.DUMP, application_name=_NAME)
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await export_snapshot(conn)
            facts = await read_facts(conn)
            if facts.storage is None:
                raise BackupError(f"nothing was ever migrated in the database {facts.name}, so that there is no ledger")
            clients = choose_clients(find_clients(bin_dir), server_major=facts.postgres_major)
            manifest = await _read(conn, facts, clients, with_secrets=with_secrets, say=say)
            say(f"dumping with pg_dump {clients.version}")
            await run_tool(
                clients.pg_dump,
                *_dump_options(manifest, snapshot, path),
                url=str(database.url),
                meanwhile=lambda: say(f"dumped {path.stat().st_size / 2**20:.0f} MiB"),
            )
    finally:
        await conn.close()
    size, sha256 = await asyncio.to_thread(digest_file, path)
    return msgspec.structs.replace(manifest, bytes=size, sha256=sha256), facts


def _beside(database: DatabaseSettings, name: str) -> DatabaseSettings:
    """Address another database of the same server."""
    parts = urlsplit(str(database.url))
    # Both drivers let a parameter win over the path.
    query = [(key, value) for key, value in parse_qsl(parts.query) if key not in ("dbname", "database")]
    url = parts._replace(path=f"/{name}", query=urlencode(query)).geturl()
    return DatabaseSettings(url=Secret(url), storage=database.storage)


@contextlib.asynccontextmanager
async def _scratch(database: DatabaseSettings, of: str) -> AsyncIterator[DatabaseSettings]:
    """Lend an empty database on the same server, which is gone afterwards, whatever happens."""
    # Shorter than the 63 bytes at which PostgreSQL would cut it.
    name = f"{SCRATCH}{re.sub('[^a-z0-9_]', '', of)[:24]}_{secrets.token_hex(6)}"
    async with connect_to_migrate(database) as conn:
        try:
            await create_scratch(conn, name)
            yield _beside(database, name)
        finally:
            await drop_scratch(conn, name)


def _why_unverifiable(facts: DatabaseFacts, manifest: Manifest) -> str:
    if manifest.timescale is not None and not facts.is_super:
        return (
            "the login is no superuser, which restoring TimescaleDB needs; run this with a superuser's login, or try "
            "the file with `castledger restore FILE --into URL` on an empty database that may be thrown away"
        )
    if not facts.may_create:
        return (
            "the login may not create a scratch database (`alter role … createdb`); or try the file with "
            "`castledger restore FILE --into URL` on an empty database that may be thrown away"
        )
    return ""


async def make_backup(
    database: DatabaseSettings,
    out: Path,
    *,
    with_secrets: bool = False,
    check: bool = True,
    bin_dir: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Made:
    """Write a backup of all tenants' rows as they are at one instant, while everybody goes on working.

    Args:
        database: Which; its login may take our roles.
        out: The file to write, with mode 0600; its manifest is put beside it.
        with_secrets: Whether API keys' hashes, sessions and listener secrets are in it.
        check: Whether to restore it into a scratch database and compare every table.
        bin_dir: Folder of the programs to use; by default the best that are here.
        say: Is told what is being done.

    Returns:
        What was written; nothing was, and no scratch database is left, when an error is raised.

    Raises:
        Conflict: There is such a file already.
        InvalidInput: It cannot be written there.
        ConfigError: No ``pg_dump`` that knows the server, or a login that may not take our roles.
        CastledgerError: Rows would be left out, a program failed, or what was restored is not what was read.
    """
    check_free(out)
    with temporary_beside(out) as path:
        manifest, facts = await _dump(database, path, with_secrets=with_secrets, bin_dir=bin_dir, say=say)
        unverified = _why_unverifiable(facts, manifest) if check else ""
        if check and not unverified:
            async with _scratch(database, facts.name) as scratch:
                await load(scratch, path, manifest, bin_dir=bin_dir, say=say)
                differences = await compare(scratch, manifest, say=say)
            if differences:
                raise BackupError(
                    "what was restored is not what was read, so the file was not kept:\n" + "\n".join(differences)
                )
            manifest = msgspec.structs.replace(manifest, verified=True)
        try:
            publish(path, out, manifest)
        except OSError as error:
            raise BackupError(f"{out} cannot be written ({error.strerror})") from error
    return Made(manifest, unverified)
