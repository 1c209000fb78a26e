"""The runner: order, locks, checksums, rights."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from analytics_core.db.pool import check_role, connect
from analytics_core.errors import ConfigError
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Secret, Storage
from migrations.runner import MigrationError, discover, migrate_up, read_status, verify
from tests.postgres import TestServer

pytestmark = pytest.mark.anyio


async def test_a_new_database_is_brought_up_once(empty_database: DatabaseSettings) -> None:
    before = await read_status(empty_database)
    assert before.storage is None
    assert len(before.pending) == len(discover(Storage.NATIVE))
    assert len(await migrate_up(empty_database)) == len(before.pending)
    assert await migrate_up(empty_database) == []
    after = await verify(empty_database)
    assert after.storage is Storage.NATIVE
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
    wanted = DatabaseSettings(url=database.url, storage=Storage.TIMESCALE)
    with pytest.raises(MigrationError, match="native storage"):
        await migrate_up(wanted)


async def test_timescale_is_refused_where_it_is_not(empty_database: DatabaseSettings) -> None:
    wanted = DatabaseSettings(url=empty_database.url, storage=Storage.TIMESCALE)
    with pytest.raises(MigrationError, match="is not on this server"):
        await migrate_up(wanted)


async def test_a_login_without_rights_is_told_what_to_run(
    postgres: TestServer, empty_database: DatabaseSettings
) -> None:
    admin = await asyncpg.connect(postgres.url("postgres", user="postgres"))
    await admin.execute("create role humble login nosuperuser nocreaterole")
    await admin.close()
    humble = DatabaseSettings(url=Secret(str(empty_database.url).replace("//castledger@", "//humble@")))
    with pytest.raises(MigrationError, match="grant castledger_api to"):
        await migrate_up(humble)


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


async def test_a_superuser_is_refused(postgres: TestServer, database: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(database.url).replace("//castledger@", "//postgres@"))
    try:
        with pytest.raises(ConfigError, match="acts as postgres"):
            await check_role(conn, Role.API)
    finally:
        await conn.close()
