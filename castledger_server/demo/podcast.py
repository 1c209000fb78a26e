"""The sample podcast: a weekly one, with hosts that lead nowhere but to this machine."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from email.utils import format_datetime
from typing import Final, NamedTuple
from uuid import UUID
from xml.sax.saxutils import escape

__all__ = ("EPISODES_BEFORE", "GUID", "HOST", "LOST_FILE", "TITLE", "Episode", "make_episodes", "write_feed")

TITLE: Final = "Tide Tables (Castledger demo)"
GUID: Final = UUID("5f1c9a52-7d0e-5b7e-9c43-0d6f5f9f6a10")
HOST: Final = "audio.castledger-demo.localhost"
"""Names under ``localhost`` are this machine, by RFC 6761: whoever follows a redirect asks nobody else."""

LOST_FILE: Final = "trailer-of-the-season-that-never-was.mp3"
"""A file that no episode has, though old links lead to it."""

EPISODES_BEFORE: Final = 3
"""Episodes that are out when the playing begins."""

_EVERY: Final = dt.timedelta(days=7)
_FIRST_IN: Final = dt.timedelta(days=2, hours=5)
_BYTES_PER_SECOND: Final = 16_000
_PLOTS: Final = (
    ("The lighthouse keeper's ledger", 1710),
    ("What the fog remembers", 2235),
    ("A map of all the bells", 1980),
    ("Low water, high spirits", 2610),
    ("The harbour that moved", 2050),
    ("Salt in the margins", 3120),
    ("Nine kinds of rope", 1875),
    ("The pilot's second notebook", 2440),
    ("Counting gulls", 1560),
    ("Springs and neaps", 2290),
)


class Episode(NamedTuple):
    """An episode.

    Attributes:
        title: Its title.
        published_at: Aware UTC instant.
        duration_s: Seconds; at 128 kbit/s, so that the feed's length is believed.
        show: What the names of its podcast's files begin with.
    """

    title: str
    published_at: dt.datetime
    duration_s: int
    show: str = "tide-tables"

    @property
    def file_name(self) -> str:
        """The last part of its enclosure's address."""
        return f"{self.show}-{self.published_at:%Y-%m-%d}.mp3"

    @property
    def length_bytes(self) -> int:
        """The file's size."""
        return self.duration_s * _BYTES_PER_SECOND


def make_episodes(first_day: dt.date, days: int) -> list[Episode]:
    """Make the episodes of a weekly podcast: those that are out before the first day, and those that come.

    >>> [str(episode.published_at.date()) for episode in make_episodes(dt.date(2026, 11, 1), 7)]
    ['2026-10-13', '2026-10-20', '2026-10-27', '2026-11-03']
    """
    begin = dt.datetime.combine(first_day, dt.time(), dt.UTC)
    at = begin + _FIRST_IN - EPISODES_BEFORE * _EVERY
    episodes: list[Episode] = []
    while at < begin + dt.timedelta(days=days):
        title, duration_s = _PLOTS[len(episodes) % len(_PLOTS)]
        episodes.append(Episode(title, at, duration_s))
        at += _EVERY
    return episodes


def write_feed(episodes: Sequence[Episode], *, title: str = TITLE, guid: UUID = GUID) -> bytes:
    """Write the feed of a podcast, the newest episode first."""
    items = "".join(
        f"<item><title>{escape(episode.title)}</title><guid>{episode.file_name}</guid>"
        f"<pubDate>{format_datetime(episode.published_at)}</pubDate>"
        f"<itunes:duration>{episode.duration_s}</itunes:duration>"
        f'<enclosure url="https://{HOST}/{episode.file_name}" type="audio/mpeg" length="{episode.length_bytes}"/>'
        "</item>\n"
        for episode in reversed(episodes)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" '
        'xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel>\n'
        f"<title>{escape(title)}</title><language>en</language><podcast:guid>{guid}</podcast:guid>\n"
        f"{items}</channel></rss>\n"
    ).encode()
