"""The report of a podcast: its downloads by day, and what made them, as the API tells them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from analytics_core.reporting.documents import Column, Document, Kind, Table
from analytics_core.reporting.requests import ReportParams

__all__ = ("Counted", "DayFigure", "EpisodeFigure", "PodcastFigures", "ValueFigure", "about_counting", "write_podcast")

_DOWNLOADS: Final = (Column("downloads"), Column("downloads_strict"))
_NOTES: Final = (
    "A download is counted once a listener, episode and UTC day; downloads_strict leaves those out whose listener "
    "asked for two bytes and no more.",
    "Listeners are distinct estimates of people. They cannot be added up, and are not known across UTC months.",
)
_NO_LISTENERS: Final = {
    "across_months": "Listeners of the whole range are not known, as it lies in more than one UTC month.",
    "downloads_not_kept": "Some listeners are not known, as the downloads of these days are not kept any more.",
    "too_many_downloads": "Some listeners are not known, as too many downloads would have to be counted anew.",
}


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """By what figures of some days were counted, and how settled they are.

    Attributes:
        cutoff_at: Every hit of the range from before has landed; the range's end when that is all.
        state: ``live``, ``provisional`` or ``final``.
        is_partial: Whether hits of the range may be missing.
        restated: How many UTC days were counted anew.
    """

    cutoff_at: dt.datetime | None
    profile: str
    rules: str
    state: str
    is_partial: bool
    restated: int


class DayFigure(msgspec.Struct, frozen=True):
    """A day; ``listeners`` are ``None`` where they cannot be known."""

    day: dt.date
    downloads: int
    downloads_strict: int
    listeners: int | None


class EpisodeFigure(msgspec.Struct, frozen=True):
    """An episode with downloads in the range."""

    episode_id: UUID
    title: str
    published_at: dt.datetime | None
    downloads: int
    downloads_strict: int


class ValueFigure(msgspec.Struct, frozen=True):
    """An app or a country; empty where it is not known."""

    value: str
    downloads: int
    downloads_strict: int


class PodcastFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a podcast's report is made of, as storage gives it.

    Attributes:
        days: All of the range.
        listeners: Of the whole range; ``None`` where they cannot be known.
        listeners_reasons: Why some are not known.
        episodes: Most downloads first, as apps and countries.
    """

    title: str
    counted: Counted
    days: Sequence[DayFigure]
    downloads: int
    downloads_strict: int
    listeners: int | None
    listeners_reasons: frozenset[str]
    episodes: Sequence[EpisodeFigure]
    apps: Sequence[ValueFigure]
    countries: Sequence[ValueFigure]


def about_counting(counted: Counted) -> dict[str, str | int | bool | dt.datetime | None]:
    """Say by what downloads were counted, for a report's beginning."""
    return {
        "cutoff": counted.cutoff_at,
        "profile": counted.profile,
        "rules": counted.rules,
        "state": counted.state,
        "partial": counted.is_partial,
        "restated_days": counted.restated,
    }


def _values(name: str, column: str, figures: Sequence[ValueFigure]) -> Table:
    rows = [(figure.value, figure.downloads, figure.downloads_strict) for figure in figures]
    return Table(name, (Column(column, Kind.TEXT), *_DOWNLOADS), rows)


def write_podcast(params: ReportParams, figures: PodcastFigures) -> Document:
    """Write the report of a podcast.

    Args:
        params: With the podcast's id.
        figures: Of it, for the days that are asked for.
    """
    last = params.end - dt.timedelta(days=1)
    about = {
        "podcast_id": params.podcast_id,
        "podcast": figures.title,
        "from": params.start,
        "to": params.end,
        "tz": params.tz,
        **about_counting(figures.counted),
    }
    totals = Table(
        "totals",
        (*_DOWNLOADS, Column("listeners")),
        [(figures.downloads, figures.downloads_strict, figures.listeners)],
    )
    days = Table(
        "days",
        (Column("day", Kind.DAY), *_DOWNLOADS, Column("listeners")),
        [(row.day, row.downloads, row.downloads_strict, row.listeners) for row in figures.days],
    )
    episodes = Table(
        "episodes",
        (
            Column("episode_id", Kind.TEXT),
            Column("title", Kind.TEXT),
            Column("published_at", Kind.INSTANT),
            *_DOWNLOADS,
        ),
        [
            (row.episode_id, row.title, row.published_at, row.downloads, row.downloads_strict)
            for row in figures.episodes
        ],
    )
    return Document(
        kind="podcast",
        title=f"{figures.title}: downloads from {params.start} to {last}",
        about=about,
        notes=[*_NOTES, *(_NO_LISTENERS[reason] for reason in sorted(figures.listeners_reasons))],
        tables=[
            totals,
            days,
            episodes,
            _values("apps", "app", figures.apps),
            _values("countries", "country", figures.countries),
        ],
    )
