"""The job that erases tenants which were closed, once their time is over."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import msgspec

from analytics_core.db.erasure_requests import erasing, list_requests
from analytics_core.db.pool import Connection, Pool, Tenant, open_pool
from analytics_core.db.tenant_erasure import (
    DueTenant,
    ask_for_podcasts,
    begin_erasure,
    finish_erasure,
    list_due,
    release_hosts,
)
from analytics_core.db.tenant_states import find_installation
from analytics_core.erasures import ErasureRecord
from analytics_core.errors import CastledgerError, Conflict, Unavailable
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.erasures import perform

__all__ = ("erase_closed",)

_NAME = "castledger-ingest"


async def erase_closed(
    conn: Connection, pool: Pool, database: DatabaseSettings, *, now: dt.datetime
) -> Mapping[str, int]:
    """Erase every tenant whose time is over; those for whom somebody erases already are left to the next run.

    Args:
        conn: As ingest, outside a transaction.
        pool: As ingest; one connection is taken.
        database: Where it is, for what the owner alone may do at the end.
        now: Aware instant.

    Returns:
        How many tenants went, and how many were left.

    Raises:
        Conflict: Rows of one would be left, or there is no tenant of the installation's own to keep the record.
        Unavailable: The database does not answer, or rows were in use; once the others were tried.
    """
    done = left = 0
    due = await list_due(conn, now=now)
    if not due:
        return {"done": 0, "left": 0}
    installation = await find_installation(conn)
    if installation is None:
        raise Conflict(
            "no_installation", "nobody could keep the record: make the owner's key with `castledger owner-key`"
        )
    fault: CastledgerError | None = None
    for tenant in due:
        try:
            async with erasing(conn, tenant.tenant):
                done += await _erase(conn, pool, database, installation, tenant, now=now) is not None
        except Conflict as error:
            left += 1
            if error.code != "in_use":
                fault = error
        except Unavailable as error:
            left += 1
            fault = error
    if fault is not None:
        raise fault
    return {"done": done, "left": left}


async def _erase(
    conn: Connection, pool: Pool, database: DatabaseSettings, installation: Tenant, due: DueTenant, *, now: dt.datetime
) -> ErasureRecord | None:
    """Erase one tenant, or what is left of it; ``None`` when it was opened again meanwhile."""
    erasure_id = await begin_erasure(pool, installation, due, now=now)
    if erasure_id is None:
        return None
    begun = msgspec.structs.replace(due, erasure_id=erasure_id)
    await release_hosts(conn, begun, now=now)
    for asked in await ask_for_podcasts(pool, begun, now=now):
        for request in await list_requests(conn, erasure_id=asked.erasure_id):
            if (await perform(pool, request, now=now)).finished_at is None:
                raise Unavailable(f"erasure {request.erasure_id}: each time something was left")
    owner = await open_pool(database, Role.OWNER, application_name=_NAME, max_size=1)
    try:
        return await finish_erasure(owner, installation, begun, now=now)
    finally:
        owner.terminate()
