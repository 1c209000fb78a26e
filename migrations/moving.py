"""Move a database into an empty one of the Timescale branch: every row is copied, compared, and only then is it done.

The source is only read, under locks that keep everybody from writing it: whatever goes wrong, there is nothing to
repair. Days of hits and downloads are copied in a transaction each and need not be copied again when a move is taken up
anew; the other tables follow in one transaction.
"""

# Names of tables and columns come quoted from the catalogue, days are dates: nothing that anybody wrote is joined in.
# ruff: noqa: S608

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final, LiteralString, TypeAlias

import asyncpg
import msgspec

from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Storage
from migrations.runner import MigrationError, connect_to_migrate, migrate_up, read_status

__all__ = ("Moved", "move_to_timescale")

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_PIECES: Final = 16
"""Pieces of a COPY that may wait for the target: a few MiB, however large the table."""

_SERVICES: Final[LiteralString] = """/* moving.services */
select distinct application_name from pg_stat_activity
where datname = current_database() and application_name in ('castledger-ingest', 'castledger-api') order by 1"""

# A move that was broken off at its very end has closed the old database already.
_MAY_WRITE: Final[LiteralString] = "set default_transaction_read_only = off"

_END_SERVICES: Final[LiteralString] = """/* moving.end_services */
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and application_name in ('castledger-ingest', 'castledger-api')"""

_TABLES: Final[LiteralString] = """/* moving.tables */
select c.oid::integer as oid, format('%I.%I', n.nspname, c.relname) as name, n.nspname as schema, c.relname as table,
    c.relforcerowsecurity as is_forced,
    array(select a.attname::text from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        order by a.attname) as columns,
    array(select f.confrelid::integer from pg_constraint f
        where f.conrelid = c.oid and f.contype = 'f' and f.confrelid <> c.oid) as needs,
    array(select a.attname::text from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attidentity <> '') as numbered
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('app', 'ops', 'ts') and c.relkind in ('r', 'p') and not c.relispartition
order by n.nspname, c.relname"""

_MARK: Final[LiteralString] = "castledger: a move into this database has begun and is not done"
_IS_MARKED: Final[LiteralString] = """/* moving.is_marked */
select obj_description('migrations'::regnamespace, 'pg_namespace') = $1"""


class _Table(msgspec.Struct, frozen=True):
    oid: int
    name: str
    schema: str
    table: str
    is_forced: bool
    columns: list[str]
    needs: list[int]
    numbered: list[str]

    @property
    def instant(self) -> str:
        """The column by whose days a time series is kept."""
        return "received_at" if self.table == "attribution_events" else "occurred_at"


class _Day(msgspec.Struct, frozen=True):
    """A part of a table: the days of a time series are copied and compared each by itself."""

    table: _Table
    day: dt.date | None = None

    @property
    def condition(self) -> str:
        if self.day is None:
            return "true"
        if self.table.table == "downloads":
            return f"day = '{self.day}'"
        at = self.table.instant
        return f"{at} >= '{self.day} 00:00+00' and {at} < '{self.day + dt.timedelta(days=1)} 00:00+00'"

    @property
    def columns(self) -> str:
        return ", ".join(f'"{column}"' for column in self.table.columns)

    def __str__(self) -> str:
        return self.table.name if self.day is None else f"{self.table.name} of {self.day}"


class Moved(msgspec.Struct, frozen=True):
    """What a move has brought over.

    Attributes:
        hits: Rows of ``ts.listener_events``.
        downloads: Rows of ``ts.downloads``.
        days: Days of either that have rows.
        others: Rows of all other tables.
    """

    hits: int
    downloads: int
    days: int
    others: int


async def _digest(conn: _Connection, part: _Day) -> tuple[int, str]:
    """Count rows and add up a hash of each, so that their order makes no difference."""
    (row,) = await conn.fetch(
        f"/* moving.digest */ select count(*), coalesce(sum(hashtextextended(row({part.columns})::text, 0)), 0)::text "
        f"from {part.table.name} where {part.condition}"
    )
    return int(row[0]), str(row[1])


async def _copy(source: _Connection, target: _Connection, part: _Day) -> None:
    """Stream rows from one database to the other; neither side gets far ahead."""
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES)

    async def read() -> None:
        try:
            await source.copy_from_query(
                f"/* moving.read */ select {part.columns} from {part.table.name} where {part.condition}",
                output=pieces.put,
                format="binary",
            )
        finally:
            await pieces.put(None)

    async def written() -> AsyncIterator[bytes]:
        while (piece := await pieces.get()) is not None:
            yield piece

    reading = asyncio.ensure_future(read())
    try:
        await target.copy_to_table(
            part.table.table,
            schema_name=part.table.schema,
            columns=part.table.columns,
            source=written(),
            format="binary",
        )
        await reading
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await reading


async def _bring(source: _Connection, target: _Connection, part: _Day) -> int:
    """Copy a part anew and compare it.

    Raises:
        MigrationError: It is not the same afterwards.
    """
    await target.execute(f"/* moving.clear */ delete from {part.table.name} where {part.condition}")
    await _copy(source, target, part)
    there, here = await _digest(source, part), await _digest(target, part)
    if there != here:
        raise MigrationError(f"{part}: {there[0]} rows became {here[0]}, or differ; nothing of it is kept")
    return there[0]


def _in_order(tables: Iterable[_Table]) -> list[_Table]:
    """Put tables behind those that they point to."""
    waiting, done, order = list(tables), set[int](), list[_Table]()
    known = {table.oid for table in waiting}
    while waiting:
        ready = [table for table in waiting if not (set(table.needs) & known) - done]
        if not ready:
            raise MigrationError("tables point to each other in a ring: " + ", ".join(t.name for t in waiting))
        order += ready
        done |= {table.oid for table in ready}
        waiting = [table for table in waiting if table.oid not in done]
    return order


async def _tables(conn: _Connection) -> dict[str, _Table]:
    return {row["name"]: msgspec.convert(dict(row), _Table) for row in await conn.fetch(_TABLES)}


async def _days(conn: _Connection, table: _Table) -> list[dt.date]:
    """Name the days of which a time series has rows: a partition a day, looked into for one."""
    column = "day" if table.table == "downloads" else f"({table.instant} at time zone 'UTC')::date"
    parts = await conn.fetch("select inhrelid::regclass::text as name from pg_inherits where inhparent = $1", table.oid)
    found = [await conn.fetchval(f"select {column} from {part['name']} limit 1") for part in parts]
    return sorted(day for day in found if day is not None)


async def _check(source: DatabaseSettings, target: DatabaseSettings) -> None:
    status = await read_status(source)
    if status.storage is None:
        raise MigrationError("DATABASE_URL: nothing was ever migrated there, so that there is nothing to move")
    if status.storage is not Storage.NATIVE:
        raise MigrationError("DATABASE_URL: that database is of the timescale branch already")
    if status.pending or status.faults:
        raise MigrationError("DATABASE_URL: `castledger migrate up` has to bring that database up to date first")
    if str(source.url) == str(target.url):
        raise MigrationError("--to: that is the database of DATABASE_URL; a move needs a second, empty one")


async def _begin(conn: _Connection) -> None:
    """Mark the target; refuse one that is in use."""
    if await conn.fetchval(_IS_MARKED, _MARK):
        return
    tables = await _tables(conn)
    async with conn.transaction(), _unforced(conn, [tables["app.tenants"]]):
        used = [
            name
            for name in ("app.tenants", "ts.listener_events", "ts.downloads")
            if await conn.fetchval(f"select exists (select from {name})")
        ]
    if used:
        raise MigrationError(f"--to: that database is not empty: there are rows in {', '.join(used)}")
    await conn.execute(f"comment on schema migrations is '{_MARK}'")


@contextlib.asynccontextmanager
async def _unforced(conn: _Connection, tables: Sequence[_Table]) -> AsyncIterator[None]:
    """Let the owner see all rows, and have no trigger of ours fire, inside the transaction that there is."""
    forced = [table for table in tables if table.is_forced]
    for table in tables:
        await conn.execute(f"alter table {table.name} disable trigger user")
    for table in forced:
        await conn.execute(f"alter table {table.name} no force row level security")
    yield
    for table in forced:
        await conn.execute(f"alter table {table.name} force row level security")
    for table in tables:
        await conn.execute(f"alter table {table.name} enable trigger user")


async def move_to_timescale(
    source: DatabaseSettings, target: DatabaseSettings, *, say: Callable[[str], None] = lambda _: None
) -> Moved:
    """Copy a native database into one of the Timescale branch, and close the old one to writers.

    Args:
        source: The native database, its schema up to date, its services stopped.
        target: An empty database of a server with TimescaleDB, or one into which a move was begun and broken off.
        say: Is told what has been done, a line at a time.

    Returns:
        What is there now, compared row for row with the source.

    Raises:
        MigrationError: Something speaks against it, or a part arrived differently. The source is as it was.
        Unavailable: One of the databases does not answer.
    """
    await _check(source, target)
    wanted = DatabaseSettings(url=target.url, storage=Storage.TIMESCALE)
    await migrate_up(wanted)
    async with connect_to_migrate(source) as old, connect_to_migrate(wanted) as new:
        await old.execute(_MAY_WRITE)
        services = [row[0] for row in await old.fetch(_SERVICES)]
        if services:
            raise MigrationError(f"{' and '.join(services)} still run on the old database; stop them first")
        await new.execute(f"set role {Role.OWNER.value}")
        await _begin(new)
        lock = old.transaction()
        await lock.start()
        try:
            moved = await _move(old, new, say)
            # Before anybody who waits for a lock may go on.
            await _close(source)
        finally:
            # Nothing was changed there; what was locked and unforced is as before.
            await lock.rollback()
        say("the old database takes no writes any more")
        await new.execute("comment on schema migrations is null")
        return moved


async def _close(source: DatabaseSettings) -> None:
    """Have no session write the old database from now on: new ones by default, those of services by their end."""
    async with connect_to_migrate(source) as conn:
        await conn.execute(_MAY_WRITE)
        name = await conn.fetchval("select quote_ident(current_database())")
        await conn.execute(f"alter database {name} set default_transaction_read_only = on")
        await conn.execute(_END_SERVICES)


async def _move(old: _Connection, new: _Connection, say: Callable[[str], None]) -> Moved:
    await old.execute(f"set local role {Role.OWNER.value}")
    tables, theirs = await _tables(old), await _tables(new)
    for name, table in tables.items():
        if name not in theirs or theirs[name].columns != table.columns:
            raise MigrationError(f"{name}: the two branches disagree about this table")
    await old.execute(f"lock table {', '.join(tables)} in share row exclusive mode")
    series = [table for table in tables.values() if table.schema == "ts"]
    rows = dict.fromkeys(tables, 0)
    days: set[dt.date] = set()
    for table in series:
        for day in await _days(old, table):
            part = _Day(table, day)
            there = await _digest(old, part)
            if there == await _digest(new, part):
                rows[table.name] += there[0]
            else:
                async with new.transaction():
                    rows[table.name] += await _bring(old, new, part)
            days.add(day)
            say(f"{part}: {there[0]} rows")
        if rows[table.name] != await new.fetchval(f"select count(*) from {table.name}"):
            raise MigrationError(
                f"{table.name}: there are rows of other days in the new database; begin with an empty one"
            )
    others = _in_order(table for table in tables.values() if table.schema != "ts")
    async with _unforced(old, others), new.transaction(), _unforced(new, others):
        await new.execute(f"truncate {', '.join(table.name for table in others)}")
        for table in others:
            rows[table.name] = await _bring(old, new, _Day(table))
            for column in table.numbered:
                await _carry_number(old, new, table, column)
    say(f"{len(others)} other tables: {sum(rows[table.name] for table in others)} rows")
    return Moved(
        hits=rows["ts.listener_events"],
        downloads=rows["ts.downloads"],
        days=len(days),
        others=sum(rows[table.name] for table in others),
    )


async def _carry_number(old: _Connection, new: _Connection, table: _Table, column: str) -> None:
    """Have the new database count on where the old one stopped: a number is never given twice."""
    sequence = await old.fetchval("select pg_get_serial_sequence($1, $2)", table.name, column)
    (row,) = await old.fetch(f"select last_value, is_called from {sequence}")
    there = await new.fetchval("select pg_get_serial_sequence($1, $2)", table.name, column)
    await new.fetchval("select setval($1::text::regclass, $2, $3)", there, row["last_value"], row["is_called"])
