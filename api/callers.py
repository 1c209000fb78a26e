"""Who asks: a key or a person, the tenant that it acts for, and what it may do there."""

from __future__ import annotations

from uuid import UUID

import msgspec

from analytics_core.api_keys import KeyKind
from analytics_core.db.pool import Tenant
from analytics_core.db.tenants import KeyRow
from analytics_core.ids import KeyId
from analytics_core.permissions import ALL_PERMISSIONS, Permission

__all__ = ("Caller",)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever sent a request with a valid credential; all of it comes from that credential, nothing from the request.

    Attributes:
        tenant: Whose rows it works on.
        is_installation: Whether that is the installation's own tenant.
        status: The tenant's: ``active`` or ``suspended``.
        permissions: What it may do.
        key_id: The API key that it showed, or with which it signed in.
        is_publishable: Whether that key is a publishable one, which anybody may have read out of a page.
        user_id: The person, when it is one.
        sponsor_ids: The sponsors whose rows alone it sees; ``None`` when it sees all of the tenant's.
    """

    tenant: Tenant
    is_installation: bool
    status: str
    permissions: frozenset[Permission]
    key_id: KeyId | None = None
    is_publishable: bool = False
    user_id: UUID | None = None
    sponsor_ids: frozenset[UUID] | None = None

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
