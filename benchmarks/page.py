"""The pages of a podcast with a year behind it: ``python benchmarks/page.py``.

One API process as it is served, asked over one kept connection, one request at a time. A request's time is from its
first byte sent to the last byte of its answer read, so the client's own part is in it. Ours is the slowest page's
99th percentile, the median of five rounds; what it is held against is the goal of 30 ms. Periods and episodes change
from request to request; the API keeps no figures in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import gzip
import http.client
import itertools
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx

from analytics_core.db.pool import Tenant, connect
from analytics_core.db.tenants import create_key
from analytics_core.errors import Unavailable
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from benchmarks.database import add_tenant, owner, start_server
from benchmarks.made_podcast import MadeYear, add_made_podcast, make_downloads
from benchmarks.workbench import Comparison, Workbench, WrongResult, host_load, resident_mib, run_measurement
from ingest.rollups import refresh_listeners, refresh_rollups

GOAL_MS: Final = 30.0
GOAL_KB: Final = 60.0
ROUNDS: Final = 5
_VACUUMED: Final = (
    "app.metrics_daily, app.podcast_daily, app.podcast_months, app.listener_months, app.episodes, ts.downloads"
)
_LINK: Final = re.compile(r'(?:href|src)="(/[^"]+)"')
_TOKEN: Final = re.compile(r'name="form_token" value="([^"]+)"')


class Made(NamedTuple):
    """What there is to look at.

    Attributes:
        key: An API key of the tenant.
        podcast_id: The podcast.
        downloads: How many it has.
    """

    key: str
    podcast_id: str
    downloads: int


class Page(NamedTuple):
    """A kind of request.

    Attributes:
        name: For the table.
        address: What to ask for in the nth round.
        headers: Beside those of all.
    """

    name: str
    address: Callable[[int], str]
    headers: Mapping[str, str] = {}


class Timing(NamedTuple):
    """What the answers of a kind of page took, in ms, and their largest size as it was sent, in bytes."""

    times: list[float]
    size: int

    def percentiles(self, percent: int) -> list[float]:
        """Take the time that so many of a hundred requests of a round did not exceed, round by round."""
        length = max(len(self.times) // ROUNDS, 2)
        rounds = [self.times[at : at + length] for at in range(0, length * ROUNDS, length)]
        return [
            statistics.quantiles(times, n=100, method="inclusive")[percent - 1] for times in rounds if len(times) > 1
        ]

    def percentile(self, percent: int) -> float:
        """Take the middle one of the rounds: others' work on the machine disturbs some of them."""
        return statistics.median(self.percentiles(percent))


async def fill(database: DatabaseSettings, year: MadeYear) -> Made:
    """Make the podcast, its downloads and its rollups."""
    tenant: Tenant = await add_tenant(database)
    auth = await connect(database, Role.AUTH, application_name="bench")
    try:
        key = await create_key(auth, tenant, name="bench")
    finally:
        await auth.close()
    api = await connect(database, Role.API, application_name="bench")
    try:
        async with api.transaction():
            await api.execute(
                "select set_config('app.tenant_id', $1, true), set_config('app.tenant_no', $2, true)",
                str(tenant.tenant_id),
                str(int(tenant.tenant_no)),
            )
            podcast = await add_made_podcast(api, tenant, year)
    finally:
        await api.close()
    ingest = await connect(database, Role.INGEST, application_name="bench")
    try:
        downloads = await make_downloads(ingest, tenant, podcast.podcast_no, year)
        print(f"{downloads:,} downloads made; adding them up", flush=True)
        summed = 0
        while done := await refresh_rollups(ingest):
            summed += done
        while await refresh_listeners(ingest, at_most_every=None):
            continue
        print(f"{summed:,} days of episodes added up", flush=True)
    finally:
        await ingest.close()
    # What autovacuum would have done in a year.
    async with owner(database) as conn:
        await conn.execute(f"vacuum (analyze) {_VACUUMED}")
    return Made(key, str(podcast.podcast_id), downloads)


class Browser:
    """One signed-in client on one kept connection.

    Args:
        port: Of the API, on loopback.
        key: To sign in with.
    """

    def __init__(self, port: int, key: str) -> None:
        base = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=base) as client:
            token = _TOKEN.search(client.get("/sign-in").text)
            if token is None:
                raise WrongResult("the sign-in page has no form")
            form = {"form_token": token[1], "key": key, "next": "/"}
            if client.post("/sign-in", data=form).status_code != 303:
                raise WrongResult("the sign-in failed")
            cookie = "; ".join(f"{item.name}={item.value}" for item in client.cookies.jar)
        self._headers = {"Cookie": cookie, "Accept-Encoding": "gzip", "Accept": "text/html"}
        self._conn = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, address: str, headers: Mapping[str, str] | None = None) -> tuple[float, bytes]:
        """Ask for a page; return the milliseconds that it took, and its body as it was sent.

        Raises:
            WrongResult: The answer is not good.
        """
        sent = {**self._headers, **(headers or {})}
        began_s = time.perf_counter()
        self._conn.request("GET", address, headers=sent)
        answer = self._conn.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - began_s) * 1000
        if answer.status != 200:
            raise WrongResult(f"{address} was answered with {answer.status}")
        return took_ms, body

    def text(self, address: str) -> str:
        """Read a page."""
        body = self.get(address)[1]
        return (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode()

    def weigh(self, address: str) -> float:
        """Add a page and all that it loads up, in KB as sent."""
        parts = {link for link in _LINK.findall(self.text(address)) if link.startswith("/static/")}
        return sum(len(self.get(part)[1]) for part in {address, *parts}) / 1000


def _own_days(base: str, today: dt.date, days: int) -> Callable[[int], str]:
    """Ask for another period of the same length each time: the last one ends today, others up to 150 days earlier."""

    def address(number: int) -> str:
        last = today - dt.timedelta(days=number % 151)
        return f"{base}?first={last - dt.timedelta(days=days - 1)}&last={last}"

    return address


def find_pages(browser: Browser, podcast_id: str, today: dt.date) -> list[Page]:
    """Name the pages that are measured."""
    base = f"/podcasts/{podcast_id}"
    episodes = f"{base}/episodes"
    first_page = browser.text(episodes)
    second = re.search(r'href="([^"]*\?cursor=[^"]+)"', first_page)
    newest = re.findall(r'href="(/episodes/[0-9a-f-]{36})"', first_page)
    if second is None or not newest:
        raise WrongResult("the list of episodes has no second page, or no episodes")
    further = second[1] if second[1].startswith("/") else f"{episodes}{second[1]}"
    return [
        Page("overview, 30 days, as signed in", lambda number: base),
        Page("overview, 30 days, ever others", _own_days(base, today, 30)),
        Page("overview, 7 days, ever others", _own_days(base, today, 7)),
        Page("overview, 90 days, ever others", _own_days(base, today, 90)),
        Page("overview, a year, ever others", _own_days(base, today, 365)),
        Page("live figures", lambda number: base, {"X-Castledger-Fragment": "1"}),
        Page("episodes, first page", lambda number: episodes),
        Page("episodes, second page", lambda number: further),
        Page("an episode, 30 days", lambda number: newest[number % len(newest)]),
        Page("an episode, a year", lambda number: f"{newest[number % len(newest)]}?range=year"),
    ]


def time_pages(browser: Browser, pages: Sequence[Page], *, requests: int, budget_s: float) -> dict[str, Timing]:
    """Ask for all pages in turn, each so many times or as often as time allows."""
    times: dict[str, list[float]] = {page.name: [] for page in pages}
    sizes = dict.fromkeys(times, 0)
    ends_s = time.monotonic() + budget_s
    for page in pages:
        browser.get(page.address(151), page.headers)
    for number, page in itertools.product(range(requests), pages):
        if page is pages[0] and number > 1 and time.monotonic() > ends_s:
            break
        took_ms, body = browser.get(page.address(number), page.headers)
        times[page.name].append(took_ms)
        sizes[page.name] = max(sizes[page.name], len(body))
    return {name: Timing(times[name], sizes[name]) for name in times}


def serve(bench: Workbench, database: DatabaseSettings) -> tuple[int, int]:
    """Start the API; return its process number and its port."""
    reading, writing = os.pipe()
    process = bench.start(
        [sys.executable, "-m", "api", "--port", "0", "--admin-port", "0", "--ready-fd", str(writing)],
        environ={
            "DATABASE_URL": str(database.url),
            "CASTLEDGER_DATA_DIR": str(bench.folder / "api"),
            "CASTLEDGER_LOG_LEVEL": "error",
            # One client asks for everything here.
            "CASTLEDGER_API_RATE": "0",
            "CASTLEDGER_API_NETWORK_RATE": "0",
        },
        pass_fds=(writing,),
    )
    os.close(writing)
    with os.fdopen(reading) as ready:
        line = ready.readline()
    if not line:
        raise WrongResult("the API did not start")
    return process.pid, int(json.loads(line)["port"])


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Make the podcast and time its pages."""
    today = dt.datetime.now(dt.UTC).date()
    year = MadeYear(today, days=options.days, episodes=options.episodes)
    try:
        server = start_server(bench, options.server_setting)
        made = asyncio.run(fill(server.database, year))
    except Unavailable as error:
        raise WrongResult(str(error)) from error
    print(f"PostgreSQL {server.version}, {server.storage}; ready after {bench.elapsed_s:.0f} s", flush=True)
    pid, port = serve(bench, server.database)
    browser = Browser(port, made.key)
    pages = find_pages(browser, made.podcast_id, today)
    found = time_pages(browser, pages, requests=options.requests, budget_s=240)
    print(f"{'ms':34}{'p50':>7}{'p99':>8}{'most':>8}{'KB sent':>9}")
    for name, timing in found.items():
        print(
            f"{name:34}{timing.percentile(50):7.1f}{timing.percentile(99):8.1f}{max(timing.times):8.1f}"
            f"{timing.size / 1000:9.1f}"
        )
    weight_kb = max(browser.weigh(page.address(0)) for page in pages)
    print(f"heaviest page with all that it loads: {weight_kb:.1f} KB of at most {GOAL_KB:.0f}")
    slowest = max(timing.percentile(99) for timing in found.values())
    return Comparison(
        "page",
        slowest,
        GOAL_MS,
        "ms",
        GOAL_MS / slowest,
        {
            "episodes": year.episodes,
            "days": year.days,
            "downloads": made.downloads,
            "storage": server.storage,
            "postgresql": server.version,
            "requests": min(len(timing.times) for timing in found.values()),
            "p50_ms": {name: round(timing.percentile(50), 1) for name, timing in found.items()},
            "p99_of_rounds_ms": {
                name: [round(value, 1) for value in timing.percentiles(99)] for name, timing in found.items()
            },
            "p99_ms": {name: round(timing.percentile(99), 1) for name, timing in found.items()},
            "heaviest_kb": round(weight_kb, 1),
            "api_mib": round(resident_mib(pid), 1),
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="page.py", description=__doc__)
    add = parser.add_argument
    add("--episodes", type=int, default=500, help="episodes of the podcast (default 500)")
    add("--days", type=int, default=365, help="days with downloads (default 365)")
    add(
        "--requests", type=int, default=1000, help="requests of each kind in five rounds, as time allows (default 1000)"
    )
    add("--server-setting", action="append", default=[], metavar="LINE", help="for postgresql.conf; repeatable")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
