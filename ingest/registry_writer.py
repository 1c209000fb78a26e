"""Writes the registry snapshot, the one file by which trackers learn of the ledger."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from analytics_core.db.podcasts import read_registry_parts
from analytics_core.db.pool import Connection
from analytics_core.registry import Registry, read_registry, write_registry
from analytics_core.settings import TrackerSettings

__all__ = ("RegistryWriter", "own_hosts")

_log = logging.getLogger("castledger.ingest.registry")


def own_hosts(public_url: str) -> frozenset[str]:
    """Name the hosts under which our trackers answer.

    >>> sorted(own_hosts("https://Pod.example.com:8443")), sorted(own_hosts(""))
    (['pod.example.com'], [])
    """
    host = urlsplit(public_url).hostname
    return frozenset((host,) if host else ())


class RegistryWriter:
    """Keeps the snapshot at what the database says.

    Args:
        settings: Where the file is, and what only settings know.
    """

    def __init__(self, settings: TrackerSettings) -> None:
        self._path: Path = settings.registry_path
        self._deny_hosts: Collection[str] = settings.deny_hosts
        self._own_hosts = own_hosts(settings.public_url)
        self._written: Registry | None = None
        self.hosts: frozenset[str] = frozenset()
        """The known hosts, as they were read last."""

    async def write(self, conn: Connection) -> bool:
        """Write the snapshot if its content differs from the file's; return whether it was written.

        Raises:
            OSError: The file cannot be written; the old one stands.
        """
        parts = await read_registry_parts(conn)
        self.hosts = parts.hosts
        return await asyncio.to_thread(self._replace, parts.hosts, parts.click_keys)

    def _replace(self, hosts: frozenset[str], click_keys: frozenset[str]) -> bool:
        old = self._read()
        new = Registry(
            version=old.version,
            hosts=hosts,
            click_keys=click_keys,
            deny_hosts=frozenset(self._deny_hosts),
            own_hosts=self._own_hosts,
            links=old.links,
        )
        if new == old and self._path.exists():
            return False
        new = msgspec.structs.replace(new, version=old.version + 1)
        write_registry(self._path, new)
        self._written = new
        return True

    def _read(self) -> Registry:
        """Return what the file says; one that cannot be read is replaced."""
        if self._written is not None:
            return self._written
        try:
            return read_registry(self._path)
        except FileNotFoundError:
            return Registry()
        except (OSError, msgspec.MsgspecError) as error:
            _log.error("the registry snapshot cannot be read and is written anew: %s", error)
            return Registry()
