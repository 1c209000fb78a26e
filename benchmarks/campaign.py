"""The figures of a campaign's page among a thousand campaigns: ``python benchmarks/campaign.py``.

One API process as it is served, asked over one kept connection for a campaign's delivery and its performance, one
request at a time, another campaign each time. A request's time is from its first byte sent to the last byte of its
answer read; ours is the 99th percentile of both requests together, the median of five rounds, and what it is held
against is the goal of 50 ms. Beside it the days of a campaign's placements are read as they are kept, and made anew
from the quarter hours of their episodes, both by SQL alone: what keeping them saves. That both say the same is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import http.client
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analytics_core.db.podcasts import add_podcast
from analytics_core.db.pool import Connection, Tenant, connect, set_tenant
from analytics_core.db.sponsors import SponsorFields, add_sponsor
from analytics_core.db.tenants import create_key
from analytics_core.errors import Unavailable
from analytics_core.feeds import Feed, FeedEnclosure, FeedEpisode
from analytics_core.ids import new_id
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from benchmarks.database import add_tenant, owner, start_server
from benchmarks.page import serve
from benchmarks.workbench import (
    Comparison,
    Workbench,
    WrongResult,
    host_load,
    processor_s,
    resident_mib,
    run_measurement,
)

GOAL_MS: Final = 50.0
ROUNDS: Final = 5
FLIGHTS: Final = 2
PLACEMENTS: Final = 5
PODCASTS: Final = 20
EPISODES: Final = 50
DAYS: Final = 30
MODELS: Final = ("first", "last", "linear", "position", "time_decay", "shapley", "markov")

_VACUUMED: Final = (
    "app.campaigns, app.flights, app.placements, app.placement_daily, app.metrics_daily, app.reach_months,"
    " app.attribution_totals, app.attribution_runs, app.episodes"
)

_ORDERS: Final = """
insert into app.insertion_orders (tenant_id, insertion_order_id, sponsor_id, number, name, currency, status, created_at)
select $1, n.id, $2, n.place, 'Order ' || n.place, 'EUR', 'open', $4
from unnest($3::uuid[]) with ordinality as n(id, place)"""

_CAMPAIGNS: Final = """
insert into app.campaigns (tenant_id, campaign_id, sponsor_id, insertion_order_id, currency, name, status, starts_on,
    ends_on, pricing, budget_amount, model, window_days, created_at)
select tenant_id, insertion_order_id, sponsor_id, insertion_order_id, currency, 'Campaign ' || number, 'active',
    $2::date, $2::date + 40, 'cpm', 1000000, 'linear', 30, created_at
from app.insertion_orders where tenant_id = $1"""

_FLIGHTS: Final = """
insert into app.flights (tenant_id, flight_id, campaign_id, sponsor_id, currency, name, status, starts_at, ends_at,
    booked_impressions, price_amount, created_at)
select c.tenant_id, gen_random_uuid(), c.campaign_id, c.sponsor_id, c.currency, 'Flight ' || n, 'active',
    c.starts_on::timestamp at time zone 'UTC', c.ends_on::timestamp at time zone 'UTC', 100000, 2500, c.created_at
from app.campaigns c cross join generate_series(1, $2::integer) n where c.tenant_id = $1"""

_PLACEMENTS: Final = """
insert into app.placements (tenant_id, placement_id, flight_id, campaign_id, sponsor_id, podcast_id, episode_id,
    tenant_no, podcast_no, episode_no, position, delivery, status, live_from, live_until, created_at)
select f.tenant_id, gen_random_uuid(), f.flight_id, f.campaign_id, f.sponsor_id, e.podcast_id, e.episode_id,
    e.tenant_no, e.podcast_no, e.episode_no, 'mid', 'baked_in', 'live',
    f.starts_at + interval '1 hour' * f.place, f.ends_at + f.measurement_days * interval '1 day', f.created_at
from (
    select *, row_number() over (order by flight_id) as row, n as place
    from app.flights cross join generate_series(1, $2::integer) n where tenant_id = $1
) f
join (select *, row_number() over (order by episode_no) as row, count(*) over () as total from app.episodes) e
    on e.row = 1 + (f.row * 7) % e.total"""

_METRICS: Final = """
insert into app.metrics_daily (tenant_no, podcast_no, episode_no, day, dimension, key, downloads, downloads_strict,
    quarters, quarters_strict)
select e.tenant_no, e.podcast_no, e.episode_no, $1::date + d, 'total', '', q.total, q.total, q.counts, q.counts
from app.episodes e cross join generate_series(0, $2::integer - 1) d
cross join lateral (
    select array_agg(n order by place) as counts, sum(n)::integer as total
    from (select place, (1 + (e.episode_no * 31 + d * 17 + place) % 7) as n from generate_series(0, 95) place) c
) q"""

# What is kept, as the refresher would have made it: a day that is live as a whole takes its sum.
_MADE_ANEW: Final = """
select p.tenant_id, p.sponsor_id, p.campaign_id, p.flight_id, p.placement_id, m.day, k.n as downloads, k.n as strict
from app.placements p
join app.metrics_daily m on m.episode_no = p.episode_no and m.dimension = 'total' and m.key = ''
    and m.day between (p.live_from at time zone 'UTC')::date and (p.live_until at time zone 'UTC')::date
cross join lateral (
    select case
        when m.day::timestamp at time zone 'UTC' >= p.live_from
            and (m.day + 1)::timestamp at time zone 'UTC' <= p.live_until then m.downloads
        else (
            select sum(q)::integer from unnest(m.quarters) with ordinality as u(q, place)
            where m.day::timestamp at time zone 'UTC' + (place - 1) * interval '15 minutes' >= p.live_from
                and m.day::timestamp at time zone 'UTC' + (place - 1) * interval '15 minutes' < p.live_until
        ) end as n
) k
where k.n > 0"""

_KEEP: Final = f"insert into app.placement_daily {_MADE_ANEW} on conflict do nothing"

_KEPT: Final = """
select placement_id, day, downloads from app.placement_daily where tenant_id = $1 and campaign_id = $2 order by 1, 2"""

_ANEW: Final = f"""
select placement_id, day, downloads from ({_MADE_ANEW} and p.tenant_id = $1 and p.campaign_id = $2) s order by 1, 2"""

_RUN: Final = """
insert into app.attribution_runs (tenant_id, run_id, sponsor_id, starts_at, ends_at, models, params, params_hash,
    status, cutoff_at, code_version, created_at)
select $1, $2, $3, s.at, s.at + interval '60 days', $5, '{}', sha256('x'), 'running', s.at, 'bench', s.at
from (select $4::timestamptz as at) s"""

_TOTALS: Final = """
insert into app.attribution_totals (tenant_id, run_id, sponsor_id, model, campaign_id, flight_id, currency,
    conversions_ppm, new_customers_ppm, value_amount)
select f.tenant_id, $2, f.sponsor_id, m, f.campaign_id, f.flight_id, 'EUR', 12500000, 2000000, 123456
from app.flights f cross join unnest($3::text[]) m where f.tenant_id = $1"""

_RUN_IS_READY: Final = """
update app.attribution_runs set status = 'ready', finished_at = created_at where tenant_id = $1 and run_id = $2"""


class Made(NamedTuple):
    """What there is to ask for.

    Attributes:
        key: An API key of the tenant.
        campaigns: All of them.
        days: Rows of placements' days.
    """

    tenant: Tenant
    key: str
    campaigns: list[UUID]
    days: int


def _feed(number: int, published_at: dt.datetime) -> Feed:
    episodes = tuple(
        FeedEpisode(
            f"{number}-{place}",
            "feed",
            f"Episode {place} of podcast {number}",
            published_at,
            1800,
            False,
            (FeedEnclosure(f"https://cdn{number}.example.com/{place}.mp3", "audio/mpeg", 28_800_000, "enclosure"),),
        )
        for place in range(EPISODES)
    )
    return Feed(f"Podcast {number}", None, "en", None, UUID(int=number + 1), True, (), episodes, ())


async def fill(database: DatabaseSettings, campaigns: int, now: dt.datetime) -> Made:
    """Make podcasts, campaigns of one sponsor, what they delivered, and a run of all models."""
    tenant = await add_tenant(database)
    auth = await connect(database, Role.AUTH, application_name="bench")
    try:
        key = await create_key(auth, tenant, name="bench")
    finally:
        await auth.close()
    start = dt.datetime.combine(now.date(), dt.time(), dt.UTC) - dt.timedelta(days=DAYS - 1)
    campaign_ids = [new_id() for _ in range(campaigns)]
    api = await connect(database, Role.API, application_name="bench")
    try:
        async with api.transaction():
            await set_tenant(api, tenant)
            for number in range(PODCASTS):
                await add_podcast(api, tenant, _feed(number, start), feed_url=None, verified=True, now=start)
            sponsor = await add_sponsor(api, tenant, SponsorFields(name="Acme"), now=start)
            await api.execute(_ORDERS, tenant.tenant_id, sponsor.sponsor_id, campaign_ids, start)
            await api.execute(_CAMPAIGNS, tenant.tenant_id, start.date())
            await api.execute(_FLIGHTS, tenant.tenant_id, FLIGHTS)
            await api.execute(_PLACEMENTS, tenant.tenant_id, PLACEMENTS)
            run_id = new_id()
            await api.execute(_RUN, tenant.tenant_id, run_id, sponsor.sponsor_id, start, list(MODELS))
    finally:
        await api.close()
    ingest = await connect(database, Role.INGEST, application_name="bench")
    try:
        await ingest.execute(_METRICS, start.date(), DAYS)
        await ingest.execute(_KEEP)
        await ingest.execute(_TOTALS, tenant.tenant_id, run_id, ["deterministic", *MODELS])
        await ingest.execute(_RUN_IS_READY, tenant.tenant_id, run_id)
        days = int(await ingest.fetchval("select count(*) from app.placement_daily"))
    finally:
        await ingest.close()
    # What autovacuum would have done meanwhile.
    async with owner(database) as conn:
        await conn.execute(f"vacuum (analyze) {_VACUUMED}")
    return Made(tenant, key, campaign_ids, days)


class Client:
    """One client on one kept connection.

    Args:
        port: Of the API, on loopback.
        key: To ask with.
    """

    def __init__(self, port: int, key: str) -> None:
        self._conn = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {key}"}

    def get(self, path: str) -> tuple[float, dict[str, Any]]:
        """Ask for something; return the milliseconds that it took, and the answer.

        Raises:
            WrongResult: The answer is not good.
        """
        began_s = time.perf_counter()
        self._conn.request("GET", f"/api/v1{path}", headers=self._headers)
        answer = self._conn.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - began_s) * 1000
        if answer.status != 200:
            raise WrongResult(f"{path} was answered with {answer.status}: {body[:200]!r}")
        found: dict[str, Any] = json.loads(body)
        return took_ms, found


def time_pages(client: Client, campaigns: Sequence[UUID], *, requests: int, budget_s: float) -> list[float]:
    """Ask for campaigns one after the other; return what each took, both requests together."""
    times = []
    ends_s = time.monotonic() + budget_s
    for number in range(requests):
        if time.monotonic() > ends_s:
            break
        base = f"/campaigns/{campaigns[number * 37 % len(campaigns)]}"
        delivery_ms, delivery = client.get(f"{base}/delivery")
        performance_ms, performance = client.get(f"{base}/performance")
        if not delivery["delivered"] == performance["impressions"] == sum(day["delivered"] for day in delivery["days"]):
            raise WrongResult(f"{base}: delivery and performance differ")
        times.append(delivery_ms + performance_ms)
    return times


def percentiles(times: Sequence[float], percent: int) -> list[float]:
    """Take the time that so many of a hundred requests of a round did not exceed, round by round."""
    length = max(len(times) // ROUNDS, 2)
    rounds = [times[at : at + length] for at in range(0, length * ROUNDS, length)]
    return [statistics.quantiles(one, n=100, method="inclusive")[percent - 1] for one in rounds if len(one) > 1]


async def time_days(database: DatabaseSettings, made: Made, *, rounds: int) -> tuple[float, float]:
    """Read the days of campaigns as they are kept, and make them anew; return the median of each, in ms."""
    conn: Connection = await connect(database, Role.API, application_name="bench")
    times: dict[str, list[float]] = {_KEPT: [], _ANEW: []}
    try:
        async with conn.transaction():
            await set_tenant(conn, made.tenant)
            for campaign_id in made.campaigns[:rounds]:
                found = []
                for query, taken in times.items():
                    began_s = time.perf_counter()
                    rows = await conn.fetch(query, made.tenant.tenant_id, campaign_id)
                    taken.append((time.perf_counter() - began_s) * 1000)
                    found.append([tuple(row) for row in rows])
                if found[0] != found[1]:
                    raise WrongResult("what is kept is not what is made anew")
    finally:
        await conn.close()
    return statistics.median(times[_KEPT]), statistics.median(times[_ANEW])


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Make the campaigns and time the figures of their pages."""
    now = dt.datetime.now(dt.UTC)
    try:
        server = start_server(bench, options.server_setting)
        made = asyncio.run(fill(server.database, options.campaigns, now))
        kept_ms, anew_ms = asyncio.run(time_days(server.database, made, rounds=100))
    except Unavailable as error:
        raise WrongResult(str(error)) from error
    print(
        f"{len(made.campaigns):,} campaigns, {made.days:,} days of placements; after {bench.elapsed_s:.0f} s",
        flush=True,
    )
    print(f"a campaign's days as kept {kept_ms:.1f} ms, made anew {anew_ms:.1f} ms", flush=True)
    pid, port = serve(bench, server.database)
    client = Client(port, made.key)
    client.get(f"/campaigns/{made.campaigns[-1]}/delivery")
    before_s = processor_s(pid), 0.0 if server.processor_s is None else server.processor_s()
    times = time_pages(client, made.campaigns, requests=options.requests, budget_s=60)
    after_s = processor_s(pid), 0.0 if server.processor_s is None else server.processor_s()
    # It tells what a page costs also where others disturb the clock on the wall.
    api_ms, database_ms = ((end - start) / len(times) * 1000 for start, end in zip(before_s, after_s, strict=True))
    p50, p99 = (statistics.median(percentiles(times, percent)) for percent in (50, 99))
    print(f"delivery and performance: p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {max(times):.1f} ms of {len(times)}")
    print(f"processor time of a page: API {api_ms:.1f} ms, PostgreSQL {database_ms:.1f} ms")
    return Comparison(
        "campaign",
        p99,
        GOAL_MS,
        "ms",
        GOAL_MS / p99,
        {
            "campaigns": len(made.campaigns),
            "placements": len(made.campaigns) * FLIGHTS * PLACEMENTS,
            "placement_days": made.days,
            "storage": server.storage,
            "postgresql": server.version,
            "requests": len(times),
            "p50_ms": round(p50, 1),
            "p99_of_rounds_ms": [round(value, 1) for value in percentiles(times, 99)],
            "processor_ms": {"api": round(api_ms, 1), "postgresql": round(database_ms, 1)},
            "days_kept_ms": round(kept_ms, 2),
            "days_made_anew_ms": round(anew_ms, 2),
            "api_mib": round(resident_mib(pid), 1),
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="campaign.py", description=__doc__)
    add = parser.add_argument
    add("--campaigns", type=int, default=1000, help="campaigns of the tenant (default 1000)")
    add("--requests", type=int, default=1000, help="pages in five rounds, as time allows (default 1000)")
    add("--server-setting", action="append", default=[], metavar="LINE", help="for postgresql.conf; repeatable")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
