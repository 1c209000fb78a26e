"""Custom roles."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, delete, get, patch, post

from analytics_core.db.roles import add_role, change_role, find_role, lock_role
from analytics_core.db.roles import delete_role as remove_role
from analytics_core.db.roles import list_roles as read_roles
from analytics_core.errors import InvalidInput
from analytics_core.granting import Rights, check_grant
from analytics_core.people import parse_name
from analytics_core.permissions import Permission, RoleName, parse_permissions
from api.assignments import rights_of_caller
from api.auth import caller_of
from api.bodies import read_json
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.roles import AddRole, ChangeRole, CustomRole
from api.scopes import path_id
from api.writing import writing

__all__ = ("create_role", "delete_role", "get_role", "list_roles", "update_role")

_LIST: Final = "roles"
_CURSOR: Final = id_cursor(_LIST)
_MAX_NAME: Final = 60


def _parse_name(text: str) -> str:
    name = parse_name(text)
    if not 1 <= len(name) <= _MAX_NAME:
        raise InvalidInput("/name", f"a role's name has 1 to {_MAX_NAME} characters")
    if name.casefold() in set(RoleName):
        raise InvalidInput("/name", "is the name of a built-in role")
    return name


@post(
    "/roles",
    tags=["roles"],
    opt={"permission": Permission.ROLES_WRITE, "bodies": {"application/json": AddRole}, "refusals": (403, 409)},
)
async def create_role(request: Request[Any, Any, Any]) -> CustomRole:
    """Make a role of your own.

    It may have any permissions that you have yourself. Members have it from `POST /members/invitations` or
    `PATCH /members/{user_id}` on.
    """
    wanted = await read_json(request, AddRole)
    name, permissions = _parse_name(wanted.name), parse_permissions(wanted.permissions, path="/permissions")
    check_grant(rights_of_caller(caller_of(request)), _rights(request, permissions))
    async with writing(request, "role.create") as work:
        now = resources_of(request).clock.now()
        role_id = await add_role(work.conn, work.tenant, name=name, permissions=permissions, now=now)
        return work.done(CustomRole.of(await find_role(work.conn, work.tenant, role_id)), resource=role_id)


@get("/roles", tags=["roles"], opt={"permission": Permission.ROLES_READ, "query": (LIMIT, _CURSOR)})
async def list_roles(request: Request[Any, Any, Any]) -> Page[CustomRole]:
    """List custom roles in the order in which they were made; built-in ones are the same everywhere."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    tenant = caller_of(request).tenant
    async with resources_of(request).database.reading(tenant) as conn:
        rows = await read_roles(conn, tenant, after=after, limit=limit + 1)
    return page_of(rows, limit, CustomRole.of, _LIST, lambda row: (row.created_at, row.role_id))


@get("/roles/{role_id:str}", tags=["roles"], opt={"permission": Permission.ROLES_READ})
async def get_role(request: Request[Any, Any, Any]) -> CustomRole:
    """Read one custom role."""
    wanted, tenant = path_id(request, "role_id", what="role"), caller_of(request).tenant
    async with resources_of(request).database.reading(tenant) as conn:
        return CustomRole.of(await find_role(conn, tenant, wanted))


@patch(
    "/roles/{role_id:str}",
    tags=["roles"],
    opt={"permission": Permission.ROLES_WRITE, "bodies": {"application/json": ChangeRole}, "refusals": (403, 409)},
)
async def update_role(request: Request[Any, Any, Any]) -> CustomRole:
    """Change a role, for whoever has it, from their next request on.

    You need all that it lets one do, before and after: nobody takes away what they could not give.
    """
    wanted = path_id(request, "role_id", what="role")
    change = await read_json(request, ChangeRole)
    name = None if change.name is msgspec.UNSET else _parse_name(change.name)
    permissions = None
    if change.permissions is not msgspec.UNSET:
        permissions = parse_permissions(change.permissions, path="/permissions")
    async with writing(request, "role.update") as work:
        known = _known(await lock_role(work.conn, work.tenant, wanted))
        before = await find_role(work.conn, work.tenant, wanted)
        became = known if permissions is None else permissions
        check_grant(rights_of_caller(work.caller), _rights(request, known), _rights(request, became))
        now = resources_of(request).clock.now()
        await change_role(work.conn, work.tenant, wanted, name=name or before.name, permissions=became, now=now)
        after = CustomRole.of(await find_role(work.conn, work.tenant, wanted))
        return work.done(after, resource=wanted, before=CustomRole.of(before))


@delete("/roles/{role_id:str}", tags=["roles"], opt={"permission": Permission.ROLES_WRITE, "refusals": (403, 409)})
async def delete_role(request: Request[Any, Any, Any]) -> None:
    """Take a role away that no member has and nobody is invited as."""
    wanted = path_id(request, "role_id", what="role")
    async with writing(request, "role.delete") as work:
        known = _known(await lock_role(work.conn, work.tenant, wanted))
        check_grant(rights_of_caller(work.caller), _rights(request, known))
        before = CustomRole.of(await find_role(work.conn, work.tenant, wanted))
        await remove_role(work.conn, work.tenant, wanted, now=resources_of(request).clock.now())
        work.done(None, resource=wanted, before=before)


def _known(permissions: list[str]) -> frozenset[Permission]:
    return frozenset(Permission(text) for text in permissions if text in set(Permission))


def _rights(request: Request[Any, Any, Any], permissions: frozenset[Permission]) -> Rights:
    """A role says nothing of sponsors: whoever gives it does."""
    return Rights(permissions, caller_of(request).sponsor_ids)
