"""Who asks: a key or a person, the tenant that it acts for, and what it may do there."""

from __future__ import annotations

from uuid import UUID

import msgspec

from analytics_core.api_keys import KeyKind
from analytics_core.db.pool import Tenant
from analytics_core.db.tenants import KeyRow
from analytics_core.db.user_sessions import MemberSession
from analytics_core.ids import KeyId
from analytics_core.permissions import ALL_PERMISSIONS, ROLES, Permission, RoleName, permissions_of

__all__ = ("Caller", "Person")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever sent a request with a valid credential; all of it comes from that credential, nothing from the request.

    Attributes:
        tenant: Whose rows it works on.
        is_installation: Whether that is the installation's own tenant.
        status: The tenant's: ``active``, ``suspended`` or ``closing``.
        permissions: What it may do; who is held to sponsors may do no more than the role ``sponsor``.
        key_id: The API key that it showed, or with which it signed in.
        is_publishable: Whether that key is a publishable one, which anybody may have read out of a page.
        user_id: The person, when it is one.
        session_id: The session that this person signed in with.
        sponsor_ids: The sponsors whose rows alone it sees, none at all when there are none; ``None`` when it sees all
            of the tenant's. The tenant carries them into every transaction.
    """

    tenant: Tenant
    is_installation: bool
    status: str
    permissions: frozenset[Permission]
    key_id: KeyId | None = None
    is_publishable: bool = False
    user_id: UUID | None = None
    session_id: UUID | None = None
    sponsor_ids: frozenset[UUID] | None = None

    def __post_init__(self) -> None:
        """Hold a caller to its sponsors, whoever made it."""
        if self.sponsor_ids is not None:
            held = msgspec.structs.replace(self.tenant, sponsor_ids=self.sponsor_ids)
            msgspec.structs.force_setattr(self, "tenant", held)
            msgspec.structs.force_setattr(self, "permissions", self.permissions & ROLES[RoleName.SPONSOR])

    @property
    def caller_id(self) -> UUID:
        """The person's id, or that of the key where it is none."""
        caller_id = self.user_id or self.key_id
        if caller_id is None:
            raise AssertionError("a caller is a key or a person")
        return caller_id

    @property
    def actor(self) -> str:
        """Who it is, as what it changes keeps it."""
        return f"key:{self.key_id}" if self.user_id is None else f"user:{self.user_id}"

    @classmethod
    def of_key(cls, key: KeyRow) -> Caller:
        """Make the caller that a valid key stands for; a scope that this version does not know allows nothing."""
        scopes = key.scopes
        return cls(
            tenant=key.tenant,
            is_installation=key.is_installation,
            status=key.status,
            permissions=ALL_PERMISSIONS if scopes is None else frozenset(p for p in Permission if p in scopes),
            key_id=key.key_id,
            is_publishable=key.kind is KeyKind.PUBLISHABLE,
        )

    @classmethod
    def of_session(cls, session: MemberSession) -> Caller:
        """Make the caller that a member's session stands for."""
        is_sponsor = session.role is RoleName.SPONSOR
        return cls(
            tenant=session.tenant,
            is_installation=session.is_installation,
            status=session.status,
            permissions=permissions_of(session.role, session.custom),
            user_id=session.user_id,
            session_id=session.session_id,
            sponsor_ids=frozenset(session.sponsor_ids) if is_sponsor else None,
        )


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who asks about themselves alone, whichever tenants they belong to, if any.

    Attributes:
        user_id: Who.
        session_id: The session that they ask in.
        tenant_id: The tenant that it is in, if any.
    """

    user_id: UUID
    session_id: UUID
    tenant_id: UUID | None
