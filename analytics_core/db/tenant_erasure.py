"""Erasure of a tenant that was closed, once its time is over: all of it goes, with a record as proof.

First its podcasts go, each as if it had been asked for, in steps that keep nobody waiting; their feeds are free from
then on. The rest goes in one transaction, at whose end the role that sees every row counts what is left: none, or
nothing of it has happened. The record stays with the installation's own tenant and names nobody.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.erasure import erase_tenant
from analytics_core.db.erasure_requests import (
    ErasureRequest,
    ask_for_podcast,
    end_erasure,
    find_erasure,
    list_erasures,
    list_requests,
    note_removed,
)
from analytics_core.db.podcasts import KNOWN_HOST_DAYS
from analytics_core.db.pool import Connection, Pool, Tenant, set_tenant, tenant_transaction
from analytics_core.erasures import ErasureRecord, subject_hash
from analytics_core.errors import Conflict
from analytics_core.ids import TenantId, TenantNo, new_id
from analytics_core.roles import Role

__all__ = (
    "DueTenant",
    "ask_for_podcasts",
    "begin_erasure",
    "count_tenant",
    "finish_erasure",
    "list_due",
    "release_hosts",
)


class DueTenant(msgspec.Struct, frozen=True):
    """A tenant whose time is over.

    Attributes:
        erasure_id: Of its record, once its erasure has begun.
    """

    tenant_id: TenantId
    tenant_no: TenantNo
    slug: str
    erasure_id: UUID | None

    @property
    def tenant(self) -> Tenant:
        """The tenant as a transaction names it."""
        return Tenant(self.tenant_id, self.tenant_no)


_DUE: Final[LiteralString] = """/* tenant_erasure.due */
select tenant_id, tenant_no, slug, erasure_id from app.tenants
where status = 'closing' and closes_at <= $1 order by closes_at, tenant_no"""

_LOCK: Final[LiteralString] = """/* tenant_erasure.lock */
select erasure_id from app.tenants where tenant_id = $1 and status = 'closing' and closes_at <= $2 for no key update"""

_ADD: Final[LiteralString] = """/* tenant_erasure.add */
insert into app.erasures (tenant_no, erasure_id, kind, subject_hash, month, started_at)
values ($1, $2, 'tenant', $3, null, $4)"""

_BEGIN: Final[LiteralString] = """/* tenant_erasure.begin */
update app.tenants set erasure_id = $2 where tenant_id = $1"""

_RELEASE: Final[LiteralString] = """/* tenant_erasure.release_hosts */
insert into ops.released_hosts as old (host, released_at)
select distinct host, $2::timestamptz from app.enclosures, unnest(hosts) as host
where tenant_id = $1 and (gone_at is null or gone_at > $2::timestamptz - make_interval(days => $3))
on conflict (host) do update set released_at = greatest(old.released_at, excluded.released_at)"""

_FORGET_HOSTS: Final[LiteralString] = """/* tenant_erasure.forget_hosts */
delete from ops.released_hosts where released_at < $1::timestamptz - make_interval(days => $2)"""

_PODCASTS: Final[LiteralString] = """/* tenant_erasure.podcasts */
select podcast_id, podcast_no from app.podcasts where tenant_id = $1 order by podcast_no"""

_TABLES: Final[LiteralString] = """/* tenant_erasure.tables */
select n.nspname || '.' || c.relname as name, format('select count(*) from %I.%I where %s', n.nspname, c.relname,
    string_agg(format('%I = $%s', a.attname, case when a.atttypid = 'uuid'::regtype then 1 else 2 end), ' or '
        order by a.attname)) as query,
    bool_or(a.atttypid = 'uuid'::regtype) as has_id, bool_or(a.atttypid <> 'uuid'::regtype) as has_no
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
where n.nspname in ('app', 'ops', 'ts') and c.relkind in ('r', 'p') and not c.relispartition
    and a.attnum > 0 and not a.attisdropped and a.attname ~ '(^|_)tenant_(id|no)$'
group by n.nspname, c.relname order by 1"""

_AS_ROLE: Final[LiteralString] = """/* tenant_erasure.as_role */ select set_config('role', $1, true)"""


async def list_due(conn: Connection, *, now: dt.datetime) -> list[DueTenant]:
    """List the tenants whose time is over, as ingest; the one that waits longest first."""
    return [msgspec.convert(row, DueTenant) for row in await conn.fetch(_DUE, now)]


async def begin_erasure(pool: Pool, installation: Tenant, due: DueTenant, *, now: dt.datetime) -> UUID | None:
    """Have the erasure of a tenant begin, after which nobody can open it again; twice is once.

    Args:
        pool: As ingest.
        installation: Whose the record is.
        due: Which tenant.
        now: Aware instant.

    Returns:
        The record's id; ``None`` when the tenant was opened again meanwhile.
    """
    async with tenant_transaction(pool, installation) as conn:
        row = await conn.fetchrow(_LOCK, due.tenant_id, now)
        if row is None:
            return None
        erasure_id: UUID | None = row["erasure_id"]
        if erasure_id is None:
            erasure_id = new_id()
            hashed = subject_hash(erasure_id, "tenant", due.tenant_id.bytes)
            await conn.execute(_ADD, installation.tenant_no, erasure_id, hashed, now)
            await conn.execute(_BEGIN, due.tenant_id, erasure_id)
        return erasure_id


async def release_hosts(conn: Connection, due: DueTenant, *, now: dt.datetime) -> None:
    """Have trackers know the tenant's hosts for as long as if they had gone from its feeds; as ingest."""
    await conn.execute(_RELEASE, due.tenant_id, now, KNOWN_HOST_DAYS)
    await conn.execute(_FORGET_HOSTS, now, KNOWN_HOST_DAYS)


async def ask_for_podcasts(pool: Pool, due: DueTenant, *, now: dt.datetime) -> list[ErasureRequest]:
    """Ask for the erasure of all of a tenant's podcasts, as ingest; list all that it has asked for and is not done."""
    async with tenant_transaction(pool, due.tenant) as conn:
        for row in await conn.fetch(_PODCASTS, due.tenant_id):
            await ask_for_podcast(conn, due.tenant, row["podcast_id"], row["podcast_no"], now=now)
        return [request for request in await list_requests(conn) if request.tenant == due.tenant]


async def count_tenant(conn: Connection, tenant: Tenant) -> dict[str, int]:
    """Count a tenant's rows in every table that knows tenants, as the role that sees every row."""
    counts = {}
    for table in await conn.fetch(_TABLES):
        given = [tenant.tenant_id if table["has_id"] else None, tenant.tenant_no if table["has_no"] else None]
        query = table["query"] if table["has_id"] else table["query"].replace("$2", "$1")
        counts[str(table["name"])] = int(await conn.fetchval(query, *(one for one in given if one is not None)))
    return counts


async def finish_erasure(owner: Pool, installation: Tenant, due: DueTenant, *, now: dt.datetime) -> ErasureRecord:
    """Erase what is left of a tenant, see that nothing is, and end its record: all of it, or nothing.

    Args:
        owner: As the owner of the schema, who alone deletes keys and people's ties.
        installation: Whose the record is.
        due: Which tenant; its podcasts are erased.
        now: Aware instant.

    Raises:
        Conflict: ``tenant_in_use``, or ``rows_left``: a table that nobody erases has rows of it; it is named.
        Unavailable: The database does not answer, or somebody kept rows locked for too long.
    """
    if due.erasure_id is None:
        raise ValueError("the erasure has not begun")
    async with tenant_transaction(owner, installation) as conn:
        stored = await find_erasure(conn, installation, due.erasure_id)
        if stored is None:
            raise AssertionError("an erasure has a record")
        await set_tenant(conn, due.tenant)
        removed = Counter[str]()
        for one in await list_erasures(conn, due.tenant):
            if one.record.kind == "podcast" and one.record.started_at >= stored.record.started_at:
                removed.update(one.record.removed)
        removed.update(await erase_tenant(conn, due.tenant))
        await conn.execute(_AS_ROLE, Role.DUMP.value)
        remaining = await count_tenant(conn, due.tenant)
        await conn.execute(_AS_ROLE, Role.OWNER.value)
        if any(remaining.values()):
            left = ", ".join(f"{name} ({count})" for name, count in remaining.items() if count)
            raise Conflict("rows_left", f"rows of the tenant would be left in {left}; nothing of the rest was erased")
        await set_tenant(conn, installation)
        record = await note_removed(conn, installation, stored.record, removed)
        return await end_erasure(conn, installation, record, remaining, now=now)
