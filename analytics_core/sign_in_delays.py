"""How long somebody waits after passwords that were wrong: not at all for a few, then longer each time.

What is counted is an account together with a network, so that nobody can lock somebody else out from elsewhere.

Source:
    OWASP Authentication Cheat Sheet, account lockout with exponential delay.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

__all__ = ("FORGET_AFTER", "FREE_FAILURES", "LONGEST_DELAY", "delay_after")

FREE_FAILURES: Final = 5
LONGEST_DELAY: Final = dt.timedelta(hours=1)
FORGET_AFTER: Final = dt.timedelta(days=1)
"""After this long without one, failures are forgotten."""

_FIRST_DELAY: Final = dt.timedelta(seconds=15)


def delay_after(failures: int) -> dt.timedelta:
    """Say how long to wait after so many failures in a row.

    >>> [delay_after(number).total_seconds() for number in (1, 4, 5, 6, 7, 100)]
    [0.0, 0.0, 15.0, 30.0, 60.0, 3600.0]
    """
    if failures < FREE_FAILURES:
        return dt.timedelta()
    doublings = min(failures - FREE_FAILURES, 16)
    return min(_FIRST_DELAY * (1 << doublings), LONGEST_DELAY)
