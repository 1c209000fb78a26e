"""The best hit of each listener, episode and day of a batch, found by one sort."""

from __future__ import annotations

import numpy as np

from analytics_core.db.hits import Downloads, HitColumns
from analytics_core.hits import NOT_COUNTED
from analytics_core.verdicts import Evidence, Verdict

__all__ = ("pick_winners",)


def pick_winners(hits: HitColumns) -> Downloads:
    """Pick of the eligible hits the best for each day, episode and listener, in the order of that key.

    By more evidence, then the earlier time, then the lower id: ``analytics_core.downloads.better`` by column. Hits
    that came too late for their day, or that another source counts instead of, count for nothing.
    """
    counts = (
        (hits.verdict == int(Verdict.ELIGIBLE))
        & (hits.evidence > int(Evidence.NONE))
        & (hits.episode_no > 0)
        & (hits.flags & int(NOT_COUNTED) == 0)
    )
    eligible = hits if counts.all() else hits.select(counts)
    if not len(eligible):
        return eligible
    day, key = eligible.day, eligible.listener_key
    # Two columns in one number each: times take 53 bits, evidence 2; numbers of segments and hits take 31 each.
    merit = ((int(Evidence.FULL) - eligible.evidence) << 60) | eligible.occurred_at
    hit_id = (eligible.segment_no << 32) | eligible.ordinal
    place = (day << 32) | eligible.episode_no
    order = np.lexsort((hit_id, merit, key[:, 1], key[:, 0], place))
    place, key = place[order], key[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (place[1:] != place[:-1]) | (key[1:] != key[:-1]).any(axis=1)
    return eligible.select(order[first])
