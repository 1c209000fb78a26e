"""``castledger jobs``: what an operator reads of the queue, and a job made due by command."""

from __future__ import annotations

import datetime as dt

import pytest

from analytics_core.db.jobs import arm_jobs, end_job, take_job
from analytics_core.db.pool import connect
from analytics_core.errors import InvalidInput
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.jobs_cli import list_lines, make_job_due

pytestmark = pytest.mark.anyio

LEASE = dt.timedelta(minutes=1)


async def test_jobs_and_their_last_runs_are_listed_and_one_is_made_due(database: DatabaseSettings) -> None:
    assert await list_lines(database, runs=5) == ["there is no job yet: ingest enters them when it starts"]
    conn = await connect(database, Role.INGEST, application_name="test")
    await arm_jobs(conn, ["finality", "secrets"])
    for kind in ("finality", "secrets"):
        job = await take_job(conn, [kind], lease=LEASE)
        assert job is not None
        error = "OSError: gone" if kind == "secrets" else None
        assert await end_job(
            conn, job, outcome="failed" if error else "done", pause=LEASE, counts={"final": 2}, error=error
        )
        assert kind in (await list_lines(database, runs=1))[-1]
    finality, secrets, failed, done = await list_lines(database, runs=5)
    assert finality.startswith("finality")
    assert "failed" not in finality
    assert secrets.endswith("failed runs in a row: 1")
    assert "secrets" in failed
    assert failed.endswith("OSError: gone")
    assert "finality" in done
    assert done.endswith("2 final")
    assert len(await list_lines(database, runs=0)) == 2
    await make_job_due(database, "finality")
    assert await take_job(conn, ["finality", "secrets"], lease=LEASE) is not None
    assert (await list_lines(database, runs=0))[0].endswith("running")
    await conn.close()


async def test_a_job_that_is_not_there_is_named_with_those_that_are(database: DatabaseSettings) -> None:
    with pytest.raises(InvalidInput, match="there is no job 'x'; there are: none yet"):
        await make_job_due(database, "x")
    conn = await connect(database, Role.INGEST, application_name="test")
    await arm_jobs(conn, ["finality"])
    await conn.close()
    with pytest.raises(InvalidInput, match="there are: finality"):
        await make_job_due(database, "x")
