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
import msgspec

from analytics_core.db.hits import lock_finality
from analytics_core.db.pool import CONNECTION_LOST, Connection, Pool, Tenant, connection, tenant_transaction
from analytics_core.db.secrets import find_secret
from analytics_core.erasures import ErasureRecord, is_about, record_digest, subject_hash
from analytics_core.errors import Conflict, Unavailable
from analytics_core.ids import new_id
from analytics_core.listeners import listener_key

__all__ = ("StoredErasure", "erase_listener", "find_erasure", "find_listener", "list_erasures")

_KIND: Final = "listener"
_PENDING: Final = 10_000
_ATTEMPTS: Final = 5


class StoredErasure(msgspec.Struct, frozen=True):
    """A record with the digest that was stored beside it; ``None`` while it is not done."""

    record: ErasureRecord
    digest: bytes | None

    @property
    def is_whole(self) -> bool:
        """Whether the record is done, left nothing, and is what was written."""
        remaining = self.record.remaining
        return remaining is not None and not any(remaining.values()) and self.digest == record_digest(self.record)


_ADD: Final[LiteralString] = """/* erasures.add */
insert into app.erasures (tenant_no, erasure_id, kind, subject_hash, month, started_at)
values ($1, $2, $3, $4, $5, $6)"""

_LIST: Final[LiteralString] = """/* erasures.list */
select erasure_id, kind, subject_hash, month, started_at, removed, finished_at, remaining, digest from app.erasures
where tenant_no = $1 and ($2::uuid is null or erasure_id = $2) order by started_at, erasure_id"""

_NOTE: Final[LiteralString] = """/* erasures.note */
update app.erasures set removed = $3 where tenant_no = $1 and erasure_id = $2"""

_FINISH: Final[LiteralString] = """/* erasures.finish */
update app.erasures set finished_at = $3, remaining = $4, digest = $5 where tenant_no = $1 and erasure_id = $2"""

# One at a time a tenant: they would enter what they took away one over the other.
_LOCK: Final[LiteralString] = """/* erasures.lock */
select pg_try_advisory_lock(hashtext('castledger.listener_erasure'), $1)"""

_UNLOCK: Final[LiteralString] = """/* erasures.unlock */
select pg_advisory_unlock(hashtext('castledger.listener_erasure'), $1)"""

_LIMITS: Final[LiteralString] = """/* erasures.limits */
select set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"""

_DAYS: Final[LiteralString] = """/* erasures.days */
select day from ops.days where tenant_no = $1 and day >= $2 and day < $3 order by day"""

# A click's row goes with its hit, and stays counted with its link.
_HITS: Final[LiteralString] = """/* erasures.hits */
with gone as (
    delete from ts.listener_events where tenant_no = $1 and listener_key = $2 and occurred_at >= $3 and occurred_at < $4
    returning segment_no, ordinal
), clicked as (
    delete from app.clicks c using gone g where c.segment_no = g.segment_no and c.ordinal = g.ordinal
    returning c.link_no, c.is_bot
), counted as (
    update app.links l set clicks_dropped = l.clicks_dropped + n.clicks, bots_dropped = l.bots_dropped + n.bots
    from (
        select link_no, count(*) filter (where not is_bot) as clicks, count(*) filter (where is_bot) as bots
        from clicked group by link_no
    ) n where l.link_no = n.link_no
)
select (select count(*) from gone) as hits, (select count(*) from clicked) as clicks"""

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
) as downloads"""

_FIND: Final[LiteralString] = """/* erasures.find_listener */
select e.listener_key, date_trunc('month', e.occurred_at, 'UTC') as month
from ops.segments s join ts.listener_events e
    on e.occurred_at >= s.first_hit_at and e.occurred_at <= s.last_hit_at and e.segment_no = s.segment_no
where s.segment_no = $1 and e.ordinal = $2 and e.tenant_no = $3"""


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


async def list_erasures(conn: Connection, tenant: Tenant) -> list[StoredErasure]:
    """List a tenant's erasures, oldest first, in a transaction of it."""
    return await _read(conn, tenant, None)


async def find_erasure(conn: Connection, tenant: Tenant, erasure_id: UUID) -> StoredErasure | None:
    """Find one of a tenant's erasures, in a transaction of it."""
    found = await _read(conn, tenant, erasure_id)
    return found[0] if found else None


async def _read(conn: Connection, tenant: Tenant, erasure_id: UUID | None) -> list[StoredErasure]:
    rows = await conn.fetch(_LIST, tenant.tenant_no, erasure_id)
    return [StoredErasure(msgspec.convert(row, ErasureRecord), row["digest"]) for row in rows]


async def find_listener(conn: Connection, tenant: Tenant, segment_no: int, ordinal: int) -> tuple[UUID, dt.date] | None:
    """Name the key of the listener of a hit that has landed, and its month; as the owner, in a tenant's transaction."""
    row = await conn.fetchrow(_FIND, segment_no, ordinal, tenant.tenant_no)
    return None if row is None else (UUID(int=row["listener_key"].int), row["month"].date())


class _Erasure:
    """An erasure at work."""

    def __init__(self, pool: Pool, tenant: Tenant, key: UUID, record: ErasureRecord) -> None:
        self._pool = pool
        self._tenant = tenant
        self._key = key
        self._month = record.month
        self._until = (record.month + dt.timedelta(days=32)).replace(day=1)
        self.record = record

    async def _note(self, conn: Connection, removed: Mapping[str, int]) -> ErasureRecord:
        """Enter what this transaction took away; the record in hand changes once it is committed."""
        former = self.record.removed
        total = {what: former.get(what, 0) + removed.get(what, 0) for what in sorted({*former, *removed})}
        await conn.execute(_NOTE, self._tenant.tenant_no, self.record.erasure_id, total)
        return msgspec.structs.replace(self.record, removed=total)

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
            begin = _midnight(day)
            hits = await conn.fetchrow(_HITS, self._tenant.tenant_no, self._key, begin, begin + dt.timedelta(days=1))
            if hits is None:
                raise AssertionError("a count is a row")
            downloads = int(await conn.fetchval(_DOWNLOADS, self._tenant.tenant_no, self._key, day))
            record = await self._note(conn, {"hits": hits["hits"], "clicks": hits["clicks"], "downloads": downloads})
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
            record = msgspec.structs.replace(self.record, finished_at=now, remaining=remaining)
            await conn.execute(
                _FINISH, self._tenant.tenant_no, record.erasure_id, now, remaining, record_digest(record)
            )
        self.record = record
        return True


async def _open(pool: Pool, tenant: Tenant, key: UUID, month: dt.date, *, now: dt.datetime) -> ErasureRecord:
    """Take up the erasure of this listener that was not finished, or begin one."""
    async with tenant_transaction(pool, tenant) as conn:
        for stored in await list_erasures(conn, tenant):
            record = stored.record
            if record.finished_at is None and record.month == month and is_about(record, key.bytes):
                return record
        erasure_id = new_id()
        hashed = subject_hash(erasure_id, _KIND, key.bytes)
        await conn.execute(_ADD, tenant.tenant_no, erasure_id, _KIND, hashed, month, now)
        return ErasureRecord(
            erasure_id=erasure_id,
            kind=_KIND,
            subject_hash=hashed,
            month=month,
            started_at=now,
            removed={},
            finished_at=None,
            remaining=None,
        )


async def erase_listener(
    pool: Pool, tenant: Tenant, key: UUID, month: dt.date, *, now: dt.datetime, at_most: int = _ATTEMPTS
) -> ErasureRecord:
    """Erase a listener of a UTC month.

    What lands of it later, a hit that is still in a spool say, is there again: erase it once more then, best when the
    month is final.

    Args:
        pool: As the owner, with two connections or more.
        tenant: Whose listener it is; keys of other tenants are others.
        key: Of the listener.
        month: The first day of the month.
        now: Aware instant.
        at_most: How often to begin again because something had landed meanwhile.

    Returns:
        The record; not finished when hits of it landed all the time.

    Raises:
        Conflict: ``in_use``: another erasure of this tenant's is at work.
        Unavailable: The database does not answer; what was taken away so far is in the record, and calling it again
            goes on.
    """
    async with connection(pool) as guard:
        if not await guard.fetchval(_LOCK, tenant.tenant_no):
            raise Conflict("in_use", "another erasure is at work for this tenant; wait until it has ended")
        try:
            erasure = _Erasure(pool, tenant, key, await _open(pool, tenant, key, month, now=now))
            for _ in range(at_most):
                for day in await erasure.days():
                    await erasure.take_day(day)
                await erasure.take_waiting()
                if await erasure.finish(now=now):
                    break
            return erasure.record
        finally:
            with contextlib.suppress(*CONNECTION_LOST):
                await guard.execute(_UNLOCK, tenant.tenant_no)
