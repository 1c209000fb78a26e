"""Tells who needs to know that podcasts, episodes or enclosures have changed, or keys of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from analytics_core.db.collector_keys import KEYS_CHANNEL
from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.db.pool import connect
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings

__all__ = ("CatalogueWatch",)

_AT_LEAST_S: Final = 60.0


class CatalogueWatch:
    """Listens for the channels of the catalogue and of keys.

    It also tells whenever it may have missed something, and once a minute.

    Args:
        settings: The database's.
        at_least_s: Seconds after which subscribers are told in any case.
    """

    def __init__(self, settings: DatabaseSettings, *, at_least_s: float = _AT_LEAST_S) -> None:
        self._settings = settings
        self._at_least_s = at_least_s
        self._subscribers: list[Callable[[], object]] = []
        self._of_keys: list[Callable[[], object]] = []

    def subscribe(self, callback: Callable[[], object]) -> None:
        """Have *callback* called on every change of the catalogue; it must not block."""
        self._subscribers.append(callback)

    def subscribe_to_keys(self, callback: Callable[[], object]) -> None:
        """Have *callback* called on every change of keys; it must not block."""
        self._of_keys.append(callback)

    @staticmethod
    def _tell(*subscribers: Callable[[], object]) -> None:
        for callback in subscribers:
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
            await conn.add_listener(CATALOGUE_CHANNEL, lambda *_: self._tell(*self._subscribers))
            await conn.add_listener(KEYS_CHANNEL, lambda *_: self._tell(*self._of_keys))
            if on_listening is not None:
                on_listening()
            while not lost.is_set():
                # First of all, too: what changed before we listened was not heard.
                self._tell(*{*self._subscribers, *self._of_keys})
                try:
                    await asyncio.wait_for(lost.wait(), self._at_least_s)
                except TimeoutError:
                    continue
        finally:
            conn.terminate()
