"""Members on the page: who belongs to the tenant, who is invited, and what they may do."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.response import Redirect

from analytics_core.db.invitations import list_invitations
from analytics_core.db.memberships import list_members
from analytics_core.db.roles import list_roles
from analytics_core.errors import Conflict, NotFound, QuotaExceeded
from analytics_core.granting import Escalation
from analytics_core.people import MAX_EMAIL
from analytics_core.permissions import Permission, RoleName
from api.auth import caller_of
from api.errors import InvalidRequest
from api.members import change_member, invite, take_back, take_out
from api.pages.forms import read_form
from api.pages.sessions import session_of
from api.pages.views import show
from api.pages.words import sentence
from api.pagination import id_cursor, write_cursor
from api.queries import Refusal
from api.resources import resources_of
from api.schemas.members import ChangeMember, Invitation, Invite
from api.scopes import path_id

__all__ = ("change_one_member", "invite_member", "revoke_one_invitation", "show_members")

_PAGE: Final = 50
_MAX_ROLES: Final = 200
_MAX_BYTES: Final = 16_384
_CURSOR: Final = id_cursor("members")
# Who is held to sponsors is made so by a request that names them.
_BUILT_IN: Final = tuple(role for role in RoleName if role is not RoleName.SPONSOR)
_REFUSED: Final = (InvalidRequest, Escalation, Conflict, QuotaExceeded)


async def _show(
    request: Request[Any, Any, Any], *, place: str = "", fault: str = "", typed: str = "", status_code: int = 200
) -> Response[Any]:
    try:
        after = _CURSOR.parse(request.query_params.get("cursor", "")) if "cursor" in request.query_params else None
    except Refusal:
        after = None
    resources, tenant = resources_of(request), caller_of(request).tenant
    async with resources.database.tenant(tenant) as conn:
        rows = await list_members(conn, tenant.tenant_id, after=after, limit=_PAGE + 1)
        invitations = await list_invitations(conn, tenant, after=None, limit=_MAX_ROLES)
        roles = await list_roles(conn, tenant, after=None, limit=_MAX_ROLES)
    now = resources.clock.now()
    last = rows[_PAGE - 1] if len(rows) > _PAGE else None
    return show(
        request,
        "members.html",
        status_code=status_code,
        tab="members",
        members=rows[:_PAGE],
        invitations=[each for row in invitations if (each := Invitation.of(row, now=now)).state == "open"],
        built_in=_BUILT_IN,
        roles=roles,
        named={role.role_id: role.name for role in roles},
        is_first_page=after is None,
        cursor=None if last is None else write_cursor("members", last.created_at, last.user_id),
        may_write=Permission.MEMBERS_WRITE in caller_of(request).permissions,
        place=place,
        fault=fault,
        typed=typed,
    )


def _told(error: InvalidRequest | Escalation | Conflict | QuotaExceeded) -> tuple[str, int]:
    match error:
        case InvalidRequest():
            return " ".join(sentence(fault.message) for fault in error.faults), 422
        case Escalation():
            return sentence(str(error)), 403
        case Conflict():
            return sentence(str(error)), 409
    return sentence(str(error)), 429


def _role(text: str) -> tuple[RoleName | None, UUID | None]:
    """Read what a list of roles gave: a built-in one by its name, or the id of a custom one."""
    if text in {role.value for role in RoleName}:
        return RoleName(text), None
    try:
        return None, UUID(text)
    except ValueError as error:
        raise NotFound("role") from error


async def _fields(request: Request[Any, Any, Any], *names: str) -> list[str]:
    fields = await read_form(request, session_of(request))
    return [value if isinstance(value := fields.get(name), str) else "" for name in names]


@get("/settings/members", opt={"permission": Permission.MEMBERS_READ})
async def show_members(request: Request[Any, Any, Any]) -> Response[Any]:
    """List members in the order in which they came, and whoever is invited."""
    return await _show(request)


@post(
    "/settings/members",
    request_max_body_size=_MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.MEMBERS_WRITE},
)
async def invite_member(request: Request[Any, Any, Any]) -> Response[Any]:
    """Invite somebody by mail."""
    email, given = await _fields(request, "email", "role")
    role, role_id = _role(given)
    try:
        await invite(request, Invite(email=email, role=role, role_id=role_id))
    except _REFUSED as error:
        fault, status_code = _told(error)
        return await _show(request, place="invite", fault=fault, typed=email[:MAX_EMAIL], status_code=status_code)
    return Redirect("/settings/members#invited", status_code=303)


@post(
    "/settings/members/{user_id:str}",
    request_max_body_size=_MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.MEMBERS_WRITE},
)
async def change_one_member(request: Request[Any, Any, Any]) -> Response[Any]:
    """Give a member another role, or remove them."""
    wanted = path_id(request, "user_id", what="member")
    do, given = await _fields(request, "do", "role")
    try:
        if do == "remove":
            await take_out(request, wanted)
        else:
            role, role_id = _role(given)
            await change_member(request, wanted, ChangeMember(role=role, role_id=role_id))
    except _REFUSED as error:
        fault, status_code = _told(error)
        return await _show(request, place=str(wanted), fault=fault, status_code=status_code)
    return Redirect("/settings/members", status_code=303)


@post(
    "/settings/members/invitations/{invitation_id:str}",
    request_max_body_size=_MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.MEMBERS_WRITE},
)
async def revoke_one_invitation(request: Request[Any, Any, Any]) -> Response[Any]:
    """Take an invitation back."""
    wanted = path_id(request, "invitation_id", what="invitation")
    await read_form(request, session_of(request))
    await take_back(request, wanted)
    return Redirect("/settings/members#invited", status_code=303)
