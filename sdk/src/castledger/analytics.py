"""Figures, and what they are made of."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

from castledger._models import DownloadReport, Explanation, Hit
from castledger._nouns import AsyncNoun, Noun
from castledger._requests import Call, Moment, Page, Paged, given, write_moment

__all__ = ("Analytics", "AsyncAnalytics")


def _downloads(
    *,
    podcast_id: UUID | str | None,
    episode_id: UUID | str | None,
    start: Moment,
    end: Moment,
    interval: str,
    by: str | None,
    tz: str | None,
) -> Call[DownloadReport]:
    """Report downloads."""
    params = given(podcast_id=podcast_id, episode_id=episode_id, interval=interval, by=by, tz=tz)
    params |= {"from": write_moment("start", start), "to": write_moment("end", end)}
    return Call(DownloadReport, "GET", "/analytics/downloads", params=params)


def _explain(*, podcast_id: UUID | str | None, episode_id: UUID | str | None, day: dt.date) -> Call[Explanation]:
    """Take a day apart."""
    if (podcast_id is None) == (episode_id is None):
        raise ValueError("explain: give either podcast_id or episode_id")
    if isinstance(day, dt.datetime):
        raise ValueError("day: is a date (UTC), not an instant")
    params = given(podcast_id=podcast_id, episode_id=episode_id, day=write_moment("day", day))
    return Call(Explanation, "GET", "/analytics/explain", params=params)


def _hits(
    *,
    podcast_id: UUID | str | None,
    episode_id: UUID | str | None,
    start: Moment,
    end: Moment,
    verdict: str | None,
) -> Paged[Hit]:
    """List hits."""
    params = given(podcast_id=podcast_id, episode_id=episode_id, verdict=verdict)
    params |= {"from": write_moment("start", start), "to": write_moment("end", end)}
    return Paged(Page[Hit], "/analytics/hits", params)


def _hit(hit_id: str) -> Call[Hit]:
    """Read a hit."""
    if not hit_id.startswith("h_") or not hit_id.replace("-", "").replace("_", "").isalnum():
        raise ValueError("hit_id: looks like h_1a-ff")
    return Call(Hit, "GET", f"/analytics/hits/{hit_id}")


class Analytics(Noun):
    """Reports and hits."""

    def downloads(
        self,
        *,
        start: Moment,
        end: Moment,
        podcast_id: UUID | str | None = None,
        episode_id: UUID | str | None = None,
        interval: str = "day",
        by: str | None = None,
        tz: str | None = None,
    ) -> DownloadReport:
        """Report downloads from *start* up to, not including, *end*.

        Args:
            start: A date, or an aware instant on the quarter hour.
            end: Likewise.
            podcast_id: Of one podcast; all of the tenant's when neither this nor an episode is given.
            episode_id: Of one episode.
            interval: ``hour``, ``day``, ``week`` or ``month``.
            by: ``episode``, ``app``, ``device``, ``os``, ``country``, ``region``, ``city``, ``referrer``,
                ``feed_app`` or ``source``.
            tz: Time zone of the intervals, such as ``Europe/Berlin``; UTC by default.

        Raises:
            ValueError: An instant has no time zone.
            TypeError: *start* or *end* is something else.
            ValidationError: The API refused a parameter; ``errors`` says which.
        """
        return self._client.send(
            _downloads(
                podcast_id=podcast_id, episode_id=episode_id, start=start, end=end, interval=interval, by=by, tz=tz
            )
        )

    def explain(
        self, *, day: dt.date, podcast_id: UUID | str | None = None, episode_id: UUID | str | None = None
    ) -> Explanation:
        """Take a UTC day of one episode, or of a whole podcast, apart: every hit with its verdict."""
        return self._client.send(_explain(podcast_id=podcast_id, episode_id=episode_id, day=day))

    def hits(
        self,
        *,
        start: Moment,
        end: Moment,
        podcast_id: UUID | str | None = None,
        episode_id: UUID | str | None = None,
        verdict: str | None = None,
    ) -> Iterator[Hit]:
        """Go through hits one by one, each with the reason why it counts or does not."""
        return self._client.pages(
            _hits(podcast_id=podcast_id, episode_id=episode_id, start=start, end=end, verdict=verdict)
        )

    def hit(self, hit_id: str) -> Hit:
        """Read one hit."""
        return self._client.send(_hit(hit_id))


class AsyncAnalytics(AsyncNoun):
    """The same, awaited."""

    async def downloads(
        self,
        *,
        start: Moment,
        end: Moment,
        podcast_id: UUID | str | None = None,
        episode_id: UUID | str | None = None,
        interval: str = "day",
        by: str | None = None,
        tz: str | None = None,
    ) -> DownloadReport:
        """Report downloads from *start* up to, not including, *end*.

        Args:
            start: A date, or an aware instant on the quarter hour.
            end: Likewise.
            podcast_id: Of one podcast; all of the tenant's when neither this nor an episode is given.
            episode_id: Of one episode.
            interval: ``hour``, ``day``, ``week`` or ``month``.
            by: ``episode``, ``app``, ``device``, ``os``, ``country``, ``region``, ``city``, ``referrer``,
                ``feed_app`` or ``source``.
            tz: Time zone of the intervals, such as ``Europe/Berlin``; UTC by default.

        Raises:
            ValueError: An instant has no time zone.
            TypeError: *start* or *end* is something else.
            ValidationError: The API refused a parameter; ``errors`` says which.
        """
        return await self._client.send(
            _downloads(
                podcast_id=podcast_id, episode_id=episode_id, start=start, end=end, interval=interval, by=by, tz=tz
            )
        )

    async def explain(
        self, *, day: dt.date, podcast_id: UUID | str | None = None, episode_id: UUID | str | None = None
    ) -> Explanation:
        """Take a UTC day of one episode, or of a whole podcast, apart: every hit with its verdict."""
        return await self._client.send(_explain(podcast_id=podcast_id, episode_id=episode_id, day=day))

    def hits(
        self,
        *,
        start: Moment,
        end: Moment,
        podcast_id: UUID | str | None = None,
        episode_id: UUID | str | None = None,
        verdict: str | None = None,
    ) -> AsyncIterator[Hit]:
        """Go through hits one by one, each with the reason why it counts or does not."""
        return self._client.pages(
            _hits(podcast_id=podcast_id, episode_id=episode_id, start=start, end=end, verdict=verdict)
        )

    async def hit(self, hit_id: str) -> Hit:
        """Read one hit."""
        return await self._client.send(_hit(hit_id))
