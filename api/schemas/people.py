"""The forms of signing in, and of what people see of themselves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.db.memberships import MembershipRow
from analytics_core.db.user_sessions import ListedSession
from analytics_core.db.users import UserRow

__all__ = (
    "Accepted",
    "ChangeMembership",
    "ChangePassword",
    "ChangeUser",
    "Forgot",
    "Membership",
    "OwnData",
    "Refresh",
    "Register",
    "Reset",
    "Session",
    "SignIn",
    "SignedIn",
    "Tokens",
    "User",
    "Verify",
)

_Email = Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
_Password = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
_Token = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Name = Annotated[str, msgspec.Meta(max_length=200)]
_Locale = Annotated[str, msgspec.Meta(min_length=2, max_length=35)]


class Register(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who wants an account."""

    email: _Email
    password: _Password
    name: _Name = ""
    locale: _Locale = "en"


class Accepted(msgspec.Struct, frozen=True):
    """The request was taken, and what follows comes by mail."""

    message: str


class Verify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token that was mailed."""

    token: _Token


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who signs in; `tenant` is the slug of the one to work in, by default the one joined first."""

    email: _Email
    password: _Password
    tenant: Annotated[str, msgspec.Meta(min_length=1, max_length=63)] | None = None


class Refresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The refresh token that was given last."""

    refresh_token: _Token


class Forgot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose password is forgotten."""

    email: _Email


class Reset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token that was mailed, and the password to be."""

    token: _Token
    password: _Password


class ChangePassword(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password that is, and the one to be."""

    current_password: _Password
    password: _Password


class ChangeUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    locale: _Locale | msgspec.UnsetType = msgspec.UNSET


class ChangeMembership(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different where you belong."""

    delivery_mail: bool


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """An access token for the next `expires_in` seconds, and the refresh token with which the next two are had.

    A refresh token is good once. One that is shown again ends its session.
    """

    access_token: str
    expires_in: int
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105 - what RFC 6750 calls it


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant that somebody belongs to; `custom_role_id` says more than `role`, where it is set.

    `delivery_mail` is whether they want a mail when flights fall behind, which goes to owners, admins and sales.
    """

    tenant_id: UUID
    slug: str
    name: str
    status: str
    role: str
    custom_role_id: UUID | None
    delivery_mail: bool
    created_at: dt.datetime

    @classmethod
    def of(cls, row: MembershipRow) -> Membership:
        """Show a stored membership."""
        return cls(
            tenant_id=row.tenant_id,
            slug=row.slug,
            name=row.name,
            status=row.status,
            role=row.role,
            custom_role_id=row.custom_role_id,
            delivery_mail=row.delivery_mail,
            created_at=row.created_at,
        )


class SignedIn(Tokens, frozen=True, kw_only=True):
    """Tokens, with the tenant that they are for (null for somebody without one) and all that could be chosen."""

    tenant: Membership | None
    tenants: list[Membership]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, as they see themselves."""

    user_id: UUID
    email: str | None
    name: str
    locale: str
    email_verified_at: dt.datetime | None
    created_at: dt.datetime
    tenants: list[Membership]

    @classmethod
    def of(cls, row: UserRow, memberships: Iterable[MembershipRow]) -> User:
        """Show somebody who is stored."""
        return cls(
            user_id=row.user_id,
            email=row.email,
            name=row.name,
            locale=row.locale,
            email_verified_at=row.email_verified_at,
            created_at=row.created_at,
            tenants=[Membership.of(membership) for membership in memberships],
        )


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Where somebody is signed in; `tenant` is a slug, `kind` is `api` or `page`."""

    session_id: UUID
    kind: str
    tenant: str | None
    user_agent: str
    created_at: dt.datetime
    seen_at: dt.datetime
    expires_at: dt.datetime
    is_current: bool

    @classmethod
    def of(cls, row: ListedSession, *, current: UUID) -> Session:
        """Show a stored session."""
        return cls(**msgspec.structs.asdict(row), is_current=row.session_id == current)


class OwnData(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept of somebody as a person."""

    exported_at: dt.datetime
    user: User
    sessions: list[Session]
