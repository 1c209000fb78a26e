"""How settled and how complete figures are, and by what they were counted, as their status tells."""

from __future__ import annotations

import datetime as dt
import enum

from analytics_core.db.analytics import StatusRow
from analytics_core.profiles import DEFAULT_PROFILE

__all__ = ("State", "counted_by", "is_partial", "state_of")


class State(enum.Enum):
    """How settled figures are: still coming in, open to late hits, or closed for good."""

    LIVE = "live"
    PROVISIONAL = "provisional"
    FINAL = "final"


def counted_by(status: StatusRow) -> tuple[str, str]:
    """Name the profile that the hits of some UTC days are judged by, and its rules; where there are several, all."""
    rules = sorted({one or DEFAULT_PROFILE.rules_version for one in status.rules}) or [DEFAULT_PROFILE.rules_version]
    names = sorted({one.rpartition(".")[0] for one in rules})
    return ", ".join(names), ", ".join(rules)


def state_of(status: StatusRow, first: dt.date, last: dt.date, *, now: dt.datetime) -> State:
    """Tell how settled the figures of some UTC days are, both included: as settled as the least settled one."""
    if last >= now.astimezone(dt.UTC).date():
        return State.LIVE
    return State.FINAL if status.final_days == (last - first).days + 1 else State.PROVISIONAL


def is_partial(status: StatusRow, end: dt.datetime) -> bool:
    """Tell whether hits from before *end* may be missing from the figures."""
    return status.cutoff_at is None or status.cutoff_at < end or status.is_dirty
