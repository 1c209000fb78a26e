"""Works the queue of jobs: takes what is due, keeps its lease alive, and enters how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from analytics_core.db.jobs import TakenJob, arm_jobs, end_job, extend_lease, list_jobs, take_job
from analytics_core.db.pool import CONNECTION_LOST, Connection, Pool, connection
from analytics_core.errors import Unavailable
from ingest.jobs import Health
from ingest.metrics import Metrics

__all__ = ("LEASE", "JobKind", "JobQueue", "retry_after")

LEASE: Final = dt.timedelta(seconds=60)
"""How long after its last sign of life the job of a process that died is another's."""

_SCAN_S: Final = 2.0
_FIRST_RETRY: Final = dt.timedelta(seconds=5)

_log = logging.getLogger("castledger.ingest")


class JobKind(NamedTuple):
    """A kind of job that is done again and again.

    Attributes:
        name: As operators see it.
        every: From the end of a run that succeeded to the next.
        work: Does it, on a connection outside a transaction, and returns what it did, by name. It may be stopped at
            any await and started again elsewhere, so what it does is safe to be done twice.
    """

    name: str
    every: dt.timedelta
    work: Callable[[Connection], Awaitable[Mapping[str, int]]]


def retry_after(failures: int, every: dt.timedelta) -> dt.timedelta:
    """Say how long to wait after some failures in a row: twice as long each time, never longer than after a success.

    >>> [retry_after(n, dt.timedelta(minutes=10)).seconds for n in (1, 2, 3, 100)]
    [5, 10, 20, 600]
    """
    return min(every, _FIRST_RETRY * (1 << min(failures - 1, 16)))


class JobQueue:
    """One worker of the queue; any number may work beside each other.

    Args:
        pool: As ingest; a job takes one connection, and its lease another from time to time.
        kinds: What this worker can do.
        health: Hears which jobs fail, whoever ran them.
        metrics: Counts.
        lease: How long a job is held after each sign of life.
    """

    def __init__(
        self, pool: Pool, kinds: Sequence[JobKind], *, health: Health, metrics: Metrics, lease: dt.timedelta = LEASE
    ) -> None:
        self._pool = pool
        self._kinds = {kind.name: kind for kind in kinds}
        self._health = health
        self._metrics = metrics
        self._lease = lease
        self._is_armed = False

    async def run_due(self) -> float:
        """Run one job that is due; return the seconds until the queue is to be looked at again.

        Raises:
            Unavailable: The database does not answer.
        """
        async with connection(self._pool) as conn:
            if not self._is_armed:
                await arm_jobs(conn, list(self._kinds))
                self._is_armed = True
            job = await take_job(conn, list(self._kinds), lease=self._lease)
            if job is None:
                await self._look(conn)
                return _SCAN_S
        await self._run(job, self._kinds[job.kind])
        return 0.0

    async def _look(self, conn: Connection) -> None:
        """Tell how the queue stands."""
        oldest_s = 0.0
        for job in await list_jobs(conn):
            name = f"job {job.kind}" + (f" {job.key}" if job.key else "")
            self._health.say(name, f"failed (runs in a row: {job.failures})" if job.failures else None)
            oldest_s = max(oldest_s, job.overdue_s)
        self._metrics.jobs_overdue_seconds.set(oldest_s)

    async def _run(self, job: TakenJob, kind: JobKind) -> None:
        began = time.monotonic()
        counts: Mapping[str, int] = {}
        error: str | None = None
        work = asyncio.create_task(self._work(kind))
        beat = asyncio.create_task(self._keep(job, work))
        try:
            counts = await work
        except asyncio.CancelledError:
            work.cancel()
            if beat.done() and not beat.cancelled():
                self._end(job, "lost", began)
                return
            raise
        except Exception as fault:
            # Its reason goes to the history and to health; the other jobs go on.
            _log.exception("job %s failed and will be tried again", job.kind)
            error = f"{type(fault).__name__}: {fault}"
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
        pause = kind.every if error is None else retry_after(job.failures + 1, kind.every)
        outcome: Literal["done", "failed"] = "done" if error is None else "failed"
        async with connection(self._pool) as conn:
            ended = await end_job(conn, job, outcome=outcome, pause=pause, counts=counts, error=error)
        self._end(job, outcome if ended else "lost", began)

    def _end(self, job: TakenJob, outcome: str, began: float) -> None:
        self._metrics.job_runs.labels(job.kind, outcome).inc()
        self._metrics.job_seconds.labels(job.kind).inc(time.monotonic() - began)
        if outcome == "lost":
            _log.warning("job %s took longer than its lease, and another process has it", job.kind)

    async def _work(self, kind: JobKind) -> Mapping[str, int]:
        async with connection(self._pool) as conn:
            return await kind.work(conn)

    async def _keep(self, job: TakenJob, work: asyncio.Task[Mapping[str, int]]) -> None:
        """Extend the lease until the job ends; stop the work, and return, once another has it."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            with contextlib.suppress(Unavailable, *CONNECTION_LOST):
                async with connection(self._pool) as conn:
                    if not await extend_lease(conn, job, lease=self._lease):
                        work.cancel()
                        return
