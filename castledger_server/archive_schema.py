"""The schema that archives are made of and read into."""

from __future__ import annotations

from analytics_core.errors import ConfigError
from analytics_core.settings import DatabaseSettings
from migrations.runner import read_status

__all__ = ("require_schema",)


async def require_schema(database: DatabaseSettings) -> str:
    """Make sure that a database has the schema of this version; return the number of its last migration.

    Raises:
        ConfigError: It has another.
        Unavailable: The database does not answer.
    """
    status = await read_status(database)
    if status.faults or any(migration.phase == "pre" for migration in status.pending):
        raise ConfigError(["DATABASE_URL: the schema is not the one of this version; run `castledger migrate up`"])
    return max(applied.version for applied in status.applied)
