"""The forms of members, of invitations, and of what somebody is made in a tenant."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.db.invitations import InvitationRow
from analytics_core.db.memberships import MemberRow
from analytics_core.people import MAX_EMAIL, MAX_NAME
from analytics_core.permissions import RoleName

__all__ = (
    "AcceptInvitation",
    "Assignment",
    "ChangeMember",
    "Invitation",
    "InvitationState",
    "Invite",
    "Joined",
    "Member",
)

_SponsorIds = Annotated[list[UUID], msgspec.Meta(max_length=100)]


class Assignment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody is to be: a built-in `role`, or the custom role of `role_id`.

    With `sponsor_ids` they see the rows of those sponsors alone, and do no more than the role `sponsor`, which needs
    them. A custom role may have them, and no other role has.
    """

    role: RoleName | None = None
    role_id: UUID | None = None
    sponsor_ids: _SponsorIds = []


class Invite(Assignment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to invite, and as what."""

    email: Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_EMAIL * 2)]


class ChangeMember(Assignment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a member is from now on, as a whole."""


class AcceptInvitation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token of the mail, and your password: that which you have here, or one to have from now on.

    `name` is how you are called, if you are new here.
    """

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME * 4)] = ""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who belongs to the tenant. With a `role_id`, that role says what they may do, and `role` whose rows."""

    user_id: UUID
    email: str | None
    name: str
    role: RoleName
    role_id: UUID | None
    sponsor_ids: list[UUID]
    created_at: dt.datetime

    @classmethod
    def of(cls, row: MemberRow) -> Member:
        """Show a stored membership."""
        return cls(
            user_id=row.user_id,
            email=row.email,
            name=row.name,
            role=row.role,
            role_id=row.custom_role_id,
            sponsor_ids=row.sponsor_ids,
            created_at=row.created_at,
        )


class InvitationState(enum.StrEnum):
    """How an invitation stands."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was invited; `invited_by` is the person who did it, and null when a key did."""

    invitation_id: UUID
    email: str
    role: RoleName
    role_id: UUID | None
    sponsor_ids: list[UUID]
    state: InvitationState
    invited_by: UUID | None
    created_at: dt.datetime
    expires_at: dt.datetime
    closed_at: dt.datetime | None

    @classmethod
    def of(cls, row: InvitationRow, *, now: dt.datetime) -> Invitation:
        """Show a stored invitation as it stands at some instant."""
        state = InvitationState.OPEN if row.expires_at > now else InvitationState.EXPIRED
        if row.outcome is not None:
            state = InvitationState(row.outcome)
        return cls(
            invitation_id=row.invitation_id,
            email=row.email,
            role=row.role,
            role_id=row.custom_role_id,
            sponsor_ids=row.sponsor_ids,
            state=state,
            invited_by=row.invited_by,
            created_at=row.created_at,
            expires_at=row.expires_at,
            closed_at=row.closed_at,
        )


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """Who you are here, and what you have joined; sign in with your address and password."""

    user_id: UUID
    tenant_id: UUID
    tenant_name: str
    role: RoleName
    role_id: UUID | None
