"""Roles of a tenant's own making; in its transaction as the API, unless said."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Collection, Iterator
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict, NotFound
from analytics_core.ids import new_id
from analytics_core.permissions import Permission

__all__ = (
    "MAX_ROLES",
    "RoleRow",
    "add_role",
    "change_role",
    "delete_role",
    "find_role",
    "list_roles",
    "lock_role",
    "read_permissions",
    "share_role",
)

MAX_ROLES: Final = 100
"""Custom roles of a tenant."""


class RoleRow(msgspec.Struct, frozen=True):
    """A custom role.

    Attributes:
        permissions: As they were written; one that this version does not know gives nothing.
        members: How many have it.
        changed_at: When its name or permissions changed last.
    """

    role_id: UUID
    name: str
    permissions: list[str]
    members: int
    created_at: dt.datetime
    changed_at: dt.datetime


_COUNT: Final[LiteralString] = """/* roles.count */ select count(*) from app.roles where tenant_id = $1"""

_ADD: Final[LiteralString] = """/* roles.add */
insert into app.roles (tenant_id, role_id, name, permissions, created_at, changed_at) values ($1, $2, $3, $4, $5, $5)"""

_FIND: Final[LiteralString] = """/* roles.find */
select r.role_id, r.name, r.permissions, (select count(*) from app.memberships m
        where m.tenant_id = r.tenant_id and m.custom_role_id = r.role_id and m.removed_at is null) as members,
    r.created_at, r.changed_at
from app.roles r where r.tenant_id = $1 and r.role_id = $2"""

_LIST: Final[LiteralString] = """/* roles.list */
select r.role_id, r.name, r.permissions, (select count(*) from app.memberships m
        where m.tenant_id = r.tenant_id and m.custom_role_id = r.role_id and m.removed_at is null) as members,
    r.created_at, r.changed_at
from app.roles r
where r.tenant_id = $1 and ($2::timestamptz is null or (r.created_at, r.role_id) > ($2, $3::uuid))
order by r.created_at, r.role_id limit $4"""

# Whoever gives somebody this role waits for us, or we for them: the reference takes the same lock.
_LOCK: Final[LiteralString] = """/* roles.lock */
select permissions from app.roles where tenant_id = $1 and role_id = $2 for update"""

_PERMISSIONS: Final[LiteralString] = """/* roles.permissions */
select permissions from app.roles where tenant_id = $1 and role_id = $2"""

_SHARE: Final[LiteralString] = """/* roles.share */
select permissions from app.roles where tenant_id = $1 and role_id = $2 for share"""

_CHANGE: Final[LiteralString] = """/* roles.change */
update app.roles set name = $3, permissions = $4, changed_at = $5 where tenant_id = $1 and role_id = $2"""

_USED: Final[LiteralString] = """/* roles.used */
select exists (select from app.memberships
        where tenant_id = $1 and custom_role_id = $2 and removed_at is null)
    or exists (select from app.invitations
        where tenant_id = $1 and custom_role_id = $2 and outcome is null and expires_at > $3)"""

_DELETE: Final[LiteralString] = """/* roles.delete */ delete from app.roles where tenant_id = $1 and role_id = $2"""


@contextlib.contextmanager
def _one_of_a_name() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Conflict("role_name_taken", "there is a role of this name already") from error


async def add_role(
    conn: Connection, tenant: Tenant, *, name: str, permissions: Collection[Permission], now: dt.datetime
) -> UUID:
    """Make a role.

    Raises:
        Conflict: ``role_name_taken``, or ``too_many_roles``.
    """
    if await conn.fetchval(_COUNT, tenant.tenant_id) >= MAX_ROLES:
        raise Conflict("too_many_roles", f"there are {MAX_ROLES} roles already: change or delete one")
    role_id = new_id()
    with _one_of_a_name():
        await conn.execute(_ADD, tenant.tenant_id, role_id, name, sorted(permissions), now)
    return role_id


async def find_role(conn: Connection, tenant: Tenant, role_id: UUID) -> RoleRow:
    """Read one role.

    Raises:
        NotFound: The tenant has none of this id.
    """
    row = await conn.fetchrow(_FIND, tenant.tenant_id, role_id)
    if row is None:
        raise NotFound("role")
    return msgspec.convert(row, RoleRow)


async def list_roles(
    conn: Connection, tenant: Tenant, *, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[RoleRow]:
    """List roles in the order in which they were made, behind *after*."""
    at, role_id = after if after is not None else (None, None)
    return [msgspec.convert(row, RoleRow) for row in await conn.fetch(_LIST, tenant.tenant_id, at, role_id, limit)]


async def lock_role(conn: Connection, tenant: Tenant, role_id: UUID) -> list[str]:
    """Return a role's permissions, and have nobody give or change it until the transaction ends.

    Raises:
        NotFound: The tenant has none of this id.
    """
    permissions: list[str] | None = await conn.fetchval(_LOCK, tenant.tenant_id, role_id)
    if permissions is None:
        raise NotFound("role")
    return permissions


async def read_permissions(conn: Connection, tenant: Tenant, role_id: UUID) -> list[str]:
    """Return a role's permissions as they are, also as the role that authenticates; none when it is not there."""
    return list(await conn.fetchval(_PERMISSIONS, tenant.tenant_id, role_id) or ())


async def share_role(conn: Connection, tenant: Tenant, role_id: UUID) -> list[str]:
    """Return the permissions of a role that is to be given, which stay so until the transaction ends.

    Raises:
        NotFound: The tenant has none of this id.
    """
    permissions: list[str] | None = await conn.fetchval(_SHARE, tenant.tenant_id, role_id)
    if permissions is None:
        raise NotFound("role")
    return permissions


async def change_role(
    conn: Connection,
    tenant: Tenant,
    role_id: UUID,
    *,
    name: str,
    permissions: Collection[Permission],
    now: dt.datetime,
) -> None:
    """Give a role another name and other permissions, for whoever has it, from their next request on.

    Raises:
        Conflict: ``role_name_taken``.
    """
    with _one_of_a_name():
        await conn.execute(_CHANGE, tenant.tenant_id, role_id, name, sorted(permissions), now)


async def delete_role(conn: Connection, tenant: Tenant, role_id: UUID, *, now: dt.datetime) -> None:
    """Take a role away that was locked by :func:`lock_role`.

    Raises:
        Conflict: ``role_in_use``: a member has it, or somebody is invited as it.
    """
    if await conn.fetchval(_USED, tenant.tenant_id, role_id, now):
        raise Conflict("role_in_use", "members have this role or are invited as it: give them another one first")
    await conn.execute(_DELETE, tenant.tenant_id, role_id)
