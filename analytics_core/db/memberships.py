"""Who belongs to which tenant, and as what.

Functions of one tenant run in its transaction as the API, or as the role that authenticates; that a tenant keeps an
owner is seen to by the database, whoever changes what at the same time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict
from analytics_core.ids import TenantId, TenantNo, UserId
from analytics_core.permissions import RoleName

__all__ = (
    "MemberRow",
    "MembershipRow",
    "add_membership",
    "change_membership",
    "choose_mail",
    "end_membership",
    "end_memberships",
    "find_member",
    "keeping_an_owner",
    "list_members",
    "list_memberships",
    "list_own_tenants",
    "lock_member",
)


class MembershipRow(msgspec.Struct, frozen=True):
    """A tenant that somebody belongs to; ``delivery_mail`` is whether they want to hear of its flights."""

    tenant_id: TenantId
    tenant_no: TenantNo
    slug: str
    name: str
    status: str
    role: RoleName
    custom_role_id: UUID | None
    delivery_mail: bool
    created_at: dt.datetime

    @property
    def tenant(self) -> Tenant:
        """The tenant as a transaction names it."""
        return Tenant(self.tenant_id, self.tenant_no)


class MemberRow(msgspec.Struct, frozen=True):
    """Somebody as a tenant sees its members."""

    user_id: UserId
    email: str | None
    name: str
    role: RoleName
    custom_role_id: UUID | None
    sponsor_ids: list[UUID]
    created_at: dt.datetime


_ADD: Final[LiteralString] = """/* memberships.add */
insert into app.memberships as m (tenant_id, user_id, role, custom_role_id, sponsor_ids, created_at)
values ($1, $2, $3, $4, $5, $6)
on conflict (tenant_id, user_id) do update set role = excluded.role, custom_role_id = excluded.custom_role_id,
    sponsor_ids = excluded.sponsor_ids, created_at = excluded.created_at, removed_at = null
where m.removed_at is not null"""

_CHANGE: Final[LiteralString] = """/* memberships.change */
update app.memberships set role = $3, custom_role_id = $4, sponsor_ids = $5
where tenant_id = $1 and user_id = $2 and removed_at is null"""

_END: Final[LiteralString] = """/* memberships.end */
update app.memberships set removed_at = $3 where tenant_id = $1 and user_id = $2 and removed_at is null"""


_TENANTS: Final[LiteralString] = """/* memberships.tenants */
select m.tenant_id, t.tenant_no, t.slug, t.name, t.status, m.role, m.custom_role_id, m.delivery_mail, m.created_at
from app.memberships m join app.tenants t using (tenant_id)
where m.user_id = $1 and m.removed_at is null and t.status <> 'closed' order by m.created_at, m.tenant_id"""

# In one order, so that two people who leave the same tenants do not wait for one another in a circle.
_ALL: Final[LiteralString] = """/* memberships.all_tenants */
select tenant_id from app.memberships where user_id = $1 and removed_at is null order by tenant_id"""

_CHOOSE_MAIL: Final[LiteralString] = """/* memberships.choose_mail */
update app.memberships m set delivery_mail = $3 from app.tenants t
where m.tenant_id = $1 and m.user_id = $2 and m.removed_at is null and t.tenant_id = m.tenant_id
    and t.status <> 'closed'"""

_FIND: Final[LiteralString] = """/* memberships.find */
select m.user_id, u.email, u.name, m.role, m.custom_role_id, m.sponsor_ids, m.created_at
from app.memberships m join app.users u using (user_id)
where m.tenant_id = $1 and m.user_id = $2 and m.removed_at is null"""

_LOCK: Final[LiteralString] = """/* memberships.lock */
select true from app.memberships where tenant_id = $1 and user_id = $2 and removed_at is null for update"""

_LIST: Final[LiteralString] = """/* memberships.list */
select m.user_id, u.email, u.name, m.role, m.custom_role_id, m.sponsor_ids, m.created_at
from app.memberships m join app.users u using (user_id)
where m.tenant_id = $1 and m.removed_at is null
    and ($2::timestamptz is null or (m.created_at, m.user_id) > ($2, $3::uuid))
order by m.created_at, m.user_id limit $4"""


@contextlib.contextmanager
def keeping_an_owner() -> Iterator[None]:
    """Say it as our own error when the database refuses to leave a tenant without an owner.

    Raises:
        Conflict: ``last_owner``.
    """
    try:
        yield
    except asyncpg.CheckViolationError as error:
        if error.constraint_name != "memberships_keep_an_owner":
            raise
        raise Conflict("last_owner", "a tenant keeps an owner: make somebody else an owner first") from error


async def add_membership(
    conn: Connection,
    tenant_id: UUID,
    user_id: UUID,
    *,
    role: RoleName,
    custom_role_id: UUID | None = None,
    sponsor_ids: Sequence[UUID] = (),
    now: dt.datetime,
) -> None:
    """Take somebody into a tenant, once more where they have left it.

    Raises:
        Conflict: ``already_member``.
    """
    done = await conn.execute(_ADD, tenant_id, user_id, role.value, custom_role_id, list(sponsor_ids), now)
    if str(done) != "INSERT 0 1":
        raise Conflict("already_member", "this person belongs to the tenant already")


async def change_membership(
    conn: Connection,
    tenant_id: UUID,
    user_id: UUID,
    *,
    role: RoleName,
    custom_role_id: UUID | None = None,
    sponsor_ids: Sequence[UUID] = (),
) -> bool:
    """Give a member another role; ``False`` when they are no member.

    Raises:
        Conflict: ``last_owner``: it would leave the tenant without an owner. The transaction is over.
    """
    with keeping_an_owner():
        done = await conn.execute(_CHANGE, tenant_id, user_id, role.value, custom_role_id, list(sponsor_ids))
    return str(done) == "UPDATE 1"


async def choose_mail(conn: Connection, tenant_id: UUID, user_id: UUID, *, delivery_mail: bool) -> bool:
    """Note whether a member wants to hear of flights; ``False`` when they are no member."""
    return str(await conn.execute(_CHOOSE_MAIL, tenant_id, user_id, delivery_mail)) == "UPDATE 1"


async def end_membership(conn: Connection, tenant_id: UUID, user_id: UUID, *, now: dt.datetime) -> bool:
    """Remove a member; their sessions in this tenant let nobody in from then on. ``False`` when they are no member.

    Raises:
        Conflict: ``last_owner``: it would leave the tenant without an owner. The transaction is over.
    """
    with keeping_an_owner():
        done = await conn.execute(_END, tenant_id, user_id, now)
    return str(done) == "UPDATE 1"


async def end_memberships(conn: Connection, user_id: UUID, *, now: dt.datetime) -> None:
    """Remove somebody from all tenants, inside a transaction of the role that authenticates.

    Raises:
        Conflict: ``last_owner``: a tenant would be left without an owner. The transaction is over.
    """
    for row in await conn.fetch(_ALL, user_id):
        await end_membership(conn, row["tenant_id"], user_id, now=now)


async def list_memberships(conn: Connection, user_id: UUID) -> list[MembershipRow]:
    """List the tenants that somebody belongs to, the oldest membership first; as the role that authenticates."""
    return [msgspec.convert(row, MembershipRow) for row in await conn.fetch(_TENANTS, user_id)]


async def list_own_tenants(conn: Connection, user_id: UUID) -> list[Tenant]:
    """List the tenants that somebody belongs to, for what is to be said in all of them."""
    return [row.tenant for row in await list_memberships(conn, user_id)]


async def find_member(conn: Connection, tenant_id: UUID, user_id: UUID) -> MemberRow | None:
    """Find a member of a tenant."""
    row = await conn.fetchrow(_FIND, tenant_id, user_id)
    return None if row is None else msgspec.convert(row, MemberRow)


async def lock_member(conn: Connection, tenant_id: UUID, user_id: UUID) -> bool:
    """Have nobody else change a member until the transaction ends; ``False`` when they are no member."""
    return bool(await conn.fetchval(_LOCK, tenant_id, user_id))


async def list_members(
    conn: Connection, tenant_id: UUID, *, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[MemberRow]:
    """List a tenant's members in the order in which they came, behind *after*."""
    at, user_id = after if after is not None else (None, None)
    rows = await conn.fetch(_LIST, tenant_id, at, user_id, limit)
    return [msgspec.convert(row, MemberRow) for row in rows]
