"""A PostgreSQL for measurements: the embedded one, or a database of its own on a server that is lent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import asyncpg

from analytics_core.db.pool import Connection, Tenant, connect
from analytics_core.db.tenants import create_tenant
from analytics_core.errors import ConfigError
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Secret, Storage
from benchmarks.workbench import CannotMeasure, Workbench
from castledger_server.embedded import EmbeddedPostgres
from migrations.runner import migrate_up

__all__ = ("Server", "add_tenant", "owner", "start_server")

TIMESCALE_VARIABLE: Final = "CASTLEDGER_TEST_TIMESCALE_URL"


class Server(NamedTuple):
    """A PostgreSQL, migrated.

    Attributes:
        database: Where it is.
        storage: The kind of its large tables.
        version: Of PostgreSQL.
        processor_s: Says how much processor time all its processes have had, those that have ended too; ``None`` of a
            server that is lent.
    """

    database: DatabaseSettings
    storage: str
    version: str
    processor_s: Callable[[], float] | None


def _embedded(bench: Workbench, settings: Sequence[str]) -> tuple[str, Callable[[], float]]:
    """Start a PostgreSQL of our own and return its address, and what says how much processor time it has had."""
    data_dir = bench.folder / "database"
    postgres = EmbeddedPostgres(data_dir, say=lambda line: print(line, flush=True))
    if settings:
        home = data_dir / "postgres"
        postgres.prepare()
        (home / "local.conf").write_text("".join(f"{setting}\n" for setting in settings))
        (home / "local.conf").chmod(0o644)
        postgres.release()
    url = postgres.start()
    bench.at_end(postgres.stop)
    pid = int((data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    return url, lambda: _processor_s(pid)


def _processor_s(pid: int) -> float:
    """Add up the processor time of a server: its first process waits for all others, and gets theirs with it."""
    used = 0.0
    for process in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            # It has just ended, and counts as the first one's from the next look on.
            continue
        used += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return used


def _of_database(url: str, name: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else "")


def _lent(bench: Workbench, url: str) -> str:
    """Make a database on somebody's server, dropped at the end."""
    name = f"castledger_bench_{os.getpid()}"

    async def execute(statement: str) -> None:
        conn = await asyncpg.connect(url)
        try:
            await conn.execute(statement)
        finally:
            await conn.close()

    asyncio.run(execute(f"create database {name}"))
    bench.at_end(lambda: asyncio.run(execute(f"drop database if exists {name} with (force)")))
    return _of_database(url, name)


def start_server(bench: Workbench, settings: Sequence[str]) -> Server:
    """Bring up a database, migrated and empty.

    Args:
        bench: The bench.
        settings: Lines for the configuration of our own server.

    Raises:
        CannotMeasure: There is no PostgreSQL.
    """
    lent = os.environ.get(TIMESCALE_VARIABLE, "").strip()
    try:
        url, used = (_lent(bench, lent), None) if lent else _embedded(bench, settings)
    except ConfigError as error:
        raise CannotMeasure(" / ".join(error.faults)) from error
    database = DatabaseSettings(url=Secret(url), storage=Storage.AUTO if lent else Storage.NATIVE)

    async def prepare() -> tuple[str, str]:
        await migrate_up(database)
        async with owner(database) as conn:
            is_timescale = await conn.fetchval("select exists (select from pg_extension where extname = 'timescaledb')")
            return "hypertable" if is_timescale else "daily partition", str(await conn.fetchval("show server_version"))

    storage, version = asyncio.run(prepare())
    return Server(database, storage, version, used)


@asynccontextmanager
async def owner(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """Connect as the schema's owner."""
    conn = await connect(database, Role.OWNER, application_name="bench")
    try:
        yield conn
    finally:
        await conn.close()


async def add_tenant(database: DatabaseSettings) -> Tenant:
    """Make a tenant to measure with."""
    conn = await connect(database, Role.AUTH, application_name="bench")
    try:
        return (await create_tenant(conn, slug="bench", name="Bench")).tenant
    finally:
        await conn.close()
