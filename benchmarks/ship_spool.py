"""One ingest process that lands a spool and says what it took: run by ``ingest.py``, once a round.

It is the service's own code with its other jobs left out: no polling, no rollups while hits land.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from typing import Any

import uvloop

from analytics_core.clock import SystemClock
from analytics_core.db.pool import connection, open_pool
from analytics_core.memory import settle_memory, share_one_arena
from analytics_core.roles import Role
from analytics_core.settings import Service, load_settings
from benchmarks.workbench import peak_mib, resident_mib
from ingest.app import Ingest
from ingest.metrics import Metrics
from ingest.rollups import refresh_rollups

__all__ = ("main",)


def _steps(metrics: Metrics) -> dict[str, float]:
    return {
        sample.labels["step"]: round(sample.value, 2)
        for metric in metrics.step_seconds.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


async def _ship(*, rollups: bool) -> dict[str, Any]:
    settings = load_settings(os.environ, service=Service.INGEST)
    pool = await open_pool(settings.require_database(), Role.INGEST, application_name="bench", max_size=6)
    metrics = Metrics()
    ingest = Ingest(settings, pool, clock=SystemClock(), metrics=metrics)
    try:
        before = resource.getrusage(resource.RUSAGE_SELF)
        began_s = time.perf_counter()
        while await ingest.ship() == 0.0:
            continue
        seconds = time.perf_counter() - began_s
        after = resource.getrusage(resource.RUSAGE_SELF)
        found: dict[str, Any] = {
            "seconds": seconds,
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "steps": _steps(metrics),
            "memory_mib": resident_mib(os.getpid()),
            "peak_mib": peak_mib(os.getpid()),
        }
        if rollups:
            began_s = time.perf_counter()
            async with connection(pool) as conn:
                while await refresh_rollups(conn):
                    continue
            found["rollups_s"] = time.perf_counter() - began_s
        return found
    finally:
        await ingest.close()
        pool.terminate()


def main() -> int:
    """Land all that is in the spool, and print what it took as JSON."""
    parser = argparse.ArgumentParser(prog="ship_spool", description=__doc__)
    parser.add_argument("--rollups", action="store_true", help="bring rollups up to date afterwards, timed apart")
    options = parser.parse_args()
    share_one_arena()
    settle_memory()
    print(json.dumps(uvloop.run(_ship(rollups=options.rollups))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
