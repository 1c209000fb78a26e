"""Attribution runs: asked for as the API, computed as ingest, and never changed once they are over."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

import msgspec

from analytics_core.attribution.parameters import Model, Parameters, parameters_hash
from analytics_core.attribution.summaries import Summary
from analytics_core.db.pool import CONNECTION_LOST, Connection, Tenant
from analytics_core.db.sponsors import require_unmerged
from analytics_core.errors import Conflict, NotFound
from analytics_core.ids import new_id

__all__ = (
    "MAX_ATTEMPTS",
    "MAX_WAITING",
    "MovedMeanwhile",
    "RunRow",
    "WaitingRun",
    "add_run",
    "begin_run",
    "computing",
    "fail_run",
    "find_run",
    "finish_run",
    "list_runs",
    "list_waiting",
    "note_progress",
)

MAX_WAITING: Final = 20
"""Runs of a tenant that are not over."""

MAX_ATTEMPTS: Final = 5
"""How often a run is begun that is stopped each time."""

_MAX_ERROR: Final = 500


class MovedMeanwhile(Exception):
    """A run became another sponsor's while it was computed; it has to be begun again."""


class RunRow(msgspec.Struct, frozen=True):
    """A run.

    Attributes:
        done_ppm: How far it is.
        error: Why it failed, for people.
        summary: What it counted; ``None`` until it is ready.
    """

    run_id: UUID
    sponsor_id: UUID
    starts_at: dt.datetime
    ends_at: dt.datetime
    models: tuple[Model, ...]
    params: Parameters
    params_hash: bytes
    status: Literal["queued", "running", "ready", "failed"]
    done_ppm: int
    error: str | None
    cutoff_at: dt.datetime
    code_version: str
    summary: Summary | None
    created_at: dt.datetime
    finished_at: dt.datetime | None


class WaitingRun(msgspec.Struct, frozen=True):
    """A run that is not over, and whose it is."""

    tenant: Tenant
    run: RunRow
    attempts: int


_COLUMNS: Final[LiteralString] = """r.run_id, r.sponsor_id, r.starts_at, r.ends_at, r.models, r.params, r.params_hash,
    r.status, r.done_ppm, r.error, r.cutoff_at, r.code_version, r.summary, r.created_at, r.finished_at"""

_COUNT_WAITING: Final[LiteralString] = """/* attribution_runs.count_waiting */
select count(*) from app.attribution_runs where tenant_id = $1 and status in ('queued', 'running')"""

_ADD: Final[LiteralString] = """/* attribution_runs.add */
insert into app.attribution_runs (tenant_id, run_id, sponsor_id, starts_at, ends_at, models, params, params_hash,
    cutoff_at, code_version, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"""

_FIND: Final[LiteralString] = (
    "/* attribution_runs.find */ select " + _COLUMNS + " from app.attribution_runs r where r.run_id = $1"
)

_LIST: Final[LiteralString] = (
    "/* attribution_runs.list */ select "
    + _COLUMNS
    + """ from app.attribution_runs r
where ($1::timestamptz is null or (r.created_at, r.run_id) > ($1, $2::uuid)) and ($4::uuid is null or r.sponsor_id = $4)
order by r.created_at, r.run_id limit $3"""
)

_WAITING: Final[LiteralString] = (
    "/* attribution_runs.waiting */ select "
    + _COLUMNS
    + """, r.tenant_id, t.tenant_no, r.attempts
from app.attribution_runs r join app.tenants t using (tenant_id)
where r.status in ('queued', 'running') and ($1::uuid is null or r.run_id = $1) order by r.created_at, r.run_id"""
)

_LOCK: Final[LiteralString] = """/* attribution_runs.lock */
select pg_try_advisory_lock(hashtext('castledger.attribution_run'), hashtext($1))"""

_UNLOCK: Final[LiteralString] = """/* attribution_runs.unlock */
select pg_advisory_unlock(hashtext('castledger.attribution_run'), hashtext($1))"""

_BEGIN: Final[LiteralString] = """/* attribution_runs.begin */
update app.attribution_runs set status = 'running', attempts = attempts + 1, done_ppm = 0, code_version = $3
where tenant_id = $1 and run_id = $2"""

_PROGRESS: Final[LiteralString] = """/* attribution_runs.progress */
update app.attribution_runs set done_ppm = $3 where tenant_id = $1 and run_id = $2"""

_FINISH: Final[LiteralString] = """/* attribution_runs.finish */
update app.attribution_runs set status = 'ready', done_ppm = 1000000, summary = $3, finished_at = $4
where tenant_id = $1 and run_id = $2 and sponsor_id = $5"""

_FAIL: Final[LiteralString] = """/* attribution_runs.fail */
update app.attribution_runs set status = 'failed', error = $3, finished_at = $4 where tenant_id = $1 and run_id = $2"""

# What an attempt left that was stopped.
_FORGET_TOTALS: Final[LiteralString] = """/* attribution_totals.forget */
delete from app.attribution_totals where tenant_id = $1 and run_id = $2"""
_FORGET_CREDITS: Final[LiteralString] = """/* attribution_credits.forget */
delete from app.attribution_credits where tenant_id = $1 and run_id = $2"""
_FORGET_TOUCHES: Final[LiteralString] = """/* attribution_touches.forget */
delete from app.attribution_touches where tenant_id = $1 and run_id = $2"""
_FORGET_CONVERSIONS: Final[LiteralString] = """/* attributed_conversions.forget */
delete from app.attributed_conversions where tenant_id = $1 and run_id = $2"""


def _run(row: Any) -> RunRow:
    return msgspec.convert(dict(row), RunRow, strict=False)


async def add_run(
    conn: Connection,
    tenant: Tenant,
    *,
    sponsor_id: UUID,
    starts_at: dt.datetime,
    ends_at: dt.datetime,
    models: Sequence[Model],
    params: Parameters,
    cutoff_at: dt.datetime,
    code_version: str,
    now: dt.datetime,
) -> RunRow:
    """Ask for a run; ingest computes it.

    Args:
        conn: As the API, in a transaction of the tenant.
        tenant: Whose it is.
        sponsor_id: Whose conversions.
        starts_at: From this instant,
        ends_at: to before this one.
        models: As :func:`analytics_core.attribution.parameters.parse_models` orders them.
        params: What is left open.
        cutoff_at: What was received before it is in it; not ahead of *now*.
        code_version: Of whoever asks; what computes it says its own.
        now: Aware instant.

    Raises:
        NotFound: The tenant has no such sponsor.
        Conflict: ``sponsor_merged``: another one has its conversions; or ``too_many_runs``: too many are waiting.
    """
    await require_unmerged(conn, sponsor_id)
    if await conn.fetchval(_COUNT_WAITING, tenant.tenant_id) >= MAX_WAITING:
        raise Conflict("too_many_runs", f"{MAX_WAITING} runs are waiting already; ask again when one is over")
    run_id = new_id()
    await conn.execute(
        _ADD,
        tenant.tenant_id,
        run_id,
        sponsor_id,
        starts_at,
        ends_at,
        [model.value for model in models],
        msgspec.to_builtins(params),
        parameters_hash(models, params),
        cutoff_at,
        code_version,
        now,
    )
    return await find_run(conn, run_id)


async def find_run(conn: Connection, run_id: UUID) -> RunRow:
    """Read one run that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await conn.fetchrow(_FIND, run_id)
    if row is None:
        raise NotFound("attribution run")
    return _run(row)


async def list_runs(
    conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int, sponsor_id: UUID | None = None
) -> list[RunRow]:
    """List the runs that the transaction sees, or one sponsor's, in the order in which they were asked for."""
    at, run_id = after if after is not None else (None, None)
    return [_run(row) for row in await conn.fetch(_LIST, at, run_id, limit, sponsor_id)]


async def list_waiting(conn: Connection, *, run_id: UUID | None = None) -> list[WaitingRun]:
    """List the runs of all tenants that are not over, or one of them, oldest first; as ingest."""
    return [
        WaitingRun(Tenant(row["tenant_id"], row["tenant_no"]), _run(row), row["attempts"])
        for row in await conn.fetch(_WAITING, run_id)
    ]


@contextlib.asynccontextmanager
async def computing(conn: Connection, run_id: UUID) -> AsyncIterator[bool]:
    """Be the only one who computes a run.

    Args:
        conn: As ingest, outside a transaction; all that is written of the run is written over it, so that whoever lost
            it writes nothing any more.
        run_id: Which.

    Yields:
        False when somebody else is at it.
    """
    is_ours = bool(await conn.fetchval(_LOCK, str(run_id)))
    try:
        yield is_ours
    finally:
        if is_ours:
            with contextlib.suppress(*CONNECTION_LOST):
                await conn.execute(_UNLOCK, str(run_id))


async def begin_run(conn: Connection, waiting: WaitingRun, *, code_version: str) -> None:
    """Begin a run, from the beginning if it was begun before.

    Args:
        conn: As ingest, inside :func:`computing`.
        waiting: Which.
        code_version: Of whoever computes it.
    """
    key = waiting.tenant.tenant_id, waiting.run.run_id
    async with conn.transaction():
        await conn.execute(_BEGIN, *key, code_version)
        if waiting.attempts:
            for forget in (_FORGET_TOTALS, _FORGET_CREDITS, _FORGET_TOUCHES, _FORGET_CONVERSIONS):
                await conn.execute(forget, *key)


async def note_progress(conn: Connection, waiting: WaitingRun, done_ppm: int) -> None:
    """Say how far a run is; as ingest."""
    await conn.execute(_PROGRESS, waiting.tenant.tenant_id, waiting.run.run_id, done_ppm)


async def finish_run(conn: Connection, waiting: WaitingRun, summary: Summary, *, now: dt.datetime) -> None:
    """Say that a run is ready, in the transaction that wrote its totals; nothing of it changes from then on.

    Raises:
        MovedMeanwhile: A merge of sponsors has made it another sponsor's, whose conversions were not read.
    """
    key = waiting.tenant.tenant_id, waiting.run.run_id
    done = await conn.execute(_FINISH, *key, msgspec.to_builtins(summary), now, waiting.run.sponsor_id)
    if done != "UPDATE 1":
        raise MovedMeanwhile("the run's sponsor was merged into another one while it was computed")


async def fail_run(conn: Connection, waiting: WaitingRun, error: str, *, now: dt.datetime) -> None:
    """Say that a run is over without a result, and why; what was written of it goes."""
    key = waiting.tenant.tenant_id, waiting.run.run_id
    async with conn.transaction():
        await conn.execute(_BEGIN, *key, waiting.run.code_version)
        for forget in (_FORGET_TOTALS, _FORGET_CREDITS, _FORGET_TOUCHES, _FORGET_CONVERSIONS):
            await conn.execute(forget, *key)
        await conn.execute(_FAIL, *key, error[:_MAX_ERROR], now)
