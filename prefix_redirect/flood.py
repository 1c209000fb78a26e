"""The flood rule: a network that asks too often is redirected as ever, but only counted, so that the disk survives."""

from __future__ import annotations

from typing import Final

from analytics_core.addresses import is_private, network_of

__all__ = ("FloodGuard", "source_of")

WINDOW_S: Final = 10


def source_of(address: bytes) -> bytes | None:
    """Name the network that a client's hits are added up by.

    Args:
        address: 16 bytes; IPv4 as ``::ffff:a.b.c.d``.

    Returns:
        The /24 of an IPv4 address or the /64 of an IPv6 one; ``None`` for loopback, link-local and private addresses,
        which are exempt: they are our own proxies, tests and neighbours.

    >>> from analytics_core.addresses import pack_address
    >>> source_of(pack_address("8.8.8.8")) == source_of(pack_address("8.8.8.9"))
    True
    >>> source_of(pack_address("10.0.0.1")) is None
    True
    """
    return None if is_private(address) else network_of(address)


class FloodGuard:
    """Counts hits a source in bounded memory.

    A source may send ``rate`` hits a second, and up to ten seconds' worth at once; what exceeds that is a flood.
    Each source costs one integer, the time at which its allowance would be whole again: a source whose time has
    passed is as good as unknown, so that the table can be swept without forgetting anything.

    Args:
        rate: Hits a second; 0 switches the rule off.
        capacity: Most sources remembered.
    """

    def __init__(self, rate: int, *, capacity: int = 16_384) -> None:
        self.is_on = rate > 0
        self._step_ns = 1_000_000_000 // rate if rate else 0
        self._capacity = capacity
        self._whole_at: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._whole_at)

    def exceeds(self, source: bytes, now_ns: int) -> bool:
        """Count one hit and say whether it is part of a flood.

        Args:
            source: As :func:`source_of` names it.
            now_ns: Nanoseconds of a clock that never steps back.
        """
        whole_at = self._whole_at.get(source)
        if whole_at is None:
            if len(self._whole_at) >= self._capacity:
                self._sweep(now_ns)
            whole_at = now_ns
        elif whole_at < now_ns:
            whole_at = now_ns
        elif whole_at - now_ns > WINDOW_S * 1_000_000_000 - self._step_ns:
            return True
        self._whole_at[source] = whole_at + self._step_ns
        return False

    def _sweep(self, now_ns: int) -> None:
        """Drop sources with a whole allowance; if all are busy, the half that is busy least."""
        busy = {source: at for source, at in self._whole_at.items() if at > now_ns}
        if len(busy) >= self._capacity:
            middle = sorted(busy.values())[len(busy) // 2]
            busy = {source: at for source, at in busy.items() if at > middle}
        self._whole_at = busy
