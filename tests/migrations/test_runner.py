"""The runner: order, locks, checksums, rights."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import asyncpg
import pytest

from analytics_core.db.pool import check_role, connect
from analytics_core.errors import ConfigError
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Secret, Storage
from migrations.runner import MigrationError, discover, migrate_up, read_status, refuse_old_timescale, verify
from tests.postgres import GivenServer, Server

pytestmark = pytest.mark.anyio


async def test_a_new_database_is_brought_up_once(empty_database: DatabaseSettings, storage: Storage) -> None:
    before = await read_status(empty_database)
    assert before.storage is None
    assert len(before.pending) == len(discover(storage))
    assert len(await migrate_up(empty_database)) == len(before.pending)
    assert await migrate_up(empty_database) == []
    after = await verify(empty_database)
    assert after.storage is storage
    assert after.pending == ()


async def test_two_runners_at_once_apply_each_migration_once(empty_database: DatabaseSettings) -> None:
    first, second = await asyncio.gather(migrate_up(empty_database), migrate_up(empty_database))
    assert sorted([len(first), len(second)]) == [0, len(discover(Storage.NATIVE))]


async def test_a_changed_migration_is_refused(database: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(database.url))
    await conn.execute("set role castledger_owner; update migrations.applied set checksum = 'x' where version = '0001'")
    await conn.close()
    with pytest.raises(MigrationError, match="0001_schemas: differs"):
        await verify(database)
    with pytest.raises(MigrationError, match="0001_schemas: differs"):
        await migrate_up(database)


async def test_a_database_of_a_newer_version_is_refused(database: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(database.url))
    await conn.execute(
        "set role castledger_owner; update migrations.applied set version = '9999' where version = '0006'"
    )
    await conn.close()
    with pytest.raises(MigrationError, match="newer version"):
        await migrate_up(database)


async def test_the_branch_is_chosen_once(database: DatabaseSettings) -> None:
    other = Storage.NATIVE if database.storage is Storage.TIMESCALE else Storage.TIMESCALE
    wanted = DatabaseSettings(url=database.url, storage=other)
    with pytest.raises(MigrationError, match=f"{database.storage.value} storage"):
        await migrate_up(wanted)


async def test_timescale_is_taken_where_it_is(empty_database: DatabaseSettings, timescale: None) -> None:
    await migrate_up(DatabaseSettings(url=empty_database.url, storage=Storage.AUTO))
    assert (await verify(empty_database)).storage is Storage.TIMESCALE
    conn = await asyncpg.connect(str(empty_database.url))
    tables = await conn.fetch("select hypertable_name from timescaledb_information.hypertables order by 1")
    await conn.close()
    assert [row[0] for row in tables] == ["attribution_events", "downloads", "listener_events"]


@pytest.mark.usefixtures("native")
async def test_timescale_is_refused_where_it_is_not(empty_database: DatabaseSettings) -> None:
    wanted = DatabaseSettings(url=empty_database.url, storage=Storage.TIMESCALE)
    with pytest.raises(MigrationError, match="is not on this server"):
        await migrate_up(wanted)


@pytest.mark.parametrize("version", ["2.17.0", "2.28.3", "2.30.0-dev", "3.0.0"])
def test_a_timescale_that_is_new_enough_is_taken(version: str) -> None:
    refuse_old_timescale(version, is_installed=True)


@pytest.mark.parametrize("version", ["2.16.1", "2.9.3", "1.7.5"])
def test_a_timescale_that_is_too_old_is_refused_with_what_to_do(version: str) -> None:
    with pytest.raises(MigrationError, match=rf"TimescaleDB {version} is too old, 2\.17 is needed: .*on the server$"):
        refuse_old_timescale(version, is_installed=False)
    with pytest.raises(
        MigrationError, match=r"restart it, and run first of all .* alter extension timescaledb update;"
    ):
        refuse_old_timescale(version, is_installed=True)


def _name(database: DatabaseSettings) -> str:
    return urlsplit(str(database.url)).path.strip("/")


async def test_a_login_without_rights_is_told_what_to_run(postgres: Server, empty_database: DatabaseSettings) -> None:
    admin = await asyncpg.connect(postgres.url("postgres", user="postgres"))
    await admin.execute(f"create role humble login nosuperuser nocreaterole password '{GivenServer.password}'")
    humble = DatabaseSettings(url=Secret(postgres.url(_name(empty_database), user="humble")))
    try:
        with pytest.raises(MigrationError, match="grant castledger_api to"):
            await migrate_up(humble)
    finally:
        await admin.execute("drop role humble")
        await admin.close()


def test_both_branches_have_the_same_migrations_by_number() -> None:
    assert [(m.version, m.slug) for m in discover(Storage.NATIVE)] == [
        (m.version, m.slug) for m in discover(Storage.TIMESCALE)
    ]


@pytest.mark.parametrize("role", [Role.API, Role.INGEST, Role.AUTH])
async def test_a_service_acts_in_its_role_and_under_row_security(database: DatabaseSettings, role: Role) -> None:
    conn = await connect(database, role, application_name="test")
    try:
        await check_role(conn, role)
        other = next(other for other in Role if other is not role)
        with pytest.raises(ConfigError, match="acts as"):
            await check_role(conn, other)
    finally:
        await conn.close()


async def test_a_superuser_is_refused(postgres: Server, database: DatabaseSettings) -> None:
    conn = await asyncpg.connect(postgres.url(_name(database), user="postgres"))
    try:
        with pytest.raises(ConfigError, match="acts as postgres"):
            await check_role(conn, Role.API)
    finally:
        await conn.close()
