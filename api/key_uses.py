"""When keys were used last: kept in memory and written once a minute, so that reading costs no write."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import asyncpg

from analytics_core.db.pool import Connection
from analytics_core.db.tenants import KeyRow, note_uses
from analytics_core.errors import Unavailable
from analytics_core.ids import KeyId, TenantId

__all__ = ("KeyUses",)

_FLUSH_S: Final = 60.0
_LAST_FLUSH_S: Final = 2.0


class KeyUses:
    """The last use of each key since what was written last: as many entries as keys that were found good.

    Args:
        lend: Lends a connection of the role that authenticates.
    """

    def __init__(self, lend: Callable[[], AbstractAsyncContextManager[Connection]]) -> None:
        self._lend = lend
        self._uses: dict[tuple[TenantId, KeyId], dt.datetime] = {}

    def note(self, key: KeyRow, *, now: dt.datetime) -> None:
        """Note that a key was used."""
        self._uses[key.tenant_id, key.key_id] = now

    async def flush(self) -> None:
        """Write what was noted; it stays noted when the database does not take it.

        Raises:
            Unavailable: The database does not answer.
        """
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            async with self._lend() as conn:
                await note_uses(conn, uses)
        except BaseException:
            self._uses = uses | self._uses
            raise

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write once a minute, and a last time at the end."""
        writing = asyncio.create_task(self._run())
        try:
            yield
        finally:
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
            # Who stops us does not wait for a database that is gone, and a minute of uses is no loss.
            with contextlib.suppress(Unavailable, asyncpg.PostgresError, TimeoutError):
                async with asyncio.timeout(_LAST_FLUSH_S):
                    await self.flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            with contextlib.suppress(Unavailable, asyncpg.PostgresError):
                await self.flush()
