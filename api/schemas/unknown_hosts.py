"""The forms of unknown hosts."""

from __future__ import annotations

import datetime as dt

import msgspec

from analytics_core.db.unknown_hosts import UnknownHostRow

__all__ = ("UnknownHost",)


class UnknownHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host that players asked for under a podcast's prefix, though no feed has registered it.

    `hits` counts how often while it was unknown; `accepted_at` says since when the trackers know it. The host `other`
    stands for all beyond the hundred that are listed a podcast.
    """

    host: str
    first_seen_at: dt.datetime | None
    last_seen_at: dt.datetime | None
    hits: int
    accepted_at: dt.datetime | None

    @classmethod
    def of(cls, row: UnknownHostRow) -> UnknownHost:
        """Show a host of a podcast's list."""
        return cls(**msgspec.structs.asdict(row))
