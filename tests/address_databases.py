"""Small databases in MaxMind's format, as an operator would bring one."""

from __future__ import annotations

from pathlib import Path

__all__ = ("write_database",)


def _encode(value: object) -> bytes:
    """Write a value as a field of MaxMind's format, as far as a small database needs it."""
    match value:
        case str():
            text = value.encode()
            assert len(text) < 29
            return bytes([2 << 5 | len(text)]) + text
        case bytes():
            # A whole number: its width in bytes tells its type (16, 32 and 64 bits).
            kind = {2: b"\xa2", 4: b"\xc4", 8: b"\x08\x02"}[len(value)]
            return kind + value
        case list():
            return bytes([len(value), 11 - 7]) + b"".join(map(_encode, value))
        case dict():
            return bytes([7 << 5 | len(value)]) + b"".join(_encode(key) + _encode(item) for key, item in value.items())
        case _:
            raise AssertionError(value)


def write_database(path: Path, lower: object, upper: object, *, ip_version: int = 4) -> Path:
    """Write a database of one node: *lower* for addresses whose first bit is 0, *upper* for the others."""
    records = _encode(lower), _encode(upper)
    nodes = 1
    left = nodes + 16
    right = left + len(records[0])
    metadata = {
        "binary_format_major_version": (2).to_bytes(2),
        "binary_format_minor_version": (0).to_bytes(2),
        "build_epoch": (1_790_000_000).to_bytes(8),
        "database_type": "test-Country",
        "description": {"en": "one node"},
        "ip_version": ip_version.to_bytes(2),
        "languages": ["en"],
        "node_count": nodes.to_bytes(4),
        "record_size": (24).to_bytes(2),
    }
    tree = left.to_bytes(3) + right.to_bytes(3)
    path.write_bytes(tree + bytes(16) + b"".join(records) + b"\xab\xcd\xefMaxMind.com" + _encode(metadata))
    return path
