"""A merge of sponsors moves all that the one has to the other, or says what is in the way and moves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, LiteralString
from uuid import UUID

import asyncpg
import pytest

from analytics_core.db.event_marks import find_refundable
from analytics_core.db.pool import connect, open_pool, tenant_transaction
from analytics_core.db.sponsors import merge_sponsors
from analytics_core.errors import Conflict
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.factories import MadePodcast, make_episode, make_podcast, make_tenant
from tests.ledgers import NOW
from tests.postgres import SOMEBODY_WAITS, operator_url
from tests.sponsorships import sell

pytestmark = pytest.mark.anyio

_TABLES = """
select format('%I.%I', n.nspname, c.relname) as name
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'app' and c.relkind = 'r' and a.attname = 'sponsor_id' and c.relname <> 'sponsors' order by 1"""


@pytest.fixture
async def podcast(database: DatabaseSettings) -> MadePodcast:
    return await make_podcast(database, await make_tenant(database), make_episode("a"))


async def merge(database: DatabaseSettings, podcast: MadePodcast, one: UUID, into: UUID) -> int:
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, podcast.tenant) as conn:
            _, links = await merge_sponsors(conn, one, into=into, now=NOW)
            return links
    finally:
        await pool.close()


async def as_superuser(database: DatabaseSettings, work: Callable[[asyncpg.Connection[Any]], Awaitable[Any]]) -> Any:
    conn = await asyncpg.connect(operator_url(database))
    try:
        return await work(conn)
    finally:
        await conn.close()


async def rows_of(database: DatabaseSettings, sponsor_id: UUID) -> dict[str, int]:
    """Count the rows that say that they are a sponsor's, by table."""

    async def count(conn: asyncpg.Connection[Any]) -> dict[str, int]:
        names = [row["name"] for row in await conn.fetch(_TABLES)]
        counts = {
            name: await conn.fetchval(f"select count(*) from {name} where sponsor_id = $1", sponsor_id)
            for name in names
        }
        return {name.removeprefix("app."): count for name, count in counts.items()}

    found: dict[str, int] = await as_superuser(database, count)
    return found


async def test_all_of_the_one_is_the_others(database: DatabaseSettings, podcast: MadePodcast) -> None:
    one, _ = await sell(database, podcast)
    two, _ = await sell(database, podcast, name="Acme Inc.", code="OTHER", action="Order", in_slot=False)
    await as_superuser(
        database,
        lambda conn: conn.execute(
            "insert into app.placement_daily select tenant_id, sponsor_id, campaign_id, flight_id, placement_id,"
            " '2026-11-02', 1, 1 from app.placements on conflict do nothing"
        ),
    )
    before, theirs = await rows_of(database, one), await rows_of(database, two)
    assert set(before.values()) >= {1, 2}
    assert 0 not in before.values()
    assert await merge(database, podcast, one, two) == 1
    assert set((await rows_of(database, one)).values()) == {0}
    after = await rows_of(database, two)
    # Both reached somebody; how many together nobody has counted.
    assert after.pop("reach_months") == before.pop("reach_months") + theirs.pop("reach_months") - 2
    assert after == {name: count + theirs[name] for name, count in before.items()}


@pytest.mark.parametrize(
    ("same", "code", "named"),
    [
        ("update app.promo_codes set code = 'SAME'", "promo_code_taken", "SAME"),
        ("update app.conversion_actions set name = 'Same', name_key = $1", "action_name_taken", "'Same'"),
        ("update app.conversion_actions set event_type = 'same_event'", "event_type_taken", "same_event"),
        ("update app.survey_options set answer = 'A friend', answer_key = $1", "answer_taken", "'A friend'"),
    ],
)
async def test_what_both_have_once_is_in_the_way(
    database: DatabaseSettings, podcast: MadePodcast, same: LiteralString, code: str, named: str
) -> None:
    one, _ = await sell(database, podcast)
    two, _ = await sell(database, podcast, name="Acme Inc.", code="OTHER", action="Order", in_slot=False)
    arguments = [UUID(int=1)] if "$1" in same else []
    await as_superuser(database, lambda conn: conn.execute(same, *arguments))
    before = await rows_of(database, one)
    with pytest.raises(Conflict, match=named) as refused:
        await merge(database, podcast, one, two)
    assert refused.value.code == code
    assert await rows_of(database, one) == before
    # What is put away, or of another time, is in nobody's way.
    for put_away in (
        "update app.promo_codes set valid_from = '2027-01-01', valid_until = null where sponsor_id = $1",
        "update app.conversion_actions set name_key = gen_random_uuid(), archived_at = now() where sponsor_id = $1",
        "update app.survey_options set archived_at = now() where sponsor_id = $1",
    ):
        await as_superuser(database, lambda conn, put_away=put_away: conn.execute(put_away, one))  # type: ignore[misc]
    assert await merge(database, podcast, one, two) == 1


async def test_who_gives_several_back_waits_for_a_merge_and_is_not_stopped_by_it(
    database: DatabaseSettings, podcast: MadePodcast
) -> None:
    one, _ = await sell(database, podcast)
    two, _ = await sell(database, podcast, name="Acme Inc.", code="OTHER", action="Order", in_slot=False)
    # As they lie they are in the order opposite to that of their ids.
    ids = [UUID(int=number) for number in (2, 1)]
    for number, conversion_id in enumerate(ids):
        await as_superuser(
            database,
            lambda conn, number=number, conversion_id=conversion_id: conn.execute(  # type: ignore[misc]
                "insert into app.conversions (tenant_id, conversion_id, action_id, sponsor_id, external_id, said_hash,"
                " source, occurred_at, received_at) select tenant_id, $1, action_id, sponsor_id, $2, said_hash, source,"
                " occurred_at, received_at from app.conversions where sponsor_id = $3 limit 1",
                conversion_id,
                f"order-{number}",
                one,
            ),
        )
    ingest = await connect(database, Role.INGEST, application_name="test")
    watcher = await asyncpg.connect(operator_url(database))
    try:
        async with asyncio.timeout(30):
            async with ingest.transaction():
                tenant_id = podcast.tenant.tenant_id
                assert len(await find_refundable(ingest, [(tenant_id, "order-1")])) == 1
                merging = asyncio.create_task(merge(database, podcast, one, two))
                while not await watcher.fetchval(SOMEBODY_WAITS):  # noqa: ASYNC110 - another process, which tells nobody
                    await asyncio.sleep(0.01)
                assert len(await find_refundable(ingest, [(tenant_id, "order-0")])) == 1
            assert await merging == 1
    finally:
        await ingest.close()
        await watcher.close()
    assert (await rows_of(database, two))["conversions"] == 4
