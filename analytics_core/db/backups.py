"""What a backup reads of a database besides its rows, and how two databases are held up against each other."""

# Names of tables, columns and sequences come quoted from the catalogue: nothing that anybody wrote is joined in.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection
from analytics_core.roles import Role

__all__ = (
    "SECRET_TABLES",
    "DatabaseFacts",
    "StoredSequence",
    "StoredTable",
    "count_rows",
    "create_scratch",
    "create_timescale",
    "drop_scratch",
    "export_snapshot",
    "find_objects",
    "list_applied",
    "list_live_months",
    "list_sequences",
    "list_tables",
    "mark_rekeyed",
    "post_restore",
    "pre_restore",
    "read_facts",
    "see_hypertables",
)

SECRET_TABLES: Final = (
    "app.api_keys",
    "app.auth_tokens",
    "app.idempotency_keys",
    "app.invitations",
    "app.outbox",
    "app.own_idempotency_keys",
    "app.passwords",
    "app.refresh_tokens",
    "app.report_shares",
    "app.sessions",
    "app.user_sessions",
    "ops.event_secrets",
    "ops.listener_secrets",
)
"""Tables whose rows let somebody in, or tell listeners or customers: a backup has them only when asked to."""


class DatabaseFacts(msgspec.Struct, frozen=True):
    """What is to be known of a database and its login before anything is done.

    Attributes:
        name: The database's name.
        postgres: Version of the server, such as ``18.1``.
        postgres_major: Such as 18.
        timescale: Version of the extension in this database; ``None`` without it.
        timescale_at_hand: Versions that could be created here.
        may_create: Whether the login may create databases.
        is_super: Whether the login is a superuser.
        storage: The branch of our schema; ``None`` where nothing was ever migrated.
    """

    name: str
    postgres: str
    postgres_major: int
    timescale: str | None
    timescale_at_hand: list[str]
    may_create: bool
    is_super: bool
    storage: str | None = None


class StoredTable(msgspec.Struct, frozen=True):
    """A table of ours, and whether backups see all of it.

    Attributes:
        name: With its schema, quoted where SQL wants that.
        columns: In the order of their names, quoted likewise.
        is_part: Whether it is a partition, whose rows are counted with the table that it is a part of.
        is_readable: Whether the role of backups may read it.
        is_whole: Whether no row security hides any of its rows from that role.
    """

    name: str
    columns: list[str]
    is_part: bool
    is_readable: bool
    is_whole: bool


class StoredSequence(msgspec.Struct, frozen=True):
    """A sequence with the last number that it gave; ``None`` before the first."""

    name: str
    last: int | None


_FACTS: Final[LiteralString] = """/* backups.facts */
select current_database()::text as name, split_part(current_setting('server_version'), ' ', 1) as postgres,
    current_setting('server_version_num')::integer / 10000 as postgres_major,
    (select extversion from pg_extension where extname = 'timescaledb') as timescale,
    array(select version from pg_available_extension_versions where name = 'timescaledb') as timescale_at_hand,
    rolcreatedb or rolsuper as may_create, rolsuper as is_super
from pg_roles where rolname = session_user"""

_HAS_SCHEMA: Final[LiteralString] = "select to_regclass('migrations.installation') is not null"
_STORAGE: Final[LiteralString] = "/* backups.storage */ select storage from migrations.installation"
_APPLIED: Final[LiteralString] = "/* backups.applied */ select version from migrations.applied order by version"

_LIMITS: Final[LiteralString] = "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0"

# A policy lets all rows be seen when it is permissive and always true; a restrictive one may take any away again.
_TABLES: Final[LiteralString] = """/* backups.tables */
with role as (select oid from pg_roles where rolname = $1), policies as (
    select p.polrelid, p.polpermissive, pg_get_expr(p.polqual, p.polrelid) as qual
    from pg_policy p cross join role
    where p.polcmd in ('r', '*') and p.polroles && array[0::oid, role.oid]
)
select format('%I.%I', n.nspname, c.relname) as name,
    array(select quote_ident(a.attname) from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attname) as columns,
    c.relispartition as is_part,
    has_schema_privilege(role.oid, n.oid, 'usage') and has_table_privilege(role.oid, c.oid, 'select') as is_readable,
    not c.relrowsecurity
        or (exists (select from policies p where p.polrelid = c.oid and p.polpermissive and p.qual = 'true')
            and not exists (select from policies p where p.polrelid = c.oid and not p.polpermissive)) as is_whole
from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join role
where n.nspname in ('app', 'ts', 'ops', 'migrations') and c.relkind in ('r', 'p')
order by c.relispartition, n.nspname, c.relname"""

_SEQUENCES: Final[LiteralString] = """/* backups.sequences */
select format('%I.%I', n.nspname, c.relname) as name
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('app', 'ts', 'ops') and c.relkind = 'S' order by 1"""

_LIVE_MONTHS: Final[LiteralString] = """/* backups.live_months */
select distinct month from ops.listener_secrets where secret is not null order by 1"""

_MARK_REKEYED: Final[LiteralString] = """/* backups.mark_rekeyed */
update ops.days set rekeyed = true
where not rekeyed and date_trunc('month', day::timestamp)::date = any ($1::date[])"""

_OBJECTS: Final[LiteralString] = """/* backups.objects */
select format('%I.%I', n.nspname, c.relname) as name
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and not exists (select from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('e', 'i'))
union all
select quote_ident(nspname) from pg_namespace where nspname in ('app', 'ts', 'ops', 'api', 'migrations')
order by 1 limit 5"""

# As the database that is read: a text may hold what the server's own encoding lacks.
_CREATE_SCRATCH: Final[LiteralString] = """/* backups.create_scratch */
select format('create database %I template template0 encoding %L lc_collate %L lc_ctype %L',
    $1::text, pg_encoding_to_char(encoding), datcollate, datctype)
from pg_database where datname = current_database()"""
_DROP_SCRATCH: Final[LiteralString] = """/* backups.drop_scratch */
select format('drop database if exists %I with (force)', $1::text)"""

_CREATE_TIMESCALE: Final[LiteralString] = """/* backups.create_timescale */
select format('create extension timescaledb with schema public version %L', $1::text)"""


async def read_facts(conn: Connection) -> DatabaseFacts:
    """Read what is to be known of a database before anything is done with it."""
    row = await conn.fetchrow(_FACTS)
    if row is None:
        raise AssertionError("a session has a role")
    facts = msgspec.convert(dict(row), DatabaseFacts)
    if not await conn.fetchval(_HAS_SCHEMA):
        return facts
    return msgspec.structs.replace(facts, storage=str(await conn.fetchval(_STORAGE)))


async def list_applied(conn: Connection) -> list[str]:
    """List the numbers of the migrations that were applied."""
    return [str(row["version"]) for row in await conn.fetch(_APPLIED)]


async def export_snapshot(conn: Connection) -> str:
    """Name the snapshot of the transaction that there is, for others to read the same; it may take its time."""
    await conn.execute(_LIMITS)
    return str(await conn.fetchval("/* backups.snapshot */ select pg_export_snapshot()"))


async def list_tables(conn: Connection) -> list[StoredTable]:
    """List all tables of ours, partitions last."""
    return [msgspec.convert(dict(row), StoredTable) for row in await conn.fetch(_TABLES, Role.DUMP.value)]


async def count_rows(conn: Connection, table: StoredTable) -> tuple[int, str]:
    """Count a table's rows and add up a hash of each, so that their order makes no difference."""
    (row,) = await conn.fetch(
        "/* backups.count_rows */ "
        f"select count(*), coalesce(sum(hashtextextended(row({', '.join(table.columns)})::text, 0)), 0)::text "
        f"from {table.name}"
    )
    return int(row[0]), str(row[1])


async def list_sequences(conn: Connection) -> list[StoredSequence]:
    """List all sequences of ours."""
    found = []
    for row in await conn.fetch(_SEQUENCES):
        (state,) = await conn.fetch(f"/* backups.sequence */ select last_value, is_called from {row['name']}")
        found.append(StoredSequence(row["name"], state["last_value"] if state["is_called"] else None))
    return found


async def list_live_months(conn: Connection) -> list[dt.date]:
    """List the months of which a listener secret has not been destroyed, by their first day."""
    return [row["month"] for row in await conn.fetch(_LIVE_MONTHS)]


async def mark_rekeyed(conn: Connection, months: Sequence[dt.date]) -> None:
    """Mark the days of these months: who comes after them has a key that cannot be compared with theirs."""
    await conn.execute(_MARK_REKEYED, months)


async def find_objects(conn: Connection) -> list[str]:
    """Name up to five things that a database holds and no extension made; none when it is empty."""
    return [str(row["name"]) for row in await conn.fetch(_OBJECTS)]


async def create_scratch(conn: Connection, name: str) -> None:
    """Create an empty database beside the one that the connection is to, of the same encoding."""
    await conn.execute(str(await conn.fetchval(_CREATE_SCRATCH, name)))


async def drop_scratch(conn: Connection, name: str) -> None:
    """Drop a database, whoever is still connected to it; nothing happens when there is none."""
    await conn.execute(str(await conn.fetchval(_DROP_SCRATCH, name)))


async def create_timescale(conn: Connection, version: str) -> None:
    """Create TimescaleDB in this very version: its own tables are restored as they were."""
    await conn.execute(str(await conn.fetchval(_CREATE_TIMESCALE, version)))


async def pre_restore(conn: Connection) -> None:
    """Have TimescaleDB take its tables as they come, until :func:`post_restore`."""
    await conn.fetchval("/* backups.pre_restore */ select public.timescaledb_pre_restore()")


async def post_restore(conn: Connection) -> None:
    """Have TimescaleDB do its work again."""
    await conn.fetchval("/* backups.post_restore */ select public.timescaledb_post_restore()")


async def see_hypertables(conn: Connection) -> None:
    """Have a superuser's session see hypertables before :func:`post_restore`, while no policy of theirs runs."""
    await conn.execute(
        f"/* backups.see_hypertables */ set role none; set timescaledb.restoring = off; set role {Role.DUMP.value}"
    )
