"""Erasure of a listener: its hits, downloads and clicks of a UTC month, a day a transaction, with a record as proof.

Each transaction enters what it took away into the record, so that an erasure that was stopped goes on where it was, and
one that is done can be done again. Days whose downloads change are marked: their rollups are made anew without them,
except where downloads are not kept any more. Figures name nobody, and those stay as they were counted.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping
from typing import Final, LiteralString
from uuid import UUID

import asyncpg

from analytics_core.db.erasure_requests import ErasureRequest, end_erasure, find_erasure, note_removed
from analytics_core.db.hits import lock_finality
from analytics_core.db.pool import Connection, Pool, Tenant, tenant_transaction
from analytics_core.db.secrets import find_secret
from analytics_core.erasures import ErasureRecord
from analytics_core.errors import Unavailable
from analytics_core.listeners import listener_key

__all__ = ("erase_listener",)

_PENDING: Final = 10_000
_ATTEMPTS: Final = 5

_LIMITS: Final[LiteralString] = """/* erasures.limits */
select set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"""

_DAYS: Final[LiteralString] = """/* erasures.days */
select day from ops.days where tenant_no = $1 and day >= $2 and day < $3 order by day"""

_HITS: Final[LiteralString] = """/* erasures.hits */ select hits, clicks from ops.erase_hits($1, $2)"""

_DOWNLOADS: Final[LiteralString] = """/* erasures.downloads */
with gone as (
    delete from ts.downloads where tenant_no = $1 and listener_key = $2 and day = $3 returning podcast_no, episode_no
), marked as (
    insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)
    select distinct $1::integer, podcast_no, episode_no, $3::date from gone
), raised as (
    update ops.days set generation = generation + 1
    where tenant_no = $1 and day = $3 and exists (select from gone)
)
select count(*) from gone"""

# A flood may be a single listener's, whose key it names.
_SPIKES: Final[LiteralString] = """/* erasures.spikes */
delete from app.spikes
where tenant_no = $1 and listener_key = $2 and begins_at >= $3::date::timestamp at time zone 'UTC'
    and begins_at < ($3::date + 1)::timestamp at time zone 'UTC'"""

_WAITING: Final[LiteralString] = """/* erasures.waiting */
select segment_no, ordinal, k0 from ops.pending_hits
where tenant_no = $1 and occurred_at >= $2 and occurred_at < $3 and (segment_no, ordinal) > ($4, $5)
order by segment_no, ordinal limit $6"""

_PENDING_HITS: Final[LiteralString] = """/* erasures.pending */
delete from ops.pending_hits p using unnest($1::integer[], $2::integer[]) as n(segment_no, ordinal)
where p.segment_no = n.segment_no and p.ordinal = n.ordinal"""

_LEFT: Final[LiteralString] = """/* erasures.left */
select (
    select count(*) from ts.listener_events
    where tenant_no = $1 and listener_key = $2 and occurred_at >= $3::date::timestamp at time zone 'UTC'
        and occurred_at < $4::date::timestamp at time zone 'UTC'
) as hits, (
    select count(*) from ts.downloads where tenant_no = $1 and listener_key = $2 and day >= $3 and day < $4
) as downloads, (
    select count(*) from app.spikes
    where tenant_no = $1 and listener_key = $2 and begins_at >= $3::date::timestamp at time zone 'UTC'
        and begins_at < $4::date::timestamp at time zone 'UTC'
) as spikes"""


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


class _Erasure:
    """An erasure at work."""

    def __init__(self, pool: Pool, tenant: Tenant, key: UUID, month: dt.date, record: ErasureRecord) -> None:
        self._pool = pool
        self._tenant = tenant
        self._key = key
        self._month = month
        self._until = (month + dt.timedelta(days=32)).replace(day=1)
        self.record = record

    async def _note(self, conn: Connection, removed: Mapping[str, int]) -> ErasureRecord:
        return await note_removed(conn, self._tenant, self.record, removed)

    async def days(self) -> list[dt.date]:
        async with tenant_transaction(self._pool, self._tenant) as conn:
            rows = await conn.fetch(_DAYS, self._tenant.tenant_no, self._month, self._until)
        return [row["day"] for row in rows]

    async def take_day(self, day: dt.date) -> None:
        """Take a day's hits, clicks and downloads away; whoever lands these very downloads may be in the way."""
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(asyncpg.DeadlockDetectedError):
                return await self._take_day(day)
        raise Unavailable("the listener could not be erased: its rows are in use all the time")

    async def _take_day(self, day: dt.date) -> None:
        async with tenant_transaction(self._pool, self._tenant) as conn:
            await conn.execute(_LIMITS)
            # Days are not dropped meanwhile: their marks would come too late.
            await lock_finality(conn)
            hits = await conn.fetchrow(_HITS, self.record.erasure_id, day)
            if hits is None:
                raise AssertionError("a count is a row")
            downloads = int(await conn.fetchval(_DOWNLOADS, self._tenant.tenant_no, self._key, day))
            spikes = await conn.execute(_SPIKES, self._tenant.tenant_no, self._key, day)
            removed = {"hits": hits["hits"], "clicks": hits["clicks"], "downloads": downloads}
            record = await self._note(conn, {**removed, "spikes": int(str(spikes).split()[-1])})
        self.record = record

    async def _list_waiting(self, conn: Connection) -> list[tuple[int, int]]:
        """List waiting hits of the listener: by the key that each would get."""
        stored = await find_secret(conn, month=self._month, tenant_no=self._tenant.tenant_no)
        secret = None if stored is None else stored.secret
        if secret is None:
            # Nobody can have that key any more.
            return []
        found: list[tuple[int, int]] = []
        after = (-1, -1)
        while True:
            rows = await conn.fetch(
                _WAITING, self._tenant.tenant_no, _midnight(self._month), _midnight(self._until), *after, _PENDING
            )
            found += [
                (row["segment_no"], row["ordinal"])
                for row in rows
                if listener_key(row["k0"].bytes, secret) == self._key.bytes
            ]
            if len(rows) < _PENDING:
                return found
            after = (rows[-1]["segment_no"], rows[-1]["ordinal"])

    async def take_waiting(self) -> None:
        """Take hits away that wait for their episode."""
        async with tenant_transaction(self._pool, self._tenant) as conn:
            found = await self._list_waiting(conn)
            done = await conn.execute(_PENDING_HITS, [place[0] for place in found], [place[1] for place in found])
            record = await self._note(conn, {"pending_hits": int(str(done).split()[-1])})
        self.record = record

    async def finish(self, *, now: dt.datetime) -> bool:
        """Look, while nobody lands, whether anything is left; with nothing left the record is done."""
        async with tenant_transaction(self._pool, self._tenant) as conn:
            await lock_finality(conn, exclusive=True)
            row = await conn.fetchrow(_LEFT, self._tenant.tenant_no, self._key, self._month, self._until)
            if row is None:
                raise AssertionError("a count is a row")
            remaining = {**dict(row), "pending_hits": len(await self._list_waiting(conn))}
            if any(remaining.values()):
                return False
            record = await end_erasure(conn, self._tenant, self.record, remaining, now=now)
        self.record = record
        return True


async def erase_listener(
    pool: Pool, request: ErasureRequest, *, now: dt.datetime, at_most: int = _ATTEMPTS
) -> ErasureRecord:
    """Erase a listener of a UTC month.

    What lands of it later, a hit that is still in a spool say, is there again: erase it once more then, best when the
    month is final.

    Args:
        pool: As ingest.
        request: About a listener; whoever calls holds :func:`analytics_core.db.erasure_requests.erasing`.
        now: Aware instant.
        at_most: How often to begin again because something had landed meanwhile.

    Returns:
        The record; not finished when hits of it landed all the time.

    Raises:
        Unavailable: The database does not answer; what was taken away so far is in the record, and calling it again
            goes on.
    """
    if request.listener_key is None or request.month is None:
        raise ValueError("the request is not about a listener")
    async with tenant_transaction(pool, request.tenant) as conn:
        stored = await find_erasure(conn, request.tenant, request.erasure_id)
    if stored is None:
        raise AssertionError("an erasure has a record")
    erasure = _Erasure(pool, request.tenant, request.listener_key, request.month, stored.record)
    for _ in range(at_most):
        for day in await erasure.days():
            await erasure.take_day(day)
        await erasure.take_waiting()
        if await erasure.finish(now=now):
            break
    return erasure.record
