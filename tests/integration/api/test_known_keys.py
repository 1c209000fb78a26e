"""Keys that are known cost no look-up, and are known no longer than nothing about keys or tenants changes."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest

from analytics_core.api_keys import new_key
from analytics_core.clock import FixedClock
from analytics_core.db.pool import Connection, Pool, connect, open_pool
from analytics_core.db.tenants import KeyRow
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from api.known_keys import KnownKeys
from api.resources import Resources
from tests.integration.api.ledger import Api, Ledger, problem

pytestmark = pytest.mark.anyio

CHANGES = {
    "revoked": "update app.api_keys set revoked_at = now()",
    "expired": "update app.api_keys set expires_at = now()",
    "closed": "update app.tenants set status = 'closed' where not is_installation",
    "deleted": "delete from app.api_keys",
}


class Watched(NamedTuple):
    """Keys of one process, and what it asked the database."""

    keys: KnownKeys
    sent: list[str]
    clock: FixedClock

    async def costs(self, key: str) -> tuple[KeyRow | None, int]:
        """Find a key; say how many statements that took."""
        self.sent.clear()
        found = await self.keys.find(key)
        return found, len(self.sent)

    async def knows(self, key: str) -> KeyRow | None:
        """Find a key until it is known: word of what was done before may still be on its way."""
        async with asyncio.timeout(20):
            while (found := await self.costs(key))[1]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
        return found[0]


def reaching(database: DatabaseSettings) -> Callable[[], Awaitable[Connection]]:
    return functools.partial(connect, database, Role.AUTH, application_name="castledger-api-access")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another connection brings it about
            await asyncio.sleep(0)


async def listening(keys: KnownKeys) -> None:
    await until(lambda: keys.is_listening)


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = await open_pool(database, Role.AUTH, application_name="test", max_size=1)
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture
async def watched(database: DatabaseSettings, pool: Pool) -> AsyncIterator[Watched]:
    sent: list[str] = []
    async with pool.acquire() as conn:
        conn.add_query_logger(lambda record: sent.append(record.query))
    clock = FixedClock(dt.datetime.now(dt.UTC))
    keys = KnownKeys(reaching(database), pool.acquire, clock=clock)
    async with keys.running():
        await listening(keys)
        yield Watched(keys, sent, clock)


async def test_a_key_is_looked_up_once_and_one_that_is_none_never_known(watched: Watched, ledger: Ledger) -> None:
    key = await ledger.make_key("ours")
    first = await watched.knows(key)
    assert [await watched.costs(key) for _ in range(2)] == [(first, 0)] * 2
    made_up = new_key()
    assert [await watched.costs(made_up) for _ in range(2)] == [(None, 1)] * 2
    assert [await watched.costs(text) for text in ("", "cl_live_x", key + "x")] == [(None, 0)] * 3


@pytest.mark.parametrize("change", CHANGES)
async def test_what_anybody_changes_is_heard(watched: Watched, ledger: Ledger, change: str) -> None:
    key = await ledger.make_key("ours")
    assert await watched.keys.find(key) is not None
    await ledger.operator.execute(CHANGES[change])
    async with asyncio.timeout(20):
        while await watched.keys.find(key) is not None:  # noqa: ASYNC110 - another connection brings it about
            await asyncio.sleep(0)


async def test_that_a_key_was_used_is_no_change(watched: Watched, ledger: Ledger) -> None:
    await ledger.make_key("ours")
    heard: list[str] = []
    await ledger.operator.add_listener("castledger_keys", lambda *told: heard.append(str(told[3])))
    await ledger.operator.execute("select pg_notify('castledger_keys', 'before')")
    await ledger.operator.execute("update app.api_keys set last_used_at = now()")
    await ledger.operator.execute("select pg_notify('castledger_keys', 'after')")
    # Word comes in the order of commits.
    await until(lambda: "after" in heard)
    assert heard[heard.index("before") :] == ["before", "after"]


async def test_a_known_key_expires_by_the_clock(watched: Watched, ledger: Ledger) -> None:
    key = await ledger.make_key("ours")
    await ledger.operator.execute("update app.api_keys set expires_at = now() + interval '1 hour'")
    await watched.knows(key)
    watched.clock.advance(dt.timedelta(hours=2))
    assert (await watched.costs(key))[1] == 1


async def test_nothing_is_known_for_long_even_when_no_word_comes(
    pool: Pool, database: DatabaseSettings, ledger: Ledger
) -> None:
    now_s = 0.0
    keys = KnownKeys(
        reaching(database), pool.acquire, clock=FixedClock(dt.datetime.now(dt.UTC)), monotonic_s=lambda: now_s
    )
    key = await ledger.make_key("ours")
    async with keys.running():
        await listening(keys)
        assert await keys.find(key) is not None
        await ledger.operator.execute("alter table app.api_keys disable trigger user")
        await ledger.operator.execute("update app.api_keys set revoked_at = now()")
        assert await keys.find(key) is not None
        now_s = 31.0
        assert await keys.find(key) is None


async def test_while_nobody_listens_every_key_is_looked_up(watched: Watched, ledger: Ledger) -> None:
    key = await ledger.make_key("ours")
    assert await watched.knows(key) is not None
    await ledger.operator.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'castledger-api-access'"
    )
    await until(lambda: not watched.keys.is_listening)
    assert [(await watched.costs(key))[1] for _ in range(2)] == [1, 1]
    await listening(watched.keys)
    assert await watched.knows(key) is not None


async def test_what_changed_during_a_look_up_is_not_known_as_it_was(
    database: DatabaseSettings, pool: Pool, ledger: Ledger
) -> None:
    key = await ledger.make_key("ours")
    keys = KnownKeys(reaching(database), pool.acquire, clock=FixedClock(dt.datetime.now(dt.UTC)))
    async with keys.running():
        await listening(keys)
        looking = asyncio.create_task(keys.find(key))
        await asyncio.sleep(0)
        keys.forget()
        assert await looking is not None
        await ledger.operator.execute("alter table app.api_keys disable trigger user")
        await ledger.operator.execute("update app.api_keys set revoked_at = now()")
        assert await keys.find(key) is None


async def test_a_key_is_refused_as_soon_as_we_have_revoked_it(api: Api, resources: Resources) -> None:
    await listening(resources.known_keys)
    made = (await api.request("POST", "/api-keys", json={"name": "short-lived"})).json()
    for _ in range(2):
        await api.data("/links", key=made["key"])
    assert (await api.request("DELETE", f"/api-keys/{made['key_id']}")).status_code == 204
    problem(await api.get("/links", key=made["key"]), 401, "unauthenticated")
