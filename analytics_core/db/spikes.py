"""Spikes: floods that were found beside the hits, what their owner decided, and what that changes.

The tenant decides, as the role of the API; ingest carries it out, as a restatement of the spike's day: the spike's hits
are flagged, or the flag goes, and the day's downloads are made of the others. :mod:`ingest.spike_guard` finds them.
"""

# Conditions that statements share are written here: nothing that anybody sent is joined in.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from typing import Final, Literal, LiteralString, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.countries import unpack_country
from analytics_core.db.pool import Connection, Tenant, set_tenant
from analytics_core.db.restating import NotRestated, RestatedDay, hold_day, replace_downloads
from analytics_core.ids import TenantNo, format_hit_id

__all__ = (
    "Decision",
    "DueSpike",
    "EpisodeEffect",
    "SpikeFilter",
    "SpikeHour",
    "SpikeKind",
    "SpikeRow",
    "SpikeState",
    "apply_decision",
    "count_open_spikes",
    "decide",
    "find_owner",
    "find_refusal",
    "find_spike",
    "list_due_spikes",
    "list_effects",
    "list_spike_hits",
    "list_spike_hours",
    "list_spikes",
    "refuse_decision",
)

_TIMEOUT_S: Final = 30.0

SpikeKind: TypeAlias = Literal["source", "agent", "network", "country"]
SpikeState: TypeAlias = Literal["open", "accepted", "dismissed", "reverted"]
Decision: TypeAlias = Literal["accepted", "dismissed", "reverted"]


class SpikeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A spike: hits of a podcast in some hours of a UTC day that have all in common that is not ``None`` here.

    Attributes:
        listener_key: Of a single source.
        app: What the agents are called; empty for those that are not known.
        user_agent: The very agent, where one made it nearly all.
        asn: The autonomous system.
        country: Two letters, packed.
        usual: What was likely in each of its hours.
        hits: Eligible ones.
        downloads: Those that go when it is accepted, as far as it was known when it was looked at last.
        episodes: How many episodes its hits are of.
        origin: Who decided: an operator at a prompt, or somebody with the key ``key_id`` or signed in with it.
        is_due: Whether the decision still has to be carried out.
        applied_at: When the last one was.
        refusal: Why the last one could not be.
    """

    spike_id: UUID
    tenant_no: int
    podcast_no: int
    podcast_id: UUID
    kind: SpikeKind
    begins_at: dt.datetime
    ends_at: dt.datetime
    listener_key: UUID | None
    app: str | None
    user_agent: str | None
    asn: int | None
    country: int | None
    usual: list[int]
    hits: int
    downloads: int
    episodes: int
    found_at: dt.datetime
    state: SpikeState
    reason: str | None
    origin: Literal["command", "key"] | None
    key_id: UUID | None
    decided_at: dt.datetime | None
    is_due: bool
    applied_at: dt.datetime | None
    refusal: str | None

    @property
    def day(self) -> dt.date:
        """The UTC day that it lies in."""
        return self.begins_at.astimezone(dt.UTC).date()

    @property
    def listener(self) -> str | None:
        """The beginning of the source's key: enough to tell sources apart, too little to look one up."""
        return None if self.listener_key is None else self.listener_key.hex[:8]

    @property
    def country_code(self) -> str | None:
        """The country's two letters."""
        return None if self.country is None else unpack_country(self.country)

    @property
    def what(self) -> str:
        """What its hits have in common, in a few words."""
        parts = [] if self.listener is None else [f"source {self.listener}"]
        if self.app is not None:
            parts.append(self.app or "unknown agents")
        if self.asn is not None:
            parts.append(f"AS{self.asn}")
        if self.country_code is not None:
            parts.append(self.country_code)
        return ", ".join(parts) or str(self.user_agent)

    @property
    def expected(self) -> int:
        """What was likely in all of its hours."""
        return sum(self.usual)


class SpikeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which spikes are asked for; ``None`` where it does not matter."""

    podcast_no: int | None = None
    state: SpikeState | None = None
    kind: SpikeKind | None = None


class DueSpike(msgspec.Struct, frozen=True):
    """A decision that has to be carried out."""

    spike_id: UUID
    tenant: Tenant
    day: dt.date
    state: Decision
    reason: str
    key_id: UUID | None


class SpikeHour(msgspec.Struct, frozen=True):
    """An hour of a spike's day, and how many downloads were asked for in it by what its hits have in common."""

    hour: int
    requests: int


class EpisodeEffect(msgspec.Struct, frozen=True):
    """An episode's downloads of the spike's day, with the spike's hits and without them."""

    episode_id: UUID
    title: str
    with_spike: int
    without_spike: int


_COLUMNS: Final[LiteralString] = """s.spike_id, s.tenant_no, s.podcast_no, p.podcast_id, s.kind, s.begins_at,
    s.ends_at, s.listener_key, s.app, s.user_agent, s.asn, s.country, s.usual, s.hits, s.downloads, s.episodes,
    s.found_at, s.state, s.reason, s.origin, s.key_id, s.decided_at, s.is_due, s.applied_at, s.refusal"""

_LIST: Final[LiteralString] = (
    "/* spikes.list */ select "
    + _COLUMNS
    + """ from app.spikes s join app.podcasts p using (podcast_no)
where ($1::integer is null or s.podcast_no = $1) and ($2::text is null or s.state = $2)
    and ($3::text is null or s.kind = $3) and ($4::integer is null or s.tenant_no = $4)
    and ($5::timestamptz is null or (s.begins_at, s.spike_id) < ($5, $6::uuid))
order by s.begins_at desc, s.spike_id desc limit $7"""
)

_FIND: Final[LiteralString] = (
    "/* spikes.find */ select "
    + _COLUMNS
    + " from app.spikes s join app.podcasts p using (podcast_no) where s.spike_id = $1"
)

_OWNER: Final[LiteralString] = """/* spikes.owner */ select tenant_id from app.tenants where tenant_no = $1"""

_COUNT_OPEN: Final[LiteralString] = """/* spikes.count_open */
select count(*) from app.spikes where state = 'open' and ($1::integer is null or podcast_no = $1)"""

# From the states from which it can be decided so, and never while a decision waits to be carried out.
_DECIDE: Final[LiteralString] = """/* spikes.decide */
update app.spikes set state = $2, reason = $3, origin = $4, key_id = $5, decided_at = $6,
    is_due = $2 in ('accepted', 'reverted'), refusal = null
where spike_id = $1 and not is_due
    and state = any(case $2
        when 'accepted' then array['open', 'dismissed', 'reverted']
        when 'dismissed' then array['open', 'reverted']
        else array['accepted']
    end)
returning spike_id"""

_DAY: Final[LiteralString] = """/* spikes.day */
select bool_or(d.day = $1 and d.hits_gone) as hits_gone,
    bool_or(d.day = $1 and d.downloads_gone) as downloads_gone, bool_or(d.downloads_gone) as month_gone
from api.days d
where d.day >= date_trunc('month', $1::date::timestamp)::date
    and d.day < (date_trunc('month', $1::date::timestamp) + interval '1 month')::date"""

_DUE: Final[LiteralString] = """/* spikes.list_due */
select s.spike_id, t.tenant_id, s.tenant_no, (s.begins_at at time zone 'UTC')::date as day, s.state, s.reason, s.key_id
from app.spikes s join app.tenants t using (tenant_no)
where s.is_due and ($1::uuid is null or s.spike_id = $1) order by s.decided_at, s.spike_id limit $2"""

_LOCK: Final[LiteralString] = """/* spikes.lock */
select state from app.spikes where tenant_no = $1 and spike_id = $2 and is_due for update"""

_FLAG: Final[LiteralString] = """/* spikes.flag */ select ops.flag_spike($1)"""

_DONE: Final[LiteralString] = """/* spikes.done */
update app.spikes set is_due = false, applied_at = $3 where tenant_no = $1 and spike_id = $2"""

# What it was before: nothing has changed.
_REFUSE: Final[LiteralString] = """/* spikes.refuse */
update app.spikes set is_due = false, refusal = $3, state = case state when 'reverted' then 'accepted' else 'open' end
where tenant_no = $1 and spike_id = $2 and is_due"""

# What all hits of a spike have in common, but for the podcast ($1) and the time.
_ALIKE: Final[LiteralString] = """($4::uuid is null or e.listener_key = $4)
    and ($5::text is null or $6::text is not null or e.app = $5) and ($6::text is null or e.user_agent = $6)
    and ($7::integer is null or e.asn = $7) and ($8::smallint is null or e.country = $8)"""
_WITHIN: Final[LiteralString] = "e.occurred_at >= $2 and e.occurred_at < $3 and e.kind = 1 and " + _ALIKE
_ELIGIBLE: Final[LiteralString] = "e.verdict = 0 and e.evidence > 0 and e.episode_no > 0 and e.flags & (16 | 2048) = 0"

_HITS: Final[LiteralString] = (
    """/* spikes.hits */ select e.segment_no, e.ordinal from api.listener_events e where e.podcast_no = $1 and """
    + _WITHIN
    + " and "
    + _ELIGIBLE
    + " order by e.occurred_at, e.segment_no, e.ordinal limit $9"
)

_HOURS: Final[LiteralString] = (
    """/* spikes.hours */
select extract(hour from e.occurred_at at time zone 'UTC')::integer as hour,
    count(distinct (e.episode_no, e.listener_key)) as requests
from api.listener_events e where e.podcast_no = $1 and """
    + _WITHIN
    + " and "
    + _ELIGIBLE
    + " group by 1 order by 1"
)

# Of the whole day: who also came outside of the spike stays a download. Hits of other spikes that are accepted are out.
_EFFECTS: Final[LiteralString] = (
    """/* spikes.effects */
with of_day as (
    select e.episode_no, e.listener_key, bool_and("""
    + _WITHIN
    + """) as is_of_spike
    from api.listener_events e
    where e.podcast_no = $1 and e.occurred_at >= $9 and e.occurred_at < $10 and """
    + _ELIGIBLE
    + """ and (e.flags & 1024 = 0 or """
    + _WITHIN
    + """)
    group by e.episode_no, e.listener_key
)
select p.episode_id, p.title, d.with_spike, d.without_spike from (
    select episode_no, count(*) as with_spike, count(*) filter (where not is_of_spike) as without_spike
    from of_day group by episode_no
) d join app.episodes p using (episode_no)
where d.with_spike > d.without_spike
order by d.with_spike - d.without_spike desc, p.episode_id limit $11"""
)


async def list_spikes(
    conn: Connection,
    wanted: SpikeFilter,
    *,
    after: tuple[dt.datetime, UUID] | None = None,
    limit: int,
    tenant_no: int | None = None,
) -> list[SpikeRow]:
    """List spikes, the newest first, behind *after*: of the transaction's tenant, or as ingest of all or one."""
    rows = await conn.fetch(
        _LIST, wanted.podcast_no, wanted.state, wanted.kind, tenant_no, *(after or (None, None)), limit
    )
    return [msgspec.convert(row, SpikeRow) for row in rows]


async def find_spike(conn: Connection, spike_id: UUID) -> SpikeRow | None:
    """Find one spike of the transaction's tenant, or as ingest of any."""
    row = await conn.fetchrow(_FIND, spike_id)
    return None if row is None else msgspec.convert(row, SpikeRow)


async def find_owner(conn: Connection, spike: SpikeRow) -> Tenant:
    """Name the tenant of a spike; as ingest."""
    return Tenant(await conn.fetchval(_OWNER, spike.tenant_no), TenantNo(spike.tenant_no))


async def count_open_spikes(conn: Connection, *, podcast_no: int | None = None) -> int:
    """Count the spikes that nobody has decided about, of a podcast or of all."""
    return int(await conn.fetchval(_COUNT_OPEN, podcast_no))


async def find_refusal(conn: Connection, day: dt.date) -> NotRestated | None:
    """Tell why a spike of a day cannot be accepted or reverted, as the API, in a transaction of the tenant."""
    row = await conn.fetchrow(_DAY, day)
    if row is None:
        raise AssertionError("an aggregate is a row")
    if row["downloads_gone"]:
        return NotRestated.DOWNLOADS_GONE
    if row["hits_gone"]:
        return NotRestated.HITS_GONE
    return NotRestated.MONTH_GONE if row["month_gone"] else None


async def decide(
    conn: Connection,
    spike_id: UUID,
    decision: Decision,
    *,
    reason: str,
    key_id: UUID | None,
    now: dt.datetime,
) -> bool:
    """Enter what was decided about a spike; accepting and reverting are carried out by ingest.

    Args:
        conn: In a transaction of the tenant, or as ingest.
        spike_id: Which.
        decision: What it becomes.
        reason: For people; from 1 to 500 characters.
        key_id: Of whoever decides; ``None`` for an operator at a prompt.
        now: Aware instant.

    Returns:
        Whether it could be: not when it is that already, or another decision waits to be carried out.
    """
    origin = "command" if key_id is None else "key"
    return await conn.fetchval(_DECIDE, spike_id, decision, reason, origin, key_id, now) is not None


async def list_due_spikes(conn: Connection, *, limit: int, spike_id: UUID | None = None) -> list[DueSpike]:
    """List decisions that have to be carried out, of all tenants, the oldest first; as ingest."""
    return [
        DueSpike(
            spike_id=row["spike_id"],
            tenant=Tenant(row["tenant_id"], row["tenant_no"]),
            day=row["day"],
            state=row["state"],
            reason=row["reason"],
            key_id=row["key_id"],
        )
        for row in await conn.fetch(_DUE, spike_id, limit)
    ]


async def apply_decision(conn: Connection, due: DueSpike, *, now: dt.datetime) -> RestatedDay | NotRestated | None:
    """Leave an accepted spike's hits out of its day's downloads, or take those of a reverted one in again.

    Args:
        conn: As ingest, in a transaction with READ COMMITTED isolation that has read nothing yet.
        due: What was decided.
        now: Aware instant.

    Returns:
        What changed, ``None`` when somebody else has done it, or why it cannot be; then nothing was changed.
    """
    held = await hold_day(conn, due.tenant.tenant_no, due.day, open_too=True)
    if isinstance(held, NotRestated):
        return held
    if not held:
        return NotRestated.HITS_GONE
    if await conn.fetchval(_LOCK, due.tenant.tenant_no, due.spike_id) != due.state:
        return None
    await set_tenant(conn, due.tenant)
    hits = int(await conn.fetchval(_FLAG, due.spike_id))
    restated = await replace_downloads(conn, due.tenant.tenant_no, due.day, hits=hits)
    await conn.execute(_DONE, due.tenant.tenant_no, due.spike_id, now)
    return restated


async def refuse_decision(conn: Connection, due: DueSpike, reason: str) -> None:
    """Take a decision back that cannot be carried out, and keep why; as ingest."""
    await conn.execute(_REFUSE, due.tenant.tenant_no, due.spike_id, reason)


def _what(spike: SpikeRow) -> tuple[object, ...]:
    return (
        spike.podcast_no,
        spike.begins_at,
        spike.ends_at,
        spike.listener_key,
        spike.app,
        spike.user_agent,
        spike.asn,
        spike.country,
    )


def _day_of(spike: SpikeRow) -> tuple[dt.datetime, dt.datetime]:
    start = dt.datetime.combine(spike.day, dt.time(), dt.UTC)
    return start, start + dt.timedelta(days=1)


async def list_spike_hits(conn: Connection, spike: SpikeRow, *, limit: int) -> list[str]:
    """Name the first of a spike's eligible hits; in a transaction of the tenant. Empty where they are not kept."""
    rows = await conn.fetch(_HITS, *_what(spike), limit, timeout=_TIMEOUT_S)
    return [format_hit_id(row["segment_no"], row["ordinal"]) for row in rows]


async def list_spike_hours(conn: Connection, spike: SpikeRow) -> list[SpikeHour]:
    """Count, for each hour of the spike's day, what is alike to its hits; in a transaction of the tenant."""
    start, end = _day_of(spike)
    what = _what(spike)
    rows = await conn.fetch(_HOURS, what[0], start, end, *what[3:], timeout=_TIMEOUT_S)
    return [SpikeHour(row["hour"], row["requests"]) for row in rows]


async def list_effects(conn: Connection, spike: SpikeRow, *, limit: int) -> list[EpisodeEffect]:
    """List the episodes whose downloads a spike changes, the most changed first; in a transaction of the tenant."""
    start, end = _day_of(spike)
    rows = await conn.fetch(_EFFECTS, *_what(spike), start, end, limit, timeout=_TIMEOUT_S)
    return [msgspec.convert(row, EpisodeEffect) for row in rows]
