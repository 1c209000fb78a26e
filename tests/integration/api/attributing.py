"""Attribution runs, asked for over the API and computed as ingest does."""

from __future__ import annotations

import datetime as dt
from typing import Any

from analytics_core.clock import FixedClock
from analytics_core.db.pool import connection, open_pool
from analytics_core.roles import Role
from ingest.attribution import attribute_runs
from tests.integration.api.ledger import Api

__all__ = ("ask_run", "attribute_said", "compute_runs")


async def compute_runs(api: Api, now: dt.datetime) -> dict[str, int]:
    """Compute all runs that were asked for."""
    database = api.app.state["resources"].settings.require_database()
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=2)
    try:
        async with connection(pool) as conn:
            return dict(await attribute_runs(conn, pool, clock=FixedClock(now)))
    finally:
        await pool.close()


async def ask_run(api: Api, sponsor_id: Any, *, key: str | None = None, **given: Any) -> Any:
    """Ask for a run over November, by models that need few conversions."""
    body = {"sponsor_id": str(sponsor_id), "from": "2026-11-01", "to": "2026-12-01", **given}
    answer = await api.request("POST", "/attribution/runs", key=key, json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def attribute_said(api: Api, sponsor_id: Any, *, key: str | None = None) -> str:
    """Attribute what the API was told of a sponsor's conversions; returns the run's id."""
    clock = api.app.state["resources"].clock
    if isinstance(clock, FixedClock):
        # What is received at the very instant at which a run is asked for is not in it.
        clock.advance(dt.timedelta(seconds=1))
    run = await ask_run(api, sponsor_id, key=key)
    await compute_runs(api, clock.now())
    return str(run["run_id"])
