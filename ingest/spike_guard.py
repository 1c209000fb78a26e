"""The spike guard: looks at every hour once it is closed, and once more a day later, and enters the floods it finds.

An hour is closed when all that trackers had recorded by its end has landed, and a quarter of an hour is over. The
second look is for what came late; there is no third. Nothing is counted otherwise for it: that is for the podcast's
owner.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from analytics_core.clock import Clock
from analytics_core.countries import pack_country, unpack_country
from analytics_core.db.pool import Connection
from analytics_core.db.segments import read_cutoff
from analytics_core.db.spike_traffic import (
    HOUR,
    NetworkHistory,
    PodcastHour,
    Sighting,
    Source,
    advance_look,
    drop_old_spikes,
    enter_sighting,
    find_sources,
    list_agents,
    read_hour,
    read_network_history,
    read_usual,
    take_look,
)
from analytics_core.spikes import DEFAULT_LIMITS, Cell, Dimension, Found, Pair, SpikeLimits, find_rises, single_agent

__all__ = ("guard", "look_at_hour")

_DAY: Final = dt.timedelta(days=1)
_GRACE: Final = dt.timedelta(minutes=15)
_KEEP: Final = dt.timedelta(days=400)
_HOURS_A_RUN: Final = 48
_SOURCES_A_PODCAST: Final = 20


class _Look(NamedTuple):
    """The first look at each hour, or the second."""

    number: int
    after: dt.timedelta


_LOOKS: Final = (_Look(1, _GRACE), _Look(2, _GRACE + _DAY))


def _floor(at: dt.datetime) -> dt.datetime:
    return at.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def _midnight(at: dt.datetime) -> dt.datetime:
    return at.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _first_of_each(sources: Collection[Source]) -> list[Source]:
    """Keep the largest of each podcast: of a thousand sources twenty say as much."""
    counts: dict[int, int] = {}
    kept = []
    for source in sources:
        counts[source.podcast_no] = counts.get(source.podcast_no, 0) + 1
        if counts[source.podcast_no] <= _SOURCES_A_PODCAST:
            kept.append(source)
    return kept


async def _enter_sources(
    conn: Connection, begins_at: dt.datetime, ends_at: dt.datetime, *, more_than: int, now: dt.datetime
) -> tuple[list[Source], int]:
    sources = await find_sources(conn, begins_at, ends_at, more_than=more_than)
    new = 0
    for source in _first_of_each(sources):
        seen = Sighting(
            tenant_no=source.tenant_no,
            podcast_no=source.podcast_no,
            kind="source",
            begins_at=begins_at,
            ends_at=ends_at,
            listener_key=source.listener_key,
            usual=(0,) * ((ends_at - begins_at) // HOUR),
        )
        new += await enter_sighting(conn, seen, now=now)
    return sources, new


def _keys(cells: Sequence[Cell], floor: int) -> list[tuple[Dimension, str]]:
    """List what has enough of an hour to have risen."""
    counts: dict[tuple[Dimension, str], int] = {}
    for cell in cells:
        counts["agent", cell.app] = counts.get(("agent", cell.app), 0) + cell.downloads
        if (country := unpack_country(cell.country)) is not None:
            counts["country", country] = counts.get(("country", country), 0) + cell.downloads
    return sorted(key for key, downloads in counts.items() if downloads >= floor)


async def _find(
    conn: Connection, hour: dt.datetime, podcast: PodcastHour, history: NetworkHistory, limits: SpikeLimits
) -> list[Found]:
    """Find what has risen in an hour of a podcast."""
    texts = _keys(podcast.cells, limits.floor)
    same_text, hours_text = await read_usual(conn, podcast.podcast_no, hour, texts, days=limits.days)
    same_hour: dict[tuple[Dimension, str | int], Sequence[Pair]] = {}
    hours: dict[tuple[Dimension, str | int], Sequence[Pair]] = {}
    for kind, text in texts:
        value = text if kind == "agent" else pack_country(text)
        same_hour[kind, value], hours[kind, value] = same_text[kind, text], hours_text[kind, text]
    for asn in {cell.asn for cell in podcast.cells if cell.asn}:
        same_hour["network", asn] = history.pairs(podcast.podcast_no, asn)
    return find_rises(podcast.cells, same_hour, hours, limits)


async def look_at_hour(
    conn: Connection, hour: dt.datetime, *, now: dt.datetime, limits: SpikeLimits = DEFAULT_LIMITS
) -> int:
    """Look at an hour of all podcasts, and enter what is a flood in it.

    Args:
        conn: As ingest, in a transaction.
        hour: Its beginning; with the last one of a UTC day the day as a whole is looked at as well.
        now: Aware instant.
        limits: From when on it is one.

    Returns:
        How many are new.
    """
    sources, new = await _enter_sources(conn, hour, hour + HOUR, more_than=limits.source_episodes_hour, now=now)
    if hour + HOUR == _midnight(hour + HOUR):
        _, of_day = await _enter_sources(
            conn, _midnight(hour), hour + HOUR, more_than=limits.source_episodes_day, now=now
        )
        new += of_day
    history = await read_network_history(conn, hour, floor=limits.floor, days=limits.days)
    async for podcast in read_hour(conn, hour, floor=limits.floor, without=sources):
        for found in await _find(conn, hour, podcast, history, limits):
            agents = await list_agents(
                conn, podcast.podcast_no, hour, app=found.app, asn=found.asn, country=found.country
            )
            seen = Sighting(
                tenant_no=podcast.tenant_no,
                podcast_no=podcast.podcast_no,
                kind=found.kind,
                begins_at=hour,
                ends_at=hour + HOUR,
                app=found.app,
                user_agent=single_agent(found, agents, limits),
                asn=found.asn,
                country=found.country,
                usual=(found.usual,),
            )
            new += await enter_sighting(conn, seen, now=now)
    return new


async def guard(conn: Connection, *, clock: Clock, limits: SpikeLimits = DEFAULT_LIMITS) -> Mapping[str, int]:
    """Look at the hours that have been closed since the last time: a part of the job.

    An hour is a transaction, with the note that it was looked at: what was stopped goes on there, and what is done
    twice finds what is there already.

    Args:
        conn: As ingest, outside a transaction.
        clock: Tells which hours are over.
        limits: From when on it is a flood.

    Returns:
        What was done: hours that were looked at, spikes that are new, and old ones that were dropped.
    """
    done = {"hours": 0, "spikes": 0, "dropped": 0}
    now = clock.now()
    cutoff = await read_cutoff(conn)
    if cutoff is None:
        return done
    for look in _LOOKS:
        until = min(_floor(now - look.after), _floor(cutoff))
        for _ in range(_HOURS_A_RUN):
            async with conn.transaction():
                hour = await take_look(conn, look.number, start=_floor(now - _DAY))
                if hour >= until:
                    break
                done["spikes"] += await look_at_hour(conn, hour, now=now, limits=limits)
                await advance_look(conn, look.number, until=hour + HOUR)
            done["hours"] += 1
    done["dropped"] = await drop_old_spikes(conn, before=now - _KEEP)
    return done
