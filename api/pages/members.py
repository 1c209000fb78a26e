"""Members on the page: who belongs to the tenant, who is invited, and what they may do."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.response import Redirect

from analytics_core.db.invitations import list_invitations
from analytics_core.db.memberships import list_members
from analytics_core.db.roles import list_roles
from analytics_core.db.sponsors import SponsorRow, list_sponsors
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
_MAX_SPONSORS: Final = 50
_SPONSOR_FIELD: Final = "sponsor:"
"""With which the names of checkboxes of sponsors begin; a field's name is there once."""
_REFUSED: Final = (InvalidRequest, Escalation, Conflict, QuotaExceeded)


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a form asks for.

    Attributes:
        role: A built-in role's name, or the id of a custom one.
        sponsor_ids: The sponsors that were ticked.
    """

    email: str = ""
    do: str = ""
    role: str = RoleName.VIEWER.value
    sponsor_ids: tuple[UUID, ...] = ()

    @classmethod
    async def of(cls, request: Request[Any, Any, Any]) -> _Wanted:
        """Read a form.

        Raises:
            NotFound: It ticks something that is no sponsor.
        """
        fields = await read_form(request, session_of(request))
        given = {name: value for name in ("email", "do", "role") if isinstance(value := fields.get(name, ""), str)}
        ticked = [name.removeprefix(_SPONSOR_FIELD) for name in fields if name.startswith(_SPONSOR_FIELD)]
        try:
            return cls(**given, sponsor_ids=tuple(map(UUID, ticked)))
        except ValueError as error:
            raise NotFound("sponsor") from error


async def _show(
    request: Request[Any, Any, Any],
    *,
    place: str = "",
    fault: str = "",
    wanted: _Wanted | None = None,
    status_code: int = 200,
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
        sponsors: list[SponsorRow] = []
        if Permission.SPONSORS_READ in caller_of(request).permissions:
            sponsors = await list_sponsors(conn, after=None, limit=_MAX_SPONSORS + 1, archived=False)
    now = resources.clock.now()
    last = rows[_PAGE - 1] if len(rows) > _PAGE else None
    return show(
        request,
        "members.html",
        status_code=status_code,
        tab="members",
        members=rows[:_PAGE],
        invitations=[each for row in invitations if (each := Invitation.of(row, now=now)).state == "open"],
        built_in=tuple(RoleName),
        roles=roles,
        named={role.role_id: role.name for role in roles},
        sponsors=sponsors[:_MAX_SPONSORS],
        sponsors_named={sponsor.sponsor_id: sponsor.name for sponsor in sponsors},
        has_more_sponsors=len(sponsors) > _MAX_SPONSORS,
        is_first_page=after is None,
        cursor=None if last is None else write_cursor("members", last.created_at, last.user_id),
        may_write=Permission.MEMBERS_WRITE in caller_of(request).permissions,
        place=place,
        fault=fault,
        wanted=wanted or _Wanted(),
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
    wanted = await _Wanted.of(request)
    role, role_id = _role(wanted.role)
    try:
        asked = Invite(email=wanted.email, role=role, role_id=role_id, sponsor_ids=list(wanted.sponsor_ids))
        await invite(request, asked)
    except _REFUSED as error:
        fault, status_code = _told(error)
        shown = msgspec.structs.replace(wanted, email=wanted.email[:MAX_EMAIL])
        return await _show(request, place="invite", fault=fault, wanted=shown, status_code=status_code)
    return Redirect("/settings/members#invited", status_code=303)


@post(
    "/settings/members/{user_id:str}",
    request_max_body_size=_MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.MEMBERS_WRITE},
)
async def change_one_member(request: Request[Any, Any, Any]) -> Response[Any]:
    """Give a member another role or other sponsors, or remove them."""
    user_id = path_id(request, "user_id", what="member")
    wanted = await _Wanted.of(request)
    try:
        if wanted.do == "remove":
            await take_out(request, user_id)
        else:
            role, role_id = _role(wanted.role)
            became = ChangeMember(role=role, role_id=role_id, sponsor_ids=list(wanted.sponsor_ids))
            await change_member(request, user_id, became)
    except _REFUSED as error:
        fault, status_code = _told(error)
        return await _show(request, place=str(user_id), fault=fault, wanted=wanted, status_code=status_code)
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
