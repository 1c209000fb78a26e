"""Keeps the registry snapshot current: looks at the file twice a second, parses it off the loop, swaps it in whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from analytics_core.registry import Known, Registry, RegistryDamaged, read_registry

__all__ = ("RegistryReader",)

_POLL_S: Final = 0.5
_log = logging.getLogger("castledger.registry")

_Mark = tuple[int, int, int]


class RegistryReader:
    """The last snapshot that could be read; an empty one before there was any.

    Args:
        path: The file that ingest replaces.
        on_change: Called on the loop with every new snapshot.
    """

    def __init__(self, path: Path, on_change: Callable[[Known], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._mark: _Mark | None = None
        self.registry: Known = Registry()
        self.fault: str | None = "no registry snapshot was read yet"
        """Why the snapshot in force may be old; ``None`` when it is the file's."""
        self.is_absent = True
        """Whether there never was a file: a process on its own, that knows what it is told by its settings alone."""

    def load(self) -> None:
        """Read the file now, before the loop runs; keep what there is when it cannot be read."""
        mark = self._look()
        if mark is not None:
            self._take(self._read(), mark)

    async def run(self) -> None:
        """Follow the file until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            mark = self._look()
            if mark is not None and mark != self._mark:
                self._take(await asyncio.to_thread(self._read), mark)

    def _look(self) -> _Mark | None:
        try:
            status = self._path.stat()
        except OSError as error:
            self._blame(f"the registry snapshot cannot be read: {error.strerror}")
            self._mark = None
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _read(self) -> Known | str:
        try:
            return read_registry(self._path)
        except OSError as error:
            return f"the registry snapshot cannot be read: {error.strerror}"
        except RegistryDamaged as error:
            return f"the registry snapshot is damaged: {error}"

    def _take(self, read: Known | str, mark: _Mark) -> None:
        self._mark = mark
        self.is_absent = False
        if isinstance(read, str):
            self._blame(read)
            return
        self.fault = None
        self.registry = read
        self._on_change(read)

    def _blame(self, fault: str) -> None:
        if fault != self.fault and not self.is_absent:
            _log.warning("%s; the last good one stays in force", fault)
        self.fault = fault
