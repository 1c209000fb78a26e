"""From native storage to TimescaleDB: every row arrives, and nothing is given up before it has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from analytics_core.db.pool import connect
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Secret, Storage
from migrations.moving import move_to_timescale
from migrations.runner import MigrationError, migrate_up, verify
from tests.postgres import Server
from tests.timescale.answers import ask_everything, fill

pytestmark = pytest.mark.anyio


@pytest.fixture
def native_database(empty_database: DatabaseSettings) -> DatabaseSettings:
    """A database of the native branch, also on a server that has TimescaleDB."""
    settings = DatabaseSettings(url=empty_database.url, storage=Storage.NATIVE)
    asyncio.run(migrate_up(settings))
    return settings


@pytest.fixture
def target(postgres: Server, timescale: None, native_database: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A second, empty database."""
    name = str(native_database.url).rpartition("/")[2] + "_new"

    async def run(statement: str) -> None:
        conn = await asyncpg.connect(postgres.url("postgres"))
        await conn.execute(statement)
        await conn.close()

    asyncio.run(run(f"create database {name}"))
    yield DatabaseSettings(url=Secret(postgres.url(name)), storage=Storage.TIMESCALE)
    asyncio.run(run(f"drop database {name} with (force)"))


async def test_every_row_arrives_and_answers_are_the_same(
    native_database: DatabaseSettings, target: DatabaseSettings
) -> None:
    made = await fill(native_database, "moved")
    before = await ask_everything(native_database, made)
    lines: list[str] = []
    moved = await move_to_timescale(native_database, target, say=lines.append)
    assert (moved.hits, moved.days) == (3000, 6)
    assert any(line.startswith("ts.downloads of 2026-10-29: ") for line in lines)
    assert (await verify(target)).storage is Storage.TIMESCALE
    assert await ask_everything(target, made) == before
    # Row security is forced again, numbers go on, and the old database takes nothing any more.
    conn = await asyncpg.connect(str(target.url))
    assert (
        await conn.fetchval(
            "select count(*) from pg_class where relnamespace = 'app'::regnamespace "
            "and relkind = 'r' and not relforcerowsecurity"
        )
        == 0
    )
    await conn.close()
    again = await fill(target, "after")
    assert again.podcast_no == made.podcast_no + 1
    old = await connect(native_database, Role.INGEST, application_name="late")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await old.execute("delete from ops.dirty_marks")
    await old.close()
    # Somebody who was not told that it was done runs it again.
    with pytest.raises(MigrationError, match="not empty"):
        await move_to_timescale(native_database, target)


async def test_a_move_that_was_broken_off_goes_on(native_database: DatabaseSettings, target: DatabaseSettings) -> None:
    await fill(native_database, "broken")

    class BrokenOffError(Exception):
        pass

    def break_off(line: str) -> None:
        if line.startswith("ts.listener_events of 2026-10-30"):
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        await move_to_timescale(native_database, target, say=break_off)
    # The old database was left as it was; a day that arrived differently is copied anew.
    conn = await asyncpg.connect(str(target.url))
    await conn.execute("delete from ts.listener_events where occurred_at < '2026-10-29 12:00+00'")
    await conn.close()
    await fill(native_database, "later")
    moved = await move_to_timescale(native_database, target)
    assert moved.hits == 6000


async def test_it_refuses_what_would_lose_something(
    native_database: DatabaseSettings, target: DatabaseSettings
) -> None:
    running = await connect(native_database, Role.INGEST, application_name="castledger-ingest")
    with pytest.raises(MigrationError, match="castledger-ingest still run"):
        await move_to_timescale(native_database, target)
    await running.close()
    with pytest.raises(MigrationError, match="a second, empty one"):
        await move_to_timescale(native_database, native_database)
    await migrate_up(target)
    await fill(target, "used")
    with pytest.raises(MigrationError, match=r"not empty: there are rows in app\.tenants"):
        await move_to_timescale(native_database, target)
    with pytest.raises(MigrationError, match="timescale branch already"):
        await move_to_timescale(target, native_database)


@pytest.mark.usefixtures("native")
async def test_it_refuses_a_server_without_timescale(
    native_database: DatabaseSettings, database: DatabaseSettings
) -> None:
    fresh = DatabaseSettings(url=database.url, storage=Storage.TIMESCALE)
    with pytest.raises(MigrationError, match="timescale"):
        await move_to_timescale(native_database, fresh)
    # Nothing has become of the old one.
    conn = await connect(native_database, Role.INGEST, application_name="test")
    await conn.execute("delete from ops.dirty_marks")
    await conn.close()
