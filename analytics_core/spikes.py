"""Spikes: which hours of a podcast have a flood, from counts alone. What it means is for the podcast's owner to say.

A flood is one source that asks for more episodes than anybody plays, or one agent, network or country that rises far
above what the same hour of the days before makes likely. A release raises all of them alike, so a rise is held up to
what the others have as well: a share that is usual is never a flood, however large the hour.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

__all__ = (
    "DEFAULT_LIMITS",
    "Cell",
    "Dimension",
    "Found",
    "Pair",
    "SpikeLimits",
    "find_rises",
    "rises",
    "single_agent",
)

Dimension: TypeAlias = Literal["agent", "network", "country"]

_NORMAL: Final = 1.4826
"""Of a normal distribution the standard deviation is so many times the median absolute deviation."""
_ORDER: Final[tuple[Dimension, ...]] = ("agent", "network", "country")
_NARROWER: Final[tuple[Dimension, ...]] = ("network", "agent")
_BUSIEST: Final = 28
_RANK: Final = 3


class SpikeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """From when on it is a flood. These numbers are our own: the guideline gives none.

    Attributes:
        source_episodes_hour: A source that asks for more different episodes of a podcast than this in an hour.
        source_episodes_day: The same of a UTC day.
        floor: Downloads in an hour below which nothing is a rise.
        factor: A rise is more than so many times what is likely,
        deviations: and lies above the median of the same hour by more than so many deviations.
        days: How many days before are looked at,
        least_days: and how many there have to be.
        holds: The part of a rise that a single network or agent has to hold for the spike to be about it alone.

    Source:
        PTMG v2.3, 1.2 #1 and 5.5.4, asks that addresses with an unrealistic number of downloads be examined.
    """

    source_episodes_hour: int = 30
    source_episodes_day: int = 100
    floor: int = 50
    factor: float = 3.0
    deviations: float = 6.0
    days: int = 28
    least_days: int = 14
    holds: float = 0.8


DEFAULT_LIMITS: Final = SpikeLimits()


class Pair(NamedTuple):
    """Downloads of an hour: those of one, and those of all others."""

    own: int
    others: int


class Cell(NamedTuple):
    """Downloads of an hour that have all three in common.

    Attributes:
        app: The agent's name; empty for one that is not known.
        asn: The autonomous system; 0 for one that is not known.
        country: Two letters, packed; 0 for one that is not known.
    """

    app: str
    asn: int
    country: int
    downloads: int


class Found(NamedTuple):
    """A rise of an hour: what all of its downloads have in common, how many they are, and how many were likely."""

    kind: Dimension
    app: str | None
    asn: int | None
    country: int | None
    downloads: int
    usual: int

    def holds(self, cell: Cell) -> bool:
        """Tell whether downloads are of it."""
        return self.app in (None, cell.app) and self.asn in (None, cell.asn) and self.country in (None, cell.country)


def _value(cell: Cell, kind: Dimension) -> str | int:
    return cell.app if kind == "agent" else cell.asn if kind == "network" else cell.country


def _only(found: Found, kind: Dimension, value: str | int) -> Found:
    """Have a rise be about a single agent, network or country."""
    if isinstance(value, str):
        return found._replace(app=value)
    return found._replace(asn=value) if kind == "network" else found._replace(country=value)


def _count(cells: Iterable[Cell], kind: Dimension) -> dict[str | int, int]:
    counts: dict[str | int, int] = {}
    for cell in cells:
        value = _value(cell, kind)
        counts[value] = counts.get(value, 0) + cell.downloads
    return counts


def _odds(hours: Sequence[Pair]) -> float:
    """Say how many come to one of all others: in all, or in the third highest of those hours that have the most others.

    The third, so that an hour or two that were floods themselves do not hide the next one, and so that the busiest
    hours, which are releases, say what a release looks like.
    """
    own, others = sum(pair.own for pair in hours), sum(pair.others for pair in hours)
    busiest = sorted(hours, key=lambda pair: (-pair.others, pair.own))[: min(_BUSIEST, max(len(hours) // 2, _RANK))]
    ranked = sorted((pair.own / pair.others for pair in busiest if pair.others), reverse=True)
    of_busy = ranked[_RANK - 1] if len(ranked) >= _RANK else 0.0
    return max(own / others if others else float("inf") if own else 0.0, of_busy)


def rises(
    now: Pair, same_hour: Sequence[Pair], hours: Sequence[Pair] = (), limits: SpikeLimits = DEFAULT_LIMITS
) -> int | None:
    """Tell whether an hour's downloads of one agent, network or country are a flood.

    Args:
        now: Of the hour.
        same_hour: Of the same hour of the days before.
        hours: Of other hours of these days; those of *same_hour* by default.
        limits: From when on.

    Returns:
        How many were likely when they are one, else ``None``.

    >>> quiet = [Pair(10, 90)] * 28
    >>> rises(Pair(400, 110), quiet), rises(Pair(400, 3600), quiet), rises(Pair(12, 0), quiet)
    (12, None, None)
    """
    if now.own < limits.floor or len(same_hour) < limits.least_days:
        return None
    own = [pair.own for pair in same_hour]
    median = statistics.median(own)
    deviation = _NORMAL * statistics.median(abs(count - median) for count in own)
    likely = max(median, _odds(hours or same_hour) * max(now.others, 1))
    if now.own <= limits.factor * likely or now.own <= median + limits.deviations * max(deviation, median**0.5):
        return None
    return round(likely)


def _narrow(found: Found, cells: Iterable[Cell], limits: SpikeLimits) -> Found:
    """Have a rise be about a single network and app, as far as these hold nearly all of it."""
    excess = found.downloads - found.usual
    kept = list(cells)
    for kind in _NARROWER:
        if kind == found.kind:
            continue
        counts = _count(kept, kind)
        # Those that are not known are neither a network nor an agent.
        most = max(counts, key=lambda value: (counts[value], str(value)))
        if most and counts[most] >= limits.holds * excess:
            found = _only(found, kind, most)._replace(downloads=counts[most])
            kept = [cell for cell in kept if found.holds(cell)]
    return found


def find_rises(
    cells: Sequence[Cell],
    same_hour: Mapping[tuple[Dimension, str | int], Sequence[Pair]],
    hours: Mapping[tuple[Dimension, str | int], Sequence[Pair]],
    limits: SpikeLimits = DEFAULT_LIMITS,
) -> list[Found]:
    """Find what has risen in an hour of a podcast: agents, then networks, then countries.

    What was found is left out of what is looked at next, so that a flood is one spike and not three.

    Args:
        cells: The hour's downloads, in any order.
        same_hour: By what may have risen, its downloads and all others' in the same hour of the days before. What is
            not there is not looked at.
        hours: The same of more hours of these days, where they are known.
        limits: From when on.
    """
    left = sorted(cells)
    found: list[Found] = []
    for kind in _ORDER:
        counts = _count(left, kind)
        for value in sorted(counts, key=lambda value: (-counts[value], str(value))):
            if (kind, value) not in same_hour:
                continue
            of_it = [cell for cell in left if _value(cell, kind) == value]
            own = sum(cell.downloads for cell in of_it)
            now = Pair(own, sum(cell.downloads for cell in left) - own)
            likely = rises(now, same_hour[kind, value], hours.get((kind, value), ()), limits)
            if likely is None:
                continue
            one = _only(Found(kind, None, None, None, own, likely), kind, value)
            found.append(_narrow(one, of_it, limits))
            left = [cell for cell in left if not found[-1].holds(cell)]
    return found


def single_agent(found: Found, agents: Mapping[str, int], limits: SpikeLimits = DEFAULT_LIMITS) -> str | None:
    """Name the user agent that makes nearly all of a rise.

    Args:
        found: The rise.
        agents: Its user agents with the most downloads.
        limits: How much is nearly all.
    """
    most = max(agents, key=lambda agent: (agents[agent], agent), default=None)
    if not most or agents[most] < limits.holds * (found.downloads - found.usual):
        return None
    return most
