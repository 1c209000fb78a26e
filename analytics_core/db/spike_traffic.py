"""An hour's traffic as the spike guard looks at it, and what is entered of the floods that it finds.

Only counts are read, and only of podcasts that had enough in the hour for a flood: what is held is a podcast's hour by
agent, network and country. What was usual of agents and countries is read from the sums that reports are made of; of
networks, which are in none, from the hits of the same hour of the days before. Hits count there once an hour, where
sums count them once a day: a network has to rise a little further to be a flood.
"""

# Conditions that statements share are written here: nothing that anybody sent is joined in.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Collection, Sequence
from itertools import groupby
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.hits import lock_finality
from analytics_core.db.ownership import lock_ownership
from analytics_core.db.pool import Connection
from analytics_core.db.spikes import SpikeKind
from analytics_core.ids import new_id
from analytics_core.spikes import Cell, Dimension, Pair

__all__ = (
    "HOUR",
    "NetworkHistory",
    "PodcastHour",
    "Sighting",
    "Source",
    "advance_look",
    "drop_old_spikes",
    "enter_sighting",
    "find_sources",
    "list_agents",
    "read_hour",
    "read_network_history",
    "read_usual",
    "take_look",
)

HOUR: Final = dt.timedelta(hours=1)
_DAY: Final = dt.timedelta(days=1)
_TIMEOUT_S: Final = 300.0
_SOURCES_MAX: Final = 1_000
_NETWORKS_MAX: Final = 2_000
_AGENTS_MAX: Final = 5
_PIECE: Final = 2_000
_QUIET: Final = dt.timedelta(days=14)
"""For so long after it was dismissed the same is not told again: by then it is what is usual."""


class Source(msgspec.Struct, frozen=True):
    """A listener that asked for many episodes of a podcast."""

    tenant_no: int
    podcast_no: int
    listener_key: UUID
    episodes: int


class PodcastHour(msgspec.Struct, frozen=True):
    """A podcast's downloads of an hour."""

    tenant_no: int
    podcast_no: int
    cells: list[Cell]


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A flood in an hour, or on a day: whose podcast, from when to when, and what all of its hits have in common.

    Attributes:
        usual: What was likely in each of its hours.
    """

    tenant_no: int
    podcast_no: int
    kind: SpikeKind
    begins_at: dt.datetime
    ends_at: dt.datetime
    listener_key: UUID | None = None
    app: str | None = None
    user_agent: str | None = None
    asn: int | None = None
    country: int | None = None
    usual: tuple[int, ...]


class _Known(msgspec.Struct, frozen=True):
    spike_id: UUID
    begins_at: dt.datetime
    ends_at: dt.datetime
    is_open: bool


class NetworkHistory:
    """What networks had of podcasts in the same hour of the days before.

    Days before the first one on which any network was known are none: nothing can be said of them.
    """

    def __init__(self, days: int) -> None:
        self._days = days
        self._own: dict[tuple[int, int], dict[int, int]] = {}
        self._all: dict[int, dict[int, int]] = {}
        self._known: dict[int, int] = {}

    def add(self, ago: int, podcast_no: int, asn: int, downloads: int, *, is_known: bool) -> None:
        """Add what a network had so many days ago; 0 stands for all that are not asked for."""
        of_all = self._all.setdefault(podcast_no, {})
        of_all[ago] = of_all.get(ago, 0) + downloads
        if asn:
            self._own.setdefault((podcast_no, asn), {})[ago] = downloads
        if is_known:
            self._known[podcast_no] = max(self._known.get(podcast_no, 0), ago)

    def pairs(self, podcast_no: int, asn: int) -> list[Pair]:
        """List a network's days."""
        own, of_all = self._own.get((podcast_no, asn), {}), self._all.get(podcast_no, {})
        known = range(1, self._known.get(podcast_no, 0) + 1)
        return [Pair(own.get(ago, 0), of_all.get(ago, 0) - own.get(ago, 0)) for ago in known]


_ELIGIBLE: Final[LiteralString] = (
    "e.verdict = 0 and e.evidence > 0 and e.episode_no > 0 and e.flags & (16 | 1024 | 2048) = 0"
)

# 16 is NetworkClass.SHARED: offices and dorms are many people.
_SOURCES: Final[LiteralString] = (
    """/* spike_traffic.sources */
select e.tenant_no, e.podcast_no, e.listener_key, count(distinct e.episode_no) as episodes from ts.listener_events e
where e.occurred_at >= $1 and e.occurred_at < $2 and e.networks & 16 = 0 and """
    + _ELIGIBLE
    + """
group by e.tenant_no, e.podcast_no, e.listener_key having count(distinct e.episode_no) > $3
order by episodes desc, e.podcast_no, e.listener_key limit $4"""
)

_BUSY: Final[LiteralString] = """/* spike_traffic.busy */
select podcast_no from ts.downloads where day = $1 and occurred_at >= $2 and occurred_at < $3
group by podcast_no having count(*) >= $4 order by podcast_no"""

# Each download is the hit that won it, which alone knows its network.
_CELLS: Final[LiteralString] = """/* spike_traffic.cells */
select d.tenant_no, d.podcast_no, coalesce(a.app, '') as app, coalesce(e.asn, 0) as asn, d.country,
    count(*)::integer as downloads
from ts.downloads d
left join ts.listener_events e on e.segment_no = d.segment_no and e.ordinal = d.ordinal
    and e.occurred_at = d.occurred_at and e.occurred_at >= $2 and e.occurred_at < $3
left join ops.agents a on a.agent_no = d.agent_no
where d.day = $1 and d.occurred_at >= $2 and d.occurred_at < $3 and d.podcast_no = any($4::integer[])
    and (d.podcast_no, d.listener_key) not in (select * from unnest($5::integer[], $6::uuid[]))
group by d.tenant_no, d.podcast_no, 3, 4, d.country order by d.tenant_no, d.podcast_no"""

_NETWORKS: Final[LiteralString] = (
    """/* spike_traffic.networks */
select e.podcast_no, e.asn from ts.listener_events e
where e.occurred_at >= $1 and e.occurred_at < $2 and e.asn > 0 and e.podcast_no = any($3::integer[]) and """
    + _ELIGIBLE
    + """
group by e.podcast_no, e.asn having count(distinct (e.episode_no, e.listener_key)) >= $4
order by count(*) desc, e.podcast_no, e.asn limit $5"""
)

_OF_NETWORKS: Final[LiteralString] = (
    """/* spike_traffic.of_networks */
select e.podcast_no, coalesce(c.asn, 0) as asn, count(distinct (e.episode_no, e.listener_key))::integer as downloads,
    bool_or(e.asn > 0) as is_known
from ts.listener_events e
left join unnest($3::integer[], $4::integer[]) as c(podcast_no, asn) on c.podcast_no = e.podcast_no and c.asn = e.asn
where e.occurred_at >= $1 and e.occurred_at < $2 and e.podcast_no = any($3::integer[]) and """
    + _ELIGIBLE
    + """
group by e.podcast_no, coalesce(c.asn, 0)"""
)

_USUAL: Final[LiteralString] = """/* spike_traffic.usual */
select d.dimension, d.key, d.day, array(
    select d.running[4 * h + 4] - coalesce(d.running[4 * h], 0) from generate_series(0, 23) as h order by h
) as hours
from app.podcast_daily d
where d.podcast_no = $1 and d.day >= $2 and d.day < $3
    and (d.dimension = 'total' or (d.dimension, d.key) in (select * from unnest($4::text[], $5::text[])))"""

_AGENTS: Final[LiteralString] = """/* spike_traffic.agents */
select a.user_agent, count(*)::integer as downloads
from ts.downloads d
join ops.agents a on a.agent_no = d.agent_no
left join ts.listener_events e on e.segment_no = d.segment_no and e.ordinal = d.ordinal
    and e.occurred_at = d.occurred_at and e.occurred_at >= $2 and e.occurred_at < $3
where d.day = $1 and d.occurred_at >= $2 and d.occurred_at < $3 and d.podcast_no = $4
    and ($5::text is null or a.app = $5) and ($6::integer is null or e.asn = $6)
    and ($7::smallint is null or d.country = $7)
group by a.user_agent order by downloads desc, a.user_agent limit $8"""

_KNOWN: Final[LiteralString] = """/* spike_traffic.known */
select spike_id, begins_at, ends_at, state = 'open' as is_open from app.spikes
where tenant_no = $1 and podcast_no = $2 and kind = $3 and listener_key is not distinct from $4
    and app is not distinct from $5 and user_agent is not distinct from $6 and asn is not distinct from $7
    and country is not distinct from $8 and begins_at < $10 and ends_at >= $9
    and (begins_at at time zone 'UTC')::date = ($9::timestamptz at time zone 'UTC')::date
order by begins_at, spike_id for update"""

_IS_QUIET: Final[LiteralString] = """/* spike_traffic.is_quiet */
select exists (
    select from app.spikes
    where tenant_no = $1 and podcast_no = $2 and kind = $3 and state = 'dismissed' and decided_at > $4
        and listener_key is not distinct from $5 and app is not distinct from $6 and asn is not distinct from $7
        and country is not distinct from $8
)"""

# Not of a podcast that has been erased since its hour was read.
_ADD: Final[LiteralString] = """/* spike_traffic.add */
insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, listener_key, app, user_agent, asn,
    country, usual, hits, downloads, episodes, found_at)
select $1::integer, $2::uuid, $3::integer, $4::text, $5::timestamptz, $6::timestamptz, $7::uuid, $8::text, $9::text,
    $10::integer, $11::smallint, $12::integer[], 0, 0, 0, $13::timestamptz
where exists (select from app.podcasts where tenant_no = $1 and podcast_no = $3)
on conflict do nothing returning spike_id"""

_WIDEN: Final[LiteralString] = """/* spike_traffic.widen */
update app.spikes set begins_at = $3, ends_at = $4, usual = $5::integer[] where tenant_no = $1 and spike_id = $2"""

_EXTEND: Final[LiteralString] = """/* spike_traffic.extend */
update app.spikes set ends_at = $3, usual = usual || $4::integer[] where tenant_no = $1 and spike_id = $2"""

# What the spike holds, and the downloads that go with it: of listeners who did not come otherwise that day.
_MEASURE: Final[LiteralString] = (
    """/* spike_traffic.measure */
with s as materialized (
    select * from app.spikes where tenant_no = $1 and spike_id = $2
), held as (
    select e.episode_no, e.listener_key, count(*) filter (where i.is_inside) as hits, bool_and(i.is_inside) as is_all
    from s
    join ts.listener_events e on e.tenant_no = s.tenant_no and e.podcast_no = s.podcast_no
    left join ops.agents a on a.agent_no = e.agent_no
    cross join lateral (
        select e.occurred_at >= s.begins_at and e.occurred_at < s.ends_at and e.kind = 1
            and (s.listener_key is null or e.listener_key = s.listener_key) and (s.asn is null or e.asn = s.asn)
            and (s.country is null or e.country = s.country)
            and (s.app is null or s.user_agent is not null or a.app = s.app)
            and (s.user_agent is null or a.user_agent = s.user_agent) as is_inside
    ) i
    where e.occurred_at >= $3 and e.occurred_at < $4 and """
    + _ELIGIBLE
    + """
    group by e.episode_no, e.listener_key having bool_or(i.is_inside)
), counted as (
    select coalesce(sum(hits), 0)::bigint as hits, count(*) filter (where is_all) as downloads,
        count(distinct episode_no)::integer as episodes from held
)
update app.spikes u set hits = c.hits, downloads = c.downloads, episodes = c.episodes
from counted c where u.tenant_no = $1 and u.spike_id = $2"""
)

_TAKE_LOOK: Final[LiteralString] = """/* spike_traffic.take_look */
insert into ops.spike_looks as l (pass, until_at) values ($1, $2)
on conflict (pass) do update set until_at = l.until_at returning until_at"""

_ADVANCE: Final[LiteralString] = """/* spike_traffic.advance */
update ops.spike_looks set until_at = $2 where pass = $1"""

_DROP: Final[LiteralString] = """/* spike_traffic.drop */
delete from app.spikes where state <> 'accepted' and not is_due and ends_at < $1"""


async def take_look(conn: Connection, look: int, *, start: dt.datetime) -> dt.datetime:
    """Say from which hour on is to be looked at, and be the only one who does until the transaction ends.

    Args:
        conn: As ingest, in a transaction.
        look: The first look at each hour, 1, or the second, 2.
        start: Where to begin when nothing was looked at yet.
    """
    until: dt.datetime = await conn.fetchval(_TAKE_LOOK, look, start)
    return until


async def advance_look(conn: Connection, look: int, *, until: dt.datetime) -> None:
    """Note how far was looked, in the transaction that looked."""
    await conn.execute(_ADVANCE, look, until)


async def drop_old_spikes(conn: Connection, *, before: dt.datetime) -> int:
    """Drop spikes that are older and leave nothing out."""
    return int(str(await conn.execute(_DROP, before)).split()[-1])


async def find_sources(
    conn: Connection, begins_at: dt.datetime, ends_at: dt.datetime, *, more_than: int
) -> list[Source]:
    """Find listeners that asked for more than so many episodes of a podcast; shared addresses are many people."""
    rows = await conn.fetch(_SOURCES, begins_at, ends_at, more_than, _SOURCES_MAX, timeout=_TIMEOUT_S)
    return [msgspec.convert(row, Source) for row in rows]


async def read_hour(
    conn: Connection, hour: dt.datetime, *, floor: int, without: Collection[Source]
) -> AsyncIterator[PodcastHour]:
    """Read an hour of each podcast that had enough downloads in it, one after the other.

    Args:
        conn: As ingest, in a transaction.
        hour: Its beginning.
        floor: How many are enough.
        without: Listeners whose downloads are left out.
    """
    day = hour.astimezone(dt.UTC).date()
    busy = [row["podcast_no"] for row in await conn.fetch(_BUSY, day, hour, hour + HOUR, floor, timeout=_TIMEOUT_S)]
    if not busy:
        return
    podcasts, keys = [source.podcast_no for source in without], [source.listener_key for source in without]
    cursor = await conn.cursor(_CELLS, day, hour, hour + HOUR, busy, podcasts, keys, timeout=_TIMEOUT_S)
    whose: tuple[int, int] | None = None
    cells: list[Cell] = []
    while rows := await cursor.fetch(_PIECE, timeout=_TIMEOUT_S):
        for key, group in groupby(rows, key=lambda row: (row["tenant_no"], row["podcast_no"])):
            if key != whose:
                if whose is not None:
                    yield PodcastHour(*whose, cells)
                whose, cells = key, []
            cells += [Cell(row["app"], row["asn"], row["country"], row["downloads"]) for row in group]
    if whose is not None:
        yield PodcastHour(*whose, cells)


async def read_network_history(conn: Connection, hour: dt.datetime, *, floor: int, days: int) -> NetworkHistory:
    """Read what networks that had enough of a podcast in an hour had in the same hour of the days before."""
    history = NetworkHistory(days)
    day = hour.astimezone(dt.UTC).date()
    busy = [row["podcast_no"] for row in await conn.fetch(_BUSY, day, hour, hour + HOUR, floor, timeout=_TIMEOUT_S)]
    wanted = await conn.fetch(_NETWORKS, hour, hour + HOUR, busy, floor, _NETWORKS_MAX, timeout=_TIMEOUT_S)
    if not wanted:
        return history
    podcasts, asns = [row["podcast_no"] for row in wanted], [row["asn"] for row in wanted]
    # A statement a day, so that only that day's part of the hits is opened.
    for ago in range(1, days + 1):
        start = hour - ago * _DAY
        for row in await conn.fetch(_OF_NETWORKS, start, start + HOUR, podcasts, asns, timeout=_TIMEOUT_S):
            history.add(ago, row["podcast_no"], row["asn"], row["downloads"], is_known=row["is_known"])
    return history


def _pairs(own: Sequence[int] | None, total: Sequence[int]) -> list[Pair]:
    return [Pair(one, max(all_of_them - one, 0)) for one, all_of_them in zip(own or [0] * 24, total, strict=True)]


async def read_usual(
    conn: Connection, podcast_no: int, hour: dt.datetime, keys: Collection[tuple[Dimension, str]], *, days: int
) -> tuple[dict[tuple[Dimension, str], list[Pair]], dict[tuple[Dimension, str], list[Pair]]]:
    """Read what a podcast's agents and countries had on the days before.

    Args:
        conn: As ingest.
        podcast_no: The podcast.
        hour: Whose same hour it is about.
        keys: Agents by name, countries by their two letters.
        days: How many days, as far as the podcast had downloads at all.

    Returns:
        Of each key the same hour of each day, and all hours of all days.
    """
    today = hour.astimezone(dt.UTC).date()
    names = {"agent": "app", "country": "country"}
    dimensions, texts = [names[kind] for kind, _ in keys], [text for _, text in keys]
    rows = await conn.fetch(_USUAL, podcast_no, today - days * _DAY, today, dimensions, texts, timeout=_TIMEOUT_S)
    found = {(row["dimension"], row["key"], row["day"]): row["hours"] for row in rows}
    first = min((day for dimension, _, day in found if dimension == "total"), default=today)
    same_hour: dict[tuple[Dimension, str], list[Pair]] = {}
    hours: dict[tuple[Dimension, str], list[Pair]] = {}
    for kind, text in keys:
        by_day = [
            _pairs(found.get((names[kind], text, day)), found.get(("total", "", day), [0] * 24))
            for day in (first + n * _DAY for n in range((today - first).days))
        ]
        same_hour[kind, text] = [pairs[hour.astimezone(dt.UTC).hour] for pairs in by_day]
        hours[kind, text] = [pair for pairs in by_day for pair in pairs]
    return same_hour, hours


async def list_agents(
    conn: Connection, podcast_no: int, hour: dt.datetime, *, app: str | None, asn: int | None, country: int | None
) -> dict[str, int]:
    """Count the downloads of an hour of the user agents with the most, among those that have something in common."""
    day = hour.astimezone(dt.UTC).date()
    rows = await conn.fetch(
        _AGENTS, day, hour, hour + HOUR, podcast_no, app, asn, country, _AGENTS_MAX, timeout=_TIMEOUT_S
    )
    return {row["user_agent"]: row["downloads"] for row in rows}


async def enter_sighting(conn: Connection, seen: Sighting, *, now: dt.datetime) -> bool:
    """Enter a flood: as a spike of its own, or as the next hour of one that nobody has decided about.

    What was decided stays as it is, and what was dismissed is not told again for two weeks.

    Args:
        conn: As ingest, in the transaction that took the look.
        seen: What was found.
        now: Aware instant.

    Returns:
        Whether it is a new spike.
    """
    # As who lands: whoever erases the podcast or a listener waits, and then sees what is entered here.
    await lock_ownership(conn)
    await lock_finality(conn)
    what = (seen.listener_key, seen.app, seen.user_agent, seen.asn, seen.country)
    rows = await conn.fetch(_KNOWN, seen.tenant_no, seen.podcast_no, seen.kind, *what, seen.begins_at, seen.ends_at)
    known = [msgspec.convert(row, _Known) for row in rows]
    overlapping = [spike for spike in known if spike.ends_at > seen.begins_at]
    before = [spike for spike in known if spike.ends_at == seen.begins_at and spike.is_open]
    if overlapping:
        (spike, *_) = overlapping
        if any(not one.is_open for one in overlapping):
            return False
        if len(overlapping) == 1 and (spike.begins_at > seen.begins_at or spike.ends_at < seen.ends_at):
            await conn.execute(_WIDEN, seen.tenant_no, spike.spike_id, seen.begins_at, seen.ends_at, list(seen.usual))
        await _measure(conn, seen, spike.spike_id)
        return False
    if before:
        await conn.execute(_EXTEND, seen.tenant_no, before[0].spike_id, seen.ends_at, list(seen.usual))
        await _measure(conn, seen, before[0].spike_id)
        return False
    quiet = (seen.listener_key, seen.app, seen.asn, seen.country)
    if await conn.fetchval(_IS_QUIET, seen.tenant_no, seen.podcast_no, seen.kind, now - _QUIET, *quiet):
        return False
    spike_id: UUID | None = await conn.fetchval(
        _ADD,
        seen.tenant_no,
        new_id(),
        seen.podcast_no,
        seen.kind,
        seen.begins_at,
        seen.ends_at,
        *what,
        list(seen.usual),
        now,
    )
    if spike_id is not None:
        await _measure(conn, seen, spike_id)
    return spike_id is not None


async def _measure(conn: Connection, seen: Sighting, spike_id: UUID) -> None:
    start = dt.datetime.combine(seen.begins_at.astimezone(dt.UTC).date(), dt.time(), dt.UTC)
    await conn.execute(_MEASURE, seen.tenant_no, spike_id, start, start + _DAY, timeout=_TIMEOUT_S)
