"""Tells who needs to know that podcasts, episodes or enclosures have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.db.pool import connect
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings

__all__ = ("CatalogueWatch",)

_AT_LEAST_S: Final = 60.0


class CatalogueWatch:
    """Listens for the catalogue's channel; also tells whenever it may have missed something, and once a minute.

    Args:
        settings: The database's.
        at_least_s: Seconds after which subscribers are told in any case.
    """

    def __init__(self, settings: DatabaseSettings, *, at_least_s: float = _AT_LEAST_S) -> None:
        self._settings = settings
        self._at_least_s = at_least_s
        self._subscribers: list[Callable[[], object]] = []

    def subscribe(self, callback: Callable[[], object]) -> None:
        """Have *callback* called on every change; it must not block."""
        self._subscribers.append(callback)

    def _tell(self) -> None:
        for callback in self._subscribers:
            callback()

    async def listen(self, *, on_listening: Callable[[], object] | None = None) -> None:
        """Listen until the connection is lost.

        Args:
            on_listening: Called once when it listens.

        Raises:
            Unavailable: The database does not answer.
        """
        conn = await connect(self._settings, Role.INGEST, application_name="castledger-ingest-watch")
        lost = asyncio.Event()
        try:
            conn.add_termination_listener(lambda _: lost.set())
            await conn.add_listener(CATALOGUE_CHANNEL, lambda *_: self._tell())
            if on_listening is not None:
                on_listening()
            while not lost.is_set():
                # First of all, too: what changed before we listened was not heard.
                self._tell()
                try:
                    await asyncio.wait_for(lost.wait(), self._at_least_s)
                except TimeoutError:
                    continue
        finally:
            conn.terminate()
