"""What a request would make of somebody, and whether whoever asks may do that."""

from __future__ import annotations

from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.roles import share_role
from analytics_core.granting import Rights, base_role, rights_of
from analytics_core.permissions import RoleName
from api.callers import Caller
from api.errors import Fault
from api.schemas.members import Assignment

__all__ = ("Assigned", "find_rights", "read_assignment", "rights_of_caller")


class Assigned(msgspec.Struct, frozen=True):
    """What somebody is to be, as it is stored."""

    role: RoleName
    custom_role_id: UUID | None
    sponsor_ids: tuple[UUID, ...]


def read_assignment(wanted: Assignment) -> Assigned | list[Fault]:
    """Read what somebody is to be, or say what is wrong with it."""
    sponsor_ids = tuple(dict.fromkeys(wanted.sponsor_ids))
    if wanted.role_id is not None and wanted.role is None:
        return Assigned(base_role(sponsor_ids), wanted.role_id, sponsor_ids)
    if wanted.role is None or wanted.role_id is not None:
        return [Fault("/role", "invalid", "say a role, or the role_id of a custom one, and not both")]
    if wanted.role is RoleName.SPONSOR and not sponsor_ids:
        return [Fault("/sponsor_ids", "missing", "name the sponsors whose rows the role sponsor sees")]
    if wanted.role is not RoleName.SPONSOR and sponsor_ids:
        return [Fault("/sponsor_ids", "invalid", "are for the role sponsor, or for a custom one")]
    return Assigned(wanted.role, None, sponsor_ids)


async def find_rights(
    conn: Connection, tenant: Tenant, *, role: RoleName, custom_role_id: UUID | None, sponsor_ids: tuple[UUID, ...]
) -> Rights:
    """Say what somebody may do as that, which stays so until the transaction ends.

    Raises:
        NotFound: The tenant has no such custom role.
    """
    custom = None if custom_role_id is None else await share_role(conn, tenant, custom_role_id)
    return rights_of(role, custom, sponsor_ids)


def rights_of_caller(caller: Caller) -> Rights:
    """Say what whoever asks may do."""
    return Rights(caller.permissions, caller.sponsor_ids)
