"""Bring a backup into an empty database, and hold every table up against what the backup's manifest says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from analytics_core.db.backups import (
    DatabaseFacts,
    count_rows,
    create_timescale,
    find_objects,
    list_sequences,
    list_tables,
    mark_rekeyed,
    post_restore,
    pre_restore,
    read_facts,
    see_hypertables,
)
from analytics_core.db.pool import Connection, connect
from analytics_core.errors import CastledgerError, Conflict, InvalidInput
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Storage
from castledger_server.backup_files import Manifest, check_whole, read_manifest
from castledger_server.postgres_clients import choose_clients, find_clients, run_tool
from migrations.runner import connect_to_migrate, discover, ensure_roles, prepare_timescale, verify

__all__ = ("RestoreError", "compare", "load", "restore_backup")

_NAME = "castledger restore"


class RestoreError(CastledgerError):
    """A backup cannot be restored, or what was restored is not what the backup's manifest says."""

    code = "restore"


def _check_target(facts: DatabaseFacts, manifest: Manifest) -> None:
    """Make sure that the server can hold the backup."""
    if facts.postgres_major < manifest.postgres_major:
        raise RestoreError(
            f"the backup is of PostgreSQL {manifest.postgres}, and this server is {facts.postgres}: "
            "it needs the same major version or a newer one"
        )
    wanted = manifest.timescale
    if wanted is None:
        return
    if not facts.is_super:
        raise RestoreError(
            "the backup is of TimescaleDB, whose own tables only a superuser may write: "
            "name the database with a superuser's login, for the restore alone"
        )
    if facts.timescale not in (None, wanted):
        raise RestoreError(
            f"the backup is of TimescaleDB {wanted}, and this database has {facts.timescale}: restore into a new "
            f"database, on a server that has {wanted} installed; it can be updated afterwards"
        )
    if facts.timescale is None and wanted not in facts.timescale_at_hand:
        here = ", ".join(sorted(facts.timescale_at_hand)) or "none"
        raise RestoreError(
            f"the backup is of TimescaleDB {wanted}, and this server has {here}: install that very version; "
            "it can be updated afterwards"
        )


@contextlib.asynccontextmanager
async def _timescale_restoring(conn: Connection, facts: DatabaseFacts, manifest: Manifest) -> AsyncIterator[None]:
    """Have TimescaleDB, made in the backup's version, take its tables as they come; whatever fails, it works again."""
    if manifest.timescale is None:
        yield
        return
    if facts.timescale is None:
        await create_timescale(conn, manifest.timescale)
    await pre_restore(conn)
    try:
        yield
    except BaseException:
        await post_restore(conn)
        raise


async def load(
    target: DatabaseSettings,
    dump: Path,
    manifest: Manifest,
    *,
    bin_dir: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Bring a dump into an empty database, whole or not at all; TimescaleDB is left in its state of restoring.

    Args:
        target: By a login that owns it; a superuser for TimescaleDB.
        dump: Has been checked against its manifest.
        manifest: Of the dump.
        bin_dir: Folder of the programs to use; by default the best that are here.
        say: Is told what is being done.

    Raises:
        CastledgerError: Something speaks against it; the database is still empty.
    """
    async with connect_to_migrate(target) as conn:
        facts = await read_facts(conn)
        _check_target(facts, manifest)
        if there := await find_objects(conn):
            raise Conflict(
                "not_empty",
                f"the database {facts.name} is not empty (there is {', '.join(there)}); restore into a new one",
            )
        clients = choose_clients(
            find_clients(bin_dir), server_major=facts.postgres_major, dump_major=manifest.pg_dump_major
        )
        await ensure_roles(conn)
        async with _timescale_restoring(conn, facts, manifest):
            options = ["--single-transaction", "--exit-on-error"]
            if manifest.timescale is None:
                options += ["--no-owner", f"--role={Role.OWNER.value}"]
            else:
                await prepare_timescale(conn)
            say(f"restoring into {facts.name} with pg_restore {clients.version}")
            await run_tool(clients.pg_restore, *options, str(dump), url=str(target.url))


async def compare(
    target: DatabaseSettings, manifest: Manifest, *, say: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Tell in what a restored database differs from the manifest, a line each; none when it is the same.

    Raises:
        Unavailable: The database does not answer.
    """
    conn = await connect(target, Role.DUMP, application_name=_NAME)
    try:
        if manifest.timescale is not None:
            await see_hypertables(conn)
        found = []
        wanted = {table.name: table for table in manifest.tables}
        wholes = [table for table in await list_tables(conn) if not table.is_part]
        for place, table in enumerate(wholes, 1):
            say(f"comparing {table.name} ({place} of {len(wholes)})")
            if not (table.is_readable and table.is_whole):
                found.append(f"{table.name}: not all of its rows can be seen")
                continue
            counted = wanted.pop(table.name, None)
            rows, checksum = await count_rows(conn, table)
            if counted is None:
                found.append(f"{table.name}: is not in the manifest")
            elif counted.rows != rows:
                found.append(f"{table.name}: {counted.rows} rows became {rows}")
            elif counted.checksum != checksum:
                found.append(f"{table.name}: has {rows} rows, but not the same")
        found += [f"{name}: is missing" for name in wanted]
        numbers = {sequence.name: sequence.last for sequence in await list_sequences(conn)}
    finally:
        await conn.close()
    for sequence in manifest.sequences:
        last = numbers.get(sequence.name)
        # Sequences are read after the snapshot, and may have gone on by then.
        if sequence.last is not None and (last is None or last < sequence.last):
            found.append(f"{sequence.name}: had given {sequence.last}, and would give lower numbers again")
    return found


def _check_known(manifest: Manifest) -> int:
    """Make sure that this version knows all migrations of the backup; return how many it has besides."""
    known = {migration.version for migration in discover(Storage(manifest.storage))}
    if unknown := sorted(set(manifest.migrations) - known):
        raise RestoreError(
            f"the backup was made by Castledger {manifest.castledger} with migrations that this version does not have "
            f"({', '.join(unknown)}): restore it with that version or a newer one"
        )
    return len(known - set(manifest.migrations))


def _tell_notes(manifest: Manifest, pending: int) -> Iterator[str]:
    if pending:
        yield f"next: `castledger migrate up`, since this version has more migrations than the backup ({pending})"
    if manifest.left_out:
        yield (
            "note: API keys and sessions were left out: `castledger up` or `castledger owner-key` makes the owner's "
            "key anew, all others have to be made and handed out again"
        )
    if manifest.rekeyed_months:
        months = ", ".join(f"{month:%Y-%m}" for month in manifest.rekeyed_months)
        yield f"note: listener secrets were left out: keys begin anew, and the days of {months} are marked so"


async def restore_backup(
    target: DatabaseSettings,
    dump: Path,
    *,
    bin_dir: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Restore a backup into an empty database.

    Args:
        target: By a login that owns it; a superuser for TimescaleDB.
        dump: The backup's file, with its manifest beside it.
        bin_dir: Folder of the programs to use; by default the best that are here.
        say: Is told what is being done.

    Returns:
        What was restored and what is to be known of it, a line each.

    Raises:
        InvalidInput: The file is damaged, or no backup.
        Conflict: The database is not empty.
        CastledgerError: Something else speaks against it, or what was restored is not what the manifest says.
    """
    manifest = read_manifest(dump)
    if manifest.storage not in {Storage.NATIVE.value, Storage.TIMESCALE.value}:
        raise InvalidInput("FILE", f"its manifest names the storage {manifest.storage!r}")
    pending = _check_known(manifest)
    say("checking the file")
    await asyncio.to_thread(check_whole, dump, manifest)
    await load(target, dump, manifest, bin_dir=bin_dir, say=say)
    differences = await compare(target, manifest, say=say)
    async with connect_to_migrate(target) as conn:
        if manifest.timescale is not None:
            await post_restore(conn)
        if differences:
            raise RestoreError(
                "what was restored is not what the manifest says; drop this database and keep the file:\n"
                + "\n".join(differences)
            )
        await conn.execute(f"set role {Role.OWNER.value}")
        await mark_rekeyed(conn, manifest.rekeyed_months)
    if not pending:
        await verify(target)
    rows = sum(table.rows for table in manifest.tables)
    what = f"{rows} rows of {len(manifest.tables)} tables, as of {manifest.made_at:%Y-%m-%d %H:%M:%S}Z"
    return [f"restored and compared: {what}", *_tell_notes(manifest, pending)]
