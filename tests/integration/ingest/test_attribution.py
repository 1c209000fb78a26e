"""Attribution runs on a real database: every figure is counted by hand here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from analytics_core.attribution.parameters import Model, Parameters
from analytics_core.db.attribution_runs import (
    MAX_ATTEMPTS,
    MAX_WAITING,
    MovedMeanwhile,
    begin_run,
    computing,
    finish_run,
    list_waiting,
)
from analytics_core.db.pool import connection, tenant_transaction
from analytics_core.db.sponsors import merge_sponsors
from analytics_core.errors import Conflict, NotFound
from analytics_core.settings import DatabaseSettings
from ingest.attribution import RunLimits
from tests.attributions import MadeSponsor, customer
from tests.factories import make_episode, make_podcast, make_tenant
from tests.integration.ingest.attributing import END, NOW, ROWS, Desk, day, open_desk

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(database: DatabaseSettings) -> AsyncIterator[Desk]:
    async with open_desk(database) as made:
        yield made


async def test_one_customers_way_is_shared_by_every_model(desk: Desk) -> None:
    """The vector of the specification: 10,000 and touches ten, three and one day before."""
    acme = desk.acme
    flights = [await acme.flight(await acme.campaign(name)) for name in ("A", "B", "C")]
    links = [await acme.link(f"go-{number}", flight) for number, flight in enumerate(flights)]
    for link, before in zip(links, (10, 3, 1), strict=True):
        click = await acme.click(link, day(20 - before))
        await acme.signal(customer("ann"), day(20 - before), click_id=click)
    bought = await acme.conversion(await acme.action(), day(20), 10_000, customer_key=customer("ann"))
    run = await desk.run()
    wanted = {
        "first": [10_000, 0, 0],
        "last": [0, 0, 10_000],
        "linear": [3_334, 3_333, 3_333],
        "position": [4_000, 2_000, 4_000],
        "time_decay": [1_839, 3_678, 4_483],
        "shapley": [3_334, 3_333, 3_333],
    }
    for model, amounts in wanted.items():
        given = {flight: amount for flight, _, amount in await desk.credits(run, bought, model)}
        assert [given.get(flight, 0) for flight in flights] == amounts, model
        totals = await desk.totals(run, model)
        assert [totals.get((flight, "EUR"), (0, 0, 0))[2] for flight in flights] == amounts, model
    # Nothing that came with the conversion itself: no flight has it whole.
    assert await desk.totals(run, "deterministic") == {}
    assert (await desk.states(run))[bought] == ("attributed", None)


async def test_own_signals_in_their_order_and_reasons_of_those_without(desk: Desk) -> None:
    acme, other = desk.acme, await MadeSponsor.make(desk.acme.operator, desk.tenant, "Other")
    campaign = await acme.campaign(window_days=10)
    first, second = await acme.flight(campaign, "one"), await acme.flight(campaign, "two", window_days=2)
    foreign = await other.flight(await other.campaign())
    link, short = await acme.link("one", first), await acme.link("two", second)
    await acme.link("loose", None)
    await other.link("theirs", foreign)
    await acme.code(second, "SAVE20", valid_until=day(15.5), grace_days=7)
    await acme.option(first, "The Daily Cast")
    action = await acme.action()

    async def buy(at: float, value: int = 100, **said: Any) -> UUID:
        return await acme.conversion(action, day(at), value, **said)

    clicked, clicked_late = await acme.click(link, day(5)), await acme.click(short, day(5))
    wanted = {
        await buy(15, click_id=clicked, promo_code="save-20"): ("attributed", None, first, "click", False),
        # To the microsecond: its window of two days is over, and the code is surer than nothing.
        await buy(7.5, click_id=clicked_late, promo_code="Save 20"): ("attributed", None, second, "code", False),
        await buy(7, click_id=clicked_late): ("attributed", None, second, "click", False),
        await buy(7.1, click_id=clicked_late): ("unattributed", "outside_window", None, None, False),
        await buy(9, link="ONE"): ("attributed", None, first, "vanity", False),
        await buy(9, survey_answer="the daily  CAST"): ("attributed", None, first, "survey", False),
        await buy(16, promo_code="SAVE20"): ("attributed", None, second, "code", True),
        await buy(22.5, promo_code="SAVE20"): ("unattributed", "code_not_valid", None, None, False),
        await buy(9, promo_code="NOBODYS"): ("unattributed", "unknown_code", None, None, False),
        await buy(9, link="loose"): ("unattributed", "no_flight", None, None, False),
        await buy(9, link="theirs"): ("unattributed", "other_sponsor", None, None, False),
        await buy(9, link="never"): ("unattributed", "unknown_link", None, None, False),
        await buy(9, click_id=UUID(int=7)): ("unattributed", "unknown_click", None, None, False),
        await buy(9, survey_answer="a friend"): ("unattributed", "unknown_answer", None, None, False),
        await buy(9): ("unattributed", "no_signal", None, None, False),
    }
    run = await desk.run()
    found = await acme.operator.fetch("select * from app.attributed_conversions where run_id = $1", run.run_id)
    assert {
        row["conversion_id"]: (row["status"], row["reason"], row["flight_id"], row["signal"], row["is_late_code"])
        for row in found
    } == wanted
    assert await desk.totals(run, "deterministic") == {
        (first, "EUR"): (3_000_000, 0, 300),
        (second, "EUR"): (3_000_000, 0, 300),
    }
    # The one that had both was shared: what the click and the code name are two touches.
    assert await desk.totals(run, "linear") == {
        (first, "EUR"): (2_500_000, 0, 250),
        (second, "EUR"): (3_500_000, 0, 350),
    }
    summary = run.summary
    assert summary is not None
    assert summary.conversions == 15
    of_sponsor = "select campaign_id from app.campaigns where sponsor_id = $1 order by 1"
    assert summary.campaigns == [row["campaign_id"] for row in await acme.operator.fetch(of_sponsor, run.sponsor_id)]
    assert {(one.status.value, one.conversions, one.value_amount) for one in summary.counted} == {
        ("attributed", 6, 600),
        ("unattributed", 9, 900),
    }
    assert summary.signals == {"click": 2, "vanity": 1, "code": 2, "survey": 1}
    assert (summary.codes, summary.unknown_codes, summary.late_codes) == (5, 1, 1)
    # One of fifteen is 6.7 %.
    assert {one.code for one in summary.warnings} == {"unknown_codes", "unknown_clicks"}
    # The other sponsor has none of it.
    assert (await desk.run(sponsor_id=other.sponsor_id)).summary.conversions == 0  # type: ignore[union-attr]


async def test_refunds_counting_and_prior_customers(desk: Desk) -> None:
    acme = desk.acme
    open_to_all = await acme.flight(await acme.campaign("open"))
    only_new = await acme.flight(await acme.campaign("new", excludes_prior_customers=True))
    await acme.code(open_to_all, "OPEN")
    await acme.code(only_new, "NEWONLY")
    every, once = await acme.action("buy"), await acme.action("subscribe", counting="one")
    ann, bob, eve = customer("ann"), customer("bob"), customer("eve")
    # Taken back, and taken back in part; each by the last word, received before the cutoff.
    gone = await acme.conversion(every, day(1), 500, promo_code="OPEN")
    await acme.adjust(gone, 200, day(2))
    await acme.adjust(gone, None, day(3))
    less = await acme.conversion(every, day(1), 500, promo_code="OPEN", new_customer=True)
    await acme.adjust(less, None, day(2))
    await acme.adjust(less, 120, day(3))
    await acme.adjust(less, None, day(4), received_at=NOW)
    # Ann subscribes three times, and the window of 30 days begins with the first that was one.
    none = await acme.conversion(once, day(1), customer_key=ann, promo_code="OPEN")
    await acme.adjust(none, None, day(2))
    counted = await acme.conversion(once, day(2), customer_key=ann, promo_code="OPEN")
    again = await acme.conversion(once, day(20), customer_key=ann, promo_code="OPEN")
    # Bob was a customer before, and his code is for new ones alone; Eve's second code is not.
    await acme.conversion(every, day(3), 1, customer_key=bob)
    old = await acme.conversion(every, day(10), 700, customer_key=bob, promo_code="NEWONLY")
    told_old = await acme.conversion(every, day(10), 700, promo_code="NEWONLY", new_customer=False)
    await acme.signal(eve, day(4), promo_code="OPEN")
    mixed = await acme.conversion(every, day(10), 90, customer_key=eve, promo_code="NEWONLY", new_customer=False)
    fresh = await acme.conversion(every, day(10), 80, customer_key=customer("new"), promo_code="NEWONLY")
    # Received too late, or outside the range.
    await acme.conversion(every, day(10), 1, received_at=NOW, promo_code="OPEN")
    await acme.conversion(every, END, 1, promo_code="OPEN")
    run = await desk.run()
    states = await desk.states(run)
    assert states[gone] == ("retracted", "retracted")
    assert states[less] == ("attributed", None)
    assert states[none] == ("retracted", "retracted")
    assert states[counted] == ("attributed", None)
    assert states[again] == ("not_counted", "counted_before")
    assert states[old] == ("excluded", "prior_customer")
    assert states[told_old] == ("excluded", "prior_customer")
    assert states[mixed] == states[fresh] == ("attributed", None)
    assert len(states) == 10
    # Eve's conversion is the open campaign's alone; deterministically it is nobody's, as its own signal does not count.
    assert await desk.credits(run, mixed, "linear") == [(open_to_all, 1_000_000, 90)]
    assert await desk.totals(run, "deterministic") == {
        (open_to_all, "EUR"): (1_000_000, 1_000_000, 120),
        (open_to_all, ""): (1_000_000, 0, 0),
        (only_new, "EUR"): (1_000_000, 0, 80),
    }
    summary = run.summary
    assert summary is not None
    assert [(one.currency, one.conversions, one.value_amount) for one in summary.refunded] == [("EUR", 2, 880)]
    # A later run knows what was received since.
    later = await desk.run(cutoff_at=NOW)
    assert (await desk.states(later)) == states


async def test_a_code_that_leaked_stays_credited_and_is_counted_apart(desk: Desk, database: DatabaseSettings) -> None:
    acme = desk.acme
    podcast = await make_podcast(database, desk.tenant, make_episode("a"))
    campaign = await acme.campaign(window_days=5)
    heard, unheard = await acme.flight(campaign, "heard"), await acme.flight(campaign, "unheard")
    await acme.place(heard, podcast.episodes["a"], day(3).date(), day(4).date())
    await acme.code(heard, "HEARD")
    await acme.code(unheard, "UNHEARD")
    action = await acme.action()
    leaks = {
        await acme.conversion(action, day(8), 1, promo_code="HEARD"): None,
        # The day on which the window begins counts as a whole.
        await acme.conversion(action, day(9.9), 1, promo_code="HEARD"): None,
        await acme.conversion(action, day(10), 1, promo_code="HEARD"): "no_exposure",
        await acme.conversion(action, day(2.9), 1, promo_code="HEARD"): "no_exposure",
        await acme.conversion(
            action, day(8), 1, promo_code="HEARD", referrer_host="www.retailmenot.com"
        ): "coupon_referrer",
        await acme.conversion(action, day(8), 1, promo_code="HEARD", referrer_host="news.example"): None,
        await acme.conversion(action, day(8), 1, promo_code="UNHEARD"): "no_exposure",
        await acme.conversion(action, day(8), 1, promo_code="NOBODYS"): None,
        await acme.conversion(action, day(8), 1): None,
    }
    run = await desk.run()
    found = await acme.operator.fetch("select * from app.attributed_conversions where run_id = $1", run.run_id)
    assert {row["conversion_id"]: row["leak"] for row in found} == leaks
    assert run.summary is not None
    assert run.summary.leaks == {"coupon_referrer": 1, "no_exposure": 3}
    assert await desk.totals(run, "last") == {
        (heard, "EUR"): (6_000_000, 0, 6),
        (unheard, "EUR"): (1_000_000, 0, 1),
    }


async def make_many(desk: Desk, customers: int) -> None:
    """Have customers touched by two campaigns in turn, every third of whom does not buy."""
    acme = desk.acme
    flights = [await acme.flight(await acme.campaign(name)) for name in ("A", "B")]
    for number, flight in enumerate(flights):
        await acme.code(flight, f"CODE{number}")
    action = await acme.action()
    for number in range(customers):
        who = customer(str(number))
        for at in range(number % 4):
            await acme.signal(who, day(1 + at + number % 7), promo_code=f"CODE{(number + at) % 2}")
        if number % 3:
            await acme.conversion(
                action,
                day(12 + number % 9),
                1000 + number,
                currency="EUR" if number % 5 else "USD",
                customer_key=who,
                new_customer=bool(number % 2),
            )


async def test_the_same_question_gives_the_same_rows(desk: Desk) -> None:
    await make_many(desk, 210)
    one, two = await desk.run(tuple(Model)), await desk.run(tuple(Model))
    for table in ROWS:
        rows = await desk.rows(one, table)
        assert len(rows) > 20 or table == "attribution_totals"
        assert rows == await desk.rows(two, table)
    assert one.params_hash == two.params_hash
    assert one.summary == two.summary
    assert one.summary is not None
    assert one.summary.insufficient == {}
    assert set(one.summary.removal_ppm.values()) <= set(range(1, 1_000_001))
    assert len(one.summary.removal_ppm) == 2
    other = await desk.run(tuple(Model), params=Parameters(half_life_days=1))
    assert other.params_hash != one.params_hash
    assert await desk.rows(other, "attribution_credits") != await desk.rows(one, "attribution_credits")


async def test_all_of_a_conversion_is_given_once_by_every_model(desk: Desk) -> None:
    await make_many(desk, 210)
    run = await desk.run(tuple(Model))
    found = await desk.acme.operator.fetch(
        """select a.conversion_id, c.model, sum(c.credit_ppm) as ppm, sum(c.value_amount) as value, a.value_amount
        from app.attributed_conversions a left join app.attribution_credits c using (run_id, conversion_id)
        where a.run_id = $1 and a.status = 'attributed' group by a.conversion_id, c.model, a.value_amount""",
        run.run_id,
    )
    attributed = {row["conversion_id"] for row in found}
    assert len(attributed) > 90
    assert len(found) == len(attributed) * len(Model)
    assert all((row["ppm"], row["value"]) == (1_000_000, row["value_amount"]) for row in found)
    for model in Model:
        totals = await desk.totals(run, model.value)
        assert sum(ppm for ppm, _, _ in totals.values()) == len(attributed) * 1_000_000
        for currency in ("EUR", "USD"):
            assert sum(value for (_, of), (_, _, value) in totals.items() if of == currency) == sum(
                row["value_amount"]
                for row in await desk.acme.operator.fetch(
                    """select value_amount from app.attributed_conversions
                    where run_id = $1 and status = 'attributed' and currency = $2""",
                    run.run_id,
                    currency,
                )
            )


async def test_too_few_paths_are_said_and_the_other_models_answer(desk: Desk) -> None:
    await make_many(desk, 60)
    run = await desk.run(("linear", "markov"))
    assert run.summary is not None
    assert "fewer than 100" in run.summary.insufficient[Model.MARKOV]
    assert await desk.totals(run, "markov") == {}
    assert await desk.totals(run, "linear")


async def test_a_run_of_nothing_is_ready_and_empty(desk: Desk) -> None:
    run = await desk.run(tuple(Model))
    assert (run.status, run.done_ppm) == ("ready", 1_000_000)
    assert run.summary is not None
    assert (run.summary.conversions, run.summary.counted, run.summary.warnings) == (0, [], [])
    for table in ROWS:
        assert await desk.rows(run, table) == []


async def test_what_is_over_does_not_change(desk: Desk) -> None:
    await make_many(desk, 20)
    run = await desk.run()
    before = [await desk.rows(run, table) for table in ROWS]
    async with connection(desk.ingest) as conn:
        for statement in (
            "update app.attribution_touches set occurred_at = occurred_at + interval '1 second' where run_id = $1",
            "update app.attribution_touches set occurred_at = '2026-11-05Z', is_day_only = true where run_id = $1",
            "update app.attribution_runs set status = 'running', finished_at = null where run_id = $1",
            "update app.attribution_runs set summary = '{}' where run_id = $1",
            *(f"delete from app.{table} where run_id = $1" for table in reversed(ROWS)),
            """insert into app.attributed_conversions (tenant_id, run_id, conversion_id, sponsor_id, occurred_at,
                status)
            select tenant_id, run_id, gen_random_uuid(), sponsor_id, now(), 'excluded' from app.attribution_runs
            where run_id = $1""",
        ):
            with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
                await conn.execute(statement, run.run_id)
    assert [await desk.rows(run, table) for table in ROWS] == before
    # A merge of sponsors alone says whose it is now, and its rows go with it.
    other = await MadeSponsor.make(desk.acme.operator, desk.tenant, "Other")
    await desk.acme.operator.execute("set role castledger_owner")
    await desk.acme.operator.execute("select set_config('app.tenant_id', $1, false)", str(desk.tenant.tenant_id))
    await desk.acme.operator.execute(
        "update app.attribution_runs set sponsor_id = $2 where run_id = $1", run.run_id, other.sponsor_id
    )
    await desk.acme.operator.execute("reset role")
    for table in ROWS:
        whose = await desk.acme.operator.fetch(f"select distinct sponsor_id from app.{table}")
        assert [row["sponsor_id"] for row in whose] == [other.sponsor_id]
    # And with the run they go.
    await desk.acme.operator.execute("set role castledger_owner")
    await desk.acme.operator.execute("delete from app.attribution_runs where run_id = $1", run.run_id)
    await desk.acme.operator.execute("reset role")
    assert [await desk.rows(run, table) for table in ROWS] == [[], [], [], []]


async def test_a_run_that_was_stopped_is_begun_again_and_ends_the_same(desk: Desk) -> None:
    await make_many(desk, 120)
    whole = await desk.run()
    asked = await desk.ask()
    # As a process leaves it that died after its first models: rows, and the word that it is being computed.
    async with connection(desk.ingest) as conn:
        [waiting] = await list_waiting(conn)
        await begin_run(conn, waiting, code_version="dead")
        for table in ROWS[:3]:
            await conn.execute(
                f"""insert into app.{table} select (jsonb_populate_record(o, jsonb_build_object('run_id', $2::uuid))).*
                from app.{table} o where run_id = $1""",
                whole.run_id,
                asked.run_id,
            )
    assert await desk.work() == {"ready": 1, "failed": 0, "left": 0}
    run = await desk.read(asked.run_id)
    assert run.status == "ready"
    for table in ROWS:
        assert await desk.rows(run, table) == await desk.rows(whole, table)


async def test_one_that_stops_whoever_computes_it_fails_after_a_few_times(desk: Desk) -> None:
    asked = await desk.ask()
    async with connection(desk.ingest) as conn:
        for _ in range(MAX_ATTEMPTS):
            [waiting] = await list_waiting(conn)
            await begin_run(conn, waiting, code_version="dead")
    assert await desk.work() == {"ready": 0, "failed": 1, "left": 0}
    run = await desk.read(asked.run_id)
    assert (run.status, run.summary) == ("failed", None)
    assert run.error is not None
    assert "stopped 5 times" in run.error
    assert await desk.work() == {"ready": 0, "failed": 0, "left": 0}


async def test_more_than_can_be_computed_fails_and_leaves_nothing(desk: Desk) -> None:
    await make_many(desk, 60)
    asked = await desk.ask()
    assert (await desk.work(RunLimits(touches=10)))["failed"] == 1
    run = await desk.read(asked.run_id)
    assert run.error == "there are more than 10 touches: ask for a shorter range"
    for table in ROWS:
        assert await desk.rows(run, table) == []


async def test_two_processes_share_the_work_and_nothing_is_done_twice(desk: Desk) -> None:
    await make_many(desk, 60)
    asked = [await desk.ask() for _ in range(4)]

    async def work() -> dict[str, int]:
        return await desk.work()

    done = await asyncio.gather(work(), work())
    assert sum(one["ready"] for one in done) == 4
    runs = [await desk.read(one.run_id) for one in asked]
    assert {run.status for run in runs} == {"ready"}
    attempts = await desk.acme.operator.fetch("select attempts from app.attribution_runs")
    assert {row["attempts"] for row in attempts} == {1}


async def test_somebody_elses_run_is_left_to_them(desk: Desk) -> None:
    asked = await desk.ask()
    async with connection(desk.ingest) as conn, computing(conn, asked.run_id) as is_ours:
        assert is_ours
        assert await desk.work() == {"ready": 0, "failed": 0, "left": 1}
    assert (await desk.work())["ready"] == 1


async def test_a_run_whose_sponsor_is_merged_meanwhile_is_about_what_the_other_has(desk: Desk) -> None:
    await make_many(desk, 20)
    whole = await desk.run()
    other = await MadeSponsor.make(desk.acme.operator, desk.tenant, "Other")
    asked = await desk.ask()
    async with connection(desk.ingest) as conn:
        [waiting] = await list_waiting(conn)
        await begin_run(conn, waiting, code_version="before")
        async with tenant_transaction(desk.api, desk.tenant) as api:
            await merge_sponsors(api, desk.acme.sponsor_id, into=other.sponsor_id, now=NOW)
        # Of the one that was merged there was nothing to read.
        assert whole.summary is not None
        with pytest.raises(MovedMeanwhile):
            await finish_run(conn, waiting, whole.summary, now=NOW)
    assert await desk.work() == {"ready": 1, "failed": 0, "left": 0}
    run = await desk.read(asked.run_id)
    assert (run.sponsor_id, run.summary) == (other.sponsor_id, whole.summary)
    with pytest.raises(Conflict, match=str(other.sponsor_id)) as refused:
        await desk.ask()
    assert refused.value.code == "sponsor_merged"


async def test_asking_makes_the_job_due(desk: Desk) -> None:
    operator = desk.acme.operator
    await operator.execute("insert into ops.jobs (kind, due_at) values ('attribution', now() + interval '1 hour')")
    await desk.ask()
    assert await operator.fetchval("select due_at <= now() from ops.jobs where kind = 'attribution'")


async def test_too_many_waiting_and_foreign_sponsors_are_refused(desk: Desk, database: DatabaseSettings) -> None:
    stranger = await MadeSponsor.make(desk.acme.operator, await make_tenant(database, "two"), "Theirs")
    with pytest.raises(NotFound):
        await desk.ask(sponsor_id=stranger.sponsor_id)
    for _ in range(MAX_WAITING):
        await desk.ask()
    with pytest.raises(Conflict, match="waiting"):
        await desk.ask()


async def test_a_key_that_many_share_is_nobody(desk: Desk) -> None:
    acme = desk.acme
    flight = await acme.flight(await acme.campaign())
    await acme.code(flight, "GUEST")
    action, guest = await acme.action(), customer("guest")
    first = await acme.conversion(action, day(1), 5, customer_key=guest, promo_code="GUEST")
    second = await acme.conversion(action, day(2), 5, customer_key=guest)
    few = await desk.run(limits=RunLimits(of_customer=2))
    assert (await desk.states(few))[second] == ("attributed", None)
    third = await acme.conversion(action, day(3), 5, customer_key=guest)
    wanted = {
        first: ("attributed", None),
        second: ("unattributed", "no_signal"),
        third: ("unattributed", "no_signal"),
    }
    run = await desk.run(limits=RunLimits(of_customer=2))
    assert await desk.states(run) == wanted
    # The same where they are read in parts.
    fourth = await acme.conversion(action, day(4), 5, customer_key=guest)
    in_parts = await desk.run(limits=RunLimits(of_customer=2, read_rows=1))
    assert await desk.states(in_parts) == {**wanted, fourth: ("unattributed", "no_signal")}
    assert run.summary is not None
    assert [one.code for one in run.summary.warnings] == ["shared_customers"]
