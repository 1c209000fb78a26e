"""Numbers for texts that repeat: user agents with what they are, referrers, feed apps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Final, LiteralString, NewType
from uuid import UUID

import msgspec

from analytics_core.db.ownership import lock_ownership
from analytics_core.db.pool import Connection
from analytics_core.places import Place

__all__ = (
    "AgentKindRow",
    "NewAgent",
    "StoredAgent",
    "TermKind",
    "TermNumber",
    "agents_since",
    "confirm_agents",
    "count_places",
    "count_tables",
    "find_agents",
    "find_places",
    "find_terms",
    "number_agents",
    "number_places",
    "number_terms",
    "outdated_agents",
    "read_agent_kinds",
    "supersede_agents",
    "tell_systems",
    "untold_agents",
)

TermKind = NewType("TermKind", str)
"""``referrer`` or ``feed_app``."""


class NewAgent(msgspec.Struct, frozen=True):
    """A user agent that was met for the first time, and its class."""

    agent_hash: UUID
    user_agent: str
    kind: int
    app: str
    device: str
    rule: str
    os: str


class StoredAgent(msgspec.Struct, frozen=True):
    """An agent as it is stored: its number, its class, and the version of the table that said so.

    Attributes:
        os: ``None`` where it was stored before operating systems were told.
    """

    agent_hash: UUID
    agent_no: int
    user_agent: str
    kind: int
    app: str
    device: str
    rule: str
    os: str | None
    table_version: str


class AgentKindRow(msgspec.Struct, frozen=True):
    """A stored agent's kind, by its number."""

    agent_no: int
    kind: int
    is_empty: bool


class TermNumber(msgspec.Struct, frozen=True):
    """A stored term and its number."""

    term: str
    term_no: int


_FIND_AGENTS: Final[LiteralString] = """/* agents.find */
select agent_hash, agent_no, user_agent, kind, app, device, rule, os, table_version from ops.agents
where agent_hash = any($1::uuid[])"""

_ADD_AGENTS: Final[LiteralString] = """/* agents.add */
insert into ops.agents (agent_hash, user_agent, kind, app, device, rule, os, table_version)
select n.agent_hash, n.user_agent, n.kind, n.app, n.device, n.rule, n.os, $8
from unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[])
    as n(agent_hash, user_agent, kind, app, device, rule, os)
order by n.agent_hash
on conflict (agent_hash) do nothing"""

# Two ranges of an index, where `<>` would read the whole table.
_OUTDATED: Final[LiteralString] = """/* agents.outdated */
select agent_hash, agent_no, user_agent, kind, app, device, rule, os, table_version from ops.agents
where superseded_hash is null and (table_version < $1 or table_version > $1) limit $2"""

_TABLES: Final[LiteralString] = """/* agents.count_tables */
select count(distinct table_version) from ops.agents where superseded_hash is null"""

_CONFIRM: Final[LiteralString] = """/* agents.confirm */
update ops.agents set table_version = $2 where agent_no = any($1::integer[])"""

_UNTOLD: Final[LiteralString] = """/* agents.untold */
select agent_hash, agent_no, user_agent, kind, app, device, rule, os, table_version from ops.agents
where os is null order by agent_no limit $1"""

_TELL: Final[LiteralString] = """/* agents.tell */
update ops.agents a set os = n.os from unnest($1::integer[], $2::text[]) as n(agent_no, os)
where a.agent_no = n.agent_no and a.os is null"""

# Once none is left to be told. Days whose downloads are gone stay as they were counted.
_MARK_ALL: Final[LiteralString] = """/* agents.mark_all */
insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)
select m.tenant_no, m.podcast_no, m.episode_no, m.day from app.metrics_daily m
join ops.days d on d.tenant_no = m.tenant_no and d.day = m.day
where m.dimension = 'total' and d.downloads_dropped_at is null
    and not exists (select from ops.agents where os is null)"""

# The hash is the key by which an agent is found, and goes to the row that takes over.
_RETIRE: Final[LiteralString] = """/* agents.retire */
update ops.agents set superseded_hash = agent_hash, agent_hash = gen_random_uuid()
where agent_no = any($1::integer[]) and superseded_hash is null
returning superseded_hash"""

# Whoever goes back to an earlier table finds the numbers of then.
_REVIVE: Final[LiteralString] = """/* agents.revive */
update ops.agents a set agent_hash = a.superseded_hash, superseded_hash = null, table_version = $7
from (
    select distinct on (s.superseded_hash) s.agent_no
    from unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::text[])
        as n(agent_hash, kind, app, device, rule, os)
    join ops.agents s on s.superseded_hash = n.agent_hash
        and (s.kind, s.app, s.device, s.rule, coalesce(s.os, n.os)) = (n.kind, n.app, n.device, n.rule, n.os)
    order by s.superseded_hash, s.agent_no
) r
where a.agent_no = r.agent_no"""

_KINDS: Final[LiteralString] = """/* agents.kinds */
select agent_no, kind, user_agent = '' as is_empty from ops.agents where agent_no = any($1::integer[])"""

_AGENTS_SINCE: Final[LiteralString] = """/* agents.count_since */
select count(*) from ops.agents where first_seen_at >= $1"""

_FIND_TERMS: Final[LiteralString] = """/* terms.find */
select term, term_no from ops.terms where kind = $1 and term = any($2::text[])"""

_ADD_TERMS: Final[LiteralString] = """/* terms.add */
insert into ops.terms (kind, term) select $1, n.term from unnest($2::text[]) as n(term) order by n.term
on conflict (kind, term) do nothing"""

_FIND_PLACES: Final[LiteralString] = """/* places.find */
select place, place_no from ops.places where place = any($1::text[])"""

_ADD_PLACES: Final[LiteralString] = """/* places.add */
insert into ops.places (place, region, city)
select n.place, n.region, n.city from unnest($1::text[], $2::text[], $3::text[]) as n(place, region, city)
order by n.place on conflict (place) do nothing"""

_COUNT_PLACES: Final[LiteralString] = """/* places.count */ select count(*) from ops.places"""


async def find_agents(conn: Connection, hashes: Collection[UUID]) -> dict[UUID, StoredAgent]:
    """Look agents up by the hash of their text; unknown ones are left out."""
    rows = [msgspec.convert(row, StoredAgent) for row in await conn.fetch(_FIND_AGENTS, list(hashes))]
    return {row.agent_hash: row for row in rows}


async def number_agents(conn: Connection, agents: Sequence[NewAgent], *, table_version: str) -> dict[UUID, StoredAgent]:
    """Store agents, those that someone else stored meanwhile excepted, and return the numbers of all.

    Outside a transaction: a number that no hit comes to use does no harm.
    """
    await conn.execute(
        _ADD_AGENTS,
        [agent.agent_hash for agent in agents],
        [agent.user_agent for agent in agents],
        [agent.kind for agent in agents],
        [agent.app for agent in agents],
        [agent.device for agent in agents],
        [agent.rule for agent in agents],
        [agent.os for agent in agents],
        table_version,
    )
    return await find_agents(conn, [agent.agent_hash for agent in agents])


async def outdated_agents(conn: Connection, table_version: str, *, limit: int) -> list[StoredAgent]:
    """List agents in use that another version of the table has classified."""
    return [msgspec.convert(row, StoredAgent) for row in await conn.fetch(_OUTDATED, table_version, limit)]


async def count_tables(conn: Connection) -> int:
    """Count the versions of the table by which agents in use are classified; several until all are up to date."""
    return int(await conn.fetchval(_TABLES))


async def confirm_agents(conn: Connection, agent_nos: Sequence[int], *, table_version: str) -> None:
    """Note that this version of the table says of these agents what is stored of them."""
    await conn.execute(_CONFIRM, sorted(agent_nos), table_version)


async def untold_agents(conn: Connection, *, limit: int) -> list[StoredAgent]:
    """List agents whose operating system was never told, those among them that others have taken over from."""
    return [msgspec.convert(row, StoredAgent) for row in await conn.fetch(_UNTOLD, limit)]


async def tell_systems(conn: Connection, agents: Mapping[int, str]) -> None:
    """Store operating systems that were never told; what else is known of these agents stays as it is.

    Once all are told, all days whose downloads are kept are marked to be summed up again.

    Args:
        conn: Outside a transaction.
        agents: Operating systems by the agents' numbers.
    """
    numbers = sorted(agents)
    async with conn.transaction():
        # As who lands: no tenant and no podcast is erased meanwhile, whose marks would be left behind.
        await lock_ownership(conn)
        await conn.execute(_TELL, numbers, [agents[number] for number in numbers])
        await conn.execute(_MARK_ALL)


async def supersede_agents(conn: Connection, agents: Sequence[tuple[int, NewAgent]], *, table_version: str) -> None:
    """Store agents under other numbers, as another class; their hits and downloads keep the old number.

    An agent that was of this class before gets the number of then.

    Args:
        conn: Outside a transaction.
        agents: The number until now, and what they are from now on; those that someone else has superseded meanwhile
            are left out.
        table_version: Of the table that says so.
    """
    by_hash = {agent.agent_hash: agent for _, agent in agents}
    async with conn.transaction():
        retired = await conn.fetch(_RETIRE, sorted(agent_no for agent_no, _ in agents))
        taking_over = [by_hash[row["superseded_hash"]] for row in retired]
        await conn.execute(
            _REVIVE,
            [agent.agent_hash for agent in taking_over],
            [agent.kind for agent in taking_over],
            [agent.app for agent in taking_over],
            [agent.device for agent in taking_over],
            [agent.rule for agent in taking_over],
            [agent.os for agent in taking_over],
            table_version,
        )
        await number_agents(conn, taking_over, table_version=table_version)


async def read_agent_kinds(conn: Connection, agent_nos: Collection[int]) -> dict[int, AgentKindRow]:
    """Read what agents are, by their numbers."""
    rows = [msgspec.convert(row, AgentKindRow) for row in await conn.fetch(_KINDS, list(agent_nos))]
    return {row.agent_no: row for row in rows}


async def agents_since(conn: Connection, at: dt.datetime) -> int:
    """Count the agents that were met for the first time since *at*."""
    return int(await conn.fetchval(_AGENTS_SINCE, at))


async def find_terms(conn: Connection, kind: TermKind, terms: Collection[str]) -> dict[str, int]:
    """Look terms up; unknown ones are left out."""
    rows = [msgspec.convert(row, TermNumber) for row in await conn.fetch(_FIND_TERMS, kind, list(terms))]
    return {row.term: row.term_no for row in rows}


async def number_terms(conn: Connection, kind: TermKind, terms: Collection[str]) -> dict[str, int]:
    """Store terms and return the numbers of all; outside a transaction, as with agents."""
    await conn.execute(_ADD_TERMS, kind, list(terms))
    return await find_terms(conn, kind, terms)


async def find_places(conn: Connection, places: Collection[Place]) -> dict[Place, int]:
    """Look places up; unknown ones are left out."""
    rows = await conn.fetch(_FIND_PLACES, [str(place) for place in places])
    numbers = {row["place"]: row["place_no"] for row in rows}
    return {place: numbers[str(place)] for place in places if str(place) in numbers}


async def number_places(conn: Connection, places: Collection[Place]) -> dict[Place, int]:
    """Store places and return the numbers of all; outside a transaction, as with agents."""
    await conn.execute(
        _ADD_PLACES,
        [str(place) for place in places],
        [place.region_key for place in places],
        [place.city_key for place in places],
    )
    return await find_places(conn, places)


async def count_places(conn: Connection) -> int:
    """Count all places."""
    return int(await conn.fetchval(_COUNT_PLACES))
