"""Episodes: ``client.episodes``."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from castledger._models import Curve, Episode
from castledger._requests import AsyncItems, AsyncNoun, Items, Noun, Paged, given, path_id

__all__ = ("AsyncEpisodes", "Episodes")


def _list(podcast_id: UUID | str) -> Paged[Episode]:
    return Paged(Episode, f"/podcasts/{path_id(podcast_id)}/episodes")


def _curves(podcast_id: UUID | str | None, episode_id: UUID | str | None, origin: str) -> Paged[Curve]:
    if podcast_id is None and episode_id is None:
        raise ValueError("curves: give podcast_id or episode_id")
    params = given(podcast_id=podcast_id, episode_id=episode_id, origin=origin)
    return Paged(Curve, "/analytics/curves", params)


class Episodes(Noun):
    """Episodes, and how they began."""

    def list(self, podcast_id: UUID | str) -> Items[Episode]:
        """Go through a podcast's episodes, newest first; those that have left the feed too."""
        return self._client.pages(_list(podcast_id))

    def curves(
        self,
        *,
        podcast_id: UUID | str | None = None,
        episode_id: UUID | str | None = None,
        origin: Literal["published", "first_hit"] = "published",
    ) -> Items[Curve]:
        """Go through what episodes had after 1, 3, 7, 14, 28, 30, 60 and 90 days, newest episodes first.

        Args:
            podcast_id: Of all episodes of one podcast.
            episode_id: Of one episode.
            origin: What days are counted from: the publish date, or the first download.

        Raises:
            ValueError: Neither a podcast nor an episode is given.
        """
        return self._client.pages(_curves(podcast_id, episode_id, origin))


class AsyncEpisodes(AsyncNoun):
    """:class:`Episodes`, awaited."""

    def list(self, podcast_id: UUID | str) -> AsyncItems[Episode]:
        """Go through a podcast's episodes, newest first; those that have left the feed too."""
        return self._client.pages(_list(podcast_id))

    def curves(
        self,
        *,
        podcast_id: UUID | str | None = None,
        episode_id: UUID | str | None = None,
        origin: Literal["published", "first_hit"] = "published",
    ) -> AsyncItems[Curve]:
        """Go through what episodes had after 1, 3, 7, 14, 28, 30, 60 and 90 days, newest episodes first.

        Args:
            podcast_id: Of all episodes of one podcast.
            episode_id: Of one episode.
            origin: What days are counted from: the publish date, or the first download.

        Raises:
            ValueError: Neither a podcast nor an episode is given.
        """
        return self._client.pages(_curves(podcast_id, episode_id, origin))
