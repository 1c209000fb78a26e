"""Quotas: never stepped over, however many ask at once, and what is counted is what there is."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.keys import add_key
from analytics_core.db.links import add_link, archive_link
from analytics_core.db.memberships import add_membership, end_membership
from analytics_core.db.pool import Pool, Tenant, open_pool, tenant_transaction
from analytics_core.db.quotas import read_usage, set_quotas
from analytics_core.db.tenants import create_tenant, revoke_key
from analytics_core.db.users import create_user
from analytics_core.errors import QuotaExceeded
from analytics_core.ids import KeyId
from analytics_core.permissions import RoleName
from analytics_core.quotas import Metric, Period, Quota
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.days import find_today
from tests.factories import make_episode, make_podcast

pytestmark = pytest.mark.anyio

NOW = dt.datetime.now(dt.UTC)
CONNECTIONS = 20


@pytest.fixture(autouse=True)
def _day() -> None:
    """Have nobody count on two days."""
    find_today()


class ChangedMindError(Exception):
    """A transaction is to be rolled back."""


class Cast(NamedTuple):
    """The installation's own tenant and another one."""

    home: Tenant
    other: Tenant
    api: Pool


@pytest.fixture
async def cast(database: DatabaseSettings) -> AsyncIterator[Cast]:
    auth = await open_pool(database, Role.AUTH, application_name="test", max_size=1)
    api = await open_pool(database, Role.API, application_name="test", max_size=CONNECTIONS)
    home = await create_tenant(await auth.acquire(), slug="home", name="Home", is_installation=True)
    auth.terminate()
    other = await open_pool(database, Role.AUTH, application_name="test", max_size=1)
    row = await create_tenant(await other.acquire(), slug="other", name="Other")
    other.terminate()
    yield Cast(home.tenant, row.tenant, api)
    api.terminate()


async def limit(cast: Cast, *quotas: Quota) -> None:
    async with tenant_transaction(cast.api, cast.home) as conn:
        await set_quotas(conn, cast.other.tenant_id, quotas, now=NOW, by="test")


async def used(cast: Cast, metric: Metric) -> dict[Period, int]:
    async with tenant_transaction(cast.api, cast.other) as conn:
        usage = await read_usage(conn, cast.other.tenant_id, now=dt.datetime.now(dt.UTC))
    return {one.period: one.used for one in usage if one.metric is metric}


async def add(cast: Cast) -> None:
    async with tenant_transaction(cast.api, cast.other) as conn:
        url = "https://example.com/"
        await add_link(conn, cast.other, slug=uuid4().hex, url=url, utm={}, click_id=False, now=NOW)


@pytest.mark.parametrize("period", [Period.TOTAL, Period.DAY])
async def test_of_200_at_once_against_a_quota_of_100_exactly_100_pass(cast: Cast, period: Period) -> None:
    await limit(cast, Quota(Metric.LINKS, period, 100))
    outcomes = await asyncio.gather(*(add(cast) for _ in range(200)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) == 100
    assert all(isinstance(one, QuotaExceeded) and one.limit == 100 for one in refused)
    async with tenant_transaction(cast.api, cast.other) as conn:
        assert await conn.fetchval("select count(*) from app.links") == 100
    assert set((await used(cast, Metric.LINKS)).values()) == {100}


async def test_of_many_who_join_at_once_no_more_than_the_quota_do(cast: Cast, database: DatabaseSettings) -> None:
    await limit(cast, Quota(Metric.MEMBERS, Period.TOTAL, 10))
    auth = await open_pool(database, Role.AUTH, application_name="test", max_size=CONNECTIONS)

    async def join(number: int) -> UUID:
        async with tenant_transaction(auth, cast.other) as conn:
            user = await create_user(conn, email=f"{number}@example.com", name="", password_hash=None, now=NOW)
            await add_membership(conn, cast.other.tenant_id, user.user_id, role=RoleName.VIEWER, now=NOW)
            return user.user_id

    try:
        outcomes = await asyncio.gather(*(join(number) for number in range(40)), return_exceptions=True)
        joined = [outcome for outcome in outcomes if isinstance(outcome, UUID)]
        refused = [outcome for outcome in outcomes if not isinstance(outcome, UUID)]
        assert (len(joined), len(refused)) == (10, 30)
        assert all(isinstance(one, QuotaExceeded) and one.metric == "members" for one in refused)
        # Who was refused was not made either.
        assert await auth.fetchval("select count(*) from app.users") == 10
        async with tenant_transaction(auth, cast.other) as conn:
            await end_membership(conn, cast.other.tenant_id, joined[0], now=NOW)
        await join(40)
        with pytest.raises(QuotaExceeded):
            await join(41)
    finally:
        auth.terminate()


async def test_a_key_that_has_expired_gives_its_place_back_to_the_next_one(cast: Cast) -> None:
    await limit(cast, Quota(Metric.API_KEYS, Period.TOTAL, 2))
    past, future = NOW - dt.timedelta(minutes=1), NOW + dt.timedelta(days=1)

    async def make(expires_at: dt.datetime | None) -> KeyId:
        async with tenant_transaction(cast.api, cast.other) as conn:
            row, _ = await add_key(conn, cast.other, name="x", scopes=None, expires_at=expires_at)
            return row.key_id

    lasting = await make(future)
    expired = await make(past)
    assert (await used(cast, Metric.API_KEYS))[Period.TOTAL] == 2
    await make(None)
    with pytest.raises(QuotaExceeded):
        await make(None)
    assert await used(cast, Metric.API_KEYS) == {Period.DAY: 3, Period.MONTH: 3, Period.TOTAL: 2}
    # A place is given back once, whatever happens to the key then.
    async with tenant_transaction(cast.api, cast.other) as conn:
        assert await revoke_key(conn, cast.other, expired)
    assert (await used(cast, Metric.API_KEYS))[Period.TOTAL] == 2
    async with tenant_transaction(cast.api, cast.other) as conn:
        assert await revoke_key(conn, cast.other, lasting)
    assert (await used(cast, Metric.API_KEYS))[Period.TOTAL] == 1


async def test_expired_keys_give_way_to_no_more_than_the_quota_at_once(cast: Cast) -> None:
    async with tenant_transaction(cast.api, cast.other) as conn:
        for _ in range(5):
            await add_key(conn, cast.other, name="x", scopes=None)
        # Their time was shortened, as a rotation does.
        await conn.execute(
            "update app.api_keys set expires_at = $1"
            " where key_id <> (select key_id from app.api_keys order by created_at, key_id limit 1)",
            NOW - dt.timedelta(minutes=1),
        )
    assert (await used(cast, Metric.API_KEYS))[Period.TOTAL] == 5
    await limit(cast, Quota(Metric.API_KEYS, Period.TOTAL, 5))

    async def make() -> None:
        async with tenant_transaction(cast.api, cast.other) as conn:
            await add_key(conn, cast.other, name="x", scopes=None)

    outcomes = await asyncio.gather(*(make() for _ in range(20)), return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 4
    assert all(outcome is None or isinstance(outcome, QuotaExceeded) for outcome in outcomes)
    assert (await used(cast, Metric.API_KEYS))[Period.TOTAL] == 5


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "archive", "key", "revoke"]), st.booleans(), st.integers(0, 5)), max_size=12
    )
)
def test_what_is_counted_is_what_there_is(database: DatabaseSettings, steps: list[tuple[str, bool, int]]) -> None:
    """Whatever is made, taken away, and rolled back."""

    async def walk() -> None:
        api = await open_pool(database, Role.API, application_name="test", max_size=1)
        auth = await open_pool(database, Role.AUTH, application_name="test", max_size=1)
        tenant = (await create_tenant(await auth.acquire(), slug=uuid4().hex, name="x")).tenant
        auth.terminate()
        links: list[UUID] = []
        keys: list[KeyId] = []
        made_links = made_keys = 0
        try:
            for step, is_kept, which in steps:
                try:
                    async with tenant_transaction(api, tenant) as conn:
                        new: UUID | None = None
                        if step == "add":
                            new = await add_link(
                                conn,
                                tenant,
                                slug=uuid4().hex,
                                url="https://a.example/",
                                utm={},
                                click_id=False,
                                now=NOW,
                            )
                        elif step == "key":
                            new = (await add_key(conn, tenant, name="x", scopes=None))[0].key_id
                        elif step == "archive" and links:
                            await archive_link(conn, links[which % len(links)], now=NOW)
                        elif step == "revoke" and keys:
                            await revoke_key(conn, tenant, keys[which % len(keys)])
                        if not is_kept:
                            raise ChangedMindError
                except ChangedMindError:
                    continue
                if step == "add" and new is not None:
                    links.append(new)
                    made_links += 1
                elif step == "key" and new is not None:
                    keys.append(KeyId(new))
                    made_keys += 1
            async with tenant_transaction(api, tenant) as conn:
                usage = {
                    (one.metric, one.period): one.used
                    for one in await read_usage(conn, tenant.tenant_id, now=dt.datetime.now(dt.UTC))
                }
                there = await conn.fetchval("select count(*) from app.links where archived_at is null")
                valid = await conn.fetchval("select count(*) from app.api_keys where revoked_at is null")
        finally:
            api.terminate()
        assert (usage[Metric.LINKS, Period.TOTAL], usage[Metric.API_KEYS, Period.TOTAL]) == (there, valid)
        assert (usage[Metric.LINKS, Period.MONTH], usage[Metric.API_KEYS, Period.MONTH]) == (made_links, made_keys)

    asyncio.run(walk())


async def test_ingest_is_counted_and_not_held_to_quotas(cast: Cast, database: DatabaseSettings) -> None:
    made = await make_podcast(database, cast.other, make_episode("a"))
    await limit(cast, Quota(Metric.PODCASTS, Period.TOTAL, 0))
    with pytest.raises(QuotaExceeded):
        await make_podcast(database, cast.other, make_episode("b"))
    ingest = await open_pool(database, Role.INGEST, application_name="test", max_size=1)
    try:
        async with tenant_transaction(ingest, cast.other) as conn:
            await conn.execute(
                "insert into app.podcasts (tenant_id, podcast_id, tenant_no, podcast_guid, title, guid_declared)"
                " values ($1, $2, $3, $2, 'moved here', true)",
                cast.other.tenant_id,
                uuid4(),
                cast.other.tenant_no,
            )
        assert (await used(cast, Metric.PODCASTS))[Period.TOTAL] == 2
        async with tenant_transaction(ingest, cast.other) as conn:
            await conn.execute(
                "update app.podcasts set transferred_at = $2 where podcast_no = $1", made.podcast_no, NOW
            )
        assert (await used(cast, Metric.PODCASTS))[Period.TOTAL] == 1
    finally:
        ingest.terminate()


async def test_a_new_day_begins_anew(cast: Cast, database: DatabaseSettings) -> None:
    await limit(cast, Quota(Metric.LINKS, Period.DAY, 1))
    await add(cast)
    with pytest.raises(QuotaExceeded) as refused:
        await add(cast)
    assert refused.value.resets_at is not None
    owner = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    try:
        await owner.execute("update app.usage_counters set starts_on = starts_on - 1 where period = 'day'")
    finally:
        owner.terminate()
    assert (await used(cast, Metric.LINKS))[Period.DAY] == 0
    await add(cast)
    assert await used(cast, Metric.LINKS) == {Period.DAY: 1, Period.MONTH: 2, Period.TOTAL: 2}


async def test_who_began_before_midnight_puts_no_count_back(cast: Cast, database: DatabaseSettings) -> None:
    await limit(cast, Quota(Metric.LINKS, Period.DAY, 3))
    await add(cast)
    owner = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    try:
        # As if others had begun the next day and the next month meanwhile.
        await owner.execute(
            "update app.usage_counters set starts_on = starts_on + 31, used = 2 where period in ('day', 'month')"
        )
        before = await owner.fetch("select period, starts_on from app.usage_counters order by metric, period")
        await add(cast)
        with pytest.raises(QuotaExceeded):
            await add(cast)
        counted = "select used from app.usage_counters where metric = 'links' and period in ('day', 'month')"
        assert [row["used"] for row in await owner.fetch(counted)] == [3, 3]
        after = await owner.fetch("select period, starts_on from app.usage_counters order by metric, period")
        assert after == before
    finally:
        owner.terminate()


async def test_the_database_knows_the_metrics_of_the_code(cast: Cast) -> None:
    await limit(cast, *(Quota(metric, period, None) for metric in Metric for period in Period))
    async with tenant_transaction(cast.api, cast.other) as conn:
        assert len(await read_usage(conn, cast.other.tenant_id, now=NOW)) == len(Metric) * len(Period)
