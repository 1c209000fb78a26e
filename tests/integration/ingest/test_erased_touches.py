"""What runs keep of customers that were erased: who was given how much, and of their touches the day."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from analytics_core.conversions import ConversionSource, GivenConversion
from analytics_core.db.attribution_runs import RunRow
from analytics_core.db.conversion_actions import find_action
from analytics_core.db.conversions import Fate, NewConversion, add_conversions
from analytics_core.db.customer_erasure import count_customer
from analytics_core.db.erasure_requests import ask_for_customer
from analytics_core.db.pool import tenant_transaction
from analytics_core.erasures import ErasureRecord
from analytics_core.settings import DatabaseSettings
from tests.attributions import customer
from tests.integration.ingest.attributing import NOW, ROWS, Desk, day, open_desk
from tests.integration.ingest.erasing import Eraser

pytestmark = pytest.mark.anyio

ANN, BOB = customer("ann"), customer("bob")


@pytest.fixture
async def desk(database: DatabaseSettings) -> AsyncIterator[Desk]:
    async with open_desk(database) as made:
        yield made


async def erase(desk: Desk, eraser: Eraser, key: UUID) -> ErasureRecord:
    async with tenant_transaction(eraser.api, desk.tenant) as conn:
        stored = await ask_for_customer(conn, desk.tenant, key, now=NOW)
    record = await eraser.perform(await eraser.request(stored.record.erasure_id), now=NOW)
    assert record.finished_at is not None
    return record


async def make_ways(desk: Desk) -> tuple[UUID, UUID]:
    """Have Ann and Bob click, and buy with a code; returns their conversions."""
    acme = desk.acme
    flights = [await acme.flight(await acme.campaign(name)) for name in ("A", "B")]
    link = await acme.link("go", flights[0])
    await acme.code(flights[1], "SAVE20")
    action = await acme.action()
    made = []
    for who, at in ((ANN, 3.3), (BOB, 4.4)):
        await acme.signal(who, day(at), click_id=await acme.click(link, day(at)))
        click_id = await acme.click(link, day(at + 1))
        made.append(
            await acme.conversion(
                action, day(at + 5), 9_999, customer_key=who, promo_code="SAVE20", click_id=click_id, new_customer=True
            )
        )
    return made[0], made[1]


async def times(desk: Desk, run: RunRow, conversion_id: UUID) -> list[tuple[dt.datetime, bool]]:
    rows = await desk.acme.operator.fetch(
        """select occurred_at, is_day_only from app.attribution_touches
        where run_id = $1 and conversion_id = $2 order by touch_no""",
        run.run_id,
        conversion_id,
    )
    return [tuple(row) for row in rows]


async def test_touches_of_an_erased_customer_are_known_to_the_day_and_the_credits_stay(
    desk: Desk, eraser: Eraser
) -> None:
    anns, bobs = await make_ways(desk)
    one, two = await desk.run(), await desk.run(("last",))
    others = [table for table in ROWS if table != "attribution_touches"]
    before = {(run.run_id, table): await desk.rows(run, table) for run in (one, two) for table in others}
    exact = [(day(at), False) for at in (4.4, 5.4, 9.4)]
    assert await times(desk, one, bobs) == exact
    assert await times(desk, one, anns) == [(day(at), False) for at in (3.3, 4.3, 8.3)]
    async with tenant_transaction(eraser.ingest, desk.tenant) as conn:
        assert (await count_customer(conn, desk.tenant, ANN))["touches"] == 6
    record = await erase(desk, eraser, ANN)
    assert record.removed == {"signals": 1, "touches": 6, "conversions": 1}
    assert record.remaining == {"events": 0, "signals": 0, "conversions": 0, "touches": 0}
    for run in (one, two):
        assert await times(desk, run, anns) == [(day(at), True) for at in (3, 4, 8)]
        assert await times(desk, run, bobs) == exact
        for table in others:
            assert await desk.rows(run, table) == before[run.run_id, table]
    # Asked for anew a run knows what is left: the code, and neither click.
    again = await desk.run()
    assert await times(desk, again, anns) == [(day(8.3), False)]
    assert await times(desk, again, bobs) == exact


async def test_a_run_that_is_computed_while_a_customer_goes_keeps_the_day_as_well(
    desk: Desk, eraser: Eraser, database: DatabaseSettings
) -> None:
    anns, bobs = await make_ways(desk)
    asked = await desk.ask(("linear",))
    blocker = await asyncpg.connect(str(database.url))
    async with blocker.transaction():
        # The run has read what there is, and can write nothing yet.
        await blocker.execute("lock table app.attributed_conversions in exclusive mode")
        working = asyncio.create_task(desk.work())
        await eraser.somebody_waits()
        record = await erase(desk, eraser, ANN)
        assert record.removed["touches"] == 0
    await blocker.close()
    assert (await working)["ready"] == 1
    run = await desk.read(asked.run_id)
    # Its code is of the time of the order, which stays.
    assert await times(desk, run, anns) == [(day(3), True), (day(4), True), (day(8.3), False)]
    assert await times(desk, run, bobs) == [(day(at), False) for at in (4.4, 5.4, 9.4)]
    assert [amount for _, _, amount in await desk.credits(run, anns, "linear")] == [3_333] * 3


async def test_an_order_of_an_erased_customer_that_is_sent_again_is_the_one_that_is_there(
    desk: Desk, eraser: Eraser
) -> None:
    action_id = await desk.acme.action()
    async with tenant_transaction(desk.api, desk.tenant) as conn:
        action = await find_action(conn, action_id)

        def told(value_amount: int, click_id: UUID | None) -> NewConversion:
            given = GivenConversion(
                action_id=action_id,
                external_id="order-77",
                occurred_at=day(3),
                value_amount=value_amount,
                currency="EUR",
                click_id=click_id,
            )
            return NewConversion.of(
                given,
                action,
                tenant_id=desk.tenant.tenant_id,
                customer_key=ANN,
                source=ConversionSource.API,
                received_at=day(3),
            )

        click_id = UUID(int=7)
        [first] = await add_conversions(conn, [told(100, click_id)])
        fates = [one.fate for one in await add_conversions(conn, [told(100, click_id), told(101, click_id)])]
    assert (first.fate, fates) == (Fate.CREATED, [Fate.REPEATED, Fate.DIFFERS])
    await erase(desk, eraser, ANN)
    async with tenant_transaction(desk.api, desk.tenant) as conn:
        again = await add_conversions(conn, [told(100, click_id), told(101, None)])
        row = await conn.fetchrow("select value_amount, click_id, customer_key, said_hash from app.conversions")
    assert {(one.fate, one.conversion_id) for one in again} == {(Fate.REPEATED, first.conversion_id)}
    # Nothing of the first time is left by which a click that is guessed could be tried.
    assert tuple(row or ()) == (100, None, None, bytes(32))
