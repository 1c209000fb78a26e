"""Replay mode of a tracker or a collector: each request says when it was first made.

Whoever can set the time of a hit or an event can write history, so whoever replays listens on loopback only.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

from analytics_core.errors import ConfigError

__all__ = ("REPLAY_TIME_HEADER", "check_replay_sockets", "replay_time_us")

REPLAY_TIME_HEADER: Final = b"castledger-replay-time"
"""Name of the header with a request's time."""


def replay_time_us(text: bytes) -> int | None:
    """Read the ``Castledger-Replay-Time`` header.

    Returns:
        Microseconds since 1970-01-01 UTC, or ``None`` when it is no whole number of at most 16 digits.

    >>> replay_time_us(b"1700000000000000"), replay_time_us(b"-1")
    (1700000000000000, None)
    """
    return int(text) if text.isdigit() and len(text) <= 16 else None


def check_replay_sockets(sockets: Iterable[socket.socket]) -> None:
    """Make sure that nobody but this machine can reach whoever replays.

    Raises:
        ConfigError: A socket is bound to an address that is not loopback.
    """
    faults = []
    for listening in sockets:
        host = str(listening.getsockname()[0])
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            faults.append(f"--replay: listens on loopback only, not on {host}; say --host 127.0.0.1")
    if faults:
        raise ConfigError(faults)
