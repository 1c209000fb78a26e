"""What the database sees to by itself where people are concerned: who sees whom, and that a tenant keeps an owner."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from analytics_core.db.erasure import erase_tenant
from analytics_core.db.memberships import (
    add_membership,
    change_membership,
    end_membership,
    end_memberships,
    list_members,
)
from analytics_core.db.pool import Connection, Pool, Tenant, connect, connection, open_pool, set_tenant
from analytics_core.db.tenants import create_key, find_key
from analytics_core.db.user_sessions import find_page_session, list_sessions, open_api_session, open_page_session
from analytics_core.db.users import create_user, find_user
from analytics_core.errors import Conflict
from analytics_core.permissions import RoleName
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.factories import make_tenant

pytestmark = pytest.mark.anyio

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = await open_pool(database, Role.AUTH, application_name="test", max_size=16)
    yield pool
    await pool.close()


@pytest.fixture
async def auth(pool: Pool) -> AsyncIterator[Connection]:
    async with connection(pool) as conn:
        yield conn


async def make_members(conn: Connection, tenant: Tenant, number: int, role: RoleName = RoleName.OWNER) -> list[UUID]:
    made: list[UUID] = []
    for _ in range(number):
        email = f"{tenant.tenant_no}-{role}-{len(made)}@example.com"
        user = await create_user(conn, email=email, name="", password_hash="x", verified_at=NOW, now=NOW)
        await add_membership(conn, tenant.tenant_id, user.user_id, role=role, now=NOW)
        made.append(user.user_id)
    return made


async def owners(conn: Connection, tenant: Tenant) -> int:
    count: int = await conn.fetchval(
        "select count(*) from app.memberships where tenant_id = $1 and role = 'owner' and removed_at is null",
        tenant.tenant_id,
    )
    return count


async def test_of_200_removals_at_once_one_owner_is_left(
    database: DatabaseSettings, pool: Pool, auth: Connection
) -> None:
    tenant = await make_tenant(database)
    people = await make_members(auth, tenant, 20)

    async def leave(number: int) -> str:
        who = people[number % len(people)]
        try:
            async with connection(pool) as conn, conn.transaction():
                if number % 3 == 0:
                    done = await change_membership(conn, tenant.tenant_id, who, role=RoleName.ADMIN)
                elif number % 3 == 1:
                    done = await end_membership(conn, tenant.tenant_id, who, now=NOW)
                else:
                    await end_memberships(conn, who, now=NOW)
                    done = True
        except Conflict as error:
            return error.code
        return "done" if done else "gone"

    outcomes = await asyncio.gather(*(leave(number) for number in range(200)))
    assert await owners(auth, tenant) == 1
    assert set(outcomes) <= {"done", "gone", "last_owner"}
    assert "last_owner" in outcomes


async def test_owners_of_the_same_tenants_who_all_leave_wait_for_one_another_in_no_circle(
    database: DatabaseSettings, pool: Pool, auth: Connection
) -> None:
    tenants = [await make_tenant(database, slug) for slug in ("one", "two", "three")]
    people = await make_members(auth, tenants[0], 10)
    for tenant in tenants[1:]:
        for person in reversed(people):
            await add_membership(auth, tenant.tenant_id, person, role=RoleName.OWNER, now=NOW)

    async def leave(who: UUID) -> bool:
        try:
            async with connection(pool) as conn, conn.transaction():
                await end_memberships(conn, who, now=NOW)
        except Conflict:
            return False
        return True

    left = await asyncio.gather(*(leave(person) for person in people))
    assert sum(left) == 9
    assert [await owners(auth, tenant) for tenant in tenants] == [1, 1, 1]


async def test_no_statement_leaves_a_tenant_without_an_owner(database: DatabaseSettings, auth: Connection) -> None:
    tenant = await make_tenant(database)
    people = await make_members(auth, tenant, 3)
    for change in ("removed_at = now()", "role = 'viewer'"):
        with pytest.raises(asyncpg.CheckViolationError, match="keeps an owner"):
            await auth.execute(f"update app.memberships set {change}")
    await auth.execute("update app.memberships set removed_at = now() where user_id = any($1)", people[:2])
    assert await owners(auth, tenant) == 1
    # Who comes back can be what they were.
    await add_membership(auth, tenant.tenant_id, people[0], role=RoleName.OWNER, now=NOW)
    assert await end_membership(auth, tenant.tenant_id, people[2], now=NOW)
    with pytest.raises(Conflict, match="already"):
        await add_membership(auth, tenant.tenant_id, people[0], role=RoleName.VIEWER, now=NOW)


async def test_a_tenant_sees_its_members_and_nobody_else(database: DatabaseSettings, auth: Connection) -> None:
    tenants = [await make_tenant(database, slug) for slug in ("one", "two")]
    mine = await make_members(auth, tenants[0], 2)
    theirs = await make_members(auth, tenants[1], 1)
    api = await connect(database, Role.API, application_name="test")
    try:
        assert await api.fetchval("select count(*) from app.users") == 0
        assert await api.fetchval("select count(*) from app.memberships") == 0
        async with api.transaction():
            await set_tenant(api, tenants[0])
            seen = await list_members(api, tenants[0].tenant_id, after=None, limit=10)
            assert {row.user_id for row in seen} == set(mine)
            assert await find_user(api, theirs[0]) is None
            assert await list_members(api, tenants[1].tenant_id, after=None, limit=10) == []
            await api.execute("update app.memberships set role = 'viewer' where user_id = $1", theirs[0])
            await end_membership(api, tenants[0].tenant_id, mine[0], now=NOW)
            assert await find_user(api, mine[0]) is None
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with api.transaction():
                    await add_membership(api, tenants[1].tenant_id, mine[1], role=RoleName.OWNER, now=NOW)
    finally:
        await api.close()
    assert await owners(auth, tenants[1]) == 1


@pytest.mark.parametrize(
    "table", ["passwords", "user_sessions", "refresh_tokens", "auth_tokens", "login_failures", "sessions"]
)
@pytest.mark.parametrize("role", [Role.API, Role.INGEST])
async def test_only_who_signs_people_in_sees_credentials(database: DatabaseSettings, table: str, role: Role) -> None:
    conn = await connect(database, role, application_name="test")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetch(f"select * from app.{table}")
    finally:
        await conn.close()


async def test_ingest_takes_away_who_asked_for_it_and_reads_nobody(
    database: DatabaseSettings, auth: Connection
) -> None:
    tenant = await make_tenant(database)
    await make_members(auth, tenant, 1)
    ingest = await connect(database, Role.INGEST, application_name="test")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ingest.fetch("select email from app.users")
        assert await ingest.execute("update app.users set name = 'x' where status = 'active'") == "UPDATE 0"
    finally:
        await ingest.close()


async def test_addresses_are_one_persons_whatever_their_case(auth: Connection) -> None:
    await create_user(auth, email="Ann@example.com", name="", password_hash=None, now=NOW)
    async with auth.transaction():
        with pytest.raises(Conflict, match="address"):
            await create_user(auth, email="aNN@EXAMPLE.com", name="", password_hash=None, now=NOW)
        # The transaction goes on.
        await create_user(auth, email="bob@example.com", name="", password_hash=None, now=NOW)
    assert await auth.fetchval("select count(*) from app.users") == 2


async def test_people_and_keys_have_sessions_of_the_page_beside_each_other(
    database: DatabaseSettings, auth: Connection
) -> None:
    tenant = await make_tenant(database)
    (person,) = await make_members(auth, tenant, 1)
    key = await find_key(auth, await create_key(auth, tenant, name="k"))
    assert key is not None
    # As the version before writes it.
    await auth.execute(
        "insert into app.sessions (token_hash, tenant_id, key_id, created_at, seen_at) values ($1, $2, $3, $4, $4)",
        bytes(32),
        key.tenant_id,
        key.key_id,
        NOW,
    )
    async with auth.transaction():
        token = await open_page_session(auth, person, tenant.tenant_id, user_agent="a\x00b", now=NOW)
    found = await find_page_session(auth, token, now=NOW)
    assert found is not None
    assert (found.user_id, found.tenant, found.role) == (person, tenant, RoleName.OWNER)
    later = NOW + dt.timedelta(days=6)
    assert await find_page_session(auth, token, now=later) is not None
    (listed,) = await list_sessions(auth, person, now=later, after=None, limit=10)
    assert (listed.kind, listed.user_agent, listed.seen_at) == ("page", "ab", later)
    assert await find_page_session(auth, token, now=later + dt.timedelta(days=6)) is not None
    assert await find_page_session(auth, token, now=later + dt.timedelta(days=13)) is None
    assert await find_page_session(auth, "A" * 43, now=NOW) is None
    with pytest.raises(asyncpg.CheckViolationError):
        await auth.execute(
            "insert into app.sessions (token_hash, tenant_id, created_at, seen_at) values ($1, $2, $3, $3)",
            b"x" * 32,
            key.tenant_id,
            NOW,
        )


async def test_a_tenant_is_erased_with_its_memberships_and_people_stay(
    database: DatabaseSettings, auth: Connection
) -> None:
    tenants = [await make_tenant(database, slug) for slug in ("one", "two")]
    (person,) = await make_members(auth, tenants[0], 1)
    await add_membership(auth, tenants[1].tenant_id, person, role=RoleName.OWNER, now=NOW)
    async with auth.transaction():
        for tenant in tenants:
            await open_api_session(auth, person, tenant.tenant_id, user_agent="", now=NOW)
            await open_page_session(auth, person, tenant.tenant_id, user_agent="", now=NOW)
    owner = await connect(database, Role.OWNER, application_name="test")
    try:
        async with owner.transaction():
            await set_tenant(owner, tenants[0])
            await erase_tenant(owner, tenants[0])
    finally:
        await owner.close()
    left = await auth.fetch("select distinct tenant_id from app.user_sessions")
    assert [row["tenant_id"] for row in left] == [tenants[1].tenant_id]
    assert await auth.fetchval("select count(*) from app.memberships") == 1
    assert await find_user(auth, person) is not None
