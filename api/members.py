"""Who belongs to a tenant: inviting, changing and removing people, over the API and on the page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request

from analytics_core.db.invitations import add_invitation, revoke_invitation
from analytics_core.db.memberships import (
    MemberRow,
    change_membership,
    end_membership,
    find_member,
    lock_member,
)
from analytics_core.db.outbox import queue_mail
from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.roles import find_role, read_permissions
from analytics_core.db.sponsors import require_sponsors
from analytics_core.db.tenants import find_tenant_name
from analytics_core.db.user_sessions import end_tenant_sessions
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.granting import Rights, check_grant, rights_of
from analytics_core.invitations import invitation_mail, new_token
from analytics_core.people import parse_email
from analytics_core.roles import Role
from api.assignments import find_rights, read_assignment, rights_of_caller
from api.errors import Fault, InvalidRequest
from api.resources import resources_of
from api.schemas.members import ChangeMember, Invitation, Invite, Member
from api.writing import writing

__all__ = ("change_member", "invite", "take_back", "take_out")


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


async def change_member(request: Request[Any, Any, Any], user_id: UUID, wanted: ChangeMember) -> Member:
    """Give a member another role, from their next request on.

    Raises:
        InvalidRequest: What is wanted is no role.
        NotFound: There is no such member, custom role or sponsor.
        Escalation: It is about more than whoever asks may do.
        Conflict: ``last_owner``.
    """
    assigned = read_assignment(wanted)
    if isinstance(assigned, list):
        raise InvalidRequest(assigned)
    async with writing(request, "member.update") as work:
        before = await _lock(work.conn, work.tenant, user_id)
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
            user_id,
            role=assigned.role,
            custom_role_id=assigned.custom_role_id,
            sponsor_ids=assigned.sponsor_ids,
        )
        after = Member.of(await _find(work.conn, work.tenant, user_id))
        return work.done(after, resource=user_id, before=Member.of(before))


async def take_out(request: Request[Any, Any, Any], user_id: UUID) -> None:
    """Remove a member, whose sessions in the tenant end at once.

    Raises:
        NotFound: There is no such member.
        Escalation: They may do more than whoever asks.
        Conflict: ``last_owner``.
    """
    async with writing(request, "member.remove", role=Role.AUTH) as work:
        before = await _lock(work.conn, work.tenant, user_id)
        check_grant(rights_of_caller(work.caller), await _rights(work.conn, work.tenant, before))
        await end_membership(work.conn, work.tenant.tenant_id, user_id, now=resources_of(request).clock.now())
        await end_tenant_sessions(work.conn, work.tenant.tenant_id, user_id)
        # The id says who it was: the record stays when the person's name has to go.
        work.done(None, resource=user_id, before=msgspec.structs.replace(Member.of(before), email=None, name=""))


async def invite(request: Request[Any, Any, Any], wanted: Invite) -> Invitation:
    """Invite somebody by mail.

    Raises:
        InvalidRequest: The address or what they are to be cannot be used.
        NotFound: There is no such custom role or sponsor.
        Escalation: They would be more than whoever asks is.
        Conflict: They are a member, or invited already.
    """
    resources = resources_of(request)
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


async def take_back(request: Request[Any, Any, Any], invitation_id: UUID) -> None:
    """Take an invitation back: its link is none from then on.

    Raises:
        NotFound: There is none that is open.
    """
    async with writing(request, "invitation.revoke") as work:
        if not await revoke_invitation(work.conn, work.tenant, invitation_id, now=resources_of(request).clock.now()):
            raise NotFound("invitation")
        work.done(None, resource=invitation_id)
