"""Invitations: how people come into a tenant."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, delete, get, post

from analytics_core.db.invitations import add_invitation
from analytics_core.db.invitations import list_invitations as read_invitations
from analytics_core.db.invitations import revoke_invitation as take_back
from analytics_core.db.outbox import queue_mail
from analytics_core.db.roles import find_role
from analytics_core.db.sponsors import require_sponsors
from analytics_core.db.tenants import find_tenant_name
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.granting import check_grant
from analytics_core.invitations import invitation_mail, new_token
from analytics_core.people import parse_email
from analytics_core.permissions import Permission
from api.assignments import find_rights, read_assignment, rights_of_caller
from api.auth import caller_of
from api.bodies import read_json
from api.errors import Fault, InvalidRequest
from api.joining import find_invited, join
from api.pagination import LIMIT, id_cursor, write_cursor
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.members import AcceptInvitation, Invitation, Invite, Joined
from api.scopes import path_id
from api.writing import writing

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
    resources = resources_of(request)
    wanted = await read_json(request, Invite)
    faults: list[Fault] = []
    email = ""
    try:
        email = parse_email(wanted.email)
    except InvalidInput as error:
        faults.append(Fault("/email", error.code, error.reason))
    assigned = read_assignment(wanted)
    if isinstance(assigned, list):
        raise InvalidRequest(faults + assigned)
    if faults:
        raise InvalidRequest(faults)
    async with writing(request, "invitation.create") as work:
        conn, tenant, now, token = work.conn, work.tenant, resources.clock.now(), new_token()
        rights = await find_rights(
            conn,
            tenant,
            role=assigned.role,
            custom_role_id=assigned.custom_role_id,
            sponsor_ids=assigned.sponsor_ids,
        )
        await require_sponsors(conn, assigned.sponsor_ids)
        check_grant(rights_of_caller(work.caller), rights)
        role = assigned.role.value
        if assigned.custom_role_id is not None:
            role = (await find_role(conn, tenant, assigned.custom_role_id)).name
        row = await add_invitation(
            conn,
            tenant,
            email=email,
            role=assigned.role,
            custom_role_id=assigned.custom_role_id,
            sponsor_ids=assigned.sponsor_ids,
            token=token,
            invited_by=work.caller.user_id,
            now=now,
        )
        mail = invitation_mail(
            email,
            token,
            tenant=await find_tenant_name(conn, tenant),
            role=role,
            expires_at=row.expires_at,
            public_url=resources.settings.people.public_url,
        )
        await queue_mail(conn, mail, now=now, tenant=tenant)
        return work.done(Invitation.of(row, now=now), resource=row.invitation_id)


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
    async with resources.database.tenant(tenant) as conn:
        rows = await read_invitations(conn, tenant, after=after, limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    cursor = None if last is None else write_cursor(_LIST, last.created_at, last.invitation_id)
    now = resources.clock.now()
    return Page([Invitation.of(row, now=now) for row in rows[:limit]], cursor)


@delete("/members/invitations/{invitation_id:str}", tags=["members"], opt={"permission": Permission.MEMBERS_WRITE})
async def revoke_invitation(request: Request[Any, Any, Any]) -> None:
    """Take an invitation back: its link is none from then on."""
    wanted = path_id(request, "invitation_id", what="invitation")
    async with writing(request, "invitation.revoke") as work:
        if not await take_back(work.conn, work.tenant, wanted, now=resources_of(request).clock.now()):
            raise NotFound("invitation")
        work.done(None, resource=wanted)
