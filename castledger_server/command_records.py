"""How operators' commands put on record what they change: of a tenant, or of the whole installation."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, LiteralString

from analytics_core.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from analytics_core.audit import Changes
    from analytics_core.settings import DatabaseSettings, Settings

__all__ = ("AS_COMMAND", "record_of_installation")

# For the rest of a transaction: entries that name nobody are the commands' alone.
AS_COMMAND: Final[LiteralString] = "set local role castledger_ingest"


async def _add(database: DatabaseSettings, action: str, resource_id: str, after: Changes | None) -> None:
    from analytics_core.db.audit import add_command
    from analytics_core.db.pool import connect
    from analytics_core.db.tenant_states import find_installation
    from analytics_core.roles import Role

    conn = await connect(database, Role.AUTH, application_name="castledger record")
    try:
        async with conn.transaction():
            home = await find_installation(conn)
            if home is None:
                raise ConfigError(["the database has no tenant yet; `castledger owner-key` makes the first"])
            await conn.execute(AS_COMMAND)
            await add_command(conn, home.tenant_no, action=action, resource_id=resource_id, after=after)
    finally:
        await conn.close()


def record_of_installation(
    settings: Settings, *, action: str, resource_id: str, after: Mapping[str, object] | None
) -> None:
    """Put on record of the installation's own tenant what a command changed in files, which stays done in any case.

    A machine may hold lists and know no database, such as one that only prepares them: standard error says so then.

    Args:
        settings: With the database, if there is one.
        action: What was done, such as ``lists.update``.
        resource_id: To what.
        after: What it is now; ``None`` for what was taken away.
    """
    fault = "no database is known here"
    if settings.database is not None:
        try:
            asyncio.run(_add(settings.database, action, resource_id, None if after is None else dict(after)))
            return
        except (ConfigError, Unavailable) as error:
            fault = str(error)
    sys.stderr.write(f"{action} {resource_id}: done, and not on record: {fault}\n")
