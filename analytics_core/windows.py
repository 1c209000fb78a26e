"""Windows: for how long a listener's requests for an episode are one download.

The guideline allows three and asks for one, disclosed. The calendar day alone does not depend on the order in which
requests are seen, so it is what counts; the rolling ones are there to compare with.

Source:
    Podcast Technical Measurement Guidelines v2.3, section 5.5.1.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import Final

__all__ = ("DAY_US", "Window", "touch", "utc_day")

DAY_US: Final = 86_400_000_000
"""Microseconds of a day; UTC as we keep it has no leap seconds."""

_EPOCH_ORDINAL: Final = dt.date(1970, 1, 1).toordinal()


class Window(enum.Enum):
    """When a listener's next download of an episode can begin."""

    CALENDAR_DAY = "calendar_day"
    """With the next UTC day."""
    FIRST_TOUCH = "first_touch"
    """24 hours after the request that opened the window."""
    LAST_TOUCH = "last_touch"
    """24 hours after the last request: each one in the window keeps it open."""


def touch(window: Window, at_us: int, mark: int | None) -> tuple[bool, int]:
    """Tell whether a request that would count opens a window, and so is a download, or falls into one.

    Args:
        window: Which windows there are.
        at_us: Microseconds since 1970-01-01 UTC of the request; no earlier than that of the one before it.
        mark: What was returned for the request before it of this listener and episode; ``None`` for the first.

    Returns:
        Whether it opens one, and what to remember of it.

    >>> touch(Window.FIRST_TOUCH, 0, None)
    (True, 0)
    >>> touch(Window.FIRST_TOUCH, DAY_US - 1, 0), touch(Window.LAST_TOUCH, DAY_US - 1, 0)
    ((False, 0), (False, 86399999999))
    """
    if window is Window.CALENDAR_DAY:
        day = at_us // DAY_US
        return day != mark, day
    opens = mark is None or at_us - mark >= DAY_US
    if mark is not None and not opens and window is Window.FIRST_TOUCH:
        return False, mark
    return opens, at_us


def utc_day(at_us: int) -> dt.date:
    """Name the UTC calendar day of an instant: the window inside which a listener's requests are one download.

    Of the windows that the guideline allows, the calendar day is the one whose result does not depend on the order
    in which requests are seen.

    Args:
        at_us: Microseconds since 1970-01-01 UTC; before it negative.

    Raises:
        ValueError: The instant is outside the years 1 to 9999.

    Source:
        Podcast Technical Measurement Guidelines v2.3, section 5.5.1.

    >>> utc_day(86_399_999_999), utc_day(86_400_000_000)
    (datetime.date(1970, 1, 1), datetime.date(1970, 1, 2))
    """
    try:
        return dt.date.fromordinal(_EPOCH_ORDINAL + at_us // DAY_US)
    except (OverflowError, ValueError):
        raise ValueError("an instant has to fall into the years 1 to 9999") from None
