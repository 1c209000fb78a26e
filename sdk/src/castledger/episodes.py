"""Episodes: ``client.episodes``."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from castledger._models import Curve, Episode
from castledger._nouns import AsyncNoun, Noun, pages
from castledger._requests import Paged, given, path_id

__all__ = ("AsyncEpisodes", "Episodes")


class Episodes(Noun):
    """Episodes, and how they began."""

    @pages
    def list(self, podcast_id: UUID | str) -> Paged[Episode]:
        """Go through a podcast's episodes, newest first; those that have left the feed too."""
        return Paged(Episode, f"/podcasts/{path_id(podcast_id)}/episodes")

    @pages
    def curves(
        self,
        *,
        podcast_id: UUID | str | None = None,
        episode_id: UUID | str | None = None,
        origin: Literal["published", "first_hit"] = "published",
    ) -> Paged[Curve]:
        """Go through what episodes had after 1, 3, 7, 14, 28, 30, 60 and 90 days, newest episodes first.

        Args:
            podcast_id: Of all episodes of one podcast.
            episode_id: Of one episode.
            origin: What days are counted from: the publish date, or the first download.

        Raises:
            ValueError: Neither a podcast nor an episode is given.
        """
        if podcast_id is None and episode_id is None:
            raise ValueError("curves: give podcast_id or episode_id")
        params = given(podcast_id=podcast_id, episode_id=episode_id, origin=origin)
        return Paged(Curve, "/analytics/curves", params)


class AsyncEpisodes(AsyncNoun, Episodes):
    """:class:`Episodes`, awaited."""
