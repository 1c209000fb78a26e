"""Recounting a day: its hits are read by column, with what is known of them today, and some are written anew.

Reading and writing see the same hits: of a final day, on which hits land meanwhile, both are in one REPEATABLE READ
transaction; on any other nobody lands meanwhile. Whoever takes such hits away in between makes the transaction fail, to
be tried again: nothing that is gone comes back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import asyncpg
import numpy as np
import numpy.typing as npt

from analytics_core.db.copying import EPOCH_US, CopyFormat
from analytics_core.db.hits import HIT_COLUMNS, HitColumns, HitRows, Integers, copy_hits
from analytics_core.db.pool import Connection
from analytics_core.db.restating import note_keys
from analytics_core.db.retention import TenantDay

__all__ = ("StoredHits", "list_tenant_days", "read_day", "replace_hits")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class StoredHits:
    """Stored hits by column, and what is known today of their agents and episodes.

    Attributes:
        hits: As they are stored.
        agent_no: The number under which the table in force has the agent.
        agent_kind: Its ``AgentKind`` by that table; -1 where nothing is known of the agent any more.
        length_bytes: Of the episode's first enclosure, as the feed says; -1 where unknown.
        duration_s: The same of the episode's duration, in seconds.
    """

    hits: HitColumns
    agent_no: Integers
    agent_kind: Integers
    length_bytes: Integers
    duration_s: Integers


_HITS: Final = CopyFormat("stored_hits", schema="pg_temp", columns=HIT_COLUMNS)
_AGENTS: Final = CopyFormat(
    "stored_agents",
    schema="pg_temp",
    columns=(("agent_no", "integer"), ("today_agent_no", "integer"), ("agent_kind", "smallint")),
)
_EPISODES: Final = CopyFormat(
    "stored_episodes",
    schema="pg_temp",
    columns=(("episode_no", "integer"), ("length_bytes", "bigint"), ("duration_s", "integer")),
)

_READ: Final[LiteralString] = """/* recounting.read */
select occurred_at, range_first, range_last, listener_key, segment_no, ordinal, tenant_no, podcast_no, episode_no,
    agent_no, referrer_no, feed_app_no, verdict_bits, verdict, evidence, country, kind, method, range_kind, flags,
    source, rules, asn, networks, place_no
from ts.listener_events where tenant_no = $1 and occurred_at >= $2 and occurred_at < $3"""

# Looked up by column, not joined: three joins cost as much a hit as reading it.
_READ_AGENTS: Final[LiteralString] = """/* recounting.read_agents */
select a.agent_no, coalesce(t.agent_no, a.agent_no) as today_agent_no, coalesce(t.kind, (-1)::smallint) as agent_kind
from (
    select distinct agent_no from ts.listener_events
    where tenant_no = $1 and occurred_at >= $2 and occurred_at < $3
) e
join ops.agents a using (agent_no)
left join ops.agents t on t.agent_hash = coalesce(a.superseded_hash, a.agent_hash)
order by a.agent_no"""

_READ_EPISODES: Final[LiteralString] = """/* recounting.read_episodes */
select distinct on (p.episode_no) p.episode_no, coalesce(c.length_bytes, -1) as length_bytes,
    coalesce(p.duration_s, -1) as duration_s
from app.episodes p left join app.enclosures c using (tenant_id, episode_id)
where p.tenant_no = $1 order by p.episode_no, c.gone_at desc nulls first, c.place, c.enclosure_key"""

# The one function that takes hits of a tenant's day away to be written anew.
_TAKE: Final[LiteralString] = """/* recounting.take */ select ops.take_hits($1, $2, $3, $4, $5, $6)"""

_DAYS: Final[LiteralString] = """/* recounting.list_days */
select tenant_no, day from ops.days
where day >= $1 and day < $2 and ($3::integer is null or tenant_no = $3) order by tenant_no, day"""


class _Known:
    """What is known by number, sorted by it; looked up for many at once."""

    def __init__(self, pieces: Sequence[Mapping[str, Integers]], number: str) -> None:
        self._columns = (
            {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]} if pieces else {}
        )
        self._numbers = self._columns.pop(number, np.empty(0, np.int64))

    def look_up(self, numbers: Integers, **defaults: Integers) -> dict[str, Integers]:
        """Take columns of the rows with these numbers, and the defaults of those that are not known."""
        if not len(self._numbers):
            return defaults
        places = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        is_known = self._numbers[places] == numbers
        return {name: np.where(is_known, self._columns[name][places], default) for name, default in defaults.items()}


async def _read_known(conn: Connection, form: CopyFormat, query: LiteralString, *arguments: object) -> _Known:
    pieces: list[Mapping[str, Integers]] = []
    await form.read(conn, query, *arguments, take=pieces.append)
    return _Known(pieces, form.columns[0][0])


async def read_day(conn: Connection, tenant_no: int, day: dt.date, *, take: Callable[[StoredHits], None]) -> int:
    """Read a tenant's hits of a UTC day in no order, a few thousand at a time.

    Held meanwhile is what is known of the day's agents and of the tenant's episodes, 24 bytes each.

    Args:
        conn: As ingest.
        tenant_no: Whose hits.
        day: Which day.
        take: Called with each piece.

    Returns:
        How many hits there were.
    """
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    end = start + dt.timedelta(days=1)
    agents = await _read_known(conn, _AGENTS, _READ_AGENTS, tenant_no, start, end)
    episodes = await _read_known(conn, _EPISODES, _READ_EPISODES, tenant_no)

    def take_columns(columns: Mapping[str, npt.NDArray[Any]]) -> None:
        hits = HitColumns(**columns)
        unknown = np.full(len(hits), -1)
        agents_today = agents.look_up(hits.agent_no, today_agent_no=hits.agent_no, agent_kind=unknown)
        take(
            StoredHits(
                hits=hits,
                agent_no=agents_today["today_agent_no"],
                agent_kind=agents_today["agent_kind"],
                **episodes.look_up(hits.episode_no, length_bytes=unknown, duration_s=unknown),
            )
        )

    return await _HITS.read(conn, _READ, tenant_no, start, end, take=take_columns)


async def replace_hits(conn: Connection, tenant_no: int, day: dt.date, hits: Iterable[HitRows]) -> None:
    """Write some of a tenant's hits of a UTC day anew, in place of those that are there, and note their downloads.

    Args:
        conn: As ingest, in the transaction in which they were read, and which holds the day.
        tenant_no: Whose hits.
        day: Which day.
        hits: Piece by piece, about in the order of time: those of a piece are looked for between its first and last.

    Raises:
        asyncpg.SerializationError: Somebody took hits away meanwhile.
    """
    for rows in hits:
        times = rows["occurred_at"].astype(np.int64) + EPOCH_US
        begins, ends = (_EPOCH + dt.timedelta(microseconds=int(at)) for at in (times.min(), times.max()))
        taken = await conn.fetchval(
            _TAKE, tenant_no, day, begins, ends, rows["segment_no"].tolist(), rows["ordinal"].tolist()
        )
        if taken != len(rows):
            raise asyncpg.SerializationError(f"{taken} of {len(rows)} hits of {day} were there to be written anew")
        await copy_hits(conn, rows)
        await note_keys(conn, rows["episode_no"], rows["listener_key"])


async def list_tenant_days(
    conn: Connection, *, first: dt.date, until: dt.date, tenant_no: int | None = None
) -> list[TenantDay]:
    """List the days from *first* to before *until* on which tenants, or one, had hits; by tenant, then by day."""
    return [TenantDay(row["tenant_no"], row["day"]) for row in await conn.fetch(_DAYS, first, until, tenant_no)]
