"""Requests that another transaction is in the way of are begun once more, a few times, and nothing is done twice."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from analytics_core.settings import DatabaseSettings
from api.app import create_app
from api.resources import Resources
from api.writing import MAX_ATTEMPTS, InTheWay, trying_again
from tests.integration.api.ledger import Api
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
