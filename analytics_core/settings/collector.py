"""Settings of the collector and its spool."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from analytics_core.settings.parsing import Network, Spec, any_text, choice, file_path, integer, networks
from analytics_core.settings.tracker import SyncMode

COLLECTOR: Final = {
    "host": Spec("COLLECTOR_HOST", any_text, "0.0.0.0", "Address that the collector listens on."),  # noqa: S104
    "port": Spec("COLLECTOR_PORT", integer(0, 65535), "8001", "Port of the collector; 0 takes a free one."),
    "spool_dir": Spec(
        "COLLECTOR_SPOOL_DIR",
        file_path,
        "",
        "Folder of events that have not landed; by default `events` in the data folder.",
    ),
    "reserve_mb": Spec(
        "COLLECTOR_RESERVE_MB",
        integer(0, 65536),
        "64",
        "Disk space kept for events when the disk is full, in MiB; after it they are refused, and senders keep them.",
    ),
    "sync": Spec(
        "COLLECTOR_SYNC",
        choice(SyncMode),
        "interval",
        "`interval` syncs the spool every 100 ms; `always` holds answers until their events are on the disk.",
    ),
    "rate": Spec(
        "COLLECTOR_RATE",
        integer(0, 60_000_000),
        "600000",
        "Events a minute for each key, of which it may send a tenth at once after a rest. 0 sets no limit.",
    ),
    "network_rate": Spec(
        "COLLECTOR_NETWORK_RATE",
        integer(0, 1_000_000),
        "600",
        "Requests a minute for each IPv4 address or IPv6 /64 that shows no valid secret key. 0 sets no limit.",
    ),
    "max_connections": Spec(
        "COLLECTOR_MAX_CONNECTIONS",
        integer(16, 1_000_000),
        "4096",
        "Open connections; further clients wait until one closes.",
    ),
    "trusted_proxies": Spec(
        "COLLECTOR_TRUSTED_PROXIES",
        networks,
        "",
        "Networks whose X-Forwarded-For the collector believes; by default those of TRACKER_TRUSTED_PROXIES.",
    ),
}


class CollectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The collector's listener, bounds and spool."""

    host: str
    port: int
    spool_dir: Path
    reserve_mb: int
    sync: SyncMode
    rate: int
    network_rate: int
    max_connections: int
    trusted_proxies: tuple[Network, ...]
