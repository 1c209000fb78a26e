"""Keys that were looked up lately, so that one that is used again and again costs no look-up each time.

A key is only taken from here while the database tells us of every change to keys and tenants: it sends word with the
commit of each change, and all that is known is forgotten. Nothing is known while nobody listens, and nothing for long,
in case that a connection is dead and nobody noticed. What this process changes itself it forgets at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple

import asyncpg

from analytics_core.api_keys import hash_key, is_well_formed
from analytics_core.clock import Clock
from analytics_core.db.collector_keys import KEYS_CHANNEL
from analytics_core.db.pool import Connection
from analytics_core.db.tenants import KeyRow, find_key
from analytics_core.errors import ConfigError, Unavailable

__all__ = ("KnownKeys",)

_AT_MOST: Final = 10_000
_LONGEST_S: Final = 30.0
_AGAIN_S: Final = 1.0


class _Known(NamedTuple):
    key: KeyRow
    until_s: float


class KnownKeys:
    """Finds keys; the good ones it remembers for a while.

    Args:
        reach: Opens a connection to listen on, as the role that authenticates.
        lend: Lends a connection of the role that authenticates.
        clock: By which keys expire.
        monotonic_s: A clock that is never set.
    """

    def __init__(
        self,
        reach: Callable[[], Awaitable[Connection]],
        lend: Callable[[], AbstractAsyncContextManager[Connection]],
        *,
        clock: Clock,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reach = reach
        self._lend = lend
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._changes = 0
        self.is_listening = False
        """Whether the database would tell us of a change."""

    def forget(self) -> None:
        """Look every key up again: something about keys or tenants has changed, or may have."""
        self._changes += 1
        self._known.clear()

    async def find(self, text: str) -> KeyRow | None:
        """Find a key that is valid now; ``None`` for any other text.

        Raises:
            Unavailable: It had to be looked up, and the database does not answer.
        """
        key_hash = hash_key(text)
        known = self._known.get(key_hash)
        if known is not None:
            expires_at = known.key.expires_at
            if self._monotonic_s() < known.until_s and (expires_at is None or self._clock.now() < expires_at):
                return known.key
            del self._known[key_hash]
        # What was mistyped or made up costs no connection.
        if not is_well_formed(text):
            return None
        changes = self._changes
        async with self._lend() as conn:
            key = await find_key(conn, text)
        # What changed while we looked may have been looked up as it was before.
        if key is not None and self.is_listening and changes == self._changes:
            self._known[key_hash] = _Known(key, self._monotonic_s() + _LONGEST_S)
            if len(self._known) > _AT_MOST:
                self._known.popitem(last=False)
        return key

    async def _listen(self) -> None:
        """Listen until the connection is lost.

        Raises:
            ConfigError: The login may not act as the role that authenticates.
            Unavailable: The database does not answer.
        """
        conn = await self._reach()
        lost = asyncio.Event()
        try:
            conn.add_termination_listener(lambda _: lost.set())
            await conn.add_listener(KEYS_CHANNEL, lambda *_: self.forget())
            self.forget()
            self.is_listening = True
            await lost.wait()
        finally:
            self.is_listening = False
            self.forget()
            conn.terminate()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen, and again after each loss."""
        listening = asyncio.create_task(self._run())
        try:
            yield
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(ConfigError, Unavailable, asyncpg.PostgresError, OSError):
                await self._listen()
            await asyncio.sleep(_AGAIN_S)
