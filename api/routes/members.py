"""Members of the tenant: who they are, what they may do, and how they go."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, delete, get, patch

from analytics_core.db.memberships import list_members as read_members
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.members import change_member, take_out
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.members import ChangeMember, Member
from api.scopes import path_id

__all__ = ("list_members", "remove_member", "update_member")

_LIST: Final = "members"
_CURSOR: Final = id_cursor(_LIST)


@get("/members", tags=["members"], opt={"permission": Permission.MEMBERS_READ, "query": (LIMIT, _CURSOR)})
async def list_members(request: Request[Any, Any, Any]) -> Page[Member]:
    """List members in the order in which they came."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    tenant = caller_of(request).tenant
    async with resources_of(request).database.reading(tenant) as conn:
        rows = await read_members(conn, tenant.tenant_id, after=after, limit=limit + 1)
    return page_of(rows, limit, Member.of, _LIST, lambda row: (row.created_at, row.user_id))


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
    return await change_member(request, wanted, await read_json(request, ChangeMember))


@delete(
    "/members/{user_id:str}", tags=["members"], opt={"permission": Permission.MEMBERS_WRITE, "refusals": (403, 409)}
)
async def remove_member(request: Request[Any, Any, Any]) -> None:
    """Remove a member, whose sessions in this tenant end at once; it may be yourself, and not the last owner."""
    wanted = path_id(request, "user_id", what="member")
    await take_out(request, wanted)
