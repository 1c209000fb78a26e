"""Accepting an invitation: by somebody who is known here already, or by somebody new."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request

from analytics_core.db.invitations import OpenInvitation, close_invitation, find_open_invitation, lock_invitation
from analytics_core.db.memberships import add_membership
from analytics_core.db.users import change_user, create_user, find_credentials, set_password, verify_email
from analytics_core.errors import Forbidden, NotFound
from analytics_core.ids import new_id
from analytics_core.invitations import InvitationEnded, is_token
from analytics_core.passwords import check_password
from analytics_core.people import parse_name
from analytics_core.roles import Role
from api.callers import Caller
from api.resources import resources_of
from api.schemas.members import Joined
from api.sign_in import check_credentials
from api.writing import Work, writing

__all__ = ("find_invited", "join")


class _Joiner(msgspec.Struct, frozen=True):
    """Who accepts.

    Attributes:
        password_hash: To be set; ``None`` for somebody who has shown that they know theirs.
        is_new: Whether nobody has this address yet.
    """

    user_id: UUID
    name: str
    password_hash: str | None
    is_new: bool


async def find_invited(request: Request[Any, Any, Any], token: str) -> OpenInvitation:
    """Find the invitation that a token is of.

    Raises:
        NotFound: There is none, or it was taken back.
        InvitationEnded: It was accepted, or its time is over.
        Forbidden: The tenant is suspended.
        Unavailable: The database does not answer.
    """
    resources = resources_of(request)
    found = None
    if is_token(token):
        async with resources.database.auth() as conn:
            found = await find_open_invitation(conn, token)
    if found is None or found.outcome == "revoked":
        raise NotFound("invitation")
    if found.outcome is not None or found.expires_at <= resources.clock.now():
        raise InvitationEnded("this invitation was accepted, or its time is over: ask for another one")
    if found.status != "active":
        raise Forbidden("this tenant is suspended: nobody can join it", code="tenant_suspended")
    return found


async def _read_joiner(
    request: Request[Any, Any, Any], invitation: OpenInvitation, *, name: str, password: str
) -> _Joiner:
    resources = resources_of(request)
    async with resources.database.auth() as conn:
        known = await find_credentials(conn, invitation.email)
    if known is not None and (known.email_verified_at is not None or known.status != "active"):
        user = await check_credentials(request, email=invitation.email, password=password)
        return _Joiner(user.user_id, user.name, None, is_new=False)
    # Whoever registered with this address before has proven nothing; who has the token has.
    name = parse_name(name)
    check_password(password, context=(invitation.email, name))
    hashed = await resources.passwords.hash(password)
    return _Joiner(new_id() if known is None else known.user_id, name, hashed, is_new=known is None)


async def join(request: Request[Any, Any, Any], invitation: OpenInvitation, *, name: str, password: str) -> Joined:
    """Take whoever has an invitation's token into its tenant.

    Args:
        request: Without a credential.
        invitation: As :func:`find_invited` found it.
        name: How they want to be called, if they are new.
        password: That which they have here, or are to have.

    Raises:
        InvalidInput: The name, or a new password, cannot be used.
        WrongCredentials: They have another password.
        TooSoon: There were too many wrong ones.
        InvitationEnded: Somebody was faster.
        Conflict: ``already_member``, or ``email_taken`` in this very moment.
    """
    joiner = await _read_joiner(request, invitation, name=name, password=password)
    caller = Caller(
        tenant=invitation.tenant,
        is_installation=invitation.is_installation,
        status=invitation.status,
        permissions=frozenset(),
        user_id=joiner.user_id,
    )
    async with writing(request, "invitation.accept", role=Role.AUTH, caller=caller) as work:
        return await _join(work, invitation, joiner, now=resources_of(request).clock.now())


async def _join(work: Work, invitation: OpenInvitation, joiner: _Joiner, *, now: dt.datetime) -> Joined:
    conn = work.conn
    if not await lock_invitation(conn, invitation, now=now):
        raise InvitationEnded("this invitation was accepted, taken back, or its time is over")
    if joiner.is_new:
        await create_user(
            conn,
            email=invitation.email,
            name=joiner.name,
            password_hash=joiner.password_hash,
            verified_at=now,
            user_id=joiner.user_id,
            now=now,
        )
    elif joiner.password_hash is not None:
        await change_user(conn, joiner.user_id, name=joiner.name, locale=None)
        await set_password(conn, joiner.user_id, joiner.password_hash, now=now)
        await verify_email(conn, joiner.user_id, now=now)
    await add_membership(
        conn,
        invitation.tenant_id,
        joiner.user_id,
        role=invitation.role,
        custom_role_id=invitation.custom_role_id,
        sponsor_ids=invitation.sponsor_ids,
        now=now,
    )
    await close_invitation(conn, invitation, now=now)
    joined = Joined(
        user_id=joiner.user_id,
        tenant_id=invitation.tenant_id,
        tenant_name=invitation.tenant_name,
        role=invitation.role,
        role_id=invitation.custom_role_id,
    )
    return work.done(joined, resource=invitation.invitation_id)
