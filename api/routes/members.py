"""Members of the tenant: who they are, what they may do, and how they go."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch

from analytics_core.db.memberships import (
    MemberRow,
    change_membership,
    end_membership,
    find_member,
    lock_member,
)
from analytics_core.db.memberships import list_members as read_members
from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.roles import read_permissions
from analytics_core.db.sponsors import require_sponsors
from analytics_core.db.user_sessions import end_tenant_sessions
from analytics_core.errors import NotFound
from analytics_core.granting import Rights, check_grant, rights_of
from analytics_core.permissions import Permission
from analytics_core.roles import Role
from api.assignments import find_rights, read_assignment, rights_of_caller
from api.auth import caller_of
from api.bodies import read_json
from api.errors import InvalidRequest
from api.pagination import LIMIT, id_cursor, write_cursor
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.members import ChangeMember, Member
from api.scopes import path_id
from api.writing import writing

__all__ = ("list_members", "remove_member", "update_member")

_LIST: Final = "members"
_CURSOR: Final = id_cursor(_LIST)


async def _find(conn: Connection, tenant: Tenant, user_id: UUID) -> MemberRow:
    row = await find_member(conn, tenant.tenant_id, user_id)
    if row is None:
        raise NotFound("member")
    return row


async def _lock(conn: Connection, tenant: Tenant, user_id: UUID) -> MemberRow:
    """Read a member, whom nobody else changes until the transaction ends."""
    if not await lock_member(conn, tenant.tenant_id, user_id):
        raise NotFound("member")
    return await _find(conn, tenant, user_id)


async def _rights(conn: Connection, tenant: Tenant, row: MemberRow) -> Rights:
    """Say what a member may do now."""
    custom = None if row.custom_role_id is None else await read_permissions(conn, tenant, row.custom_role_id)
    return rights_of(row.role, custom, row.sponsor_ids)


@get("/members", tags=["members"], opt={"permission": Permission.MEMBERS_READ, "query": (LIMIT, _CURSOR)})
async def list_members(request: Request[Any, Any, Any]) -> Page[Member]:
    """List members in the order in which they came."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    tenant = caller_of(request).tenant
    async with resources_of(request).database.tenant(tenant) as conn:
        rows = await read_members(conn, tenant.tenant_id, after=after, limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    cursor = None if last is None else write_cursor(_LIST, last.created_at, last.user_id)
    return Page([Member.of(row) for row in rows[:limit]], cursor)


@patch(
    "/members/{user_id:str}",
    tags=["members"],
    opt={"permission": Permission.MEMBERS_WRITE, "bodies": {"application/json": ChangeMember}, "refusals": (403, 409)},
)
async def update_member(request: Request[Any, Any, Any]) -> Member:
    """Give a member another role, from their next request on.

    You need all that they may do, before and after. The last owner stays one.
    """
    wanted = path_id(request, "user_id", what="member")
    assigned = read_assignment(await read_json(request, ChangeMember))
    if isinstance(assigned, list):
        raise InvalidRequest(assigned)
    async with writing(request, "member.update") as work:
        before = await _lock(work.conn, work.tenant, wanted)
        became = await find_rights(
            work.conn,
            work.tenant,
            role=assigned.role,
            custom_role_id=assigned.custom_role_id,
            sponsor_ids=assigned.sponsor_ids,
        )
        await require_sponsors(work.conn, assigned.sponsor_ids)
        check_grant(rights_of_caller(work.caller), await _rights(work.conn, work.tenant, before), became)
        await change_membership(
            work.conn,
            work.tenant.tenant_id,
            wanted,
            role=assigned.role,
            custom_role_id=assigned.custom_role_id,
            sponsor_ids=assigned.sponsor_ids,
        )
        after = Member.of(await _find(work.conn, work.tenant, wanted))
        return work.done(after, resource=wanted, before=Member.of(before))


@delete(
    "/members/{user_id:str}", tags=["members"], opt={"permission": Permission.MEMBERS_WRITE, "refusals": (403, 409)}
)
async def remove_member(request: Request[Any, Any, Any]) -> None:
    """Remove a member, whose sessions in this tenant end at once; it may be yourself, and not the last owner."""
    wanted = path_id(request, "user_id", what="member")
    async with writing(request, "member.remove", role=Role.AUTH) as work:
        before = await _lock(work.conn, work.tenant, wanted)
        check_grant(rights_of_caller(work.caller), await _rights(work.conn, work.tenant, before))
        await end_membership(work.conn, work.tenant.tenant_id, wanted, now=resources_of(request).clock.now())
        await end_tenant_sessions(work.conn, work.tenant.tenant_id, wanted)
        # The id says who it was: the record stays when the person's name has to go.
        work.done(None, resource=wanted, before=msgspec.structs.replace(Member.of(before), email=None, name=""))
