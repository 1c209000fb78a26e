"""Records of restatements: what was restated, when, why and by whom, and each day's figures before and after."""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal, LiteralString, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.db.audit import add_command
from analytics_core.db.pool import Connection
from analytics_core.db.restating import RestatedDay

__all__ = (
    "MAX_REASON",
    "NewRestatement",
    "Origin",
    "RestatementRow",
    "StoredRestatement",
    "add_restated_day",
    "find_restatement",
    "finish_restatement",
    "list_restatements",
    "stop_restatements",
)

MAX_REASON: Final = 500
"""Characters of a reason."""

Origin: TypeAlias = Literal["job", "command", "key"]
"""Who restated: ingest by itself, an operator at a prompt, or somebody with an API key."""


class NewRestatement(msgspec.Struct, frozen=True, kw_only=True):
    """A restatement that begins.

    Attributes:
        first_day: Of the UTC days that it looks at.
        last_day: The same; included.
        reason: For people; from 1 to ``MAX_REASON`` characters.
        key_id: Of whose key; with the origin ``key`` alone.
        rules: What the hits of its days are judged by since, in one word; ``None`` where that stayed as it was.
    """

    tenant_no: int
    restatement_id: UUID
    first_day: dt.date
    last_day: dt.date
    reason: str
    origin: Origin
    key_id: UUID | None = None
    rules: str | None = None
    started_at: dt.datetime


class RestatementRow(msgspec.Struct, frozen=True, kw_only=True):
    """A restatement, and what it changed in all.

    Attributes:
        state: ``running``; ``done``; or ``stopped`` in the middle: the days that it changed stay so, the others wait.
        days: How many it changed.
        hits: Late ones that it took in, or those that a recount judged otherwise.
        rules: What the hits of its days are judged by since, in one word; ``None`` where that stayed as it was.
    """

    restatement_id: UUID
    first_day: dt.date
    last_day: dt.date
    reason: str
    origin: Origin
    key_id: UUID | None
    state: Literal["running", "done", "stopped"]
    started_at: dt.datetime
    finished_at: dt.datetime | None
    days: int
    hits: int
    downloads_before: int
    downloads_after: int
    strict_before: int
    strict_after: int
    rules: str | None


class StoredRestatement(msgspec.Struct, frozen=True):
    """A restatement day by day."""

    row: RestatementRow
    days: list[RestatedDay]


_ADD: Final[LiteralString] = """/* restatements.add */
insert into app.restatements (tenant_no, restatement_id, first_day, last_day, reason, origin, key_id, state, started_at,
    rules)
values ($1, $2, $3, $4, $5, $6, $7, 'running', $8, $9) on conflict (tenant_no, restatement_id) do nothing"""

_ADD_DAY: Final[LiteralString] = """/* restatements.add_day */
insert into app.restatement_days (tenant_no, restatement_id, day, hits, downloads_before, downloads_after,
    strict_before, strict_after)
values ($1, $2, $3, $4, $5, $6, $7, $8)"""

_FINISH: Final[LiteralString] = """/* restatements.finish */
update app.restatements set state = 'done', finished_at = $3 where tenant_no = $1 and restatement_id = $2"""

_STOP: Final[LiteralString] = """/* restatements.stop */
update app.restatements set state = 'stopped', finished_at = $2 where tenant_no = $1 and state = 'running'"""

_LIST: Final[LiteralString] = """/* restatements.list */
select r.restatement_id, r.first_day, r.last_day, r.reason, r.origin, r.key_id, r.state, r.started_at, r.finished_at,
    d.days, d.hits, d.downloads_before, d.downloads_after, d.strict_before, d.strict_after, r.rules
from (
    select * from app.restatements
    where ($1::uuid is null or restatement_id = $1)
        and ($2::timestamptz is null or (started_at, restatement_id) < ($2, $3::uuid))
    order by started_at desc, restatement_id desc limit $4
) r cross join lateral (
    select count(*) as days, coalesce(sum(hits), 0)::bigint as hits,
        coalesce(sum(downloads_before), 0)::bigint as downloads_before,
        coalesce(sum(downloads_after), 0)::bigint as downloads_after,
        coalesce(sum(strict_before), 0)::bigint as strict_before,
        coalesce(sum(strict_after), 0)::bigint as strict_after
    from app.restatement_days n
    where n.tenant_no = r.tenant_no and n.restatement_id = r.restatement_id and n.day between r.first_day and r.last_day
) d order by r.started_at desc, r.restatement_id desc"""

_DAYS: Final[LiteralString] = """/* restatements.days */
select day, hits, downloads_before, downloads_after, strict_before, strict_after from app.restatement_days
where restatement_id = $1 and day between $2 and $3 order by day"""


async def add_restated_day(conn: Connection, restatement: NewRestatement, day: RestatedDay) -> None:
    """Record a day that was restated, in the transaction that changed it; with the first one the restatement itself.

    A command's is then put on the record of changes as well.
    """
    of = restatement
    added = await conn.execute(
        _ADD,
        of.tenant_no,
        of.restatement_id,
        of.first_day,
        of.last_day,
        of.reason,
        of.origin,
        of.key_id,
        of.started_at,
        of.rules,
    )
    if of.origin == "command" and added == "INSERT 0 1":
        after = {"first_day": str(of.first_day), "last_day": str(of.last_day), "reason": of.reason, "rules": of.rules}
        await add_command(
            conn, of.tenant_no, action="restatement.create", resource_id=str(of.restatement_id), after=after
        )
    await conn.execute(_ADD_DAY, of.tenant_no, of.restatement_id, *msgspec.structs.astuple(day))


async def finish_restatement(conn: Connection, restatement: NewRestatement, *, now: dt.datetime) -> None:
    """Record that a restatement is done; one that changed nothing has no record."""
    await conn.execute(_FINISH, restatement.tenant_no, restatement.restatement_id, now)


async def stop_restatements(conn: Connection, tenant_no: int, *, now: dt.datetime) -> None:
    """Record of a tenant's restatements that nobody finished that they were stopped, as the next one begins."""
    await conn.execute(_STOP, tenant_no, now)


async def list_restatements(
    conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[RestatementRow]:
    """List the restatements of the transaction's tenant, newest first, behind *after*."""
    at, restatement_id = after or (None, None)
    return [msgspec.convert(row, RestatementRow) for row in await conn.fetch(_LIST, None, at, restatement_id, limit)]


async def find_restatement(conn: Connection, restatement_id: UUID) -> StoredRestatement | None:
    """Find one restatement of the transaction's tenant."""
    found = await conn.fetchrow(_LIST, restatement_id, None, None, 1)
    if found is None:
        return None
    row = msgspec.convert(found, RestatementRow)
    days = await conn.fetch(_DAYS, restatement_id, row.first_day, row.last_day)
    return StoredRestatement(row, [msgspec.convert(day, RestatedDay) for day in days])
