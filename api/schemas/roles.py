"""The forms of custom roles."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.db.roles import RoleRow

__all__ = ("AddRole", "ChangeRole", "CustomRole")

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=240)]
_Permissions = Annotated[
    list[Annotated[str, msgspec.Meta(min_length=1, max_length=60)]], msgspec.Meta(min_length=1, max_length=100)
]


class AddRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role to be made: `permissions` such as `links:read`, none that you do not have yourself."""

    name: _Name
    permissions: _Permissions


class ChangeRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is, and `permissions` are replaced as a whole."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    permissions: _Permissions | msgspec.UnsetType = msgspec.UNSET


class CustomRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role of the tenant's own making, and how many members have it."""

    role_id: UUID
    name: str
    permissions: list[str]
    members: int
    created_at: dt.datetime
    changed_at: dt.datetime

    @classmethod
    def of(cls, row: RoleRow) -> CustomRole:
        """Show a stored role."""
        return cls(**msgspec.structs.asdict(row))
