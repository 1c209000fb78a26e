"""An episode's hits under several profiles."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import msgspec

from castledger._models.common import Instant, Table, Tabular

__all__ = ("ComparedDay", "ComparedDownloads", "ComparedPair", "ComparedProfile", "Comparison", "Difference")


class ComparedProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A profile, and what it counts over all days whose hits are kept.

    Attributes:
        differences: Of a profile that stands for somebody else's rules, where its figures may not be theirs.
    """

    profile: str
    rules: str
    summary: str
    window: str
    downloads: int
    differences: tuple[str, ...] = ()


class ComparedDay(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC day.

    Attributes:
        downloads: By profile; ``None`` with a ``reason`` where no hits are left to judge again.
        counted: Those that reports show.
        late: Hits that came when the day was final: judged here, and in no report.
    """

    day: dt.date
    counted: int
    hits: int
    late: int
    downloads: dict[str, int] | None = None
    reason: str | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Downloads that ``counted_by`` counts and the other profile of the pair does not, for one reason.

    Attributes:
        why: The reason in words.
        hits: The first 20 at most.
    """

    counted_by: str
    reason: str
    why: str
    downloads: int
    hits: tuple[str, ...] = ()


class ComparedPair(msgspec.Struct, frozen=True, kw_only=True):
    """Two profiles, and how many more downloads ``one`` counts than ``other``."""

    one: str
    other: str
    difference: int
    reasons: tuple[Difference, ...] = ()


class ComparedDownloads(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a comparison's frame: a day under one profile."""

    day: dt.date
    profile: str
    downloads: int


class Comparison(Tabular, frozen=True, kw_only=True):
    """An episode's stored hits, judged again under several profiles."""

    episode_id: UUID
    start: dt.date = msgspec.field(name="from")
    end: dt.date = msgspec.field(name="to")
    profiles: tuple[ComparedProfile, ...]
    data: tuple[ComparedDay, ...]
    pairs: tuple[ComparedPair, ...]
    state: str
    partial: bool
    cutoff: Instant | None = None

    def as_table(self) -> Table:
        """Give a row a day and profile; none of days whose hits are gone."""
        rows = [
            ComparedDownloads(day=day.day, profile=profile, downloads=downloads)
            for day in self.data
            for profile, downloads in (day.downloads or {}).items()
        ]
        return Table(ComparedDownloads, rows)
