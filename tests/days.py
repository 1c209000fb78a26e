"""The UTC day on which a test runs, for those that the machine's own clock is told to."""

from __future__ import annotations

import datetime as dt
import time


def find_today(*, lasting_s: float = 60.0) -> dt.date:
    """Return the UTC day; the next one, once it has begun, where less than *lasting_s* is left of this one."""
    while True:
        now = dt.datetime.now(dt.UTC)
        if (now + dt.timedelta(seconds=lasting_s)).date() == now.date():
            return now.date()
        time.sleep(0.2)
