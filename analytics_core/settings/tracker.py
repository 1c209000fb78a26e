"""Settings of the tracker and its spool."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Final

import msgspec

from analytics_core.settings.parsing import (
    Network,
    Spec,
    any_text,
    boolean,
    choice,
    file_path,
    integer,
    networks,
    parse_public_url,
    words,
)


class HostPolicyMode(enum.Enum):
    """Which hosts a player's request may be redirected to, beyond the known ones."""

    MEDIA = "media"
    KNOWN = "known"
    ANY = "any"


class SyncMode(enum.Enum):
    """When recorded hits are forced to the disk."""

    INTERVAL = "interval"
    ALWAYS = "always"


TRACKER: Final = {
    "host": Spec("TRACKER_HOST", any_text, "0.0.0.0,::", "Addresses to listen on, separated by commas."),
    "port": Spec("TRACKER_PORT", integer(0, 65535), "8080", "Port to listen on; 0 takes a free one."),
    "workers": Spec("TRACKER_WORKERS", integer(1, 64), "1", "Tracker processes; one serves a core."),
    "public_url": Spec(
        "TRACKER_PUBLIC_URL",
        parse_public_url,
        "",
        "Our name in every prefix we hand out, such as https://pod.example.com.",
    ),
    "hosts": Spec(
        "TRACKER_HOSTS",
        choice(HostPolicyMode),
        "media",
        "Where players may be sent beyond known hosts: `media` (paths ending like audio or video), `known`, `any`.",
    ),
    "deny_hosts": Spec("TRACKER_DENY_HOSTS", words, "", "Hosts never redirected to, with their subdomains."),
    "trusted_proxies": Spec(
        "TRACKER_TRUSTED_PROXIES",
        networks,
        "",
        "Networks whose X-Forwarded-For is believed, such as 10.0.0.0/8.",
    ),
    "proxy_protocol": Spec(
        "TRACKER_PROXY_PROTOCOL",
        boolean,
        "false",
        "Whether connections begin with a PROXY protocol v2 header.",
    ),
    "sync": Spec(
        "TRACKER_SYNC",
        choice(SyncMode),
        "interval",
        "`interval` syncs the spool every 100 ms; `always` holds answers until their hits are on the disk.",
    ),
    "flood_rate": Spec(
        "TRACKER_FLOOD_RATE",
        integer(0, 10_000_000),
        "1000",
        "Hits a second from one /24 or /64, over 10 s, above which they are redirected but only counted; 0 is off.",
    ),
    "max_connections": Spec(
        "TRACKER_MAX_CONNECTIONS",
        integer(16, 1_000_000),
        "10000",
        "Open connections a process; then idle ones close.",
    ),
    "spool_dir": Spec("SPOOL_DIR", file_path, "", "Folder of the spool; by default `spool` in the data folder."),
    "reserve_mb": Spec(
        "SPOOL_RESERVE_MB",
        integer(0, 65536),
        "256",
        "Disk space kept for the spool when the disk is full, in MiB.",
    ),
    "segment_mb": Spec("SPOOL_SEGMENT_MB", integer(1, 1024), "64", "Size at which a segment is sealed, in MiB."),
    "segment_s": Spec("SPOOL_SEGMENT_SECONDS", integer(1, 3600), "60", "Age at which a segment with hits is sealed."),
    "registry_path": Spec(
        "CASTLEDGER_REGISTRY",
        file_path,
        "",
        "File of known hosts; by default `registry.snapshot` in the data folder.",
    ),
}


class TrackerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The tracker and its spool."""

    host: str
    port: int
    workers: int
    public_url: str
    hosts: HostPolicyMode
    deny_hosts: tuple[str, ...]
    trusted_proxies: tuple[Network, ...]
    proxy_protocol: bool
    sync: SyncMode
    flood_rate: int
    max_connections: int
    spool_dir: Path
    reserve_mb: int
    segment_mb: int
    segment_s: int
    registry_path: Path
