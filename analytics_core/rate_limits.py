"""How often somebody may ask: the generic cell rate algorithm, and its memory in one process.

A client has a *burst* of units that comes back evenly over time. All that is kept of it is one instant, the theoretical
arrival time (TAT): when the burst would be whole again. A request moves it by its cost, and is refused when that would
take it further than a whole burst ahead of now.

Source:
    ITU-T I.371 Annex A, virtual scheduling.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

__all__ = ("MAX_CLIENTS", "Admission", "Limiter", "MemoryLimiter", "Rate", "judge")

MAX_CLIENTS: Final = 50_000
"""How many clients one process remembers: about 10 MiB."""

_MINUTE_US: Final = 60_000_000


class Rate(NamedTuple):
    """How much a client may ask for.

    Attributes:
        per_minute: Units that come back in a minute, from 1.
        burst: Units that it has when it has long been quiet, from 1.
    """

    per_minute: int
    burst: int

    @property
    def unit_us(self) -> int:
        """After how many microseconds one unit comes back."""
        return max(_MINUTE_US // self.per_minute, 1)

    @property
    def window_us(self) -> int:
        """After how many microseconds a spent burst is whole again."""
        return self.burst * self.unit_us

    def halved(self) -> Rate:
        """Half of everything: for a process that does not know what the others let pass."""
        return Rate(max(self.per_minute // 2, 1), max(self.burst // 2, 1))


class Admission(NamedTuple):
    """Whether a request may pass.

    Attributes:
        is_allowed: Whether it may.
        remaining: Units that are left.
        reset_us: Microseconds until the burst is whole again.
        retry_us: Microseconds until the same request may pass; 0 for one that may.
        is_alone: Whether this process had to judge by itself although it shares its memory with others.
    """

    is_allowed: bool
    remaining: int
    reset_us: int
    retry_us: int
    is_alone: bool = False


class Limiter(Protocol):
    """Judges requests by what their clients have asked for before."""

    async def take(self, client: bytes, cost: int, rate: Rate) -> Admission:
        """Judge a request, and spend its cost when it may pass; a refused one costs nothing.

        Args:
            client: Whose burst.
            cost: From 0; one above the burst takes all of it.
            rate: What the client may.
        """
        ...

    async def look(self, client: bytes, cost: int, rate: Rate) -> Admission:
        """Judge a request as :meth:`take` would, and spend nothing."""
        ...


def judge(tat_us: int, now_us: int, cost: int, rate: Rate) -> tuple[Admission, int]:
    """Judge one request.

    Args:
        tat_us: The client's theoretical arrival time; anything in the past, such as 0, for a new one.
        now_us: The time.
        cost: Of the request.
        rate: What the client may.

    Returns:
        The admission, and the arrival time to remember if this request counts.

    >>> rate = Rate(per_minute=60, burst=2)
    >>> admission, tat_us = judge(0, 1_000_000, 1, rate)
    >>> admission.is_allowed, admission.remaining, tat_us
    (True, 1, 2000000)
    >>> judge(3_000_000, 1_000_000, 1, rate)[0]
    Admission(is_allowed=False, remaining=0, reset_us=2000000, retry_us=1000000, is_alone=False)
    """
    unit_us, window_us = rate.unit_us, rate.window_us
    # Never further ahead than a burst, which it would be after a clock was set back or the burst was made smaller.
    tat_us = min(max(tat_us, now_us), now_us + window_us)
    spent_us = tat_us + min(cost, rate.burst) * unit_us
    over_us = spent_us - now_us - window_us
    kept_us = tat_us if over_us > 0 else spent_us
    remaining = (now_us + window_us - kept_us) // unit_us
    return Admission(over_us <= 0, remaining, kept_us - now_us, max(over_us, 0)), kept_us


class MemoryLimiter:
    """Remembers clients in this process alone.

    Of too many clients those are forgotten that have not asked for the longest time.

    Args:
        now_us: What time it is, in microseconds.
        max_clients: How many are remembered.
    """

    def __init__(self, now_us: Callable[[], int], *, max_clients: int = MAX_CLIENTS) -> None:
        self._now_us = now_us
        self._max_clients = max_clients
        self._tats: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        """How many clients are remembered."""
        return len(self._tats)

    def judge(self, client: bytes, cost: int, rate: Rate, *, spend: bool = True) -> Admission:
        """Judge a request; nothing here has to be waited for."""
        tats = self._tats
        admission, tat_us = judge(tats.get(client, 0), self._now_us(), cost, rate)
        if spend and cost:
            # Who is refused asks too, so that a flood is not forgotten for newcomers.
            tats[client] = tat_us
            tats.move_to_end(client)
            if len(tats) > self._max_clients:
                tats.popitem(last=False)
        return admission

    async def take(self, client: bytes, cost: int, rate: Rate) -> Admission:
        """Judge a request, and spend its cost when it may pass."""
        return self.judge(client, cost, rate)

    async def look(self, client: bytes, cost: int, rate: Rate) -> Admission:
        """Judge a request and spend nothing."""
        return self.judge(client, cost, rate, spend=False)
