"""Numbers for agents, terms and places: looked up in memory first, stored on their first appearance, bounded a day."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from analytics_core.agent_table import AgentTable, our_table
from analytics_core.clock import Clock
from analytics_core.db.dictionaries import (
    NewAgent,
    StoredAgent,
    TermKind,
    agents_since,
    confirm_agents,
    count_places,
    find_agents,
    find_places,
    find_terms,
    number_agents,
    number_places,
    number_terms,
    outdated_agents,
    supersede_agents,
    tell_systems,
    untold_agents,
)
from analytics_core.db.pool import Connection
from analytics_core.operating_systems import operating_system
from analytics_core.places import Place
from analytics_core.user_agents import AgentClass, AgentKind, normalise_agent
from ingest.caches import GenerationCache

__all__ = ("Agent", "AgentNumbers", "PlaceNumbers", "TermNumbers")

MAX_NEW_AGENTS_A_DAY: Final = 50_000
"""Further ones keep their class but not their text."""

MAX_OWN_NAMES_A_DAY: Final = 2_000
"""Further programs that name themselves are shown under the name of the rule that found them."""

MAX_NEW_TERMS_A_DAY: Final = 20_000
"""Further ones are ``other``."""

MAX_PLACES: Final = 200_000
"""There are no more places; a city beyond is its region alone, and a region beyond its country."""

MAX_NEW_PLACES_A_DAY: Final = 20_000
"""The same a UTC day and process."""

MAX_REGIONS: Final = 10_000
"""Regions that may be stored beyond that to stand for cities, in all, and a UTC day and process."""

MAX_TERM_CHARS: Final = 255
OTHER: Final = "other"
_OTHER_AGENTS: Final = f"({OTHER})"

_CACHE_LIMIT: Final = 20_000


class Agent(NamedTuple):
    """A user agent's number, and its kind."""

    agent_no: int
    kind: int


def _hash(data: bytes) -> UUID:
    return UUID(bytes=hashlib.blake2b(data, digest_size=16).digest())


def _readable(data: bytes) -> str:
    """Read bytes as PostgreSQL can store them."""
    return data.decode("utf-8", "replace").replace("\x00", "\ufffd")


def _overflow(found: AgentClass) -> NewAgent:
    """Stand in for all agents of a class: there are as many as the table has classes, whatever is sent."""
    app = found.rule if found.names_itself else found.app
    parts = (str(int(found.kind)), app, found.device, *([found.os] if found.os else []))
    key = _hash(b"\x00other\x00" + "\x00".join(parts).encode())
    return NewAgent(key, _OTHER_AGENTS, found.kind, app, found.device, found.rule, found.os)


class AgentNumbers:
    """Agents by their bytes.

    A number stands for an agent and a class, for ever: where another table says something else of an agent, the agent
    gets another number, so that what was counted stays as it was until it is counted again.

    Args:
        clock: Tells when a new day begins.
        limit: New agents that are stored with their text a UTC day.
        table: Returns the table in force.
        own_names: Names of programs that name themselves, new ones a UTC day and process.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        limit: int = MAX_NEW_AGENTS_A_DAY,
        table: Callable[[], AgentTable] = our_table,
        own_names: int = MAX_OWN_NAMES_A_DAY,
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._table = table
        self._known = GenerationCache[bytes, Agent](_CACHE_LIMIT)
        self._known_by = ""
        self._day: dt.date | None = None
        self._left = 0
        self._most_names = own_names
        self._names: set[str] = set()

    def forget(self) -> None:
        """Drop what is remembered: some of the numbers may be gone."""
        self._known = GenerationCache(_CACHE_LIMIT)

    async def number(self, conn: Connection, agents: Sequence[bytes]) -> list[Agent]:
        """Number agents, classifying and storing those that were never met before, or not by this table.

        Args:
            conn: Outside a transaction.
            agents: Distinct, as recorded.
        """
        table = self._table()
        if table.version != self._known_by:
            self.forget()
            self._known_by = table.version
        known = {agent: found for agent in agents if (found := self._known.get(agent)) is not None}
        missing = {_hash(agent): agent for agent in agents if agent not in known}
        if missing:
            await self._begin_day(conn)
            rows = await find_agents(conn, missing)
            rows |= await self._store(conn, table, {key: agent for key, agent in missing.items() if key not in rows})
            outdated = [row for row in rows.values() if row.table_version != table.version]
            await self._classify_again(conn, table, outdated)
            if outdated:
                rows |= await find_agents(conn, [row.agent_hash for row in outdated])
            for key, agent in missing.items():
                known[agent] = Agent(rows[key].agent_no, rows[key].kind)
                self._known.put(agent, known[agent])
        return [known[agent] for agent in agents]

    async def bring_up_to_date(self, conn: Connection, *, limit: int) -> tuple[int, int]:
        """Tell operating systems that were never told, then classify agents again that another table has classified.

        Args:
            conn: Outside a transaction.
            limit: Most agents.

        Returns:
            How many were looked at, none when all are up to date, and how many of them are something else now.
        """
        table = self._table()
        await self._begin_day(conn)
        if told := await self._tell_systems(conn, limit=limit):
            return told, 0
        outdated = await outdated_agents(conn, table.version, limit=limit)
        return len(outdated), await self._classify_again(conn, table, outdated)

    async def _tell_systems(self, conn: Connection, *, limit: int) -> int:
        """Tell the operating systems of agents that were stored before any were told.

        Downloads were counted under these numbers: what is summed up by operating system is summed up again at the end.
        Only here, and not where such an agent is met again, so that the end is known.
        """
        untold = await untold_agents(conn, limit=limit)
        if untold:
            systems = {
                agent.agent_no: ""
                if agent.kind == AgentKind.BOT or agent.user_agent == _OTHER_AGENTS
                else operating_system(normalise_agent(agent.user_agent))
                for agent in untold
            }
            await tell_systems(conn, systems)
        return len(untold)

    async def _classify_again(self, conn: Connection, table: AgentTable, agents: Sequence[StoredAgent]) -> int:
        """Confirm the class of those of whom the table says the same, supersede the others."""
        same, other = [], []
        for agent in agents:
            found = self._find(table, agent.user_agent)
            said = (int(found.kind), found.app, found.device, found.rule, found.os)
            system = found.os if agent.os is None else agent.os
            # Those that stand in for many have no text to read.
            if agent.user_agent == _OTHER_AGENTS or said == (agent.kind, agent.app, agent.device, agent.rule, system):
                same.append(agent.agent_no)
            else:
                other.append((agent.agent_no, NewAgent(agent.agent_hash, agent.user_agent, *said)))
        if same:
            await confirm_agents(conn, same, table_version=table.version)
        if other:
            await supersede_agents(conn, other, table_version=table.version)
        return len(other)

    def _find(self, table: AgentTable, text: str) -> AgentClass:
        """Classify, with a bound on the names that programs give themselves."""
        found = table.classify(text)
        if not found.names_itself or found.app in self._names:
            return found
        if len(self._names) < self._most_names:
            self._names.add(found.app)
            return found
        return msgspec.structs.replace(found, app=found.rule, names_itself=False)

    async def _store(self, conn: Connection, table: AgentTable, agents: dict[UUID, bytes]) -> dict[UUID, StoredAgent]:
        """Store agents and return them by the hash of their own bytes."""
        if not agents:
            return {}
        new: dict[UUID, NewAgent] = {}
        for key, agent in agents.items():
            text = _readable(agent)
            if self._left > 0:
                self._left -= 1
                found = self._find(table, text)
                new[key] = NewAgent(key, text, found.kind, found.app, found.device, found.rule, found.os)
            else:
                new[key] = _overflow(table.classify(text))
        stored = await number_agents(
            conn, list({agent.agent_hash: agent for agent in new.values()}.values()), table_version=table.version
        )
        return {key: stored[agent.agent_hash] for key, agent in new.items()}

    async def _begin_day(self, conn: Connection) -> None:
        now = self._clock.now()
        if self._day != now.date():
            midnight = dt.datetime.combine(now.date(), dt.time(), dt.UTC)
            self._left = self._limit - await agents_since(conn, midnight)
            self._names.clear()
            self._day = now.date()


class TermNumbers:
    """Terms of one kind by their text; the empty one is 0 and stored nowhere.

    Args:
        kind: ``referrer`` or ``feed_app``.
        clock: Tells when a new day begins.
        limit: New terms that are stored a UTC day and process.
    """

    def __init__(self, kind: str, clock: Clock, *, limit: int = MAX_NEW_TERMS_A_DAY) -> None:
        self._kind = TermKind(kind)
        self._clock = clock
        self._limit = limit
        self._known = GenerationCache[str, int](_CACHE_LIMIT)
        self._day: dt.date | None = None
        self._left = 0

    async def number(self, conn: Connection, terms: Iterable[str]) -> dict[str, int]:
        """Number terms, storing those that were never met before.

        Args:
            conn: Outside a transaction.
            terms: Any; cut to ``MAX_TERM_CHARS`` where they are stored.
        """
        wanted = {term: term[:MAX_TERM_CHARS] for term in terms}
        found = {text: no for text in set(wanted.values()) if (no := self._known.get(text)) is not None}
        found[""] = 0
        missing = {text for text in wanted.values() if text not in found}
        if missing:
            fresh = await find_terms(conn, self._kind, missing)
            fresh |= await self._store(conn, missing - fresh.keys())
            for text, term_no in fresh.items():
                self._known.put(text, term_no)
            found |= fresh
        return {term: found[text] for term, text in wanted.items()}

    async def _store(self, conn: Connection, terms: set[str]) -> dict[str, int]:
        if not terms:
            return {}
        today = self._clock.now().date()
        if self._day != today:
            self._day, self._left = today, self._limit
        stored = sorted(terms)[: max(self._left, 0)]
        self._left -= len(stored)
        numbers = await number_terms(conn, self._kind, [*stored, OTHER] if len(stored) < len(terms) else stored)
        return {term: numbers[term if term in numbers else OTHER] for term in terms}


class PlaceNumbers:
    """Places by number; where there is no room for a city any more its region stands for it, and 0 for a region.

    Args:
        clock: Tells when a new day begins.
        most: Places that are stored at all.
        limit: New places that are stored a UTC day and process.
    """

    def __init__(self, clock: Clock, *, most: int = MAX_PLACES, limit: int = MAX_NEW_PLACES_A_DAY) -> None:
        self._clock = clock
        self._most = most
        self._limit = limit
        self._known = GenerationCache[Place, int](_CACHE_LIMIT)
        self._day: dt.date | None = None
        self._left = self._regions_left = 0

    async def number(self, conn: Connection, places: Iterable[Place]) -> dict[Place, int]:
        """Number places, storing those that were never met before.

        Args:
            conn: Outside a transaction.
            places: With a region or a city, or both.
        """
        wanted = set(places)
        found = {place: no for place in wanted if (no := self._known.get(place)) is not None}
        missing = wanted - found.keys()
        if missing:
            fresh = await find_places(conn, missing)
            fresh |= await self._store(conn, sorted(missing - fresh.keys()))
            for place, place_no in fresh.items():
                self._known.put(place, place_no)
            found |= fresh
            if rest := wanted - found.keys():
                found |= await self._stand_in(conn, rest)
        return found

    async def _store(self, conn: Connection, places: Sequence[Place]) -> dict[Place, int]:
        """Store as many as there is room for, and return these."""
        if not places:
            return {}
        today = self._clock.now().date()
        if self._day != today:
            stored = await count_places(conn)
            self._day, self._left = today, min(self._limit, self._most - stored)
            self._regions_left = min(MAX_REGIONS, self._most + MAX_REGIONS - stored)
        new = places[: max(self._left, 0)]
        self._left -= len(new)
        return await number_places(conn, new) if new else {}

    async def _stand_in(self, conn: Connection, places: Iterable[Place]) -> dict[Place, int]:
        """Number the regions of places that have no room; nothing is remembered, as there may be room tomorrow."""
        regions = {place: place._replace(city="") for place in places}
        wanted = {region for region in regions.values() if region.region}
        found = await find_places(conn, wanted)
        new = sorted(wanted - found.keys())[: max(self._regions_left, 0)]
        if new:
            self._regions_left -= len(new)
            found |= await number_places(conn, new)
        return {place: found.get(region, 0) for place, region in regions.items()}
