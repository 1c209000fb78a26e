"""Invitations: how people come into a tenant."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, delete, get, post

from analytics_core.db.invitations import list_invitations as read_invitations
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.joining import find_invited, join
from api.members import invite, take_back
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.members import AcceptInvitation, Invitation, Invite, Joined
from api.scopes import path_id

__all__ = ("accept_invitation", "create_invitation", "list_invitations", "revoke_invitation")

_LIST: Final = "invitations"
_CURSOR: Final = id_cursor(_LIST)


@post(
    "/members/invitations",
    tags=["members"],
    opt={"permission": Permission.MEMBERS_WRITE, "bodies": {"application/json": Invite}, "refusals": (403, 404, 409)},
)
async def create_invitation(request: Request[Any, Any, Any]) -> Invitation:
    """Invite somebody by mail, for seven days.

    The mail holds a link with which they join, once. You can make them nothing that you are not yourself.
    """
    return await invite(request, await read_json(request, Invite))


@post(
    "/auth/invitations/accept",
    tags=["sign-in"],
    opt={
        "is_open": True,
        "bodies": {"application/json": AcceptInvitation},
        "refusals": (401, 403, 404, 409, 410, 429),
    },
)
async def accept_invitation(request: Request[Any, Any, Any]) -> Joined:
    """Join a tenant with the token of an invitation.

    Whoever has an account with that address gives its password; anybody else gives a password to have one, and the
    address needs no other proof. Sign in after that.
    """
    wanted = await read_json(request, AcceptInvitation)
    invitation = await find_invited(request, wanted.token)
    return await join(request, invitation, name=wanted.name, password=wanted.password)


@get("/members/invitations", tags=["members"], opt={"permission": Permission.MEMBERS_READ, "query": (LIMIT, _CURSOR)})
async def list_invitations(request: Request[Any, Any, Any]) -> Page[Invitation]:
    """List invitations in the order in which they were made, and for 30 days those that have ended."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    resources, tenant = resources_of(request), caller_of(request).tenant
    async with resources.database.reading(tenant) as conn:
        rows = await read_invitations(conn, tenant, after=after, limit=limit + 1)
    now = resources.clock.now()
    return page_of(
        rows, limit, lambda row: Invitation.of(row, now=now), _LIST, lambda row: (row.created_at, row.invitation_id)
    )


@delete("/members/invitations/{invitation_id:str}", tags=["members"], opt={"permission": Permission.MEMBERS_WRITE})
async def revoke_invitation(request: Request[Any, Any, Any]) -> None:
    """Take an invitation back: its link is none from then on."""
    wanted = path_id(request, "invitation_id", what="invitation")
    await take_back(request, wanted)
