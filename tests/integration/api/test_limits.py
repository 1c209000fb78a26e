"""How often a key and a network may ask, whoever they say they are."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from analytics_core.api_keys import new_key
from analytics_core.clock import FixedClock
from analytics_core.rate_limits import MemoryLimiter
from analytics_core.settings import ApiSettings, RedisSettings, Secret, Settings, load_settings
from analytics_core.shared_limits import RedisLimiter, SharedLimiter, open_redis
from api.app import create_app
from api.limits import HEAVY_COST, REPORT_COST
from api.logs import RequestLog
from api.metrics import RequestMetrics
from api.resources import open_resources
from tests.integration.api.browsers import Browser
from tests.integration.api.ledger import Api, Ledger, problem
from tests.redis_server import PASSWORD, run_redis

pytestmark = pytest.mark.anyio

UNKNOWN = "00000000-0000-7000-8000-000000000000"


@contextlib.asynccontextmanager
async def open_api(
    settings: Settings,
    clock: FixedClock,
    key: str,
    *,
    redis: Path | None = None,
    metrics: RequestMetrics | None = None,
    **given: object,
) -> AsyncIterator[Api]:
    """Open an application of its own with few units for everybody."""
    changes = {"rate": 60, "burst": 10, "network_rate": 30, **given}
    api: ApiSettings = msgspec.structs.replace(settings.api, **changes)
    where = RedisSettings(url=Secret(f"unix://:{PASSWORD}@{redis}")) if redis else None
    settings = msgspec.structs.replace(settings, api=api, redis=where)
    async with contextlib.AsyncExitStack() as stack:
        resources = await stack.enter_async_context(open_resources(settings, clock=clock))
        assert isinstance(resources.limiter, MemoryLimiter if where is None else SharedLimiter)
        if where is not None:
            # As it is made there, but for the patience that a busy machine needs.
            patient = await stack.enter_async_context(open_redis(where, timeout_s=60))
            limiter = SharedLimiter(RedisLimiter(patient), MemoryLimiter(clock.now_us))
            resources = msgspec.structs.replace(resources, limiter=limiter)
        app = create_app(resources, log=RequestLog(io.StringIO()), metrics=metrics)
        yield await stack.enter_async_context(Api.open(app, key))


@pytest.fixture
async def key(ledger: Ledger) -> str:
    return await ledger.make_key("home", is_installation=True)


@pytest.fixture
async def few(settings: Settings, clock: FixedClock, key: str) -> AsyncIterator[Api]:
    async with open_api(settings, clock, key) as api:
        yield api


def rate_of(answer: httpx.Response) -> tuple[str, str]:
    return answer.headers["ratelimit-policy"], answer.headers["ratelimit"]


async def test_a_key_spends_its_burst_and_is_told_when_to_come_back(few: Api, clock: FixedClock) -> None:
    for left in range(9, -1, -1):
        answer = await few.get("/links")
        assert answer.status_code == 200
        assert rate_of(answer) == ('"key";q=10;w=10', f'"key";r={left};t={10 - left}')
    refused = await few.get("/links")
    assert "try again in 1 s" in problem(refused, 429, "rate_limited")["detail"]
    assert refused.headers["retry-after"] == "1"
    assert rate_of(refused)[1] == '"key";r=0;t=10'
    clock.advance(dt.timedelta(seconds=1))
    assert (await few.get("/links")).status_code == 200
    assert (await few.get("/links")).status_code == 429


async def test_what_costs_more_takes_more(few: Api, clock: FixedClock) -> None:
    await few.get("/analytics/hits")
    assert rate_of(await few.get("/links"))[1] == f'"key";r={10 - REPORT_COST - 1};t={REPORT_COST + 1}'
    refused = await few.request("POST", "/podcasts", json={})
    assert refused.headers["retry-after"] == str(HEAVY_COST - 10 + REPORT_COST + 1)
    clock.advance(dt.timedelta(seconds=3))
    # It cost nothing to be refused; what is malformed costs as much as what is not.
    assert (await few.request("POST", "/podcasts", json={})).status_code == 422
    assert (await few.get("/links")).status_code == 429


async def test_one_key_does_not_pay_for_another(few: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    for _ in range(11):
        await few.get("/links")
    assert (await few.get("/links")).status_code == 429
    assert (await few.get("/links", key=other)).status_code == 200


async def test_wrong_keys_cost_their_network_more_and_are_refused_before_they_are_looked_up(
    few: Api, ledger: Ledger, clock: FixedClock
) -> None:
    assert (await few.get("/links")).status_code == 200
    answers = [await few.get("/links", key=new_key()) for _ in range(6)]
    for answer in answers:
        problem(answer, 401, "unauthenticated")
    assert rate_of(answers[-1]) == ('"network";q=30;w=60', '"network";r=0;t=60')
    problem(await few.get("/links", key=new_key()), 429, "rate_limited")
    problem(await few.http.get("/api/v1/links"), 429, "rate_limited")
    # A key that was good a moment ago is none the worse for its neighbours; one that nobody saw yet has to wait.
    assert (await few.get("/links")).status_code == 200
    other = await ledger.make_key("other")
    assert (await few.get("/links", key=other)).headers["retry-after"] == "10"
    clock.advance(dt.timedelta(seconds=10))
    assert (await few.get("/links", key=other)).status_code == 200


async def test_a_key_that_was_good_and_is_revoked_is_treated_as_any_wrong_one(few: Api) -> None:
    made = (await few.request("POST", "/api-keys", json={"name": "short-lived"})).json()
    assert (await few.get("/links", key=made["key"])).status_code == 200
    assert (await few.request("DELETE", f"/api-keys/{made['key_id']}")).status_code == 204
    assert [(await few.get("/links", key=made["key"])).status_code for _ in range(7)] == [401] * 6 + [429]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "Client-IP"])
async def test_a_forged_proxy_header_makes_nobody_another_client(few: Api, header: str) -> None:
    for number in range(30):
        answer = await few.http.get("/api/v1/links", headers={header: f"198.51.100.{number}"})
        problem(answer, 401, "unauthenticated")
    forged = await few.http.get("/api/v1/links", headers={header: "203.0.113.9"})
    problem(forged, 429, "rate_limited")


async def test_a_trusted_proxy_names_its_clients_and_what_stands_left_of_them_is_forged(
    settings: Settings, clock: FixedClock, key: str
) -> None:
    proxies = load_settings({"CASTLEDGER_API_TRUSTED_PROXIES": "127.0.0.0/8"}).api.trusted_proxies
    async with open_api(settings, clock, key, trusted_proxies=proxies) as api:

        async def ask(forwarded: str) -> int:
            answer = await api.http.get("/api/v1/links", headers={"X-Forwarded-For": forwarded})
            return answer.status_code

        assert [await ask(f"10.9.8.{number}, 198.51.100.7") for number in range(31)] == [401] * 30 + [429]
        assert await ask("198.51.100.8") == 401
        assert [await ask(f"2001:db8::{number:x}") for number in range(31)] == [401] * 30 + [429]
        assert await ask("2001:db8:0:1::1") == 401


async def test_what_is_open_costs_the_network_and_health_nothing(few: Api) -> None:
    assert [(await few.http.get("/api/v1/openapi.json")).status_code for _ in range(31)] == [200] * 30 + [429]
    answer = await few.http.get("/api/v1/health")
    assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)


async def test_the_page_is_limited_by_the_key_it_was_opened_with(
    settings: Settings, clock: FixedClock, key: str
) -> None:
    async with open_api(settings, clock, key) as api:
        async with Browser.open(api.http._transport.app) as browser:  # type: ignore[attr-defined]  # httpx hides it
            await browser.sign_in(key)
            answers = [await browser.get("/podcasts/new") for _ in range(12)]
            assert [page.status for page in answers][-1] == 429
            assert answers[-1].title == "Slow down · Castledger"
            assert answers[-1].answer.headers["retry-after"] == "1"
        assert (await api.get("/links")).status_code == 429


async def test_zero_sets_no_limit(settings: Settings, clock: FixedClock, key: str) -> None:
    api = msgspec.structs.replace(settings.api, rate=0, network_rate=0)
    async with (
        open_resources(msgspec.structs.replace(settings, api=api), clock=clock) as resources,
        Api.open(create_app(resources, log=RequestLog(io.StringIO())), key) as client,
    ):
        answer = await client.get("/links")
        assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)
        assert {(await client.get("/links", key=new_key())).status_code for _ in range(70)} == {401}


async def test_two_processes_share_what_a_key_spends_through_redis_and_judge_alone_without_it(
    settings: Settings, clock: FixedClock, key: str
) -> None:
    metrics = RequestMetrics()

    def alone() -> float | None:
        return metrics.registry.get_sample_value("castledger_api_rate_limits_alone_total")

    with tempfile.TemporaryDirectory(prefix="castledger-test-") as name, run_redis(Path(name)) as (path, process):
        # So slow that Redis' own clock, which goes on, brings nothing back meanwhile.
        async with (
            open_api(settings, clock, key, redis=path, metrics=metrics, rate=1) as one,
            open_api(settings, clock, key, redis=path, rate=1) as other,
        ):
            statuses = [(await api.get("/links")).status_code for _ in range(6) for api in (one, other)]
            assert statuses == [200] * 10 + [429] * 2
            assert alone() == 0
            process.terminate()
            process.wait()
            answers = [await one.get("/links") for _ in range(6)]
            assert [answer.status_code for answer in answers] == [200] * 5 + [429]
            assert alone() == 6
            assert metrics.registry.get_sample_value("castledger_api_rate_limited_total", {"by": "key"}) == 2
