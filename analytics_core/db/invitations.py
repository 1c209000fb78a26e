"""Invitations of people into a tenant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict
from analytics_core.ids import TenantId, TenantNo, new_id
from analytics_core.invitations import LIFETIME, hash_token
from analytics_core.permissions import RoleName

__all__ = (
    "InvitationRow",
    "OpenInvitation",
    "add_invitation",
    "close_invitation",
    "drop_invitations",
    "find_invitation",
    "find_open_invitation",
    "list_invitations",
    "lock_invitation",
    "revoke_invitation",
)


class InvitationRow(msgspec.Struct, frozen=True):
    """An invitation.

    Attributes:
        invited_by: The person who invites; ``None`` when a key did.
        outcome: ``accepted``, ``revoked`` or ``expired``; ``None`` while nobody has said so.
    """

    invitation_id: UUID
    email: str
    role: RoleName
    custom_role_id: UUID | None
    sponsor_ids: list[UUID]
    invited_by: UUID | None
    created_at: dt.datetime
    expires_at: dt.datetime
    outcome: str | None
    closed_at: dt.datetime | None


class OpenInvitation(InvitationRow, frozen=True):
    """An invitation as whoever has its token finds it, with the tenant that they are invited to."""

    tenant_id: TenantId
    tenant_no: TenantNo
    tenant_name: str
    is_installation: bool
    status: str

    @property
    def tenant(self) -> Tenant:
        """The tenant as a transaction names it."""
        return Tenant(self.tenant_id, self.tenant_no)


_MEMBER: Final[LiteralString] = """/* invitations.member */
select exists (select from app.memberships m join app.users u using (user_id)
    where m.tenant_id = $1 and m.removed_at is null and lower(u.email collate "C") = lower($2::text collate "C"))"""

# One whose time is over stands in nobody's way.
_EXPIRE: Final[LiteralString] = """/* invitations.expire */
update app.invitations set outcome = 'expired', closed_at = expires_at
where tenant_id = $1 and lower(email collate "C") = lower($2::text collate "C") and outcome is null
    and expires_at <= $3"""

_ADD: Final[LiteralString] = """/* invitations.add */
insert into app.invitations (tenant_id, invitation_id, email, role, custom_role_id, sponsor_ids, token_hash,
    invited_by, created_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"""

_FIND: Final[LiteralString] = """/* invitations.find */
select invitation_id, email, role, custom_role_id, sponsor_ids, invited_by, created_at, expires_at, outcome, closed_at
from app.invitations where tenant_id = $1 and invitation_id = $2"""

_LIST: Final[LiteralString] = """/* invitations.list */
select invitation_id, email, role, custom_role_id, sponsor_ids, invited_by, created_at, expires_at, outcome, closed_at
from app.invitations
where tenant_id = $1 and ($2::timestamptz is null or (created_at, invitation_id) > ($2, $3::uuid))
order by created_at, invitation_id limit $4"""

_REVOKE: Final[LiteralString] = """/* invitations.revoke */
update app.invitations set outcome = 'revoked', closed_at = $3
where tenant_id = $1 and invitation_id = $2 and outcome is null"""

_FIND_OPEN: Final[LiteralString] = """/* invitations.find_open */
select i.invitation_id, i.email, i.role, i.custom_role_id, i.sponsor_ids, i.invited_by, i.created_at, i.expires_at,
    i.outcome, i.closed_at, i.tenant_id, t.tenant_no, t.name as tenant_name, t.is_installation, t.status
from app.invitations i join app.tenants t using (tenant_id)
where i.token_hash = $1 and t.status <> 'closed'"""

_LOCK: Final[LiteralString] = """/* invitations.lock */
select outcome is null and expires_at > $3 as is_open from app.invitations
where tenant_id = $1 and invitation_id = $2 for update"""

_CLOSE: Final[LiteralString] = """/* invitations.close */
update app.invitations set outcome = 'accepted', closed_at = $3 where tenant_id = $1 and invitation_id = $2"""

_DROP: Final[LiteralString] = (
    """/* invitations.drop */ delete from app.invitations where expires_at < $1 returning true"""
)


async def add_invitation(
    conn: Connection,
    tenant: Tenant,
    *,
    email: str,
    role: RoleName,
    custom_role_id: UUID | None,
    sponsor_ids: Sequence[UUID],
    token: str,
    invited_by: UUID | None,
    now: dt.datetime,
) -> InvitationRow:
    """Invite somebody, in a transaction of the tenant as the API.

    Raises:
        Conflict: ``already_member``, or ``already_invited`` while an invitation of theirs is open.
    """
    if await conn.fetchval(_MEMBER, tenant.tenant_id, email):
        raise Conflict("already_member", "this person belongs to the tenant already")
    await conn.execute(_EXPIRE, tenant.tenant_id, email, now)
    invitation_id = new_id()
    try:
        await conn.execute(
            _ADD,
            tenant.tenant_id,
            invitation_id,
            email,
            role.value,
            custom_role_id,
            list(sponsor_ids),
            hash_token(token),
            invited_by,
            now,
            now + LIFETIME,
        )
    except asyncpg.UniqueViolationError as error:
        text = "this person is invited already: revoke that invitation to send another one"
        raise Conflict("already_invited", text) from error
    return msgspec.convert(await conn.fetchrow(_FIND, tenant.tenant_id, invitation_id), InvitationRow)


async def find_invitation(conn: Connection, tenant: Tenant, invitation_id: UUID) -> InvitationRow | None:
    """Read one invitation, in a transaction of the tenant as the API."""
    row = await conn.fetchrow(_FIND, tenant.tenant_id, invitation_id)
    return None if row is None else msgspec.convert(row, InvitationRow)


async def list_invitations(
    conn: Connection, tenant: Tenant, *, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[InvitationRow]:
    """List invitations in the order in which they were made, behind *after*; those too that have ended of late."""
    at, invitation_id = after if after is not None else (None, None)
    rows = await conn.fetch(_LIST, tenant.tenant_id, at, invitation_id, limit)
    return [msgspec.convert(row, InvitationRow) for row in rows]


async def revoke_invitation(conn: Connection, tenant: Tenant, invitation_id: UUID, *, now: dt.datetime) -> bool:
    """Take an invitation back; ``False`` when it is not there, was accepted, or was taken back before."""
    return str(await conn.execute(_REVOKE, tenant.tenant_id, invitation_id, now)) == "UPDATE 1"


async def find_open_invitation(conn: Connection, token: str) -> OpenInvitation | None:
    """Find the invitation that a token is of, whatever became of it; as the role that authenticates."""
    row = await conn.fetchrow(_FIND_OPEN, hash_token(token))
    return None if row is None else msgspec.convert(row, OpenInvitation)


async def lock_invitation(conn: Connection, invitation: OpenInvitation, *, now: dt.datetime) -> bool:
    """Have nobody else accept or revoke an invitation until the transaction ends; ``False`` when it is not open."""
    return bool(await conn.fetchval(_LOCK, invitation.tenant_id, invitation.invitation_id, now))


async def close_invitation(conn: Connection, invitation: OpenInvitation, *, now: dt.datetime) -> None:
    """Note that an invitation was accepted; as the role that authenticates, in the transaction of it."""
    await conn.execute(_CLOSE, invitation.tenant_id, invitation.invitation_id, now)


async def drop_invitations(conn: Connection, *, before: dt.datetime) -> int:
    """Let go of invitations whose time was over before some instant; as ingest. Returns how many."""
    return len(await conn.fetch(_DROP, before))
