"""The queue of jobs: one row a kind and key, taken under a lease by whichever process is free, with a history.

All times are the database's, so that processes on several machines agree on when a lease is over.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final, Literal, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection

__all__ = (
    "MAX_ERROR",
    "MAX_RUNS",
    "JobRow",
    "RunRow",
    "TakenJob",
    "arm_jobs",
    "end_job",
    "extend_lease",
    "list_jobs",
    "list_runs",
    "make_due",
    "take_job",
)

MAX_ERROR: Final = 500
"""Characters of an error that the history keeps."""

MAX_RUNS: Final = 100
"""Runs of a job that the history keeps."""


class TakenJob(msgspec.Struct, frozen=True):
    """A job that is ours for as long as its lease is extended in time.

    Attributes:
        failures: Runs in a row that failed or were lost, before this one.
    """

    kind: str
    key: str
    lease: UUID
    leased_at: dt.datetime
    failures: int


class JobRow(msgspec.Struct, frozen=True):
    """How a job stands.

    Attributes:
        overdue_s: Seconds since it was due; 0 when it is not due, or runs.
        failures: Runs in a row that failed or were lost.
    """

    kind: str
    key: str
    due_at: dt.datetime
    is_running: bool
    overdue_s: float
    failures: int


class RunRow(msgspec.Struct, frozen=True):
    """A run of a job that is over, and what it did by name."""

    kind: str
    key: str
    started_at: dt.datetime
    ended_at: dt.datetime
    outcome: str
    counts: dict[str, int]
    error: str | None


_ARM: Final[LiteralString] = """/* jobs.arm */
insert into ops.jobs (kind) select unnest($1::text[]) on conflict do nothing"""

# Who held a lease that ran out cannot tell of its end any more: its run is entered as lost.
_TAKE: Final[LiteralString] = """/* jobs.take */
with next as materialized (
    select kind, key, lease, leased_at from ops.jobs
    where kind = any($1::text[]) and due_at <= now() and (leased_until is null or leased_until <= now())
    order by due_at, kind, key limit 1 for update skip locked
), lost as (
    insert into ops.job_runs (kind, key, started_at, outcome)
    select kind, key, leased_at, 'lost' from next where lease is not null
)
update ops.jobs j set lease = gen_random_uuid(), leased_at = now(), leased_until = now() + $2::interval,
    failures = j.failures + (n.lease is not null)::integer
from next n where j.kind = n.kind and j.key = n.key
returning j.kind, j.key, j.lease, j.leased_at, j.failures"""

_EXTEND: Final[LiteralString] = """/* jobs.extend_lease */
update ops.jobs set leased_until = now() + $4::interval where kind = $1 and key = $2 and lease = $3 returning true"""

_END: Final[LiteralString] = """/* jobs.end */
with ended as (
    update ops.jobs j set lease = null, leased_at = null, leased_until = null, due_at = now() + $4::interval,
        failures = case when $5 = 'done' then 0 else j.failures + 1 end
    where kind = $1 and key = $2 and lease = $3 returning true
)
insert into ops.job_runs (kind, key, started_at, outcome, counts, error)
select $1, $2, $8, $5, $6, $7 from ended returning true"""

_TRIM: Final[LiteralString] = """/* jobs.trim_runs */
delete from ops.job_runs where kind = $1 and key = $2 and run_no <= (
    select run_no from ops.job_runs where kind = $1 and key = $2 order by run_no desc offset $3 limit 1)"""

_DUE: Final[LiteralString] = """/* jobs.make_due */
update ops.jobs set due_at = least(due_at, now()) where kind = $1 returning true"""

_LIST: Final[LiteralString] = """/* jobs.list */
select kind, key, due_at, coalesce(leased_until > now(), false) as is_running,
    case when coalesce(leased_until > now(), false) then 0
        else greatest(extract(epoch from now() - due_at), 0) end::float8 as overdue_s,
    failures
from ops.jobs order by kind, key"""

_RUNS: Final[LiteralString] = """/* jobs.list_runs */
select kind, key, started_at, ended_at, outcome, counts, error from ops.job_runs
where $1::text is null or kind = $1 order by run_no desc limit $2"""


async def arm_jobs(conn: Connection, kinds: Sequence[str]) -> None:
    """Enter the kinds that are not in the queue yet, due at once; what is there stays as it is."""
    await conn.execute(_ARM, kinds)


async def take_job(conn: Connection, kinds: Sequence[str], *, lease: dt.timedelta) -> TakenJob | None:
    """Take the job that is due longest and in nobody's hands; ``None`` when there is none of these kinds."""
    row = await conn.fetchrow(_TAKE, kinds, lease)
    return None if row is None else msgspec.convert(row, TakenJob)


async def extend_lease(conn: Connection, job: TakenJob, *, lease: dt.timedelta) -> bool:
    """Hold a job for longer, from now on; false when another has it."""
    return bool(await conn.fetchval(_EXTEND, job.kind, job.key, job.lease, lease))


async def end_job(
    conn: Connection,
    job: TakenJob,
    *,
    outcome: Literal["done", "failed"],
    pause: dt.timedelta,
    counts: Mapping[str, int],
    error: str | None = None,
) -> bool:
    """Let go of a job, due again after a pause, and enter its run into the history.

    Args:
        conn: As ingest, outside a transaction.
        job: As it was taken.
        outcome: What became of it.
        pause: Until it is due again.
        counts: What it did, by name.
        error: Why it failed; cut to ``MAX_ERROR`` characters.

    Returns:
        False when the lease ran out and another took it: nothing was changed.
    """
    # PostgreSQL's text has no zero character, and a message may quote anything.
    why = None if error is None else error.replace("\0", "")[:MAX_ERROR]
    async with conn.transaction():
        did = dict(counts)
        ended = await conn.fetchval(_END, job.kind, job.key, job.lease, pause, outcome, did, why, job.leased_at)
        await conn.execute(_TRIM, job.kind, job.key, MAX_RUNS)
    return bool(ended)


async def make_due(conn: Connection, kind: str) -> bool:
    """Have a kind of job run as soon as a process is free; false when the queue has none of it."""
    return bool(await conn.fetch(_DUE, kind))


async def list_jobs(conn: Connection) -> list[JobRow]:
    """List how all jobs stand, by kind and key."""
    return [msgspec.convert(row, JobRow) for row in await conn.fetch(_LIST)]


async def list_runs(conn: Connection, *, kind: str | None = None, limit: int = 20) -> list[RunRow]:
    """List the runs that ended last, newest first, of one kind or all."""
    return [msgspec.convert(row, RunRow) for row in await conn.fetch(_RUNS, kind, limit)]
