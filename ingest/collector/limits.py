"""How much may be sent: events by key, and requests by network where no secret key vouches for them.

Each collector judges by itself: limits keep a program in a loop from filling the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from analytics_core.addresses import household_of
from analytics_core.event_batches import MAX_EVENTS
from analytics_core.rate_limits import MemoryLimiter, Rate
from analytics_core.settings import CollectorSettings
from ingest.collector.problems import Refused

__all__ = ("WRONG_COST", "Limits")

WRONG_COST: Final = 5
"""What a key that is not valid costs its network."""


class Limits:
    """Judges requests.

    Args:
        settings: With the rates.
        now_us: A clock that never steps back, microseconds.
        on_limited: Told by what a request was refused: ``key`` or ``network``.
    """

    def __init__(
        self, settings: CollectorSettings, *, now_us: Callable[[], int], on_limited: Callable[[str], None]
    ) -> None:
        self._limiter = MemoryLimiter(now_us)
        self._on_limited = on_limited
        # A whole request fits into a burst, however low the rate.
        self._key_rate = Rate(settings.rate, max(settings.rate // 10, MAX_EVENTS)) if settings.rate else None
        self._network_rate = (
            Rate(settings.network_rate, max(settings.network_rate // 5, WRONG_COST)) if settings.network_rate else None
        )

    def charge_key(self, key_hash: bytes, events: int) -> None:
        """Have a key pay for its events.

        Raises:
            Refused: 429.
        """
        self._charge("key", b"k" + key_hash, events, self._key_rate)

    def charge_network(self, address: bytes, cost: int = 1) -> None:
        """Have a client's network pay for a request.

        Raises:
            Refused: 429.
        """
        # Of the network only a digest is remembered.
        network = hashlib.blake2b(household_of(address), digest_size=16).digest()
        self._charge("network", b"n" + network, cost, self._network_rate)

    def _charge(self, by: str, client: bytes, cost: int, rate: Rate | None) -> None:
        if rate is None:
            return
        admission = self._limiter.judge(client, cost, rate)
        if not admission.is_allowed:
            self._on_limited(by)
            wait_s = max(-(-admission.retry_us // 1_000_000), 1)
            raise Refused(
                429,
                "rate_limited",
                f"this {by} sends too much; try again in {wait_s} s",
                headers={"Retry-After": str(wait_s)},
            )
