"""Who may make whom what: nobody gives, changes or takes away more than they have themselves.

Source: NIST RBAC (ANSI INCITS 359); OWASP ASVS 5.0, 8.2 (no vertical escalation).
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec

from analytics_core.errors import Forbidden
from analytics_core.permissions import Permission, RoleName, permissions_of

__all__ = ("Escalation", "Rights", "base_role", "check_grant", "rights_of")


class Escalation(Forbidden):
    """Somebody would give, change or take away what they do not have themselves."""

    code = "escalation"


class Rights(msgspec.Struct, frozen=True):
    """What somebody may do in a tenant.

    Attributes:
        permissions: Which.
        sponsor_ids: The sponsors whose rows alone they see; ``None`` for all of the tenant's rows.
    """

    permissions: frozenset[Permission]
    sponsor_ids: frozenset[UUID] | None = None

    def covers(self, other: Rights) -> bool:
        """Tell whether there is nothing in *other* that is not in these.

        >>> owner, sales = rights_of(RoleName.OWNER), rights_of(RoleName.SALES)
        >>> owner.covers(sales), sales.covers(owner), sales.covers(sales)
        (True, False, True)
        """
        if not other.permissions <= self.permissions:
            return False
        return self.sponsor_ids is None or (other.sponsor_ids is not None and other.sponsor_ids <= self.sponsor_ids)


def rights_of(role: RoleName, custom: Iterable[str] | None = None, sponsor_ids: Iterable[UUID] = ()) -> Rights:
    """Say what a membership lets somebody do.

    Args:
        role: The built-in role; ``sponsor`` sees the rows of its sponsors alone.
        custom: The permissions of a custom role, which count instead; a name that is none gives nothing.
        sponsor_ids: Of a sponsor's login.

    >>> sorted(rights_of(RoleName.VIEWER, ["links:read", "moon:read"]).permissions)
    [<Permission.LINKS_READ: 'links:read'>]
    """
    return Rights(permissions_of(role, custom), frozenset(sponsor_ids) if role is RoleName.SPONSOR else None)


def base_role(sponsor_ids: Iterable[UUID]) -> RoleName:
    """Name the built-in role below a custom one: it says whether all rows are seen or those of sponsors."""
    return RoleName.SPONSOR if frozenset(sponsor_ids) else RoleName.VIEWER


def check_grant(own: Rights, *others: Rights) -> None:
    """Refuse what would give, change or take away more than somebody has.

    Args:
        own: Theirs.
        others: What somebody else has, or is to have.

    Raises:
        Escalation: One of them is not covered.
    """
    for other in others:
        if own.covers(other):
            continue
        missing = sorted(other.permissions - own.permissions)
        if missing:
            raise Escalation(f"this needs permissions that you do not have: {', '.join(missing)}")
        raise Escalation("this reaches beyond the sponsors whose rows you see")
