"""The database roles and which service takes which."""

from __future__ import annotations

import enum

__all__ = ("Role",)


class Role(enum.Enum):
    """A PostgreSQL role; none is a superuser, none bypasses row security.

    No service takes ``DUMP``: backups are read as it, over all tenants.
    """

    OWNER = "castledger_owner"
    API = "castledger_api"
    INGEST = "castledger_ingest"
    AUTH = "castledger_auth"
    DUMP = "castledger_dump"
