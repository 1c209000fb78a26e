"""Accounts: what trackers and collectors say that they answered, held against what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from analytics_core.spool import Totals

__all__ = (
    "ANSWERED",
    "CLICK",
    "DAMAGED",
    "DEAD",
    "DUPLICATE",
    "EVENT",
    "LOST",
    "NO_TENANT",
    "PENDING",
    "difference",
    "growth",
    "lost",
    "opening_totals",
)

ANSWERED: Final = "answered"
"""Requests answered with a redirect, as the tracker counted them; events accepted, as the collector did."""
CLICK: Final = "click"
EVENT: Final = "event"
DUPLICATE: Final = "duplicate"
"""Events of an id that had landed before."""
PENDING: Final = "pending"
DEAD: Final = "dead"
LOST: Final = "lost:"
"""Stands before the reason in an account of hits that were lost."""


def lost(reason: str) -> str:
    """Name the account of hits that were lost.

    >>> lost("flood")
    'lost:flood'
    """
    return f"{LOST}{reason}"


DAMAGED: Final = lost("damaged")
"""Hits that were recorded, and that the spool no longer holds."""
NO_TENANT: Final = lost("no_tenant")
"""Events of a tenant that was erased before they landed."""


def opening_totals(first: Totals, hits: int) -> Totals:
    """Say what a writer's totals were before a segment's first frame.

    Args:
        first: With that frame.
        hits: Its hits.
    """
    return Totals(
        answered=max(first.answered - hits, 0),
        recorded=max(first.recorded - hits, 0),
        refused=first.refused,
        lost=first.lost,
        at_risk=first.at_risk,
    )


def growth(before: Totals, after: Totals, *, hits: int) -> Counter[str]:
    """Say what happened between two totals of one process besides the hits that were read.

    Args:
        before: The earlier ones.
        after: The later ones.
        hits: Hits that were read from frames between them.

    Returns:
        What was answered besides, and what it was lost by. ``lost:damaged`` are hits that were recorded and not read.

    >>> growth(Totals(), Totals(answered=9, recorded=7, lost={"flood": 2}), hits=4)
    Counter({'answered': 5, 'lost:damaged': 3, 'lost:flood': 2})
    """
    found = Counter({ANSWERED: after.answered - before.answered - hits})
    found[DAMAGED] = after.recorded - before.recorded - hits
    for reason, count in after.lost.items():
        found[lost(reason)] += count - before.lost.get(reason, 0)
    return Counter({what: count for what, count in found.items() if count})


def difference(accounts: Mapping[str, int]) -> int:
    """Say how many answers more there are than things that became of them: 0 where the ledger balances.

    >>> difference({"answered": 3, "eligible": 1, "lost:flood": 1})
    1
    """
    return 2 * accounts.get(ANSWERED, 0) - sum(accounts.values())
