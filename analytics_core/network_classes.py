"""What networks an address is of: kept with each hit, since the address is not.

Apart from :mod:`analytics_core.networks` because profiles are about them, and the API does without numpy.
"""

from __future__ import annotations

import enum

__all__ = ("NetworkClass",)


class NetworkClass(enum.IntFlag):
    """In which lists an address is, one bit each."""

    NONE = 0
    DATACENTER = 1
    VPN = 2
    RELAY = 4
    """In front of people, as Apple Private Relay is; an address in it is in no other list but ``BLOCKED``."""
    BLOCKED = 8
    SHARED = 16
    """Of people, as the operator has found out within 90 days of the hit: what other lists say is kept beside it, and
    acts no more, but for ``BLOCKED``."""
