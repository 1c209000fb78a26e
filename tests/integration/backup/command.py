"""What the tests of backups have in common: the command, a ledger to be backed up, programs that fail."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest

from analytics_core.db.pool import connect, open_pool
from analytics_core.db.tenants import ensure_owner_key
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.backup import SCRATCH
from castledger_server.backup_files import manifest_path
from castledger_server.cli import main
from castledger_server.postgres_clients import choose_clients, find_clients
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import Ledger, minute
from tests.postgres import Server
from tests.timescale.answers import fill


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Command:
    """The command, called as from a shell with the source's address in its environment."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Said:
        code = main([str(argument) for argument in arguments])
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)


class MadeLedger(NamedTuple):
    """What is in a database to be backed up."""

    key: str
    landed: MadePodcast
    filled: list[MadePodcast]


async def ship(database: DatabaseSettings, folder: Path, number: int) -> list[tuple[int, ...]]:
    """Land twenty hits of twenty listeners, of which each has a number of its own; return all hits that there are."""
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=3)
    conn = await connect(database, Role.INGEST, application_name="test")
    try:
        ledger = Ledger(pool, conn, folder)
        write_segment(folder, [make_hit(minute(n), address=f"192.0.{number}.{n + 1}") for n in range(20)])
        assert await ledger.ship_all() == 20
        await ledger.refresh()
        return await ledger.hits()
    finally:
        await conn.close()
        await pool.close()


async def make_ledger(database: DatabaseSettings, folder: Path) -> MadeLedger:
    filled = [await fill(database, slug) for slug in ("one", "two")]
    landed = await make_podcast(database, await make_tenant(database, "three"), make_episode("a"))
    await ship(database, folder, 1)
    conn = await connect(database, Role.AUTH, application_name="test")
    key = await ensure_owner_key(conn, None)
    await conn.close()
    return MadeLedger(key, landed, filled)


def name_of(database: DatabaseSettings) -> str:
    return urlsplit(str(database.url)).path.strip("/")


async def run_as_superuser(postgres: Server, *statements: str, database: str = "postgres") -> None:
    conn = await asyncpg.connect(postgres.url(database, user="postgres"))
    for statement in statements:
        await conn.execute(statement)
    await conn.close()


def url_as_superuser(postgres: Server, database: DatabaseSettings) -> str:
    return postgres.url(name_of(database), user="postgres")


async def fetch(url: str, statement: str, *arguments: Any) -> list[Any]:
    conn = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await conn.fetch(statement, *arguments)]
    finally:
        await conn.close()


def scratch_databases(postgres: Server, source: DatabaseSettings) -> list[Any]:
    """List those of one source: other tests may have theirs on the same server."""
    query = "select datname from pg_database where starts_with(datname, $1)"
    return asyncio.run(fetch(postgres.url("postgres"), query, f"{SCRATCH}{name_of(source)}_"))


def fake_programs(folder: Path, real: Path, *, pg_dump: str = "", pg_restore: str = "") -> Path:
    """Make a folder of programs of which one does something else, in the shell's words, with REAL before it."""
    folder.mkdir()
    for name, script in (("pg_dump", pg_dump), ("pg_restore", pg_restore)):
        path = folder / name
        path.write_text(f'#!/bin/sh\nREAL={real}\n{script or f"exec $REAL/{name}"} "$@"\n')
        path.chmod(0o755)
    return folder


def find_bin_dir(postgres: Server) -> Path:
    """Find the programs that fit the server."""
    (row,) = asyncio.run(
        fetch(postgres.url("postgres"), "select current_setting('server_version_num')::integer / 10000")
    )
    return choose_clients(find_clients(), server_major=row[0]).bin_dir


def change_manifest(dump: Path, **fields: object) -> None:
    manifest = json.loads(manifest_path(dump).read_bytes())
    manifest_path(dump).write_text(json.dumps(manifest | fields))
