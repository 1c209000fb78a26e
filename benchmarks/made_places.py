"""Made-up lists of networks and a database of autonomous systems, as large as the public ones."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final

import numpy as np

__all__ = ("write_asn_database", "write_network_lists")

DATACENTERS: Final = 50_000
VPNS: Final = 11_000
RELAYS: Final = 3_300
DATACENTER_ASNS: Final = 900
_ASNS: Final = 70_000
_DEPTH: Final = 19


def write_network_lists(folder: Path, *, seed: int = 7) -> Path:
    """Write lists of data centres, VPNs and relays, a few of them IPv6, and of data centres' autonomous systems."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    for name, number in (("datacenter", DATACENTERS), ("vpn", VPNS), ("relay", RELAYS)):
        starts = random.integers(1 << 24, 224 << 24, number) & ~np.int64(0xFF)
        lines = [f"{ipaddress.IPv4Address(start)}/{24 + start % 5}" for start in starts.tolist()]
        lines += [f"2a02:{place:x}::/40" for place in random.integers(0, 1 << 16, number // 6).tolist()]
        (folder / f"{name}.txt").write_text("\n".join(lines))
    asns = random.choice(_ASNS, DATACENTER_ASNS, replace=False) + 1
    (folder / "datacenter_asns.txt").write_text("\n".join(f"AS{number}" for number in asns.tolist()))
    return folder


def _field(value: str | bytes | list[str] | dict[str, object]) -> bytes:
    """Write a value as a field of MaxMind's format, as far as this database needs it."""
    match value:
        case str():
            return bytes([2 << 5 | len(value)]) + value.encode()
        case bytes():
            # A whole number: its width in bytes tells its type (16, 32 and 64 bits).
            return {2: b"\xa2", 4: b"\xc4", 8: b"\x08\x02"}[len(value)] + value
        case list():
            return bytes([len(value), 11 - 7]) + b"".join(map(_field, value))
    return bytes([7 << 5 | len(value)]) + b"".join(_field(key) + _field(item) for key, item in value.items())  # type: ignore[arg-type]


def write_asn_database(path: Path, *, seed: int = 7) -> Path:
    """Write a database that gives each /19 of IPv4, half a million of them, an autonomous system by lot."""
    random = np.random.default_rng(seed)
    nodes, leaves = (1 << _DEPTH) - 1, 1 << _DEPTH
    records = [_field({"autonomous_system_number": number.to_bytes(4)}) for number in range(1, _ASNS + 1)]
    size = len(records[0])
    # A whole binary tree, level by level: behind a node's place are twice as many, and behind the last the records.
    children = np.arange(1, nodes + leaves, dtype=np.int64)
    children[nodes - 1 :] = nodes + 16 + random.integers(0, _ASNS, leaves) * size
    metadata: dict[str, object] = {
        "binary_format_major_version": (2).to_bytes(2),
        "binary_format_minor_version": (0).to_bytes(2),
        "build_epoch": (1_790_000_000).to_bytes(8),
        "database_type": "made-ASN",
        "description": {"en": "made up"},
        "ip_version": (4).to_bytes(2),
        "languages": ["en"],
        "node_count": nodes.to_bytes(4),
        "record_size": (32).to_bytes(2),
    }
    path.write_bytes(
        children.astype(">u4").tobytes() + bytes(16) + b"".join(records) + b"\xab\xcd\xefMaxMind.com" + _field(metadata)
    )
    return path
