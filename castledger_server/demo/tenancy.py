"""The demo's own tenant: made, found again, and erased without a trace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from analytics_core.db.erasure import erase_marked_agents, erase_segments, erase_tenant
from analytics_core.db.hits import hold_days_open
from analytics_core.db.pool import Connection, connect, open_pool, tenant_transaction
from analytics_core.db.tenants import TenantRow, create_key, create_tenant, find_tenant
from analytics_core.errors import Conflict
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.data_dir import write_secret
from castledger_server.demo.player import MARK
from castledger_server.demo.stage import COLLECTOR_SOURCE, SOURCE

__all__ = ("KEY_FILE", "found_tenant", "make_tenant", "only_demo", "remove_tenant")

KEY_FILE: Final = "demo_api_key"
"""Name, in the data folder, of the file with the key of the demo's tenant."""

_SLUG: Final = "demo"
_NAME: Final = "Castledger demo"
_APPLICATION: Final = "castledger demo"
_TRY_LOCK: Final = "select pg_try_advisory_lock(hashtext('castledger.demo'), 0)"


@contextlib.asynccontextmanager
async def only_demo(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """Lend a connection that authenticates, and keep other demos away meanwhile.

    Raises:
        Conflict: ``in_use``: another one plays, or is being removed.
        Unavailable: The database does not answer.
    """
    conn = await connect(database, Role.AUTH, application_name=_APPLICATION)
    try:
        if not await conn.fetchval(_TRY_LOCK):
            raise Conflict("in_use", "another `castledger demo` is at work on this ledger; wait until it has ended")
        yield conn
    finally:
        conn.terminate()


async def found_tenant(conn: Connection) -> TenantRow | None:
    """Find the demo's tenant.

    Raises:
        Conflict: ``not_ours``: somebody has a tenant of that name, which is left alone.
    """
    row = await find_tenant(conn, _SLUG)
    if row is not None and (row.name != _NAME or row.is_installation):
        raise Conflict("not_ours", f"there is a tenant `{_SLUG}` that the demo did not make; it is left alone")
    return row


async def make_tenant(conn: Connection, key_file: Path) -> tuple[TenantRow, str]:
    """Make the tenant with its key, kept in *key_file*, and hold its days open for as long as the connection lives.

    Raises:
        OSError: The file cannot be written; nothing was made.
    """
    async with conn.transaction():
        row = await create_tenant(conn, slug=_SLUG, name=_NAME)
        key = await create_key(conn, row.tenant, name="owner")
        write_secret(key_file, f"{key}\n".encode())
    await hold_days_open(conn, row.tenant_no)
    return row, key


async def remove_tenant(database: DatabaseSettings, row: TenantRow, key_file: Path) -> None:
    """Erase the tenant, all that it brought with it, and the file of its key.

    Args:
        database: Where it is.
        row: Which; all of its hits have landed.
        key_file: As :func:`make_tenant` made it.

    Raises:
        Conflict: It cannot be erased; nothing was.
        Unavailable: Its rows are locked, or the database does not answer; nothing was erased.
    """
    pool = await open_pool(database, Role.OWNER, application_name=_APPLICATION, max_size=1)
    try:
        async with tenant_transaction(pool, row.tenant) as conn:
            await erase_tenant(conn, row.tenant)
            await erase_marked_agents(conn, f" {MARK}")
            for source in (SOURCE, COLLECTOR_SOURCE):
                await erase_segments(conn, source)
    finally:
        pool.terminate()
    await asyncio.to_thread(key_file.unlink, missing_ok=True)
