"""The form of an overview: a range in numbers, the range before, and what has the most downloads."""

from __future__ import annotations

import datetime as dt

import msgspec

from analytics_core.db.audience import NoListeners
from api.schemas.analytics import Envelope

__all__ = ("Former", "OverviewAnswer", "Top", "TopValue")


class TopValue(msgspec.Struct, frozen=True):
    """One value and its downloads; `key` is an id, a name or a country code, empty where unknown.

    `title` is that of an episode or a podcast. `share` is the part of all downloads, from 0 to 1.
    """

    key: str
    title: str | None
    downloads: int
    downloads_strict: int
    share: float


class Top(msgspec.Struct, frozen=True):
    """The values with the most downloads, and all others together: how many they are, and their downloads."""

    data: list[TopValue]
    other_values: int
    other_downloads: int
    other_downloads_strict: int


class Former(msgspec.Struct, frozen=True, kw_only=True):
    """As many days right before, and the change against them as a share of theirs; null where they had none."""

    start: dt.datetime = msgspec.field(name="from")
    end: dt.datetime = msgspec.field(name="to")
    downloads: int
    downloads_strict: int
    change: float | None


class OverviewAnswer(Envelope, frozen=True, kw_only=True):
    """A range in numbers.

    `former` is null when counting began after the range before did. `podcasts` is null for one podcast.
    """

    tz: str
    start: dt.datetime = msgspec.field(name="from")
    end: dt.datetime = msgspec.field(name="to")
    downloads: int
    downloads_strict: int
    listeners: int | None
    listeners_reason: NoListeners | None
    former: Former | None
    podcasts: Top | None
    episodes: Top
    apps: Top
    countries: Top
