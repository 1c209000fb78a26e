"""Seals: one sequence a tenant, without gaps, in the order of what depends on what, whoever writes and seals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.audit import Actor, find_break
from analytics_core.db.audit import add_entry, read_sealed
from analytics_core.db.audit_seals import list_audited, seal_entries
from analytics_core.db.links import add_link
from analytics_core.db.pool import Pool, Tenant, connect, open_pool, tenant_transaction
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.factories import make_tenant
from tests.ledgers import NOW


class Write(NamedTuple):
    """A change of one of two things of one of two tenants; undone or not, at once or after a moment."""

    tenant: int
    thing: int
    is_undone: bool
    waits: bool


writes = st.builds(Write, st.integers(0, 1), st.integers(0, 1), st.booleans(), st.booleans())
plans = st.lists(st.lists(writes, max_size=6), min_size=2, max_size=5)


class _Undone(Exception):
    pass


async def _make_link(pool: Pool, tenant: Tenant) -> UUID:
    url = "https://x.example.org/"
    async with tenant_transaction(pool, tenant) as conn:
        return await add_link(conn, tenant, slug=uuid4().hex, url=url, utm={}, click_id=False, now=NOW)


async def _write(pool: Pool, tenant: Tenant, link_id: UUID, write: Write) -> None:
    """Raise a number and put the new one on record."""
    try:
        async with tenant_transaction(pool, tenant) as conn:
            number = await conn.fetchval(
                "update app.links set clicks_dropped = clicks_dropped + 1 where link_id = $1 returning clicks_dropped",
                link_id,
            )
            await add_entry(
                conn,
                tenant,
                actor=Actor.KEY,
                actor_id=uuid4(),
                action="link.update",
                resource_id=str(link_id),
                after={"number": number, "is_undone": write.is_undone},
            )
            if write.waits:
                # Others write, commit and are sealed meanwhile.
                await asyncio.sleep(0.01)
            if write.is_undone:
                raise _Undone
    except _Undone:
        pass


async def _seal(pool: Pool, stop: asyncio.Event) -> None:
    while not stop.is_set():
        async with pool.acquire() as conn:
            await seal_entries(conn)
        await asyncio.sleep(0)


async def _play(database: DatabaseSettings, plan: Sequence[Sequence[Write]]) -> None:
    tenants = [await make_tenant(database, f"t{uuid4().hex}") for _ in range(2)]
    api = await open_pool(database, Role.API, application_name="test", max_size=6)
    ingest = await open_pool(database, Role.INGEST, application_name="test", max_size=3)
    try:
        things = []
        for tenant in tenants:
            async with tenant_transaction(api, tenant) as conn:
                things.append(
                    [
                        await add_link(
                            conn,
                            tenant,
                            slug=uuid4().hex,
                            url="https://x.example.org/",
                            utm={},
                            click_id=False,
                            now=NOW,
                        )
                        for _ in range(2)
                    ]
                )

        async def write_all(own: Sequence[Write]) -> None:
            for write in own:
                await _write(api, tenants[write.tenant], things[write.tenant][write.thing], write)

        stop = asyncio.Event()
        sealers = [asyncio.create_task(_seal(ingest, stop)) for _ in range(2)]
        await asyncio.gather(*(write_all(own) for own in plan))
        stop.set()
        await asyncio.gather(*sealers)
        async with ingest.acquire() as conn:
            while await seal_entries(conn):
                continue
            for number, tenant in enumerate(tenants):
                links = await read_sealed(conn, tenant.tenant_id, after=0, limit=1000)
                assert find_break(tenant.tenant_id, links) is None
                kept = [write for own in plan for write in own if write.tenant == number and not write.is_undone]
                assert len(links) == len(kept)
                said: dict[str | None, list[object]] = {}
                for link in links:
                    assert link.entry is not None
                    assert link.entry.after is not None
                    assert link.entry.after["is_undone"] is False
                    said.setdefault(link.entry.resource_id, []).append(link.entry.after["number"])
                for numbers in said.values():
                    assert numbers == list(range(1, len(numbers) + 1))
            assert await conn.fetchval("select count(*) from ops.audit_unsealed") == 0
            assert all(one.unsealed == 0 for one in await list_audited(conn))
    finally:
        await api.close()
        await ingest.close()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(plan=plans)
def test_whoever_writes_at_once_stands_in_one_sequence(database: DatabaseSettings, plan: list[list[Write]]) -> None:
    asyncio.run(_play(database, plan))


def test_a_long_transaction_is_passed_over_by_nobody(database: DatabaseSettings) -> None:
    """What commits late is sealed late, behind what was sealed meanwhile, however low its number is."""

    async def play() -> None:
        tenant = await make_tenant(database)
        api = await open_pool(database, Role.API, application_name="test", max_size=2)
        ingest = await connect(database, Role.INGEST, application_name="test")

        async def say(conn: object, what: str) -> None:
            await add_entry(
                conn,  # type: ignore[arg-type]  # lent by the pool
                tenant,
                actor=Actor.KEY,
                actor_id=uuid4(),
                action="link.create",
                resource_id=what,
            )

        try:
            async with tenant_transaction(api, tenant) as slow:
                await say(slow, "slow")
                for number in range(3):
                    async with tenant_transaction(api, tenant) as quick:
                        await say(quick, f"quick {number}")
                    assert await seal_entries(ingest) == 1
            assert await seal_entries(ingest) == 1
            assert await seal_entries(ingest) == 0
            links = await read_sealed(ingest, tenant.tenant_id, after=0, limit=10)
            assert [link.entry and link.entry.resource_id for link in links] == [
                "quick 0",
                "quick 1",
                "quick 2",
                "slow",
            ]
        finally:
            await ingest.close()
            await api.close()

    asyncio.run(play())


def test_one_seals_at_a_time(database: DatabaseSettings) -> None:
    async def play() -> None:
        tenant = await make_tenant(database)
        pool = await open_pool(database, Role.API, application_name="test", max_size=1)
        one, two = [await connect(database, Role.INGEST, application_name="test") for _ in range(2)]
        try:
            async with tenant_transaction(pool, tenant) as conn:
                await add_entry(conn, tenant, actor=Actor.KEY, actor_id=uuid4(), action="link.create", resource_id="x")
            async with one.transaction():
                await one.execute("select pg_advisory_xact_lock(hashtext('castledger.audit_seals'))")
                assert await seal_entries(two) == 0
            assert await seal_entries(two) == 1
        finally:
            await one.close()
            await two.close()
            await pool.close()

    asyncio.run(play())


def test_no_service_writes_a_seal_or_a_command_but_ingest(database: DatabaseSettings) -> None:
    async def play() -> None:
        await make_tenant(database)
        for role in (Role.API, Role.AUTH):
            conn = await connect(database, role, application_name="test")
            try:
                for statement in (
                    "insert into app.audit_seals select tenant_id, 1, tenant_id, decode(repeat('00', 32), 'hex')"
                    " from app.tenants",
                    "delete from ops.audit_unsealed",
                    "update app.audit_log set action = 'a.b'",
                    "delete from app.audit_log",
                ):
                    try:
                        await conn.execute(statement)
                    except asyncpg.InsufficientPrivilegeError:
                        continue
                    raise AssertionError((role, statement))
            finally:
                await conn.close()

    asyncio.run(play())
