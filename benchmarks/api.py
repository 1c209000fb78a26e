"""What guarding a request costs: ``python benchmarks/api.py``.

Ours is the API as it is served, asked for one link by a key: the key is looked up, its rate is judged, the row is read
in a transaction that sees one tenant alone, and the request is counted and logged. Theirs is the same SELECT behind a
bare Litestar route on the same server (``benchmarks/bare_route.py``). Both have the first core, the client and
PostgreSQL the second; rounds alternate and medians are compared. Processor time is told beside, which other work on the
machine disturbs less. Then ours once more with its rates in Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx

from analytics_core.db.pool import connect
from analytics_core.db.tenants import create_key
from analytics_core.errors import Unavailable
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from benchmarks.database import Server, add_tenant, start_server
from benchmarks.workbench import (
    ROOT,
    Comparison,
    Workbench,
    WrongResult,
    host_load,
    need_program,
    processor_s,
    resident_mib,
    run_measurement,
    two_cores,
    wait_until,
)

CONNECTIONS: Final = 16


class Side(NamedTuple):
    """Something that is asked.

    Attributes:
        name: For the table.
        pid: Of its process.
        url: Of the link.
        headers: To ask with.
    """

    name: str
    pid: int
    url: str
    headers: dict[str, str]


class Round(NamedTuple):
    """What one round found: requests a second, and microseconds of processor time of the server for each."""

    rate: float
    processor_us: float


async def make_key(database: DatabaseSettings) -> str:
    """Make a tenant with a key."""
    tenant = await add_tenant(database)
    auth = await connect(database, Role.AUTH, application_name="bench")
    try:
        return await create_key(auth, tenant, name="bench")
    finally:
        await auth.close()


def start_api(bench: Workbench, database: DatabaseSettings, *, core: int, **environ: str) -> tuple[int, int]:
    """Start the API; return its process number and its port."""
    reading, writing = os.pipe()
    process = bench.start(
        ["sh", "-c", f"exec {sys.executable} -m api --port 0 --admin-port 0 --ready-fd {writing} 2>/dev/null"],
        core=core,
        environ={
            "DATABASE_URL": str(database.url),
            "CASTLEDGER_DATA_DIR": str(bench.folder / "api"),
            # One key asks as fast as it can: its rate is judged, and never spent.
            "CASTLEDGER_API_RATE": "600000",
            "CASTLEDGER_API_BURST": "10000",
            **environ,
        },
        pass_fds=(writing,),
    )
    os.close(writing)
    with os.fdopen(reading) as ready:
        line = ready.readline()
    if not line:
        raise WrongResult("the API did not start")
    return process.pid, int(json.loads(line)["port"])


def start_bare(bench: Workbench, database: DatabaseSettings, *, core: int) -> tuple[int, int]:
    """Start the yardstick; return its process number and its port."""
    process = bench.start(
        [sys.executable, str(ROOT / "benchmarks" / "bare_route.py")],
        core=core,
        environ={"DATABASE_URL": str(database.url)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise WrongResult("the bare route did not start")
    return process.pid, int(line)


def start_redis(bench: Workbench, *, core: int) -> str:
    """Start a Redis on the client's core; return its address, empty where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        return ""
    path = bench.folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--loglevel", "warning"]
    bench.start(command, core=core, stdout=subprocess.DEVNULL)
    wait_until(path.exists, what="Redis' socket")
    return f"unix://{path}"


def ask(side: Side, *, seconds: int, core: int, bench: Workbench) -> Round:
    """Ask one side for a while.

    Raises:
        WrongResult: Not every answer was good.
    """
    before_s = processor_s(side.pid)
    headers = [part for name, value in side.headers.items() for part in ("-H", f"{name}: {value}")]
    command = [need_program("wrk", package="wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *headers, side.url]
    said = bench.run(command, core=core)
    used_s = processor_s(side.pid) - before_s
    asked = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if asked is None or rate is None or "Non-2xx" in said or "Socket errors" in said:
        raise WrongResult(f"{side.name}: {said}")
    return Round(float(rate[1]), used_s * 1e6 / int(asked[1]))


def make_sides(bench: Workbench, server: Server, key: str, *, core: int, other: int) -> Iterator[Side]:
    """Start all that is compared and make sure that they show the same link."""
    authorization = {"Authorization": f"Bearer {key}"}
    pid, port = start_api(bench, server.database, core=core)
    made = httpx.post(
        f"http://127.0.0.1:{port}/api/v1/links",
        headers=authorization,
        json={"url": "https://shop.example.com/", "slug": "bench", "utm": {"source": "podcast"}},
    )
    if made.status_code != 201:
        raise WrongResult(f"the link was not made: {made.text}")
    link_id = made.json()["link_id"]
    yield Side("ours", pid, f"http://127.0.0.1:{port}/api/v1/links/{link_id}", authorization)
    pid, port = start_bare(bench, server.database, core=core)
    yield Side("bare route", pid, f"http://127.0.0.1:{port}/links/{link_id}", {})
    redis = start_redis(bench, core=other)
    if redis:
        pid, port = start_api(bench, server.database, core=core, REDIS_URL=redis)
        yield Side("ours, Redis", pid, f"http://127.0.0.1:{port}/api/v1/links/{link_id}", authorization)


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Ask both in turn."""
    need_program("wrk", package="wrk")
    core, other = two_cores()
    # What is started without a core of its own, PostgreSQL, stays where we are.
    os.sched_setaffinity(0, {other})
    try:
        server = start_server(bench, [])
        key = asyncio.run(make_key(server.database))
    except Unavailable as error:
        raise WrongResult(str(error)) from error
    sides = list(make_sides(bench, server, key, core=core, other=other))
    shown: list[Any] = [httpx.get(side.url, headers=side.headers).json() for side in sides]
    if not all(row["slug"] == "bench" and row["target"] == shown[0]["target"] for row in shown):
        raise WrongResult("they show different links")
    if "ratelimit" not in httpx.get(sides[0].url, headers=sides[0].headers).headers:
        raise WrongResult("no rate was judged")
    for side in sides:
        ask(side, seconds=1, core=other, bench=bench)
    rounds: dict[str, list[Round]] = {side.name: [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            rounds[side.name].append(ask(side, seconds=options.seconds, core=other, bench=bench))

    def middle(name: str, what: Callable[[Round], float]) -> float:
        return statistics.median(what(found) for found in rounds[name])

    print(f"{'':14}{'requests/s':>12}{'processor us':>14}")
    rates = {name: middle(name, lambda found: found.rate) for name in rounds}
    used_us = {name: middle(name, lambda found: found.processor_us) for name in rounds}
    for name in rounds:
        print(f"{name:14}{rates[name]:12.0f}{used_us[name]:14.1f}")
    ours, theirs = rates["ours"], rates["bare route"]
    return Comparison(
        "api",
        ours,
        theirs,
        "requests/s",
        ours / theirs,
        {
            "processor_us": {name: round(value, 1) for name, value in used_us.items()},
            "processor_ratio": round(used_us["bare route"] / used_us["ours"], 3),
            "rates": {name: [round(found.rate) for found in rounds[name]] for name in rounds},
            "connections": CONNECTIONS,
            "postgresql": server.version,
            "api_mib": round(resident_mib(sides[0].pid), 1),
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="api.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side (default 5)")
    parser.add_argument("--seconds", type=int, default=4, help="seconds of a round (default 4)")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
