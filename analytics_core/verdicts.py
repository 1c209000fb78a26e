"""Why a hit counts, or does not: a closed set of verdicts with an order of precedence."""

from __future__ import annotations

import enum
from typing import Final

__all__ = ("NO_VERDICT", "Evidence", "Verdict", "first_verdict", "verdict_names")


class Verdict(enum.IntEnum):
    """The reason that decides a hit, lowest number first; ``ELIGIBLE`` when none applies.

    Source:
        ``docs/methodology.md``, "Verdicts".
    """

    ELIGIBLE = 0
    HEAD = 1
    UNKNOWN_EPISODE = 2
    LIVE = 3
    UNPUBLISHED = 4
    NO_USER_AGENT = 5
    BOT = 6
    WATCH = 7
    PRELOAD = 8
    BLOCKED = 9
    DATACENTER = 10
    VPN = 11
    TINY_RANGE = 12

    @property
    def bit(self) -> int:
        """The verdict's bit in a set of verdicts; 0 for ``ELIGIBLE``.

        >>> Verdict.HEAD.bit, Verdict.BOT.bit, Verdict.ELIGIBLE.bit
        (1, 32, 0)
        """
        return 1 << (self - 1) if self else 0

    @property
    def label(self) -> str:
        """The name under which the verdict is stored nowhere and shown everywhere.

        >>> Verdict.TINY_RANGE.label
        'tiny_range'
        """
        return self.name.lower()


NO_VERDICT: Final = -1
"""Stored with hits that no verdict is about: clicks."""


class Evidence(enum.IntEnum):
    """How much of an episode an eligible hit asked for; more evidence wins a download's row."""

    NONE = 0
    PROBE = 1
    PARTIAL = 2
    FULL = 3

    @property
    def label(self) -> str:
        """The name that is shown.

        >>> Evidence.FULL.label
        'full'
        """
        return self.name.lower()


def first_verdict(bits: int) -> Verdict:
    """Pick the verdict that decides from all that apply.

    Args:
        bits: Any union of ``Verdict.bit``; 0 when nothing speaks against the hit.

    Returns:
        The verdict of the lowest bit, or ``ELIGIBLE``.

    >>> first_verdict(Verdict.BOT.bit | Verdict.HEAD.bit).label
    'head'
    >>> first_verdict(0).label
    'eligible'
    """
    return Verdict((bits & -bits).bit_length())


def verdict_names(bits: int) -> list[str]:
    """List every verdict in a set, by precedence.

    >>> verdict_names(Verdict.BOT.bit | Verdict.TINY_RANGE.bit)
    ['bot', 'tiny_range']
    """
    return [verdict.label for verdict in Verdict if verdict.bit & bits]
