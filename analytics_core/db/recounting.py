"""Recounting a day: its hits are read by column, with what is known of them today, and some are written anew.

Reading and writing see the same hits: of a final day, on which hits land meanwhile, both are in one REPEATABLE READ
transaction; on any other nobody lands meanwhile. Whoever takes such hits away in between makes the transaction fail, to
be tried again: nothing that is gone comes back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
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


_STORED: Final = CopyFormat(
    "stored_hits",
    schema="pg_temp",
    columns=(
        *HIT_COLUMNS,
        ("today_agent_no", "integer"),
        ("today_agent_kind", "smallint"),
        ("length_bytes", "bigint"),
        ("duration_s", "integer"),
    ),
)

_READ: Final[LiteralString] = """/* recounting.read */
select e.occurred_at, e.range_first, e.range_last, e.listener_key, e.segment_no, e.ordinal, e.tenant_no, e.podcast_no,
    e.episode_no, e.agent_no, e.referrer_no, e.feed_app_no, e.verdict_bits, e.verdict, e.evidence, e.country, e.kind,
    e.method, e.range_kind, e.flags, e.source, e.rules, e.asn, e.networks, e.place_no,
    coalesce(t.agent_no, e.agent_no) as today_agent_no, coalesce(t.kind, (-1)::smallint) as today_agent_kind,
    coalesce(s.length_bytes, -1) as length_bytes, coalesce(s.duration_s, -1) as duration_s
from ts.listener_events e
left join ops.agents a on a.agent_no = e.agent_no
left join ops.agents t on t.agent_hash = coalesce(a.superseded_hash, a.agent_hash)
left join (
    select distinct on (p.episode_no) p.episode_no, p.duration_s, c.length_bytes
    from app.episodes p left join app.enclosures c using (tenant_id, episode_id)
    where p.tenant_no = $1 order by p.episode_no, c.gone_at is not null, c.place
) s on s.episode_no = e.episode_no
where e.tenant_no = $1 and e.occurred_at >= $2 and e.occurred_at < $3"""

# The one function that takes hits of a tenant's day away to be written anew.
_TAKE: Final[LiteralString] = """/* recounting.take */ select ops.take_hits($1, $2, $3, $4, $5, $6)"""

_DAYS: Final[LiteralString] = """/* recounting.list_days */
select tenant_no, day from ops.days
where day >= $1 and day < $2 and ($3::integer is null or tenant_no = $3) order by tenant_no, day"""


def _stored(columns: Mapping[str, npt.NDArray[Any]]) -> StoredHits:
    return StoredHits(
        hits=HitColumns(**{name: columns[name] for name, _ in HIT_COLUMNS}),
        agent_no=columns["today_agent_no"],
        agent_kind=columns["today_agent_kind"],
        length_bytes=columns["length_bytes"],
        duration_s=columns["duration_s"],
    )


async def read_day(conn: Connection, tenant_no: int, day: dt.date, *, take: Callable[[StoredHits], None]) -> int:
    """Read a tenant's hits of a UTC day in no order, a few thousand at a time.

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
    return await _STORED.read(conn, _READ, tenant_no, start, end, take=lambda columns: take(_stored(columns)))


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
