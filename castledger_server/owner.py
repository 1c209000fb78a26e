"""``python -m castledger_server.owner``: make sure that the owner key in the data folder is valid.

A process of its own, so that the supervisor never loads a database driver.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from analytics_core.db.pool import connect
from analytics_core.db.tenants import ensure_owner_key
from analytics_core.errors import CastledgerError
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Service, load_settings
from castledger_server.data_dir import API_KEY_FILE, write_secret

__all__ = ("keep_owner_key", "main")


def keep_owner_key(database: DatabaseSettings, path: Path) -> str:
    """Return the key in the file, replaced by a new one when the file is gone or the key no longer valid.

    Raises:
        CastledgerError: The database does not answer or does not know us.
        OSError: The file cannot be read or written.
    """
    try:
        existing = path.read_text(encoding="ascii", errors="replace").strip() or None
    except FileNotFoundError:
        existing = None
    key = asyncio.run(_valid_key(database, existing))
    if key != existing:
        write_secret(path, f"{key}\n".encode())
    return key


async def _valid_key(database: DatabaseSettings, existing: str | None) -> str:
    conn = await connect(database, Role.AUTH, application_name="castledger up")
    try:
        return await ensure_owner_key(conn, existing)
    finally:
        await conn.close()


def main(environ: Mapping[str, str] | None = None) -> int:
    """Keep the owner key and write it to standard output; returns the exit code."""
    try:
        settings = load_settings(os.environ if environ is None else environ, service=Service.API)
        print(keep_owner_key(settings.require_database(), settings.data_dir / API_KEY_FILE))
    except CastledgerError as error:
        print(error, file=sys.stderr)
        return 2 if error.code == "config" else 1
    except OSError as error:
        print(f"the owner key cannot be kept: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
