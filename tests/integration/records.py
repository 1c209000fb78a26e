"""What stands in a tenant's record of changes."""

from __future__ import annotations

from analytics_core.db.audit import AuditFilter, AuditRow, list_entries
from analytics_core.db.pool import connect
from analytics_core.db.tenants import find_tenant
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings

__all__ = ("read_entries",)


async def read_entries(database: DatabaseSettings, slug: str) -> list[AuditRow]:
    """Read a tenant's entries, newest first."""
    auth = await connect(database, Role.AUTH, application_name="test")
    ingest = await connect(database, Role.INGEST, application_name="test")
    try:
        row = await find_tenant(auth, slug)
        assert row is not None
        return await list_entries(ingest, row.tenant, AuditFilter(), limit=100)
    finally:
        await auth.close()
        await ingest.close()
