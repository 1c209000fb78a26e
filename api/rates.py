"""What answers say of their client's rate.

Source:
    draft-ietf-httpapi-ratelimit-headers-10: ``q`` units in a window of ``w`` seconds, of which ``r`` remain and are all
    there again in ``t`` seconds; ``Retry-After`` of RFC 9110 10.2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from litestar.types import Scope

from analytics_core.rate_limits import Admission, Rate

__all__ = ("Judged", "note_rate", "rate_headers", "whole_seconds")

_STATE: Final = "rate"


class Judged(NamedTuple):
    """By which policy a request was judged (``key`` or ``network``), and how."""

    policy: str
    rate: Rate
    admission: Admission


def whole_seconds(microseconds: int) -> int:
    """Round up.

    >>> whole_seconds(0), whole_seconds(1), whole_seconds(2_000_000)
    (0, 1, 2)
    """
    return -(-microseconds // 1_000_000)


def note_rate(scope: Scope, judged: Judged) -> None:
    """Remember how a request was judged, for its answer."""
    scope["state"][_STATE] = judged


def rate_headers(scope: Scope) -> Sequence[tuple[bytes, bytes]]:
    """Name the headers of an answer; none where nothing was judged."""
    judged: Judged | None = scope["state"].get(_STATE)
    if judged is None:
        return ()
    policy, rate, admission = judged
    return (
        (b"ratelimit-policy", f'"{policy}";q={rate.burst};w={whole_seconds(rate.window_us)}'.encode()),
        (b"ratelimit", f'"{policy}";r={admission.remaining};t={whole_seconds(admission.reset_us)}'.encode()),
    )
