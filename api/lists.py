"""Which versions of the lists hits are judged by, without loading what only ingest needs."""

from __future__ import annotations

import datetime as dt
import functools
import importlib.metadata
import threading
from pathlib import Path
from typing import Final

import msgspec

from analytics_core.agent_lists import LIST_FILES, AgentLists
from analytics_core.clock import Clock, SystemClock
from analytics_core.errors import ConfigError, InvalidInput
from analytics_core.settings import IngestSettings
from analytics_core.shared_addresses import FILE_NAME, MAX_FILE_BYTES, SharedEntry, parse_shared
from api.schemas.analytics import Lists
from api.schemas.methodology import ListFile

__all__ = ("ListVersions",)

_LISTS: Final = (".txt", ".csv")
_UNREADABLE: Final = "unreadable"


class ListVersions:
    """Names the versions of agents, networks, countries and autonomous systems as they are on the disk now.

    Where these cannot be read, those of before, which ingest goes on judging by; ``unreadable`` where there were none.

    Args:
        settings: Where ingest finds its lists.
        clock: The time; no validation of a shared address lies ahead of it.
    """

    def __init__(self, settings: IngestSettings, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._known: tuple[object, Lists] | None = None
        self._shared: tuple[object, tuple[SharedEntry, ...]] = None, ()

    @functools.cached_property
    def _agents(self) -> AgentLists:
        settings = self._settings
        return AgentLists(settings.agent_lists, settings.agent_lists_mode, keep=settings.agent_lists_kept)

    def read(self) -> Lists:
        """Name the versions; blocks for as long as a list that changed takes to be read."""
        with self._lock:
            self._agents.refresh()
            state = self._state()
            if self._known is None or self._known[0] != state:
                self._known = state, self._name()
            return self._known[1]

    def files(self) -> list[ListFile]:
        """List what the operator installed, and when each was last changed; lists of agents first, databases last."""
        folder = self._settings.agent_lists
        agents = [] if folder is None else [folder / name for name in LIST_FILES]
        return [
            ListFile(path.name, dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC).date())
            for path in (*(path for path in agents if path.is_file()), *self._files())
        ]

    def shared(self) -> tuple[SharedEntry, ...]:
        """Read the operator's list of shared addresses; where it cannot be read, what was read before."""
        path = self._settings.lists_dir / FILE_NAME
        with self._lock:
            try:
                status = path.stat()
                state = status.st_size, status.st_mtime_ns, status.st_ino
                if state != self._shared[0] and status.st_size <= MAX_FILE_BYTES:
                    today = self._clock.now().astimezone(dt.UTC).date()
                    self._shared = state, tuple(parse_shared(path.read_text("utf-8").splitlines(), today=today))
            except FileNotFoundError:
                self._shared = None, ()
            except (InvalidInput, OSError, UnicodeDecodeError):
                # Ingest says why, and judges by that of before.
                pass
            return self._shared[1]

    def _name(self) -> Lists:
        version = self._agents.table.version
        try:
            return Lists(version, self._networks(), *self._countries(), self._asns())
        except (ConfigError, InvalidInput, OSError):
            # Ingest says which one and why, and judges by those of before.
            if self._known is not None:
                return msgspec.structs.replace(self._known[1], agents=version)
            return Lists(version, _UNREADABLE, _UNREADABLE, _UNREADABLE, _UNREADABLE)

    def _files(self) -> list[Path]:
        folder = self._settings.lists_dir
        found = sorted(path for path in folder.glob("*.*") if path.suffix in _LISTS) if folder.is_dir() else []
        databases = (self._settings.countries_path, self._settings.asns_path)
        return found + [path for path in databases if path is not None and path.is_file()]

    def _state(self) -> object:
        files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self._files()]
        return self._agents.table.version, files

    def _networks(self) -> str:
        if not any(path.suffix in _LISTS for path in self._files()):
            return "none"
        # Imported where there are lists at all: it brings numpy, some 25 MiB.
        from analytics_core.networks import load_network_lists

        today = self._clock.now().astimezone(dt.UTC).date()
        return load_network_lists(self._settings.lists_dir, today=today).version

    def _countries(self) -> tuple[str, str]:
        """Name the version of what tells countries, and what it tells beside them."""
        path = self._settings.countries_path
        if path is None:
            return f"iptocc-{importlib.metadata.version('iptocc')}", "none"
        from analytics_core.geo import open_countries

        found = open_countries(path, cities=self._settings.cities)
        return found.version, found.precision.value

    def _asns(self) -> str:
        path = self._settings.asns_path
        if path is None:
            return "none"
        from analytics_core.asns import asn_database_version

        return asn_database_version(path)
