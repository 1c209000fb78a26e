"""Seals of the record of changes: made one after the other, and looked at.

Why the order is right. An entry is written last in its transaction, with a number from a sequence, and the row that
waits for its seal with it. One sealer works at a time (an advisory lock, held until its commit); what it then reads are
the rows that wait and are committed, and it seals those with the lowest numbers, in their order, behind the last seal.
Let A have committed before B was written: because B waited for a row that A held, or read what A wrote, or simply came
later. Then A's number is lower, and whoever sees B waiting sees A waiting, or sealed: so A is sealed before B. Two of
which neither saw the other may stand either way. Nothing is passed over however long a transaction takes, since no
cursor moves: what waits is found when it is committed. What was rolled back never waits.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.audit import chain_hash
from analytics_core.db.audit import to_entry
from analytics_core.db.pool import Connection

__all__ = ("AuditedTenant", "list_audited", "seal_entries")

_BATCH: Final = 1_000


class AuditedTenant(msgspec.Struct, frozen=True):
    """A tenant, and how its record stands.

    Attributes:
        unsealed: Entries without a seal.
        waiting_since: When the oldest of them was written.
        is_queued: Whether all of them wait to be sealed.
    """

    tenant_id: UUID
    tenant_no: int
    slug: str
    unsealed: int
    waiting_since: dt.datetime | None
    is_queued: bool


_LOCK: Final[LiteralString] = """/* audit_seals.lock */
select pg_try_advisory_xact_lock(hashtext('castledger.audit_seals'))"""

_WAITING: Final[LiteralString] = """/* audit_seals.waiting */
select u.entry_no, l.tenant_id, l.entry_id, l.at, l.actor, l.actor_id, l.action, l.resource_id, l.request_id, l.before,
    l.after
from ops.audit_unsealed u join app.audit_log l using (entry_no) order by u.entry_no limit $1"""

_HEADS: Final[LiteralString] = """/* audit_seals.heads */
select s.tenant_id, s.seq, s.hash
from unnest($1::uuid[]) as n(tenant_id) cross join lateral (
    select o.tenant_id, o.seq, o.hash from app.audit_seals o where o.tenant_id = n.tenant_id order by o.seq desc limit 1
) s"""

_SEAL: Final[LiteralString] = """/* audit_seals.add */
insert into app.audit_seals (tenant_id, seq, entry_id, hash)
select n.tenant_id, n.seq, n.entry_id, n.hash
from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bytea[]) as n(tenant_id, seq, entry_id, hash)"""

_DONE: Final[LiteralString] = """/* audit_seals.done */
delete from ops.audit_unsealed where entry_no = any($1::bigint[])"""

_TENANTS: Final[LiteralString] = """/* audit_seals.tenants */
select t.tenant_id, t.tenant_no, t.slug, count(l.entry_id) as unsealed, min(l.at) as waiting_since,
    count(l.entry_id) = count(u.entry_no) as is_queued
from app.tenants t
left join app.audit_log l on l.tenant_id = t.tenant_id
    and not exists (select from app.audit_seals s where s.tenant_id = l.tenant_id and s.entry_id = l.entry_id)
left join ops.audit_unsealed u using (entry_no)
where $1::text is null or t.slug = $1
group by t.tenant_id, t.tenant_no, t.slug order by t.slug"""


async def seal_entries(conn: Connection) -> int:
    """Seal the entries that wait, a thousand at most, in the order that this module's first lines explain.

    Args:
        conn: As ingest, outside a transaction.

    Returns:
        How many were sealed; 0 as well while another process is at it.
    """
    async with conn.transaction(isolation="read_committed"):
        if not await conn.fetchval(_LOCK):
            return 0
        rows = await conn.fetch(_WAITING, _BATCH)
        if not rows:
            return 0
        tenants = {row["tenant_id"] for row in rows}
        heads: dict[UUID, tuple[int, bytes | None]] = dict.fromkeys(tenants, (0, None))
        heads |= {row["tenant_id"]: (row["seq"], row["hash"]) for row in await conn.fetch(_HEADS, list(tenants))}
        seals: list[tuple[UUID, int, UUID, bytes]] = []
        for row in rows:
            tenant_id, entry = row["tenant_id"], to_entry(row)
            last, previous = heads[tenant_id]
            sealed = chain_hash(previous, tenant_id, last + 1, entry)
            heads[tenant_id] = (last + 1, sealed)
            seals.append((tenant_id, last + 1, entry.entry_id, sealed))
        await conn.execute(_SEAL, *(list(column) for column in zip(*seals, strict=True)))
        await conn.execute(_DONE, [row["entry_no"] for row in rows])
    return len(rows)


async def list_audited(conn: Connection, *, slug: str | None = None) -> list[AuditedTenant]:
    """List the tenants, or the one of that name, with what of their records has no seal; as ingest."""
    return [msgspec.convert(row, AuditedTenant) for row in await conn.fetch(_TENANTS, slug)]
