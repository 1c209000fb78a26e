"""Shapley: each campaign is given what it adds, in the mean over all orders in which campaigns might have come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.models.paths import NO_TERMS, Path, Paths, Terms

__all__ = ("last_of_campaigns", "last_of_campaigns_in_rows", "weigh", "weigh_rows")


def last_of_campaigns(path: Path) -> list[int]:
    """Find the last touch of each campaign, the one that its share goes to.

    Returns:
        For each touch 1 where it is the last of its campaign, else 0.

    >>> last_of_campaigns(Path((5, 3, 5, 5), (1, 2, 3, 4)))
    [0, 1, 0, 1]
    """
    seen: set[int] = set()
    marks = []
    for campaign in reversed(path.campaigns):
        marks.append(int(campaign not in seen))
        seen.add(campaign)
    return marks[::-1]


def weigh(path: Path, _: Terms = NO_TERMS) -> list[int]:
    """Weigh the distinct campaigns alike.

    With the worth of a set of campaigns being that of all paths whose campaigns are in it, the Shapley value splits
    each path's worth equally over its distinct campaigns: no sum over all subsets is needed.

    Source:
        L. S. Shapley, A value for n-person games, 1953: the game of a path is a unanimity game, whose value is shared
        equally, and values of games add up. ``docs/methodology/attribution.md``, "Shapley".

    >>> weigh(Path((5, 3, 5), (1, 2, 3)))
    [0, 1, 1]
    """
    return last_of_campaigns(path)


def last_of_campaigns_in_rows(paths: Paths) -> NDArray[np.int64]:
    """Find them as :func:`last_of_campaigns` does, row by row."""
    width = paths.campaigns.shape[1]
    # Sorted by campaign, then place: the last of each run of a campaign is its last touch.
    keys = np.sort(paths.campaigns.astype(np.int64) * width + np.arange(width), axis=1)
    campaigns, places = np.divmod(keys, width)
    is_last = np.ones(campaigns.shape, np.int64)
    is_last[:, :-1] = campaigns[:, :-1] != campaigns[:, 1:]
    marks = np.empty_like(is_last)
    np.put_along_axis(marks, places, is_last, axis=1)
    return marks


def weigh_rows(paths: Paths, _: Terms = NO_TERMS) -> NDArray[np.int64]:
    """Weigh as :func:`weigh` does, row by row."""
    return last_of_campaigns_in_rows(paths)
