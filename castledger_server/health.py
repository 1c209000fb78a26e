"""``castledger health``: ask services whether they can do their work, as a container's or a monitor's check."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from analytics_core.errors import ConfigError
from analytics_core.settings import Settings
from castledger_server.data_dir import read_running_up
from castledger_server.listeners import local_url
from castledger_server.probes import answers
from castledger_server.processes import is_running

__all__ = ("SERVICES", "Health", "ask_health")

SERVICES = ("tracker", "collector", "ingest", "api")


class Health(NamedTuple):
    """What one service said."""

    name: str
    url: str
    is_ready: bool

    def __str__(self) -> str:
        return f"{self.name}: {'ready' if self.is_ready else f'not ready, {self.url} says why'}"


def ask_health(settings: Settings, service: str | None) -> Iterator[Health]:
    """Ask one service at its configured admin port, or all of the running ``up``.

    Args:
        settings: All settings.
        service: One of ``SERVICES``; ``None`` for all of the ``up`` on the data folder.

    Raises:
        ConfigError: The service has no fixed admin port, or no ``up`` runs.
    """
    if service is not None:
        port = settings.admin.ports[service]
        if port == 0:
            raise ConfigError([f"CASTLEDGER_ADMIN_PORTS: {service} takes a free port, which cannot be known here"])
        urls = {service: local_url([settings.admin.host], port)}
    else:
        running = read_running_up(settings.data_dir)
        if running is None or not is_running(running.pid):
            raise ConfigError(
                [f"no `castledger up` runs on {settings.data_dir}; name a service: {', '.join(SERVICES)}"]
            )
        if not running.answers:
            raise ConfigError([f"`castledger up` on {settings.data_dir} is still starting"])
        urls = running.admin_urls
    for name, url in urls.items():
        yield Health(name, f"{url}/health/ready", asyncio.run(answers(f"{url}/health/ready")))
