"""Conversions by the codes that were entered with them: folded as the rules fold, found by an index, and to a limit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.pool import tenant_transaction
from analytics_core.db.promo_codes import CodeFilter, list_promo_codes
from analytics_core.db.redemptions import read_limits
from analytics_core.promo_codes import FOLD_FROM, FOLD_TO, fold_code
from analytics_core.settings import DatabaseSettings
from tests.integration.ingest.attributing import Desk, day, open_desk

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(database: DatabaseSettings) -> AsyncIterator[Desk]:
    async with open_desk(database) as made:
        yield made


_ENTERED = st.text(
    st.sampled_from(FOLD_FROM + FOLD_TO + "äßıſ€é\U0001f600'\\") | st.characters(codec="utf-8", exclude_characters="\0")
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_ENTERED, max_size=60))
async def test_the_database_folds_what_was_entered_as_the_rules_do(desk: Desk, drawn: list[str]) -> None:
    entered = [*FOLD_FROM, *FOLD_TO, FOLD_FROM, "", *drawn]
    folded = await desk.acme.operator.fetchval(
        "select array_agg(app.fold_code(e) order by n) from unnest($1::text[]) with ordinality as u(e, n)", entered
    )
    assert folded == [fold_code(text) for text in entered]


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """List a plan's nodes."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def test_reading_codes_reads_their_conversions_and_no_others(desk: Desk) -> None:
    acme = desk.acme
    flight = await acme.flight(await acme.campaign())
    for number in range(300):
        await acme.code(flight, f"POD{number}", max_redemptions=10 if number % 2 else None)
    await acme.conversion(await acme.action(), day(9), promo_code="OTHER")
    await acme.operator.execute(
        """insert into app.conversions (tenant_id, conversion_id, action_id, sponsor_id, external_id, said_hash, source,
            occurred_at, received_at, promo_code)
        select c.tenant_id, gen_random_uuid(), c.action_id, c.sponsor_id, n::text, c.said_hash, 'api',
            c.occurred_at - n * interval '1 second', c.received_at, case when n % 3 > 0 then 'pod-' || n % 400 end
        from app.conversions c, generate_series(1, 20000) n"""
    )
    await acme.operator.execute("analyze app.conversions, app.promo_codes")
    sent: list[tuple[str, tuple[Any, ...]]] = []
    async with tenant_transaction(desk.api, desk.tenant) as conn:
        with conn.query_logger(lambda record: sent.append((record.query, tuple(record.args or ())))):
            rows = await list_promo_codes(conn, CodeFilter(sponsor_id=acme.sponsor_id), after=None, limit=20)
        # The driver tells of a statement when the loop comes round.
        await asyncio.sleep(0)
        [(text, values)] = sent
        plan = json.loads(await conn.fetchval("explain (analyze, format json) " + text, *values))[0]["Plan"]
    redemptions = sum(row.redemptions for row in rows)
    assert len(rows) == 20
    assert redemptions > 500
    assert sum(row.over_limit_redemptions for row in rows) == sum(
        max(row.redemptions - row.max_redemptions, 0) for row in rows if row.max_redemptions
    )
    # Each worker's rows are a mean that is rounded.
    read = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes(plan)
        if node.get("Relation Name") == "conversions"
    )
    assert redemptions <= read + 20
    assert read <= redemptions + 20


async def test_a_limit_is_reached_by_when_redemptions_occurred_and_not_by_when_they_came_in(desk: Desk) -> None:
    acme = desk.acme
    flight = await acme.flight(await acme.campaign())
    code = await acme.code(flight, "SAVE20", max_redemptions=2, valid_until=day(8), grace_days=3)
    await acme.code(flight, "OTHER", max_redemptions=9)
    action = await acme.action()

    async def redeem(at: float, entered: str = "save-20", *, told: float | None = None) -> UUID:
        received_at = None if told is None else day(told)
        return await acme.conversion(action, day(at), 1, promo_code=entered, received_at=received_at)

    third, second, gone, late = [await redeem(at) for at in (5, 4, 1, 9)]
    first = await redeem(2, told=20)
    await acme.adjust(gone, None, day(6))
    await redeem(11, "SAVE20")
    await redeem(0.5, "OTHER")

    async def last(cutoff: float) -> dict[UUID, UUID]:
        async with tenant_transaction(desk.api, desk.tenant) as conn:
            limits = await read_limits(conn, desk.tenant, sponsor_id=acme.sponsor_id, cutoff_at=day(cutoff))
        assert all(at == day(when[found]) for at, found in limits.last.values())
        return {code_id: found for code_id, (_, found) in limits.last.items()}

    when = {third: 5.0, second: 4.0, gone: 1.0, late: 9.0, first: 2.0}
    # As it was known at each time: with the one that was retracted later, without it, and with the one that came late.
    assert await last(4.5) == {code: second}
    assert await last(6.5) == {code: third}
    assert await last(21) == {code: second}
    run = await desk.run(("last",))
    found = await acme.operator.fetch(
        "select conversion_id, leak from app.attributed_conversions where run_id = $1", run.run_id
    )
    leaks = {row["conversion_id"]: row["leak"] for row in found}
    assert {one: leaks[one] for one in when} == {
        first: "no_exposure",
        second: "no_exposure",
        third: "over_limit",
        late: "over_limit",
        gone: None,
    }
    assert run.summary is not None
    # Beyond the limit is a sign and no reason to give nothing.
    assert run.summary.leaks["over_limit"] == 2
    assert (await desk.states(run))[third] == ("attributed", None)
