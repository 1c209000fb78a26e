"""Numbers for texts that repeat: user agents with what they are, referrers, feed apps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final, LiteralString, NewType
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection

__all__ = (
    "AgentKindRow",
    "AgentNumber",
    "NewAgent",
    "TermKind",
    "TermNumber",
    "agents_since",
    "find_agents",
    "find_terms",
    "number_agents",
    "number_terms",
    "read_agent_kinds",
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


class AgentNumber(msgspec.Struct, frozen=True):
    """A stored agent's number and kind, by the hash of its text."""

    agent_hash: UUID
    agent_no: int
    kind: int


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
select agent_hash, agent_no, kind from ops.agents where agent_hash = any($1::uuid[])"""

_ADD_AGENTS: Final[LiteralString] = """/* agents.add */
insert into ops.agents (agent_hash, user_agent, kind, app, device, rule, table_version)
select n.agent_hash, n.user_agent, n.kind, n.app, n.device, n.rule, $7
from unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::text[])
    as n(agent_hash, user_agent, kind, app, device, rule)
order by n.agent_hash
on conflict (agent_hash) do nothing"""

_KINDS: Final[LiteralString] = """/* agents.kinds */
select agent_no, kind, user_agent = '' as is_empty from ops.agents where agent_no = any($1::integer[])"""

_AGENTS_SINCE: Final[LiteralString] = """/* agents.count_since */
select count(*) from ops.agents where first_seen_at >= $1"""

_FIND_TERMS: Final[LiteralString] = """/* terms.find */
select term, term_no from ops.terms where kind = $1 and term = any($2::text[])"""

_ADD_TERMS: Final[LiteralString] = """/* terms.add */
insert into ops.terms (kind, term) select $1, n.term from unnest($2::text[]) as n(term) order by n.term
on conflict (kind, term) do nothing"""


async def find_agents(conn: Connection, hashes: Collection[UUID]) -> dict[UUID, AgentNumber]:
    """Look agents up by the hash of their text; unknown ones are left out."""
    rows = [msgspec.convert(row, AgentNumber) for row in await conn.fetch(_FIND_AGENTS, list(hashes))]
    return {row.agent_hash: row for row in rows}


async def number_agents(conn: Connection, agents: Sequence[NewAgent], *, table_version: str) -> dict[UUID, AgentNumber]:
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
        table_version,
    )
    return await find_agents(conn, [agent.agent_hash for agent in agents])


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
