"""Writes the registry snapshot, the one file by which trackers and collectors learn of the ledger."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from analytics_core.db.collector_keys import read_collector_keys
from analytics_core.db.links import read_registry_links
from analytics_core.db.podcasts import read_registry_parts
from analytics_core.db.pool import Connection
from analytics_core.db.vanity_hosts import read_registry_vanity_hosts
from analytics_core.registry import (
    CollectorKey,
    Link,
    Registry,
    RegistryDamaged,
    Snapshot,
    encode_registry,
    parse_registry,
    read_registry,
    replace_registry,
)
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
        self.hosts: frozenset[str] = frozenset()
        """The known hosts, as they were read last."""

    async def write(self, conn: Connection) -> bool:
        """Write the snapshot if its content differs from the file's; return whether it was written.

        Raises:
            OSError: The file cannot be written; the old one stands.
        """
        parts = await read_registry_parts(conn)
        links = await read_registry_links(conn)
        vanity_hosts = await read_registry_vanity_hosts(conn)
        keys = await read_collector_keys(conn)
        self.hosts = parts.hosts
        return await asyncio.to_thread(self._replace, parts.hosts, parts.click_keys, links, vanity_hosts, keys)

    def _replace(
        self,
        hosts: frozenset[str],
        click_keys: frozenset[str],
        links: dict[str, Link],
        vanity_hosts: dict[str, str],
        keys: dict[bytes, CollectorKey],
    ) -> bool:
        old = self._read()
        new = Registry(
            version=1 if old is None else old.version + 1,
            hosts=hosts,
            click_keys=click_keys,
            deny_hosts=frozenset(self._deny_hosts),
            own_hosts=self._own_hosts,
            links=links,
            # A name that has become ours since is nobody's any more.
            vanity_hosts={host: slug for host, slug in vanity_hosts.items() if host not in self._own_hosts},
            keys=keys,
        )
        data = encode_registry(new)
        if old is not None and parse_registry(data).digest == old.digest:
            return False
        replace_registry(self._path, data)
        return True

    def _read(self) -> Snapshot | None:
        """Return what the file says; one that cannot be read is replaced."""
        try:
            return read_registry(self._path)
        except FileNotFoundError:
            return None
        except (OSError, RegistryDamaged) as error:
            _log.error("the registry snapshot cannot be read and is written anew: %s", error)
            return None
