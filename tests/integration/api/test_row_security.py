"""The database refuses by itself, whatever a query asks: in the API's role, without a tenant and as another one."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, cast
from uuid import UUID

import asyncpg
import msgspec
import pytest

from analytics_core.db.pool import (
    Connection,
    ReadingConnection,
    Tenant,
    connect,
    open_pool,
    set_tenant,
    tenant_reading,
)
from analytics_core.ids import TenantId, TenantNo
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.integration.api.ledger import Ledger
from tests.integration.api.nouns import Owner
from tests.integration.api.tables import fill_tables

pytestmark = pytest.mark.anyio

ROOT: Final = Path(__file__).parents[3]

SHARED: Final = {
    "app.enclosure_owners": "which enclosures are taken, by hash: a feed has one owner on an installation",
    "api.cutoff": "the instant before which all has landed",
    "api.segments": "the numbers of spool files with their times, so that a hit is found by its id",
}
"""What every tenant sees of all, and nothing that tells of another."""

WITHOUT_ROWS: Final = {"app.podcast_transfers"}
"""Tables of the schema `app` that the tenants of this test have no row in: a podcast that moved has two tenants."""

THROUGH: Final = {"app.clicks": "app.links", "app.users": "app.memberships"}
"""Tables that are seen through another, whose policy names the tenant."""

OF_INSTALLATION: Final = {"app.tenants", "app.tenant_quotas", "app.usage_counters"}
"""Tables of which the installation's own tenant sees all: that there are tenants, and how much they may use."""

_RELATIONS = """
select format('%I.%I', n.nspname, c.relname) as name, c.relkind = 'v' as is_view,
    array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        and has_column_privilege('castledger_api', c.oid, a.attnum, 'select')) as readable,
    array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        and a.attidentity = '' and a.attgenerated = ''
        and has_column_privilege('castledger_api', c.oid, a.attnum, 'update')) as writable,
    array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
        and not a.attisdropped) as columns,
    has_table_privilege('castledger_api', c.oid, 'delete') as is_deletable
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('app', 'api') and c.relkind in ('r', 'p', 'v') and not c.relispartition order by 1"""

_POLICIES = """
select schemaname || '.' || tablename as name, policyname, cmd, qual, with_check from pg_policies
where permissive = 'PERMISSIVE' and ('castledger_api' = any (roles) or 'public' = any (roles))"""

TENANT_COLUMNS: Final = ("tenant_id", "tenant_no")


@pytest.fixture
async def session(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """What a leaked connection of the API could be used for."""
    conn = await connect(database, Role.API, application_name="test")
    yield conn
    await conn.close()


@pytest.fixture
async def filled(ledger: Ledger, owners: tuple[Owner, Owner]) -> tuple[Tenant, Tenant]:
    """The two tenants, with rows in every table."""
    for owner in owners:
        await fill_tables(ledger, owner)
    await ledger.set_cutoff("2026-11-24T11:00+00:00")
    ours, theirs = owners
    return await ledger.tenant_of(ours.slug), await ledger.tenant_of(theirs.slug)


async def rows_seen(conn: Connection, query: str) -> int:
    """Count what a query sees or changes; a refusal sees nothing."""
    inner = conn.transaction()
    await inner.start()
    try:
        return int(await conn.fetchval(query))
    except asyncpg.InsufficientPrivilegeError:
        return 0
    finally:
        await inner.rollback()


async def test_a_session_without_a_tenant_sees_and_changes_nothing(
    ledger: Ledger, session: Connection, filled: tuple[Tenant, Tenant]
) -> None:
    relations = await ledger.operator.fetch(_RELATIONS)
    assert len(relations) > 30
    seen, changed = {}, {}
    for relation in relations:
        name = relation["name"]
        seen[name] = await rows_seen(session, f"select count(*) from {name}")
        if relation["writable"]:
            column = relation["writable"][0]
            changed[name] = await rows_seen(
                session,
                f"with changed as (update {name} set {column} = {column} returning 1) select count(*) from changed",
            )
        if relation["is_deletable"]:
            changed[name] = await rows_seen(
                session, f"with gone as (delete from {name} returning 1) select count(*) from gone"
            )
    assert {name for name, rows in seen.items() if rows} <= SHARED.keys()
    assert len(changed) >= 8
    assert {name for name, rows in changed.items() if rows} == set()


async def test_another_tenants_session_sees_and_changes_its_own_rows_alone(
    ledger: Ledger, session: Connection, filled: tuple[Tenant, Tenant]
) -> None:
    _, theirs = filled
    foreign_podcasts = [
        row["podcast_no"]
        for row in await ledger.operator.fetch(
            "select podcast_no from app.podcasts where tenant_no <> $1", theirs.tenant_no
        )
    ]
    assert foreign_podcasts
    empty = set()
    for relation in await ledger.operator.fetch(_RELATIONS):
        name, columns = relation["name"], relation["columns"]
        found = [column for column in TENANT_COLUMNS if column in columns]
        if not relation["is_view"] and found and name not in WITHOUT_ROWS:
            (column, *_) = found
            for tenant in filled:
                there = await ledger.operator.fetchval(
                    f"select count(*) from {name} where {column} = $1", getattr(tenant, column)
                )
                if not there:
                    empty.add(name)
        async with session.transaction():
            await set_tenant(session, theirs)
            for column in set(found) & set(relation["readable"]):
                own = f"'{getattr(theirs, column)}'"
                if name not in SHARED:
                    assert not await rows_seen(session, f"select count(*) from {name} where {column} <> {own}"), name
                if not relation["is_view"] and name not in WITHOUT_ROWS | empty:
                    assert await rows_seen(session, f"select count(*) from {name} where {column} = {own}"), name
                if relation["writable"]:
                    changed = relation["writable"][0]
                    assert not await rows_seen(
                        session,
                        f"with changed as (update {name} set {changed} = {changed} where {column} <> {own} returning 1)"
                        " select count(*) from changed",
                    ), name
            if relation["is_view"] and "podcast_no" in columns:
                foreign = ", ".join(map(str, foreign_podcasts))
                assert not await rows_seen(session, f"select count(*) from {name} where podcast_no in ({foreign})"), (
                    name
                )
                assert await rows_seen(session, f"select count(*) from {name}"), f"{name} is empty: see tables.py"
    assert empty == set(), "no row of one of the tenants: make one in nouns.py or tables.py"


async def test_a_connection_that_only_reads_sees_whoever_asked_last_and_writes_nothing(
    database: DatabaseSettings, filled: tuple[Tenant, Tenant]
) -> None:
    pool = await open_pool(database, Role.API, application_name="test", max_size=1, only_reads=True)
    nobody = Tenant(TenantId(UUID(int=0)), TenantNo(0))
    held = msgspec.structs.replace(filled[0], sponsor_ids=frozenset())
    try:
        for tenant in (*filled, nobody, held, *filled, filled[1]):
            async with tenant_reading(pool, tenant) as conn:
                seen = {row["tenant_id"] for row in await conn.fetch("select tenant_id from app.api_keys")}
                assert seen == (set() if tenant in (nobody, held) else {tenant.tenant_id})
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await conn.execute("update app.links set target = target")
    finally:
        await pool.close()


async def test_a_connection_whose_tenant_could_not_be_set_is_asked_again_for_whom(
    database: DatabaseSettings, filled: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = filled
    pool = await open_pool(database, Role.API, application_name="test", max_size=1, only_reads=True)
    try:
        async with tenant_reading(pool, ours) as conn, conn.transaction():
            with pytest.raises(asyncpg.UndefinedTableError):
                await conn.execute("select from nothing")
            with pytest.raises(asyncpg.InFailedSQLTransactionError):
                await cast(ReadingConnection, conn).turn_to(theirs)
        async with tenant_reading(pool, ours) as conn:
            assert await conn.fetchval("select current_setting('app.tenant_id')") == str(ours.tenant_id)
            assert {row["tenant_id"] for row in await conn.fetch("select tenant_id from app.api_keys")} == {
                ours.tenant_id
            }
    finally:
        await pool.close()


async def test_what_is_written_for_another_tenant_is_refused(
    ledger: Ledger, session: Connection, filled: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = filled
    tried = 0
    for relation in await ledger.operator.fetch(_RELATIONS):
        name = relation["name"]
        usable = set(relation["writable"]) & set(relation["readable"])
        for column in [column for column in TENANT_COLUMNS if column in usable]:
            async with session.transaction():
                await set_tenant(session, theirs)
                if not await rows_seen(session, f"select count(*) from {name}"):
                    continue
                with pytest.raises(asyncpg.PostgresError, match="row-level security"):
                    await session.execute(f"update {name} set {column} = $1", getattr(ours, column))
            tried += 1
    assert tried >= 5


async def test_every_policy_of_the_api_names_the_tenant(database: DatabaseSettings, ledger: Ledger) -> None:
    policies = await ledger.operator.fetch(_POLICIES)
    assert len(policies) > 20
    for policy in policies:
        if policy["name"] in SHARED and policy["cmd"] == "SELECT":
            continue
        checks = [text for text in (policy["qual"], policy["with_check"]) if text is not None]
        assert checks, policy
        # The installation's own tenant is one, too, that sees and holds all others.
        words = ("tenant_id()", "tenant_no()", "is_installation()", THROUGH.get(policy["name"], "tenant_id()"))
        if policy["policyname"].startswith("installation"):
            assert policy["name"] in OF_INSTALLATION
            words = ("is_installation()",) * 4
        assert all(any(word in text for word in words) for text in checks), dict(policy)


async def test_every_table_with_a_tenant_is_in_the_schema_whose_rows_are_secured(ledger: Ledger) -> None:
    """What has a tenant and no row security is out of the API's reach: it has no right to the table at all."""
    loose = await ledger.operator.fetch(
        """select distinct format('%I.%I', n.nspname, c.relname) as name
        from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
        where a.attname in ('tenant_id', 'tenant_no') and c.relkind in ('r', 'p') and not c.relforcerowsecurity
            and has_any_column_privilege('castledger_api', c.oid, 'select, insert, update')"""
    )
    assert loose == []


def _calls(path: Path) -> set[str]:
    """List what a module calls or imports, by the last part of its name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            names.add(ast.unparse(node.func).rsplit(".", 1)[-1])
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names}
    return names


def test_there_is_one_way_to_a_tenants_connection() -> None:
    ways = {
        "open_pool",
        "connect",
        "connection",
        "tenant_reading",
        "tenant_transaction",
        "set_tenant",
        "acquire",
        "create_pool",
    }
    modules = sorted((ROOT / "api").rglob("*.py"))
    assert len(modules) > 60
    users = {str(path.relative_to(ROOT)) for path in modules if ways & _calls(path)}
    assert users == {"api/resources.py"}
    said = [path for path in (ROOT / "analytics_core").rglob("*.py") if "set_config('app.tenant" in path.read_text()]
    assert [str(path.relative_to(ROOT)) for path in said] == ["analytics_core/db/pool.py"]
