"""The queue of jobs: one worker a job, a lease that is somebody else's once it is over, and a history that ends."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping

import pytest

from analytics_core.db.jobs import (
    MAX_ERROR,
    MAX_RUNS,
    TakenJob,
    arm_jobs,
    end_job,
    extend_lease,
    list_jobs,
    list_runs,
    make_due,
    take_job,
)
from analytics_core.db.pool import Connection, Pool, connect, open_pool
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.job_queue import JobKind, JobQueue, retry_after
from ingest.jobs import Health
from ingest.metrics import Metrics

pytestmark = pytest.mark.anyio

HOUR = dt.timedelta(hours=1)
LEASE = dt.timedelta(minutes=1)


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=6)
    yield pool
    await pool.close()


@pytest.fixture
async def conn(database: DatabaseSettings) -> AsyncIterator[Connection]:
    conn = await connect(database, Role.INGEST, application_name="test")
    yield conn
    await conn.close()


async def take(conn: Connection) -> TakenJob:
    job = await take_job(conn, ["one"], lease=LEASE)
    assert job is not None
    return job


async def let_lease_end(conn: Connection) -> None:
    """Let a lease be over, as though its holder had shown no sign of life for long."""
    await conn.execute("update ops.jobs set leased_until = now() - interval '1 s' where lease is not null")


async def outcomes(conn: Connection) -> list[str]:
    return [run.outcome for run in reversed(await list_runs(conn, limit=1000))]


class Work:
    """Counts how often it was done, can be held up, and can fail."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.fault: Exception | None = None
        self.runs = 0

    async def __call__(self, conn: Connection) -> Mapping[str, int]:
        self.began.set()
        await self.may_end.wait()
        self.runs += 1
        if self.fault is not None:
            raise self.fault
        return {"runs": self.runs}


def make_queue(pool: Pool, work: Work, *, lease: dt.timedelta = LEASE) -> tuple[JobQueue, Health, Metrics]:
    health, metrics = Health(), Metrics()
    return JobQueue(pool, [JobKind("one", HOUR, work)], health=health, metrics=metrics, lease=lease), health, metrics


async def test_a_job_is_taken_by_one_of_many_at_once(pool: Pool, conn: Connection) -> None:
    await arm_jobs(conn, ["one", "two"])

    async def take_any() -> TakenJob | None:
        async with pool.acquire() as own:
            return await take_job(own, ["one", "two"], lease=LEASE)

    taken = [job for job in await asyncio.gather(*(take_any() for _ in range(12))) if job is not None]
    assert sorted(job.kind for job in taken) == ["one", "two"]


async def test_a_job_that_another_transaction_is_taking_is_not_waited_for(
    conn: Connection, database: DatabaseSettings
) -> None:
    await arm_jobs(conn, ["one"])
    other = await connect(database, Role.INGEST, application_name="other")
    async with other.transaction():
        await take(other)
        await conn.execute("set lock_timeout = '2s'")
        assert await take_job(conn, ["one"], lease=LEASE) is None
    await other.close()


async def test_a_lease_that_is_over_is_anybodys_and_the_first_holder_changes_nothing(conn: Connection) -> None:
    await arm_jobs(conn, ["one"])
    first = await take(conn)
    assert await take_job(conn, ["one"], lease=LEASE) is None
    await let_lease_end(conn)
    second = await take(conn)
    assert second.failures == 1
    assert not await extend_lease(conn, first, lease=LEASE)
    assert not await end_job(conn, first, outcome="done", pause=HOUR, counts={})
    assert await outcomes(conn) == ["lost"]
    assert await extend_lease(conn, second, lease=LEASE)
    assert await end_job(conn, second, outcome="done", pause=HOUR, counts={"rows": 3})
    assert not await end_job(conn, second, outcome="done", pause=HOUR, counts={})
    newest = (await list_runs(conn))[0]
    assert (newest.outcome, newest.counts, newest.error) == ("done", {"rows": 3}, None)
    assert await take_job(conn, ["one"], lease=LEASE) is None


async def test_arming_again_leaves_a_job_as_it_stands(conn: Connection) -> None:
    await arm_jobs(conn, ["one"])
    await end_job(conn, await take(conn), outcome="failed", pause=HOUR, counts={}, error="why")
    before = await list_jobs(conn)
    await arm_jobs(conn, ["one", "two"])
    assert [job.due_at for job in await list_jobs(conn) if job.kind == "one"] == [before[0].due_at]
    assert before[0].failures == 1


async def test_a_job_can_be_made_due(conn: Connection) -> None:
    await arm_jobs(conn, ["one"])
    await end_job(conn, await take(conn), outcome="done", pause=HOUR, counts={})
    assert await take_job(conn, ["one"], lease=LEASE) is None
    assert await make_due(conn, "one")
    assert (await take(conn)).kind == "one"
    assert not await make_due(conn, "nothing")


async def test_history_and_errors_are_bounded(conn: Connection) -> None:
    await arm_jobs(conn, ["one", "two"])
    for kind in ("two", *["one"] * (MAX_RUNS + 5)):
        await make_due(conn, kind)
        job = await take_job(conn, [kind], lease=LEASE)
        assert job is not None
        await end_job(conn, job, outcome="failed", pause=HOUR, counts={}, error="a\0" * 5000)
    runs = await list_runs(conn, limit=1000)
    assert sum(run.kind == "one" for run in runs) == MAX_RUNS
    assert sum(run.kind == "two" for run in runs) == 1
    assert {run.error for run in runs} == {"a" * MAX_ERROR}


async def test_two_workers_do_a_job_once_and_then_wait_for_the_next_time(pool: Pool, conn: Connection) -> None:
    work = Work()
    work.may_end.clear()
    one, _, metrics = make_queue(pool, work)
    two, *_ = make_queue(pool, work)
    running = asyncio.create_task(one.run_due())
    await work.began.wait()
    assert await two.run_due() > 0
    assert [job.is_running for job in await list_jobs(conn)] == [True]
    work.may_end.set()
    assert await running == 0
    assert await two.run_due() > 0
    assert work.runs == 1
    assert await outcomes(conn) == ["done"]
    assert metrics.job_runs.labels("one", "done")._value.get() == 1


async def test_the_job_of_a_worker_that_was_killed_is_run_by_another(pool: Pool, conn: Connection) -> None:
    work = Work()
    work.may_end.clear()
    one, *_ = make_queue(pool, work)
    two, health, _ = make_queue(pool, work)
    killed = asyncio.create_task(one.run_due())
    await work.began.wait()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    work.may_end.set()
    assert await two.run_due() > 0
    assert work.runs == 0
    await let_lease_end(conn)
    assert await two.run_due() == 0
    await two.run_due()
    assert work.runs == 1
    assert await outcomes(conn) == ["lost", "done"]
    assert health.faults() == []


async def test_a_long_job_keeps_its_lease(pool: Pool, conn: Connection) -> None:
    work = Work()
    work.may_end.clear()
    queue, *_ = make_queue(pool, work, lease=dt.timedelta(seconds=0.3))
    running = asyncio.create_task(queue.run_due())
    await work.began.wait()
    at_first = await conn.fetchval("select leased_until from ops.jobs")
    while await conn.fetchval("select leased_until from ops.jobs") <= at_first:
        await conn.execute("select pg_sleep(0.01)")
    work.may_end.set()
    await running
    assert await outcomes(conn) == ["done"]


async def test_a_worker_that_lost_its_lease_stops_what_it_does(pool: Pool, conn: Connection) -> None:
    work = Work()
    work.may_end.clear()
    queue, _, metrics = make_queue(pool, work, lease=dt.timedelta(seconds=0.3))
    running = asyncio.create_task(queue.run_due())
    await work.began.wait()
    await conn.execute("update ops.jobs set lease = gen_random_uuid(), leased_until = now() + interval '1 hour'")
    assert await running == 0
    assert work.runs == 0
    assert metrics.job_runs.labels("one", "lost")._value.get() == 1
    assert [job.is_running for job in await list_jobs(conn)] == [True]


async def test_a_job_that_fails_is_seen_and_tried_again(pool: Pool, conn: Connection) -> None:
    work = Work()
    work.fault = ValueError("no such thing")
    queue, health, metrics = make_queue(pool, work)
    assert await queue.run_due() == 0
    assert await queue.run_due() > 0
    assert health.faults() == ["job one: failed (runs in a row: 1)"]
    assert [run.error for run in await list_runs(conn)] == ["ValueError: no such thing"]
    await make_due(conn, "one")
    await conn.execute("update ops.jobs set due_at = now() - interval '90 s'")
    work.fault = None
    await queue.run_due()
    await queue.run_due()
    assert health.faults() == []
    assert metrics.jobs_overdue_seconds._value.get() == 0
    assert await outcomes(conn) == ["failed", "done"]


def test_retries_wait_longer_each_time_but_never_longer_than_the_job_does_anyway() -> None:
    waits = [retry_after(failures, HOUR) for failures in range(1, 40)]
    assert waits == sorted(waits)
    assert waits[0] < dt.timedelta(minutes=1)
    assert waits[-1] == HOUR
