"""The record of changes: written in the transaction of the change, listed, and read in the order of its seals."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.audit import Actor, AuditEntry, Changes, SealedEntry
from analytics_core.db.pool import Connection, Tenant
from analytics_core.ids import new_id

__all__ = ("AuditFilter", "AuditRow", "add_command", "add_entry", "list_entries", "read_sealed", "to_entry")


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are wanted; ``None`` stands for any.

    Attributes:
        since: The first instant.
        until: The instant after the last.
        action: A whole one such as ``link.create``, or a resource's name for all of its actions.
        actor_id: A key's or a person's.
        resource_id: Of what was changed.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    action: str | None = None
    actor: Actor | None = None
    actor_id: UUID | None = None
    resource_id: str | None = None


class AuditRow(AuditEntry, frozen=True, kw_only=True):
    """An entry with its place in the tenant's sequence; ``None`` in the second before it is sealed."""

    seq: int | None
    hash: bytes | None


_ADD: Final[LiteralString] = """/* audit.add */
insert into app.audit_log (tenant_id, entry_id, actor, actor_id, action, resource_id, request_id, before, after)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""

_ADD_COMMAND: Final[LiteralString] = """/* audit.add_command */
insert into app.audit_log (tenant_id, entry_id, actor, action, resource_id, before, after)
select t.tenant_id, $2, 'command', $3, $4, $5, $6 from app.tenants t where t.tenant_no = $1"""

_LIST: Final[LiteralString] = """/* audit.list */
select l.entry_id, l.at, l.actor, l.actor_id, l.action, l.resource_id, l.request_id, l.before, l.after, s.seq, s.hash
from app.audit_log l left join app.audit_seals s using (tenant_id, entry_id)
where l.tenant_id = $1 and ($2::timestamptz is null or l.at >= $2) and ($3::timestamptz is null or l.at < $3)
    and ($4::text is null or l.action = $4 or split_part(l.action, '.', 1) = $4)
    and ($5::text is null or l.actor = $5) and ($6::uuid is null or l.actor_id = $6)
    and ($7::text is null or l.resource_id = $7)
    and ($8::timestamptz is null or (l.at, l.entry_id) < ($8, $9::uuid))
order by l.at desc, l.entry_id desc limit $10"""

_SEALED: Final[LiteralString] = """/* audit.sealed */
select s.seq, s.hash, l.entry_id, l.at, l.actor, l.actor_id, l.action, l.resource_id, l.request_id, l.before, l.after
from app.audit_seals s left join app.audit_log l using (tenant_id, entry_id)
where s.tenant_id = $1 and s.seq > $2 order by s.seq limit $3"""


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
    """Put a change on record, in its own transaction and after it: who waited for a row writes later.

    Args:
        conn: In a transaction of the tenant, as the API or the role that authenticates.
        tenant: Whose thing was changed.
        actor: Who did it.
        actor_id: The key's or person's; ``None`` for a command.
        action: Such as ``link.create``.
        resource_id: Which one, where there is one.
        request_id: Of the request that did it.
        before: As :func:`analytics_core.audit.describe_changes` says it.
        after: Likewise.
    """
    await conn.execute(
        _ADD, tenant.tenant_id, new_id(), actor.value, actor_id, action, resource_id, request_id, before, after
    )


async def add_command(
    conn: Connection,
    tenant_no: int,
    *,
    action: str,
    resource_id: str | None,
    before: Changes | None = None,
    after: Changes | None = None,
) -> None:
    """Put on record what an operator's command changed of a tenant, in the transaction of the change; as ingest."""
    await conn.execute(_ADD_COMMAND, tenant_no, new_id(), action, resource_id, before, after)


async def list_entries(
    conn: Connection,
    tenant: Tenant,
    wanted: AuditFilter,
    *,
    after: tuple[dt.datetime, UUID] | None = None,
    limit: int,
) -> list[AuditRow]:
    """List a tenant's entries, newest first, behind *after*; in a transaction of it, or as ingest."""
    rows = await conn.fetch(
        _LIST,
        tenant.tenant_id,
        wanted.since,
        wanted.until,
        wanted.action,
        None if wanted.actor is None else wanted.actor.value,
        wanted.actor_id,
        wanted.resource_id,
        *(after or (None, None)),
        limit,
    )
    return [msgspec.convert(row, AuditRow) for row in rows]


async def read_sealed(conn: Connection, tenant_id: UUID, *, after: int, limit: int) -> list[SealedEntry]:
    """Read a tenant's sequence behind a place in it, entries that are gone too; in its transaction, or as ingest."""
    rows = await conn.fetch(_SEALED, tenant_id, after, limit)
    return [SealedEntry(row["seq"], row["hash"], None if row["at"] is None else to_entry(row)) for row in rows]


def to_entry(row: asyncpg.Record) -> AuditEntry:
    """Read an entry from a row that has all of its columns."""
    fields: dict[str, Any] = {name: row[name] for name in AuditEntry.__struct_fields__}
    return msgspec.convert(fields, AuditEntry)
