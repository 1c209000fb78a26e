"""The forms of spikes."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from analytics_core.db.restatements import MAX_REASON
from analytics_core.db.spikes import EpisodeEffect, SpikeHour, SpikeRow

__all__ = ("DecideSpike", "Spike", "SpikeAnswer", "SpikeEpisode", "SpikeHourFigure")


class DecideSpike(msgspec.Struct, frozen=True, kw_only=True):
    """Why it is decided so: from 1 to 500 characters, for whoever asks later."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON)]


class Spike(msgspec.Struct, frozen=True, kw_only=True):
    """A flood of a podcast between two instants of a UTC day, and what was decided about it.

    Its hits have in common what is not null of `listener`, `app`, `user_agent`, `asn` and `country`; `listener` is the
    beginning of a source's key, and an empty `app` stands for agents that are not known. `hits` are eligible ones of
    `episodes` episodes, `downloads` those that go when it is accepted, of which `expected` were likely at that time.

    `state` is `open`, `accepted`, `dismissed` or `reverted`; `pending` while figures do not follow it yet, and
    `applied_at` is when they did. `refusal` says why the last decision could not be carried out and was taken back.
    """

    spike_id: UUID
    podcast_id: UUID
    kind: Literal["source", "agent", "network", "country"]
    begins_at: dt.datetime
    ends_at: dt.datetime
    listener: str | None
    app: str | None
    user_agent: str | None
    asn: int | None
    country: str | None
    hits: int
    downloads: int
    episodes: int
    expected: int
    found_at: dt.datetime
    state: Literal["open", "accepted", "dismissed", "reverted"]
    pending: bool
    reason: str | None
    origin: Literal["command", "key"] | None
    key_id: UUID | None
    decided_at: dt.datetime | None
    applied_at: dt.datetime | None
    refusal: str | None

    @classmethod
    def of(cls, row: SpikeRow) -> Spike:
        """Show a spike."""
        return cls(
            spike_id=row.spike_id,
            podcast_id=row.podcast_id,
            kind=row.kind,
            begins_at=row.begins_at.astimezone(dt.UTC),
            ends_at=row.ends_at.astimezone(dt.UTC),
            listener=row.listener,
            app=row.app,
            user_agent=row.user_agent,
            asn=row.asn,
            country=row.country_code,
            hits=row.hits,
            downloads=row.downloads,
            episodes=row.episodes,
            expected=row.expected,
            found_at=row.found_at.astimezone(dt.UTC),
            state=row.state,
            pending=row.is_due,
            reason=row.reason,
            origin=row.origin,
            key_id=row.key_id,
            decided_at=None if row.decided_at is None else row.decided_at.astimezone(dt.UTC),
            applied_at=None if row.applied_at is None else row.applied_at.astimezone(dt.UTC),
            refusal=row.refusal,
        )


class SpikeHourFigure(msgspec.Struct, frozen=True):
    """An hour of the day (UTC): downloads asked for by what is alike to the spike, and how many were likely.

    `expected` is null outside of the spike.
    """

    hour: int
    requests: int
    expected: int | None


class SpikeEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """An episode's downloads of the day with the spike's hits, and without them."""

    episode_id: UUID
    title: str
    downloads_with: int
    downloads_without: int

    @classmethod
    def of(cls, row: EpisodeEffect) -> SpikeEpisode:
        """Show what a spike changes of an episode."""
        return cls(
            episode_id=row.episode_id,
            title=row.title,
            downloads_with=row.with_spike,
            downloads_without=row.without_spike,
        )


class SpikeAnswer(Spike, frozen=True, kw_only=True):
    """A spike with the day's 24 hours, the first of its hits, and the episodes whose downloads it changes most.

    Once the day's hits are not kept any more `sample` and `by_episode` are empty.
    """

    hours: list[SpikeHourFigure]
    sample: list[str]
    by_episode: list[SpikeEpisode]

    @classmethod
    def made_of(
        cls, row: SpikeRow, hours: list[SpikeHour], sample: list[str], effects: list[EpisodeEffect]
    ) -> SpikeAnswer:
        """Show a spike with all that it is made of."""
        requests = {hour.hour: hour.requests for hour in hours}
        first = row.begins_at.astimezone(dt.UTC).hour
        usual = dict(enumerate(row.usual, first))
        return cls(
            **msgspec.structs.asdict(Spike.of(row)),
            hours=[SpikeHourFigure(hour, requests.get(hour, 0), usual.get(hour)) for hour in range(24)],
            sample=sample,
            by_episode=[SpikeEpisode.of(effect) for effect in effects],
        )
