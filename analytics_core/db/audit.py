"""The record of changes: written in the transaction of the change, and read."""

from __future__ import annotations

from typing import Final, LiteralString
from uuid import UUID

from analytics_core.audit import Actor, Changes
from analytics_core.db.pool import Connection, Tenant
from analytics_core.ids import new_id

__all__ = ("add_entry",)

_ADD: Final[LiteralString] = """/* audit.add */
insert into app.audit_log (tenant_id, entry_id, actor, actor_id, action, resource_id, request_id, before, after)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""


async def add_entry(
    conn: Connection,
    tenant: Tenant,
    *,
    actor: Actor,
    actor_id: UUID | None,
    action: str,
    resource_id: str | None,
    request_id: str | None = None,
    before: Changes | None = None,
    after: Changes | None = None,
) -> None:
    """Put a change on record, in its own transaction.

    Args:
        conn: In a transaction of the tenant, or as ingest for a command.
        tenant: Whose thing was changed.
        actor: Who did it.
        actor_id: The key's or person's.
        action: Such as ``link.create``.
        resource_id: Which one, where there is one.
        request_id: Of the request that did it.
        before: As :func:`analytics_core.audit.describe_changes` says it.
        after: Likewise.
    """
    await conn.execute(
        _ADD, tenant.tenant_id, new_id(), actor.value, actor_id, action, resource_id, request_id, before, after
    )
