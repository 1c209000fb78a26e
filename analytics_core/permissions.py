"""What may be done, as ``resource:action``, and the roles that bundle it.

A closed set: a route names the one permission that it needs, a role, a key's scopes and a custom role are subsets.

Source: NIST RBAC (ANSI INCITS 359), core and hierarchical.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from analytics_core.errors import InvalidInput

__all__ = (
    "ALL_PERMISSIONS",
    "INSTALLATION_PERMISSIONS",
    "ROLES",
    "Permission",
    "RoleName",
    "parse_permissions",
    "permissions_of",
)


class Permission(enum.StrEnum):
    """One thing that may be done to one kind of thing."""

    ANALYTICS_READ = "analytics:read"
    ATTRIBUTION_READ = "attribution:read"
    ATTRIBUTION_WRITE = "attribution:write"
    AUDIT_READ = "audit:read"
    CAMPAIGNS_READ = "campaigns:read"
    CAMPAIGNS_WRITE = "campaigns:write"
    ERASURES_READ = "erasures:read"
    ERASURES_WRITE = "erasures:write"
    EVENTS_READ = "events:read"
    EVENTS_WRITE = "events:write"
    HITS_READ = "hits:read"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    LEDGER_READ = "ledger:read"
    LINKS_READ = "links:read"
    LINKS_WRITE = "links:write"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    PODCASTS_READ = "podcasts:read"
    PODCASTS_WRITE = "podcasts:write"
    REPORTS_READ = "reports:read"
    REPORTS_WRITE = "reports:write"
    RESTATEMENTS_READ = "restatements:read"
    ROLES_READ = "roles:read"
    ROLES_WRITE = "roles:write"
    SPIKES_READ = "spikes:read"
    SPIKES_WRITE = "spikes:write"
    SPONSORS_READ = "sponsors:read"
    SPONSORS_WRITE = "sponsors:write"
    TENANTS_READ = "tenants:read"
    TENANTS_WRITE = "tenants:write"
    TENANT_CLOSE = "tenant:close"
    TENANT_READ = "tenant:read"
    TENANT_WRITE = "tenant:write"


ALL_PERMISSIONS: Final = frozenset(Permission)

INSTALLATION_PERMISSIONS: Final = frozenset((Permission.TENANTS_READ, Permission.TENANTS_WRITE))
"""What is about all tenants: good for members and keys of the installation's own tenant alone."""


class RoleName(enum.StrEnum):
    """The built-in roles, from most to least."""

    OWNER = "owner"
    ADMIN = "admin"
    ANALYST = "analyst"
    SALES = "sales"
    VIEWER = "viewer"
    SPONSOR = "sponsor"


_VIEWER: Final = frozenset(
    (
        Permission.ANALYTICS_READ,
        Permission.CAMPAIGNS_READ,
        Permission.LINKS_READ,
        Permission.PODCASTS_READ,
        Permission.TENANT_READ,
    )
)
_ANALYST: Final = _VIEWER | {
    Permission.ATTRIBUTION_READ,
    Permission.ATTRIBUTION_WRITE,
    Permission.EVENTS_READ,
    Permission.HITS_READ,
    Permission.LEDGER_READ,
    Permission.REPORTS_READ,
    Permission.REPORTS_WRITE,
    Permission.RESTATEMENTS_READ,
    Permission.SPIKES_READ,
    Permission.SPIKES_WRITE,
    Permission.SPONSORS_READ,
}
_SALES: Final = _VIEWER | {
    Permission.ATTRIBUTION_READ,
    Permission.ATTRIBUTION_WRITE,
    Permission.CAMPAIGNS_WRITE,
    Permission.LINKS_WRITE,
    Permission.REPORTS_READ,
    Permission.REPORTS_WRITE,
    Permission.SPONSORS_READ,
    Permission.SPONSORS_WRITE,
}

ROLES: Final[Mapping[RoleName, frozenset[Permission]]] = MappingProxyType(
    {
        RoleName.OWNER: ALL_PERMISSIONS,
        RoleName.ADMIN: ALL_PERMISSIONS - {Permission.TENANT_CLOSE, Permission.TENANTS_WRITE},
        RoleName.ANALYST: _ANALYST,
        RoleName.SALES: _SALES,
        RoleName.VIEWER: _VIEWER,
        # What a sponsor reads is cut down further, to its own rows, where they are read.
        RoleName.SPONSOR: frozenset(
            (
                Permission.ATTRIBUTION_READ,
                Permission.CAMPAIGNS_READ,
                Permission.LINKS_READ,
                Permission.REPORTS_READ,
                Permission.SPONSORS_READ,
            )
        ),
    }
)
"""What each built-in role may do."""


def parse_permissions(texts: Iterable[str], *, path: str) -> frozenset[Permission]:
    """Read permissions as they are written.

    >>> sorted(parse_permissions(["links:read"], path="/scopes"))
    [<Permission.LINKS_READ: 'links:read'>]

    Args:
        texts: Such as ``links:read``.
        path: Where they stand, for the error.

    Raises:
        InvalidInput: One is unknown; the message names it and those that there are.
    """
    found = set()
    for text in texts:
        try:
            found.add(Permission(text))
        except ValueError:
            known = ", ".join(sorted(ALL_PERMISSIONS))
            raise InvalidInput(path, f"there is no permission {text[:40]!r}; there are {known}") from None
    return frozenset(found)


def permissions_of(role: RoleName, custom: Iterable[str] | None) -> frozenset[Permission]:
    """Say what somebody may do.

    Args:
        role: The built-in one that they have.
        custom: What their custom role lists, which then says it alone; names that this version does not know give
            nothing. ``None`` without one.

    >>> sorted(permissions_of(RoleName.OWNER, ["links:read", "of:yesterday"]))
    [<Permission.LINKS_READ: 'links:read'>]
    """
    if custom is None:
        return ROLES[role]
    names = frozenset(custom)
    return frozenset(permission for permission in Permission if permission.value in names)
