"""Podcasts and episodes as people name them: by id, by guid, or by a part of the title that only one has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar
from uuid import UUID

from castledger._client import Castledger
from castledger._errors import CastledgerError
from castledger._models import Episode, Podcast

__all__ = ("NotChosen", "choose_episode", "choose_podcast")

T = TypeVar("T")

_MOST_NAMED: Final = 5


class NotChosen(CastledgerError):
    """Nothing, or more than one thing, is named so."""


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _name_some(titles: Iterable[str], *, what: str) -> str:
    named = [f"“{title}”" for title in titles]
    if not named:
        return f"there is no {what} yet"
    more = len(named) - _MOST_NAMED
    verb = "is" if len(named) == 1 else "are"
    return f"there {verb} {', '.join(named[:_MOST_NAMED])}" + (f" and {more} more" if more > 0 else "")


def _choose(
    items: list[T], text: str, *, what: str, title: Callable[[T], str], keys: Callable[[T], tuple[str, ...]]
) -> T:
    """Choose the one that *text* names: a key first, then a whole title, then a part of one."""
    wanted = text.strip().casefold()
    for matches in (
        [item for item in items if wanted in (key.casefold() for key in keys(item))],
        [item for item in items if title(item).casefold() == wanted],
        [item for item in items if wanted in title(item).casefold()],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            named = ", ".join(f"“{title(item)}” ({keys(item)[0]})" for item in matches[:_MOST_NAMED])
            raise NotChosen(f"“{text}” names {len(matches)} {what}s: {named}; write more of the title, or the id")
    raise NotChosen(f"no {what} is named “{text}”: {_name_some(map(title, items), what=what)}")


def choose_podcast(client: Castledger, text: str | None) -> Podcast:
    """Find a podcast.

    Args:
        client: Whose podcasts.
        text: Its id, its guid, or a part of its title; ``None`` for the only one there is.

    Raises:
        NotChosen: None or several are named so; says which there are.
    """
    podcasts = list(client.podcasts.list())
    if text is None:
        if len(podcasts) == 1:
            return podcasts[0]
        known = _name_some((podcast.title for podcast in podcasts), what="podcast")
        raise NotChosen(f"name one with --podcast: {known}" if podcasts else known)
    return _choose(
        podcasts,
        text,
        what="podcast",
        title=lambda podcast: podcast.title,
        keys=lambda podcast: (str(podcast.podcast_id), str(podcast.podcast_guid)),
    )


def choose_episode(client: Castledger, text: str, *, podcast: str | None) -> tuple[UUID, str]:
    """Find an episode.

    Args:
        client: Whose episodes.
        text: Its id; or, of a podcast, its guid or a part of its title.
        podcast: As in :func:`choose_podcast`; not asked for when the id is given.

    Returns:
        Its id, and what to call it.

    Raises:
        NotChosen: None or several are named so.
    """
    if podcast is None and _is_id(text):
        return UUID(text), text
    found: Episode = _choose(
        list(client.episodes.list(choose_podcast(client, podcast).podcast_id)),
        text,
        what="episode",
        title=lambda episode: episode.title,
        keys=lambda episode: (str(episode.episode_id), episode.guid),
    )
    return found.episode_id, found.title
