"""Figures by time, and a range at a glance."""

from __future__ import annotations

import msgspec

from castledger._models.common import Instant, Table, Tabular

__all__ = ("DownloadReport", "DownloadRow", "FormerRange", "Lists", "Overview", "Ranked", "Ranking")


class DownloadRow(msgspec.Struct, frozen=True, kw_only=True):
    """Downloads of one interval, and of one key when the report is broken down.

    Attributes:
        key: An episode's id, a name, a code of a place or a host; empty where unknown.
        listeners: Distinct ones; ``None`` when the report is broken down, and where they cannot be known.
        values: Of the row ``other``, how many values it holds together.
    """

    start: Instant
    downloads: int
    downloads_strict: int
    key: str | None = None
    listeners: int | None = None
    values: int | None = None


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of the lists by which hits are judged; ``none`` where there is no list."""

    agents: str
    networks: str
    countries: str
    places: str = "none"
    asns: str = "none"


class DownloadReport(Tabular, frozen=True, kw_only=True):
    """Downloads over time.

    Attributes:
        start: Where the range begins that was taken, in the report's time zone; the API's ``from``.
        end: Where it ends, itself excluded; the API's ``to``.
        tz: Whose days and clocks decide.
        interval: How long a row's time is.
        profile: The rules that were used.
        rules: Their version.
        lists: The lists that were used.
        state: ``live``, ``provisional`` or ``final``.
        partial: Whether downloads of the range may be missing, such as where it reaches beyond *cutoff*.
        cutoff: Everything before this instant has been counted; ``None`` while nothing has.
        listeners_reason: Why some rows have no listeners.
        restated: How many UTC days of the range were restated after they were final.
    """

    data: tuple[DownloadRow, ...]
    start: Instant = msgspec.field(name="from")
    end: Instant = msgspec.field(name="to")
    tz: str
    interval: str
    profile: str
    rules: str
    lists: Lists
    state: str
    partial: bool
    cutoff: Instant | None = None
    listeners_reason: str | None = None
    restated: int = 0

    def as_table(self) -> Table:
        """Give the rows, in the report's time zone."""
        return Table(DownloadRow, self.data, self.tz)

    @property
    def total(self) -> int:
        """All downloads of the report."""
        return sum(row.downloads for row in self.data)


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """One value among those with the most downloads.

    Attributes:
        key: An id, a name or a country's code; empty where unknown.
        title: Of an episode or a podcast.
        share: The part of all downloads, from 0 to 1.
    """

    key: str
    downloads: int
    downloads_strict: int
    share: float
    title: str | None = None


class Ranking(Tabular, frozen=True, kw_only=True):
    """The values with the most downloads, and all others together: how many they are, and their downloads."""

    data: tuple[Ranked, ...]
    other_values: int
    other_downloads: int
    other_downloads_strict: int

    def as_table(self) -> Table:
        """Give the values that are named."""
        return Table(Ranked, self.data)


class FormerRange(msgspec.Struct, frozen=True, kw_only=True):
    """As many days right before a range; ``change`` against them is a share of theirs, ``None`` where they had none."""

    start: Instant = msgspec.field(name="from")
    end: Instant = msgspec.field(name="to")
    downloads: int
    downloads_strict: int
    change: float | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A range at a glance; what is not explained here is as in :class:`DownloadReport`.

    Attributes:
        former: The range before; ``None`` when counting began later than that.
        podcasts: ``None`` for one podcast.
    """

    start: Instant = msgspec.field(name="from")
    end: Instant = msgspec.field(name="to")
    tz: str
    downloads: int
    downloads_strict: int
    episodes: Ranking
    apps: Ranking
    countries: Ranking
    profile: str
    rules: str
    lists: Lists
    state: str
    partial: bool
    podcasts: Ranking | None = None
    former: FormerRange | None = None
    listeners: int | None = None
    listeners_reason: str | None = None
    cutoff: Instant | None = None
    restated: int = 0
