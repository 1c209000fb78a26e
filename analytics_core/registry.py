"""The registry snapshot: the one file that flows from the ledger back to the trackers.

It names what a tracker may redirect to, so that trackers work with everything else dead. Ingest writes it
atomically whenever it changes; trackers look at it twice a second and keep the last one that could be read.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

__all__ = ("Registry", "read_registry", "write_registry")


class Registry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What trackers know of the ledger.

    Attributes:
        version: Grows with every change.
        hosts: Lower-case host names (no port, no trailing dot) in any registered enclosure's chain, ours excepted.
        click_keys: Enclosure keys of verified podcasts, as 32 hex digits: what browsers may be redirected to.
        deny_hosts: Hosts never redirected to, with their subdomains.
        own_hosts: Host names under which trackers of this installation answer.
        links: Slug to target of ``/go/<slug>``.
    """

    version: int = 0
    hosts: frozenset[str] = frozenset()
    click_keys: frozenset[str] = frozenset()
    deny_hosts: frozenset[str] = frozenset()
    own_hosts: frozenset[str] = frozenset()
    links: dict[str, str] = {}


_decoder = msgspec.json.Decoder(Registry)


def read_registry(path: Path) -> Registry:
    """Read a snapshot.

    Raises:
        OSError: The file is not there or cannot be read.
        msgspec.MsgspecError: It holds something else.
    """
    return _decoder.decode(path.read_bytes())


def write_registry(path: Path, registry: Registry) -> None:
    """Replace the snapshot in one step: a reader sees the old file or the new one, never half of it.

    Raises:
        OSError: The folder cannot be written; the old file stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(registry, order="deterministic"))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
