"""The four database roles and which service takes which."""

from __future__ import annotations

import enum

__all__ = ("Role",)


class Role(enum.Enum):
    """A PostgreSQL role; none is a superuser, none bypasses row security."""

    OWNER = "castledger_owner"
    API = "castledger_api"
    INGEST = "castledger_ingest"
    AUTH = "castledger_auth"
