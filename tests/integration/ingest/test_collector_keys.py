"""What collectors are told of keys: those that may send events, at once, and nothing of others."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from analytics_core.api_keys import KeyKind, hash_key
from analytics_core.db.keys import add_key, lock_key, replace_key
from analytics_core.db.pool import Pool, Tenant, open_pool, tenant_transaction
from analytics_core.registry import CollectorKey, read_registry
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, load_settings
from ingest.catalogue_watch import CatalogueWatch
from ingest.registry_writer import RegistryWriter
from tests.factories import make_tenant
from tests.ledgers import Ledger

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(database: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = await open_pool(database, Role.API, application_name="test", max_size=2)
    yield pool
    await pool.close()


@pytest.fixture
async def tenant(database: DatabaseSettings) -> Tenant:
    return await make_tenant(database)


async def make_key(
    api: Pool,
    tenant: Tenant,
    scopes: list[str] | None,
    *,
    kind: KeyKind = KeyKind.SECRET,
    origins: tuple[str, ...] = (),
    expires_at: dt.datetime | None = None,
    is_revoked: bool = False,
) -> bytes:
    """Make a key; return its hash."""
    async with tenant_transaction(api, tenant) as conn:
        key, text = await add_key(
            conn, tenant, name="shop", scopes=scopes, kind=kind, origins=origins, expires_at=expires_at
        )
        if is_revoked:
            await conn.execute("update app.api_keys set revoked_at = now() where key_id = $1", key.key_id)
    return hash_key(text)


async def as_superuser(database: DatabaseSettings, *statements: str) -> None:
    conn = await asyncpg.connect(str(database.url))
    for statement in statements:
        await conn.execute(statement)
    await conn.close()


async def test_only_keys_that_may_send_events_are_told(
    ledger: Ledger, api: Pool, tenant: Tenant, database: DatabaseSettings, tmp_path: Path
) -> None:
    other = await make_tenant(database, "two")
    later = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
    everything = await make_key(api, tenant, None)
    sends = await make_key(api, other, ["events:write", "links:read"], expires_at=later)
    page = await make_key(
        api, tenant, ["events:write"], kind=KeyKind.PUBLISHABLE, origins=("https://shop.example.com",)
    )
    reads = await make_key(api, tenant, ["links:read"])
    ended = await make_key(api, tenant, None, expires_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    revoked = await make_key(api, tenant, None, is_revoked=True)
    settings = load_settings({"CASTLEDGER_REGISTRY": str(tmp_path / "registry.snapshot")}).tracker
    assert await RegistryWriter(settings).write(ledger.conn) is True
    keys = read_registry(settings.registry_path).keys
    assert keys.get(everything) == CollectorKey(tenant_no=tenant.tenant_no)
    assert keys.get(sends) == CollectorKey(tenant_no=other.tenant_no, expires_us=32_472_144_000_000_000)
    assert keys.get(page) == CollectorKey(
        tenant_no=tenant.tenant_no, kind=KeyKind.PUBLISHABLE, origins=("https://shop.example.com",)
    )
    assert [keys.get(one) for one in (reads, ended, revoked)] == [None] * 3


async def test_the_state_of_a_tenant_is_told(
    ledger: Ledger, api: Pool, tenant: Tenant, database: DatabaseSettings, tmp_path: Path
) -> None:
    key = await make_key(api, tenant, None)
    await as_superuser(database, "update app.tenants set status = 'suspended'")
    settings = load_settings({"CASTLEDGER_REGISTRY": str(tmp_path / "registry.snapshot")}).tracker
    await RegistryWriter(settings).write(ledger.conn)
    found = read_registry(settings.registry_path).keys.get(key)
    assert found is not None
    assert found.status == "suspended"


async def test_a_change_of_keys_is_heard_and_drops_nothing_of_the_catalogue(
    api: Pool, tenant: Tenant, database: DatabaseSettings
) -> None:
    keys, catalogue, listening = asyncio.Event(), asyncio.Event(), asyncio.Event()
    watch = CatalogueWatch(database, at_least_s=3600)
    watch.subscribe(catalogue.set)
    watch.subscribe_to_keys(keys.set)
    task = asyncio.create_task(watch.listen(on_listening=listening.set))
    await asyncio.wait_for(listening.wait(), 30)
    await asyncio.wait_for(keys.wait(), 30)
    catalogue.clear()

    async def heard() -> None:
        await asyncio.wait_for(keys.wait(), 30)
        keys.clear()

    keys.clear()
    await make_key(api, tenant, None)
    await heard()
    async with tenant_transaction(api, tenant) as conn:
        key = await lock_key(conn, await conn.fetchval("select key_id from app.api_keys"))
        await replace_key(conn, key, overlap_s=3600)
    await heard()
    async with tenant_transaction(api, tenant) as conn:
        await conn.execute("update app.api_keys set revoked_at = now()")
    await heard()
    # That a key was used is written all the time, and changes nothing.
    await as_superuser(database, "update app.api_keys set last_used_at = now()", "notify castledger_catalogue")
    await asyncio.wait_for(catalogue.wait(), 30)
    assert not keys.is_set()
    catalogue.clear()
    await as_superuser(database, "update app.tenants set status = 'suspended'")
    await heard()
    task.cancel()
    assert not catalogue.is_set()
