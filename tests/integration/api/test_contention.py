"""Requests that another transaction is in the way of are begun once more, a few times, and nothing is done twice."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from analytics_core.db.pool import Tenant, open_pool, tenant_transaction
from analytics_core.db.sponsors import merge_sponsors
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from api.app import create_app
from api.resources import Resources
from api.writing import MAX_ATTEMPTS, InTheWay, trying_again
from tests.integration.api.conftest import NOW
from tests.integration.api.ledger import Api, Ledger, problem
from tests.postgres import SOMEBODY_WAITS, operator_url

pytestmark = pytest.mark.anyio


async def test_a_merge_that_the_database_gives_up_is_begun_once_more(api: Api, database: DatabaseSettings) -> None:
    one, two = [
        (await api.request("POST", "/sponsors", json={"name": name})).json()["sponsor_id"] for name in ("Acme", "Beta")
    ]
    link = (await api.request("POST", "/links", json={"url": "https://a.example.com/", "sponsor_id": one})).json()
    other = await asyncpg.connect(operator_url(database))
    watcher = await asyncpg.connect(operator_url(database))
    try:
        async with asyncio.timeout(60):
            async with other.transaction():
                # The merge is the one that is given up: it looks for a circle first.
                await other.execute("set local deadlock_timeout = '30s'")
                await other.execute("select from app.links where link_id = $1 for update", UUID(link["link_id"]))
                merging = asyncio.create_task(api.request("POST", f"/sponsors/{one}/merge", json={"into": two}))
                while not await watcher.fetchval(SOMEBODY_WAITS):  # noqa: ASYNC110 - another process, which tells nobody
                    await asyncio.sleep(0.01)
                await other.execute("select from app.sponsors where sponsor_id = $1 for update", UUID(one))
            merged = await merging
    finally:
        await other.close()
        await watcher.close()
    assert merged.status_code == 200, merged.text
    assert merged.json()["links_moved"] == 1
    record = await api.data("/audit", action="sponsor.merge")
    assert len(record["data"]) == 1


_DAYS = {"from": "2026-11-01", "to": "2026-11-08"}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/reports", {"kind": "sponsor", "format": "csv", **_DAYS}),
        ("/reports", {"kind": "delivery", "format": "csv", **_DAYS}),
        ("/attribution/runs", {"models": ["linear"], **_DAYS}),
    ],
)
async def test_what_is_asked_for_during_a_merge_is_told_of_the_other_sponsor(
    api: Api, database: DatabaseSettings, ledger: Ledger, path: str, wanted: dict[str, Any]
) -> None:
    one, two, three = [
        (await api.request("POST", "/sponsors", json={"name": name})).json()["sponsor_id"]
        for name in ("Acme", "Acme Inc.", "Acme Ltd.")
    ]
    row = await ledger.operator.fetchrow("select tenant_id, tenant_no from app.tenants where is_installation")
    assert row is not None
    tenant = Tenant(row["tenant_id"], row["tenant_no"])
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with asyncio.timeout(30):
            async with tenant_transaction(pool, tenant) as conn:
                await merge_sponsors(conn, UUID(one), into=UUID(two), now=NOW)
                asking = asyncio.create_task(api.request("POST", path, json={**wanted, "sponsor_id": one}))
                while not await ledger.operator.fetchval(SOMEBODY_WAITS):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)
            assert two in problem(await asking, 409, "sponsor_merged")["detail"]
    finally:
        await pool.close()
    # The last of several merges is the one that has it.
    assert (await api.request("POST", f"/sponsors/{two}/merge", json={"into": three})).status_code == 200
    answer = await api.request("POST", path, json={**wanted, "sponsor_id": one})
    assert three in problem(answer, 409, "sponsor_merged")["detail"]
    assert (await api.request("POST", path, json={**wanted, "sponsor_id": three})).status_code == 202
    # One that was put away is asked about as before, and so is one that was taken back.
    assert (await api.request("POST", f"/sponsors/{three}/archive")).status_code == 200
    assert (await api.request("POST", path, json={**wanted, "sponsor_id": three})).status_code == 202
    assert (await api.request("POST", f"/sponsors/{one}/restore")).status_code == 200
    assert (await api.request("POST", path, json={**wanted, "sponsor_id": one})).status_code == 202


@pytest.mark.parametrize("in_the_way", [0, 1, MAX_ATTEMPTS - 1, MAX_ATTEMPTS])
async def test_it_is_tried_a_few_times(in_the_way: int) -> None:
    begun = 0

    @trying_again
    async def answer(text: str) -> str:
        nonlocal begun
        begun += 1
        if begun <= in_the_way:
            raise InTheWay("try again")
        return text

    if in_the_way < MAX_ATTEMPTS:
        assert await answer("done") == "done"
        assert begun == in_the_way + 1
    else:
        with pytest.raises(InTheWay):
            await answer("done")
        assert begun == MAX_ATTEMPTS


async def test_every_route_that_writes_is_tried_again(resources: Resources) -> None:
    app = create_app(resources)
    functions = {
        str(handler): handler.fn
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if handler.http_methods & {"POST", "PUT", "PATCH", "DELETE"}
    }
    assert len(functions) > 90
    assert [name for name, function in functions.items() if not hasattr(function, "__wrapped__")] == []
