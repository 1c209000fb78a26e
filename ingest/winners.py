"""The best hit of each listener, episode and day of a batch, found by one sort."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analytics_core.db.copying import Keys
from analytics_core.db.hits import Downloads, HitColumns
from analytics_core.hits import NOT_COUNTED
from analytics_core.verdicts import Evidence, Verdict
from ingest.batches import distinct

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
    if not counts.any():
        return hits.select(counts)
    places = np.flatnonzero(counts)
    key = hits.listener_key[places]
    # Numbered in their order, few bits of a day and episode are enough.
    of_episode = distinct(hits.day[places], hits.episode_no[places])[1]
    order, starts = _group(of_episode, key)
    places = places[order]
    # Two columns in one number each: times take 53 bits, evidence 2; numbers of segments and hits take 31 each.
    merit = ((int(Evidence.FULL) - hits.evidence[places]) << 60) | hits.occurred_at[places]
    hit_id = (hits.segment_no[places] << 32) | hits.ordinal[places]
    sizes = np.diff(starts, append=len(places))
    is_best = merit == np.repeat(np.minimum.reduceat(merit, starts), sizes)
    hit_id[~is_best] = np.iinfo(np.int64).max
    is_first = hit_id == np.repeat(np.minimum.reduceat(hit_id, starts), sizes)
    return hits.select(places[is_first])


def _group(of_episode: npt.NDArray[np.intp], key: Keys) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Order pairs of episode and listener, and say where in that order each distinct one begins.

    One sort of numbers is a seventh of the work of one by three columns: of 64 bits the episode leaves enough to the
    listener's key that two of one episode hardly ever share them.
    """
    bits = np.uint64(max(int(of_episode.max()).bit_length(), 1))
    packed = (of_episode.astype(np.uint64) << (np.uint64(64) - bits)) | (key[:, 0] >> bits)
    order = np.argsort(packed)
    ordered = packed[order]
    is_new = _differ(key[order])
    if (is_new[1:] & (ordered[1:] == ordered[:-1])).any():
        order = np.lexsort((key[:, 1], key[:, 0], of_episode))
        ordered = of_episode[order]
        is_new = _differ(key[order])
    is_new[1:] |= ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(is_new)


def _differ(keys: Keys) -> npt.NDArray[np.bool_]:
    """Say of each key whether it is another than the one before it; of the first, that it is."""
    found = np.ones(len(keys), np.bool_)
    found[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    return found
