"""Which versions of the lists hits are judged by, without loading what only ingest needs."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import threading
from pathlib import Path
from typing import Final

from analytics_core.settings import IngestSettings
from analytics_core.user_agents import table_version
from api.schemas.analytics import Lists
from api.schemas.methodology import ListFile

__all__ = ("ListVersions",)

_LISTS: Final = (".txt", ".csv")


class ListVersions:
    """Names the versions of agents, networks, countries and autonomous systems as they are on the disk now.

    Args:
        settings: Where ingest finds its lists.
    """

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._known: tuple[object, Lists] | None = None

    def read(self) -> Lists:
        """Name the versions; blocks for as long as a list that changed takes to be read."""
        with self._lock:
            state = self._state()
            if self._known is None or self._known[0] != state:
                self._known = (
                    state,
                    Lists(
                        table_version(),
                        self._networks(),
                        self._countries(),
                        self._asns(),
                    ),
                )
            return self._known[1]

    def files(self) -> list[ListFile]:
        """List what the operator installed, and when each was last changed; databases last."""
        return [
            ListFile(path.name, dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC).date())
            for path in self._files()
        ]

    def _files(self) -> list[Path]:
        folder = self._settings.lists_dir
        found = sorted(path for path in folder.glob("*.*") if path.suffix in _LISTS) if folder.is_dir() else []
        databases = (self._settings.geo_database, self._settings.asn_database)
        return found + [path for path in databases if path is not None and path.is_file()]

    def _state(self) -> object:
        return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self._files()]

    def _networks(self) -> str:
        if not any(path.suffix in _LISTS for path in self._files()):
            return "none"
        # Imported where there are lists at all: it brings numpy, some 25 MiB.
        from analytics_core.networks import load_network_lists

        return load_network_lists(self._settings.lists_dir).version

    def _countries(self) -> str:
        path = self._settings.geo_database
        if path is None:
            return f"iptocc-{importlib.metadata.version('iptocc')}"
        from analytics_core.geo import open_countries

        return open_countries(path).version

    def _asns(self) -> str:
        path = self._settings.asn_database
        if path is None:
            return "none"
        from analytics_core.asns import asn_database_version

        return asn_database_version(path)
