"""How often a wrong key may be tried: by address, in memory of bounded size."""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from typing import Final

from analytics_core.addresses import household_of
from analytics_core.clock import Clock
from analytics_core.errors import CastledgerError

__all__ = ("SignInLimit", "TooManySignIns")

MAX_FAILURES: Final = 10
WINDOW: Final = dt.timedelta(minutes=15)
MAX_ADDRESSES: Final = 10_000


class TooManySignIns(CastledgerError):
    """Too many wrong keys came from an address.

    Args:
        retry_after_s: Seconds after which it may try again.
    """

    code = "too_many_sign_ins"

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__("too many wrong keys came from your address; wait a while, then try again with a good one")


class SignInLimit:
    """Counts wrong keys by address.

    A window begins with an address's first wrong key. Of very many addresses the ones that began earliest are
    forgotten: keys hold 190 random bits and need no help against guessing, the database needs some against hammering.

    Args:
        clock: What time it is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[bytes, tuple[dt.datetime, int]] = OrderedDict()

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._failures)

    def check(self, address: bytes) -> None:
        """Refuse an address that has tried too often.

        Args:
            address: 16 bytes, IPv4 as ``::ffff:a.b.c.d``.

        Raises:
            TooManySignIns: It has.
        """
        began, count = self._failures.get(household_of(address), (None, 0))
        if began is None or count < MAX_FAILURES:
            return
        left = began + WINDOW - self._clock.now()
        if left > dt.timedelta():
            raise TooManySignIns(max(1, int(left.total_seconds())))

    def note_failure(self, address: bytes) -> None:
        """Remember a wrong key."""
        source, now = household_of(address), self._clock.now()
        began, count = self._failures.get(source, (now, 0))
        if now - began >= WINDOW:
            began, count = now, 0
            del self._failures[source]
        self._failures[source] = began, count + 1
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)

    def note_success(self, address: bytes) -> None:
        """Forget an address's wrong keys."""
        self._failures.pop(household_of(address), None)
