"""The forms of comparisons."""

from __future__ import annotations

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec

from analytics_core.db.states import State

__all__ = ("ComparedDay", "ComparedPair", "ComparedProfile", "ComparisonAnswer", "Difference")


class ComparedProfile(msgspec.Struct, frozen=True):
    """A profile, and what it counts over all days whose hits are kept.

    `differences` say, of a profile that stands for somebody else's rules, where its figures may not be theirs.
    """

    profile: str
    rules: str
    summary: str
    window: str
    downloads: int
    differences: tuple[str, ...]


class ComparedDay(msgspec.Struct, frozen=True):
    """A UTC day: the downloads of each profile, and those that reports show (`counted`).

    `downloads` is null with the `reason` `hits_not_kept` where there is nothing left to judge again. `late` are hits
    that came when the day was final: they are judged here and are in no report until it is restated.
    """

    day: dt.date
    downloads: dict[str, int] | None
    counted: int
    hits: int
    late: int
    reason: Literal["hits_not_kept"] | None


class Difference(msgspec.Struct, frozen=True):
    """Downloads that `counted_by` counts and the other profile of the pair does not, for one `reason`.

    The reason is what they are under the other: a verdict, `probe` (two bytes were asked for), `playlist` (there is no
    sound in one), `window` (it is a repeat there, as its window is another), or `referrer` (it is a repeat there, as it
    does not tell web sites apart).
    `hits` are the first 20 hits at most.
    """

    counted_by: str
    reason: str
    why: str
    downloads: int
    hits: list[str]


class ComparedPair(msgspec.Struct, frozen=True):
    """Two profiles: how many more downloads `one` counts than `other`, and what makes the difference, largest first.

    What `one` alone counts, less what `other` alone counts, is the difference.
    """

    one: str
    other: str
    difference: int
    reasons: list[Difference]


class ComparisonAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An episode's stored hits, judged again under several profiles."""

    episode_id: UUID
    start: dt.date = msgspec.field(name="from")
    end: dt.date = msgspec.field(name="to")
    profiles: list[ComparedProfile]
    data: list[ComparedDay]
    pairs: list[ComparedPair]
    cutoff: dt.datetime | None
    partial: bool
    state: State
