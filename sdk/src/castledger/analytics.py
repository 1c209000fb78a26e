"""Figures, and what they are made of: ``client.analytics``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

from castledger._models import Comparison, DownloadReport, Explanation, Hit, Overview
from castledger._nouns import AsyncNoun, Noun, pages, sends
from castledger._requests import (
    Call,
    Dimension,
    Interval,
    Moment,
    Paged,
    given,
    given_range,
    write_moment,
)

__all__ = ("Analytics", "AsyncAnalytics")


def _write_day(name: str, day: dt.date) -> str:
    if isinstance(day, dt.datetime):
        raise ValueError(f"{name}: is a date (UTC), not an instant")
    return write_moment(name, day)


class Analytics(Noun):
    """Reports and hits."""

    @sends
    def downloads(
        self,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        podcast_id: UUID | str | None = None,
        episode_id: UUID | str | None = None,
        interval: Interval | None = "day",
        by: Dimension | None = None,
        limit: int | None = None,
        tz: str | None = None,
    ) -> Call[DownloadReport]:
        """Report downloads from *start* up to, not including, *end*.

        Args:
            start: A date, or an aware instant on the quarter hour; by default as many days before *end* as the tenant's
                settings say, 30 unless they do.
            end: Likewise; by default the end of today.
            podcast_id: Of one podcast; all of the tenant's when neither this nor an episode is given.
            episode_id: Of one episode.
            interval: How long a row's time is; ``None`` for what the tenant's settings say.
            by: What to break the figures down by.
            limit: With *by*: how many values to name, those with the most downloads; all others are one row ``other``.
            tz: Time zone of the intervals, such as ``Europe/Berlin``; by default the tenant's, UTC unless it is set.

        Raises:
            ValueError: An instant has no time zone.
            TypeError: *start* or *end* is something else.
            ValidationError: The API refused a parameter; ``errors`` says which.
        """
        params = given(podcast_id=podcast_id, episode_id=episode_id, interval=interval, by=by, limit=limit, tz=tz)
        return Call(DownloadReport, "GET", "/analytics/downloads", params=params | given_range(start, end))

    @sends
    def overview(
        self,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        podcast_id: UUID | str | None = None,
        limit: int | None = None,
        tz: str | None = None,
    ) -> Call[Overview]:
        """Show a range at a glance: downloads against the range before, listeners, and what has the most downloads.

        Args:
            start: As in :meth:`downloads`.
            end: Likewise.
            podcast_id: Of one podcast, or of all.
            limit: How many podcasts, episodes, apps and countries to name, 10 unless given.
            tz: Time zone.
        """
        params = given(podcast_id=podcast_id, limit=limit, tz=tz)
        return Call(Overview, "GET", "/analytics/overview", params=params | given_range(start, end))

    @sends
    def explain(
        self, *, day: dt.date, podcast_id: UUID | str | None = None, episode_id: UUID | str | None = None
    ) -> Call[Explanation]:
        """Take a UTC day of one episode, or of a whole podcast, apart: every hit with its verdict."""
        if (podcast_id is None) == (episode_id is None):
            raise ValueError("explain: give either podcast_id or episode_id")
        params = given(podcast_id=podcast_id, episode_id=episode_id, day=_write_day("day", day))
        return Call(Explanation, "GET", "/analytics/explain", params=params)

    @sends
    def compare(
        self,
        *,
        episode_id: UUID | str,
        start: dt.date | None = None,
        end: dt.date | None = None,
        profiles: Sequence[str] | None = None,
    ) -> Call[Comparison]:
        """Judge an episode's stored hits again under several profiles, and tell what makes them differ.

        Args:
            episode_id: Whose hits.
            start: The first UTC day; by default seven before *end*.
            end: The day behind the last.
            profiles: Their names, such as ``castledger-1`` and ``op3``.
        """
        if isinstance(profiles, str):
            raise TypeError("profiles: is a list of names, not one text")
        days = {
            name: _write_day(ours, day) for name, ours, day in (("from", "start", start), ("to", "end", end)) if day
        }
        params = given(episode_id=episode_id, profiles=None if profiles is None else ",".join(profiles))
        return Call(Comparison, "GET", "/analytics/compare", params=params | days)

    @pages
    def hits(
        self,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        podcast_id: UUID | str | None = None,
        episode_id: UUID | str | None = None,
        verdict: str | None = None,
    ) -> Paged[Hit]:
        """Go through hits one by one, each with the reason why it counts or does not; by default of one day.

        Days whose hits are not kept any more have none; :meth:`explain` tells of a day whether that is so.
        """
        params = given(podcast_id=podcast_id, episode_id=episode_id, verdict=verdict)
        return Paged(Hit, "/analytics/hits", params | given_range(start, end))

    @sends
    def hit(self, hit_id: str) -> Call[Hit]:
        """Read one hit."""
        if not hit_id.startswith("h_") or not hit_id.replace("-", "").replace("_", "").isalnum():
            raise ValueError("hit_id: looks like h_1a-ff")
        return Call(Hit, "GET", f"/analytics/hits/{hit_id}")


class AsyncAnalytics(AsyncNoun, Analytics):
    """:class:`Analytics`, awaited."""
