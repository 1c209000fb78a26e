"""Apply the numbered SQL files: once each, in order, one transaction a file, under one lock."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from typing import Final, LiteralString

import asyncpg
import msgspec

from analytics_core.db.pool import CONNECTION_LOST
from analytics_core.errors import CastledgerError, Unavailable
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Storage
from migrations.catalogue import Difference, differences

__all__ = (
    "Applied",
    "Migration",
    "MigrationError",
    "Status",
    "connect_to_migrate",
    "discover",
    "ensure_roles",
    "migrate_up",
    "prepare_timescale",
    "read_differences",
    "read_status",
    "refuse_old_timescale",
    "verify",
)

_NAME: Final = re.compile(r"(\d{4})_(pre|post)_([a-z0-9_]+)(?:\.(native|timescale))?\.sql")
_LOCK: Final = 0x0CA571ED6E7
_OLDEST_TIMESCALE: Final = (2, 17)
"""The oldest that our tests have run on. Before 2.15.1 COPY into compressed days had faults; before 2.14 settings of
compressed tables could not be changed, which 0018 does."""
_DDL_LIMITS: Final[LiteralString] = "set local lock_timeout = '5s'; set local statement_timeout = '10min'"


class MigrationError(CastledgerError):
    """The schema cannot be brought to the state that this version needs."""

    code = "migration"


class Migration(msgspec.Struct, frozen=True):
    """One file: its number, whether it is safe before the new code runs (``pre``) or only after (``post``)."""

    version: str
    phase: str
    slug: str
    branch: str | None
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text: an applied file never changes."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Applied(msgspec.Struct, frozen=True):
    """A migration as the database remembers it."""

    version: str
    slug: str
    checksum: str
    applied_at: dt.datetime
    duration_ms: int


class Status(msgspec.Struct, frozen=True):
    """Where the database stands. ``storage`` is ``None`` before the first migration."""

    storage: Storage | None
    applied: tuple[Applied, ...]
    pending: tuple[Migration, ...]
    faults: tuple[str, ...]


def discover(storage: Storage) -> list[Migration]:
    """List the migrations of a branch, by number.

    Raises:
        MigrationError: A file's name is off, or two share a number in one branch.
    """
    found: dict[str, Migration] = {}
    for entry in sorted(resources.files("migrations").joinpath("versions").iterdir(), key=lambda entry: entry.name):
        if not entry.name.endswith(".sql"):
            continue
        match = _NAME.fullmatch(entry.name)
        if match is None:
            raise MigrationError(f"{entry.name}: a migration is named NNNN_pre_slug.sql or NNNN_post_slug.sql")
        version, phase, slug, branch = match.groups()
        if branch is not None and branch != storage.value:
            continue
        if version in found:
            raise MigrationError(f"{entry.name}: there are two migrations {version}")
        found[version] = Migration(version, phase, slug, branch, entry.read_text())
    return [found[version] for version in sorted(found)]


@contextlib.asynccontextmanager
async def connect_to_migrate(settings: DatabaseSettings) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Connect as the login, in UTC.

    Raises:
        Unavailable: The database does not answer.
    """
    try:
        conn = await asyncpg.connect(
            str(settings.url), server_settings={"application_name": "castledger migrate", "timezone": "UTC"}, timeout=10
        )
    except CONNECTION_LOST as error:
        raise Unavailable(f"the database does not answer: {error}") from error
    try:
        yield conn
    finally:
        await conn.close()


async def ensure_roles(conn: asyncpg.Connection[asyncpg.Record]) -> None:
    """Create our roles where they are missing and let the login take each.

    Raises:
        MigrationError: The login may not; with what a superuser has to run.
    """
    remedy = []
    for role in Role:
        try:
            if not await conn.fetchval("select exists (select from pg_roles where rolname = $1)", role.value):
                with contextlib.suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                    await conn.execute(f"create role {role.value} nologin nosuperuser nobypassrls")
            held = "SET" if conn.get_server_version().major >= 16 else "MEMBER"
            if not await conn.fetchval("select pg_has_role(current_user, $1, $2)", role.value, held):
                await conn.execute(f"grant {role.value} to current_user")
        except asyncpg.InsufficientPrivilegeError:
            remedy.append(f"create role {role.value} nologin; grant {role.value} to <the login>;")
    name = await conn.fetchval("select quote_ident(current_database())")
    try:
        await conn.execute(f"grant create on database {name} to {Role.OWNER.value}")
    except asyncpg.InsufficientPrivilegeError:
        remedy.append(f"grant create on database {name} to {Role.OWNER.value};")
    if remedy:
        raise MigrationError(
            "the login may not create what is missing; let it own its database and have CREATEROLE, "
            "or run this as a superuser:\n" + "\n".join(remedy)
        )


_TIMESCALE_VERSION: Final[LiteralString] = """/* migrations.timescale_version */
select coalesce(installed_version, default_version) as version, installed_version is not null as is_installed
from pg_available_extensions where name = 'timescaledb'"""


def refuse_old_timescale(version: str, *, is_installed: bool) -> None:
    """Refuse a TimescaleDB that is older than what this version needs.

    Args:
        version: As the extension has it.
        is_installed: Whether the database has it already, or would get it.

    Raises:
        MigrationError: It is too old; says what to do.
    """
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= _OLDEST_TIMESCALE:
        return
    oldest = ".".join(map(str, _OLDEST_TIMESCALE))
    remedy = f"install {oldest} or newer on the server"
    if is_installed:
        remedy += ", restart it, and run first of all in a new session: alter extension timescaledb update;"
    raise MigrationError(f"TimescaleDB {version} is too old, {oldest} is needed: {remedy}")


async def prepare_timescale(conn: asyncpg.Connection[asyncpg.Record]) -> None:
    """Create the extension, and let the owner run its policies: TimescaleDB starts them as the tables' owner.

    The owner gets no password by this, so nobody can log in as it who could not before.

    Raises:
        MigrationError: The login may not; with what a superuser has to run.
    """
    row = await conn.fetchrow(_TIMESCALE_VERSION)
    if row is not None:
        refuse_old_timescale(row["version"], is_installed=row["is_installed"])
    remedy = []
    try:
        await conn.execute("create extension if not exists timescaledb with schema public")
    except asyncpg.InsufficientPrivilegeError:
        remedy.append("create extension timescaledb with schema public;")
    try:
        if not await conn.fetchval("select rolcanlogin from pg_roles where rolname = $1", Role.OWNER.value):
            await conn.execute(f"alter role {Role.OWNER.value} login")
    except asyncpg.InsufficientPrivilegeError:
        remedy.append(f"alter role {Role.OWNER.value} login;")
    if remedy:
        raise MigrationError("TimescaleDB needs a superuser to run, in this database:\n" + "\n".join(remedy))


_READ_STORAGE: Final[LiteralString] = "select storage from migrations.installation"
_READ_APPLIED: Final[LiteralString] = """/* migrations.applied */
select version, slug, checksum, applied_at, duration_ms from migrations.applied order by version"""

_BOOTSTRAP: Final[LiteralString] = """/* migrations.bootstrap */
create schema if not exists migrations;
create table if not exists migrations.installation (
    only_row boolean primary key default true check (only_row),
    storage text not null check (storage in ('native', 'timescale')),
    created_at timestamptz not null default now()
);
create table if not exists migrations.applied (
    version text primary key,
    slug text not null,
    checksum text not null,
    applied_at timestamptz not null default now(),
    duration_ms integer not null
);
grant usage on schema migrations to castledger_api, castledger_ingest;
grant select on migrations.installation, migrations.applied to castledger_api, castledger_ingest"""

# Whether it is preloaded shows in a setting of its loader: the list of preloaded libraries is a superuser's to read.
_TIMESCALE_AT_HAND: Final[LiteralString] = """/* migrations.timescale_at_hand */
select (exists (select from pg_extension where extname = 'timescaledb')
        or (exists (select from pg_available_extensions where name = 'timescaledb')
            and current_setting('timescaledb.bgw_launcher_poll_time', true) is not null))
    and coalesce(current_setting('timescaledb.license', true), 'timescale') <> 'apache'"""


async def _exists(conn: asyncpg.Connection[asyncpg.Record]) -> bool:
    return bool(await conn.fetchval("select to_regclass('migrations.installation') is not null"))


async def _read_storage(conn: asyncpg.Connection[asyncpg.Record]) -> Storage | None:
    if not await _exists(conn):
        return None
    stored = await conn.fetchval(_READ_STORAGE)
    return None if stored is None else Storage(stored)


async def _choose_storage(conn: asyncpg.Connection[asyncpg.Record], wanted: Storage) -> Storage:
    stored = await _read_storage(conn)
    if stored is not None:
        if wanted not in (Storage.AUTO, stored):
            raise MigrationError(
                f"CASTLEDGER_STORAGE says {wanted.value}, but this database was made with {stored.value} storage, "
                "which cannot change in place; `castledger migrate move-to-timescale` copies a native one"
            )
        return stored
    at_hand = bool(await conn.fetchval(_TIMESCALE_AT_HAND))
    if wanted is Storage.TIMESCALE and not at_hand:
        raise MigrationError(
            "TimescaleDB (community edition, preloaded) is not on this server, which timescale storage needs"
        )
    if wanted is Storage.AUTO:
        return Storage.TIMESCALE if at_hand else Storage.NATIVE
    return wanted


def _faults(known: Sequence[Migration], applied: Sequence[Applied]) -> list[str]:
    by_version = {migration.version: migration for migration in known}
    faults = []
    for row in applied:
        migration = by_version.get(row.version)
        if migration is None:
            faults.append(f"{row.version}_{row.slug}: was applied by a newer version of Castledger than this one")
        elif migration.checksum != row.checksum:
            faults.append(
                f"{row.version}_{row.slug}: differs from what was applied; an applied migration never changes"
            )
    return faults


async def _read_applied(conn: asyncpg.Connection[asyncpg.Record]) -> tuple[Applied, ...]:
    return tuple(msgspec.convert(row, Applied) for row in await conn.fetch(_READ_APPLIED))


async def read_status(settings: DatabaseSettings) -> Status:
    """Tell which migrations were applied and which wait; changes nothing.

    Raises:
        Unavailable: The database does not answer.
    """
    async with connect_to_migrate(settings) as conn:
        storage = await _read_storage(conn)
        if storage is None:
            branch = await _choose_storage(conn, settings.storage)
            return Status(None, (), tuple(discover(branch)), ())
        applied = await _read_applied(conn)
        known = discover(storage)
    done = {row.version for row in applied}
    pending = tuple(migration for migration in known if migration.version not in done)
    return Status(storage, applied, pending, tuple(_faults(known, applied)))


async def read_differences(settings: DatabaseSettings) -> list[Difference]:
    """Tell by name in what the database's schema differs from this version's; changes nothing.

    Returns:
        Differences; empty before the first migration too.

    Raises:
        Unavailable: The database does not answer.
    """
    async with connect_to_migrate(settings) as conn:
        storage = await _read_storage(conn)
        return [] if storage is None else await differences(conn, storage)


async def verify(settings: DatabaseSettings) -> Status:
    """Check that every migration was applied, that none has changed since, and that the schema is what they made.

    What others have put into our schemas is no fault.

    Raises:
        MigrationError: Some wait or differ from what was applied, or the schema lacks or has changed something.
        Unavailable: The database does not answer.
    """
    status = await read_status(settings)
    problems = list(status.faults)
    problems += [
        f"{migration.version}_{migration.slug}: waits for `castledger migrate up`" for migration in status.pending
    ]
    if not problems:
        problems += [str(found) for found in await read_differences(settings) if found.what != "extra"]
    if problems:
        raise MigrationError("\n".join(problems))
    return status


async def migrate_up(
    settings: DatabaseSettings, *, phase: str | None = None, more: Sequence[Migration] = ()
) -> list[Migration]:
    """Apply what waits, in order; a second runner waits for the first and then finds nothing to do.

    Args:
        settings: Which database, by a login that owns it.
        phase: ``pre`` stops before the first file that is only safe after the new code runs; ``None`` applies all.
        more: Migrations that follow this version's own, such as those of a version that is yet to come.

    Returns:
        What was applied now; empty when nothing waited.

    Raises:
        MigrationError: The login lacks a right, a file has changed, or a file failed (it left nothing behind).
        Unavailable: The database does not answer.
    """
    async with connect_to_migrate(settings) as conn:
        await conn.execute("select pg_advisory_lock($1)", _LOCK)
        await ensure_roles(conn)
        storage = await _choose_storage(conn, settings.storage)
        if storage is Storage.TIMESCALE:
            await prepare_timescale(conn)
        await conn.execute(f"set role {Role.OWNER.value}")
        if not await _exists(conn):
            await conn.execute(_BOOTSTRAP)
        await conn.execute(
            "insert into migrations.installation (storage) values ($1) on conflict do nothing", storage.value
        )
        applied = await _read_applied(conn)
        known = [*discover(storage), *more]
        if faults := _faults(known, applied):
            raise MigrationError("\n".join(faults))
        done = {row.version for row in applied}
        fresh = []
        for migration in known:
            if migration.version in done:
                continue
            if phase == "pre" and migration.phase == "post":
                break
            started = time.monotonic()
            try:
                async with conn.transaction():
                    await conn.execute(_DDL_LIMITS)
                    await conn.execute(migration.sql)
                    await conn.execute(
                        "insert into migrations.applied (version, slug, checksum, duration_ms) values ($1, $2, $3, $4)",
                        migration.version,
                        migration.slug,
                        migration.checksum,
                        int((time.monotonic() - started) * 1000),
                    )
            except asyncpg.PostgresError as error:
                raise MigrationError(f"{migration.version}_{migration.slug}: {error}") from error
            fresh.append(migration)
        return fresh
