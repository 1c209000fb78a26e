"""Leaked promo codes: redemptions of which something says that no listener brought them.

A code that is said aloud in an episode is found on a site that collects codes soon after. Such a redemption stays
credited, as nobody can be sure; it is counted apart, and shown beside the code.
"""

from __future__ import annotations

import bisect
import datetime as dt
import enum
import functools
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Final
from uuid import UUID

from analytics_core.attribution.signals import DAY_US
from analytics_core.attribution.touches import Touch

__all__ = ("Exposures", "Leak", "Limits", "coupon_sites", "find_leak", "is_coupon_site")


class Leak(enum.StrEnum):
    """What says that a code leaked."""

    OVER_LIMIT = "over_limit"
    """It was redeemed as often before as was agreed on."""
    COUPON_REFERRER = "coupon_referrer"
    """Whoever entered it came from a site that collects codes."""
    NO_EXPOSURE = "no_exposure"
    """No episode in which its flight is placed was downloaded in the window before."""


class Exposures:
    """On which UTC days a flight's placements had counted downloads.

    Args:
        days: By flight, days since 1970-01-01 in any order.
    """

    def __init__(self, days: Mapping[object, Sequence[int]]) -> None:
        self._days: Final = {flight_id: sorted(found) for flight_id, found in days.items()}

    def is_exposed(self, touch: Touch) -> bool:
        """Tell whether anybody could have heard of a touch's flight in its window before it.

        Days on which the window begins or ends count as a whole: when in doubt, there was somebody.
        """
        days = self._days.get(touch.flight_id, ())
        place = bisect.bisect_left(days, (touch.at_us - touch.window_us) // DAY_US)
        return place < len(days) and days[place] <= touch.at_us // DAY_US


class Limits:
    """How far the redemptions of codes go that are meant to be redeemed so often and no more.

    Args:
        last: By code the last redemption within its limit, when it was and which: redemptions are in order of time, and
            of their ids where that is the same. Codes that were redeemed less often are not there.
    """

    def __init__(self, last: Mapping[UUID, tuple[dt.datetime, UUID]]) -> None:
        self.last: Final = last

    def is_over(self, promo_code_id: UUID, at: dt.datetime, conversion_id: UUID) -> bool:
        """Tell whether a redemption is beyond its code's limit, in whatever order redemptions came in."""
        last = self.last.get(promo_code_id)
        return last is not None and (at, conversion_id) > last


@functools.cache
def coupon_sites() -> frozenset[str]:
    """Read the hosts of sites that collect promo codes."""
    text = resources.files("analytics_core.attribution").joinpath("coupon_sites.toml").read_text("utf-8")
    return frozenset(site["host"] for site in tomllib.loads(text)["site"])


def is_coupon_site(host: str) -> bool:
    """Tell whether a host is that of a site that collects promo codes, or a name under it.

    >>> is_coupon_site("www.retailmenot.com"), is_coupon_site("notretailmenot.com")
    (True, False)
    """
    labels = host.lower().rstrip(".").split(".")
    return any(".".join(labels[first:]) in coupon_sites() for first in range(len(labels) - 1))


def find_leak(referrer_host: str | None, *, is_exposed: bool, is_over_limit: bool) -> Leak | None:
    """Tell what says that the code of a redemption leaked, the surest reason first; ``None`` where nothing does.

    Args:
        referrer_host: Where whoever redeemed it came from, if that is known.
        is_exposed: Whether anybody could have heard of the code's flight in the window before.
        is_over_limit: Whether it is beyond how often the code was meant to be redeemed.
    """
    if is_over_limit:
        return Leak.OVER_LIMIT
    if referrer_host is not None and is_coupon_site(referrer_host):
        return Leak.COUPON_REFERRER
    return None if is_exposed else Leak.NO_EXPOSURE
