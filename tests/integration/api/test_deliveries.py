"""Deliveries over HTTP: every figure beside a count by hand, and who sees them."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from analytics_core.attribution.parameters import Model
from analytics_core.clock import FixedClock
from analytics_core.db.deliveries import MAX_DAYS, MAX_PLACEMENTS
from analytics_core.permissions import RoleName
from tests.campaigns import MadeCampaign, deliver, make_campaign, make_flight, make_placement, make_run
from tests.integration.api.ledger import Api, Ledger, problem
from tests.integration.api.people import make_person, sign_in
from tests.integration.api.test_sponsor_logins import hold
from tests.integration.api.test_sponsors import follow, make, make_link

pytestmark = pytest.mark.anyio

# The tests' clock stands at noon of the 24th: the flight ended on the 21st, and is measured for 30 days.


class World(NamedTuple):
    """A campaign of a flight with two placements, which are in two episodes of a podcast."""

    campaign: MadeCampaign
    flight_id: UUID
    placements: tuple[UUID, UUID]
    episodes: tuple[str, str]
    podcast_id: str


@pytest.fixture
async def world(api: Api, ledger: Ledger) -> World:
    sponsor = await make(api, "Acme")
    podcast = await api.add_podcast()
    episodes = (await api.data(f"/podcasts/{podcast['podcast_id']}/episodes"))["data"]
    tenant = await ledger.tenant_of("home")
    campaign = await make_campaign(ledger.operator, tenant, sponsor["sponsor_id"])
    flight_id = await make_flight(ledger.operator, campaign)
    ids = (episodes[0]["episode_id"], episodes[1]["episode_id"])
    one, other = [await make_placement(ledger.operator, campaign, flight_id, episode_id) for episode_id in ids]
    await deliver(ledger.operator, one, "2026-11-02", 300, strict=280)
    await deliver(ledger.operator, one, "2026-11-03", 100)
    await deliver(ledger.operator, other, "2026-11-03", 250, strict=200)
    return World(campaign, flight_id, (one, other), ids, podcast["podcast_id"])


def pick(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: answer[name] for name in names}


async def test_a_flight_is_told_by_placement_and_by_day(api: Api, world: World) -> None:
    answer = await api.data(f"/flights/{world.flight_id}/delivery")
    assert pick(
        answer, "booked", "delivered", "delivered_strict", "expected", "index", "state", "pace_reason", "phase"
    ) == {
        "booked": 1_000,
        "delivered": 650,
        "delivered_strict": 580,
        "expected": 1_000,
        "index": 0.65,
        "state": "under",
        "pace_reason": None,
        "phase": "measuring",
    }
    assert pick(answer, "makegood_owed", "makegood_reason", "makegood_booked", "measured_until") == {
        "makegood_owed": None,
        "makegood_reason": "not_over",
        "makegood_booked": 0,
        "measured_until": "2026-12-21T00:00:00Z",
    }
    projected = answer["projected"]
    assert 650 <= projected["low"] <= projected["mid"] <= projected["high"] < 1_000
    assert answer["days"] == [
        {"day": "2026-11-02", "delivered": 300, "delivered_strict": 280},
        {"day": "2026-11-03", "delivered": 350, "delivered_strict": 300},
    ]
    assert {
        (row["placement_id"], row["episode_id"], row["episode_title"], row["delivered"], row["delivered_strict"])
        for row in answer["placements"]
    } == {
        (str(world.placements[0]), world.episodes[0], "Episode 2", 400, 380),
        (str(world.placements[1]), world.episodes[1], "Episode 1", 250, 200),
    }
    assert {(row["podcast_id"], row["podcast_title"]) for row in answer["placements"]} == {
        (world.podcast_id, "Podcast 1")
    }


async def test_nothing_is_expected_before_the_start_nor_without_a_booking(
    api: Api, ledger: Ledger, world: World
) -> None:
    later = await make_flight(
        ledger.operator,
        world.campaign,
        starts_at=dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        ends_at=dt.datetime(2026, 12, 31, tzinfo=dt.UTC),
    )
    open_end = await make_flight(ledger.operator, world.campaign, booked_impressions=None)
    gone = await make_flight(ledger.operator, world.campaign, status="cancelled")
    for flight_id, pace, makegood, projection in (
        (later, "not_started", "not_over", "no_placements"),
        (open_end, "no_booking", "no_booking", "no_placements"),
        (gone, "cancelled", "cancelled", "cancelled"),
    ):
        answer = await api.data(f"/flights/{flight_id}/delivery")
        assert pick(
            answer,
            *("expected", "index", "state", "pace_reason", "makegood_owed", "makegood_reason"),
            *("projected", "projected_reason", "delivered", "placements", "days"),
        ) == {
            "expected": None,
            "index": None,
            "state": None,
            "pace_reason": pace,
            "makegood_owed": None,
            "makegood_reason": makegood,
            "projected": None,
            "projected_reason": projection,
            "delivered": 0,
            "placements": [],
            "days": [],
        }


async def test_a_make_good_is_owed_once_measurement_is_over_and_says_what_was_booked_for_it(
    api: Api, ledger: Ledger, world: World, clock: FixedClock
) -> None:
    await make_flight(
        ledger.operator, world.campaign, booked_impressions=200, price_amount=0, makegood_of=world.flight_id
    )
    await make_flight(
        ledger.operator, world.campaign, booked_impressions=900, status="cancelled", makegood_of=world.flight_id
    )
    clock.advance(dt.timedelta(days=27))
    answer = await api.data(f"/flights/{world.flight_id}/delivery")
    assert pick(answer, "phase", "makegood_owed", "makegood_reason", "makegood_booked", "projected") == {
        "phase": "measured",
        "makegood_owed": 350,
        "makegood_reason": None,
        "makegood_booked": 200,
        "projected": {"low": 650, "mid": 650, "high": 650},
    }
    # The campaign was booked once: what is made good is no second promise.
    whole = await api.data(f"/campaigns/{world.campaign.campaign_id}/delivery")
    assert pick(whole, "booked", "delivered", "expected", "index", "makegood_owed", "makegood_booked") == {
        "booked": 1_000,
        "delivered": 650,
        "expected": 1_000,
        "index": 0.65,
        "makegood_owed": 350,
        "makegood_booked": 200,
    }


async def test_an_order_without_flights_costs_nothing_that_is_known(api: Api, ledger: Ledger, world: World) -> None:
    empty = await make_campaign(ledger.operator, world.campaign.tenant, world.campaign.sponsor_id)
    answer = await api.data(f"/insertion-orders/{empty.insertion_order_id}/invoice")
    assert pick(answer, "lines", "total_amount", "total_reason", "is_final") == {
        "lines": [],
        "total_amount": None,
        "total_reason": "no_flights",
        "is_final": False,
    }


async def test_more_than_can_be_told_at_once_is_refused_with_the_limit(api: Api, ledger: Ledger, world: World) -> None:
    other = await make_flight(ledger.operator, world.campaign)
    # Many at once, without what each of them sets off.
    await ledger.operator.execute("set session_replication_role = replica")
    await ledger.operator.execute(
        """insert into app.placements select (jsonb_populate_record(p, jsonb_build_object('placement_id',
            gen_random_uuid(), 'flight_id', $2::uuid))).* from app.placements p, generate_series(1, $3::integer)
        where p.placement_id = $1""",
        world.placements[0],
        other,
        MAX_PLACEMENTS - 1,
    )
    campaign = f"/campaigns/{world.campaign.campaign_id}/delivery"
    refused = problem(await api.get(campaign), 422, "too_much")
    assert "more than 5,000 placements" in refused["detail"]
    assert len((await api.data(f"/flights/{other}/delivery"))["placements"]) == MAX_PLACEMENTS - 1
    # As many as there may be.
    await ledger.operator.execute(
        "delete from app.placements where placement_id = (select placement_id from app.placements where flight_id = $1"
        " limit 1)",
        other,
    )
    assert len((await api.data(campaign))["placements"]) == MAX_PLACEMENTS
    await ledger.operator.execute(
        "insert into app.placement_daily select p.tenant_id, p.sponsor_id, p.campaign_id, p.flight_id, p.placement_id,"
        " date '2020-01-01' + g, 1, 1 from app.placements p, generate_series(1, $2::integer) g where p.flight_id = $1",
        other,
        MAX_DAYS // (MAX_PLACEMENTS - 2) + 1,
    )
    refused = problem(await api.get(f"/flights/{other}/delivery"), 422, "too_much")
    assert "more than 200,000 days" in refused["detail"]


async def test_a_campaign_is_the_sum_of_its_flights(api: Api, ledger: Ledger, world: World) -> None:
    # Half over at noon of the 24th: 500 of 1,000 expected.
    running = await make_flight(
        ledger.operator,
        world.campaign,
        name="Second",
        starts_at=dt.datetime(2026, 11, 14, 12, tzinfo=dt.UTC),
        ends_at=dt.datetime(2026, 12, 4, 12, tzinfo=dt.UTC),
        created_at=dt.datetime(2026, 10, 2, tzinfo=dt.UTC),
    )
    placement = await make_placement(ledger.operator, world.campaign, running, world.episodes[0])
    await deliver(ledger.operator, placement, "2026-11-20", 700)
    await make_flight(ledger.operator, world.campaign, status="cancelled", name="Gone")
    answer = await api.data(f"/campaigns/{world.campaign.campaign_id}/delivery")
    assert pick(answer, "booked", "delivered", "expected", "index", "state", "makegood_owed", "makegood_reason") == {
        "booked": 2_000,
        "delivered": 1_350,
        "expected": 1_500,
        "index": 0.9,
        "state": "on_pace",
        "makegood_owed": None,
        "makegood_reason": "not_over",
    }
    flights = {row["name"]: row for row in answer["flights"]}
    assert {name: (row["delivered"], row["state"]) for name, row in flights.items()} == {
        "Flight": (650, "under"),
        "Second": (700, "over"),
        "Gone": (0, None),
    }
    projected = [flights[name]["projected"] for name in ("Flight", "Second")]
    assert answer["projected"] == {bound: sum(one[bound] for one in projected) for bound in ("low", "mid", "high")}
    assert sum(day["delivered"] for day in answer["days"]) == answer["delivered"]
    assert sum(row["delivered"] for row in answer["placements"]) == answer["delivered"]
    alone = await api.data(f"/flights/{running}/delivery")
    assert {name: alone[name] for name in flights["Second"]} == flights["Second"]


async def test_an_invoice_has_a_line_a_flight_and_is_capped_at_the_booking(
    api: Api, ledger: Ledger, world: World
) -> None:
    order_id = world.campaign.insertion_order_id
    full = await make_flight(ledger.operator, world.campaign, booked_impressions=100, price_amount=1_999, name="Full")
    placement = await make_placement(ledger.operator, world.campaign, full, world.episodes[0])
    await deliver(ledger.operator, placement, "2026-11-05", 140)
    flat = await make_campaign(
        ledger.operator, world.campaign.tenant, world.campaign.sponsor_id, order_id=order_id, pricing="flat"
    )
    await make_flight(ledger.operator, flat, name="Fee", price_amount=50_000, booked_impressions=None)
    await make_flight(ledger.operator, flat, name="No fee", price_amount=70_000, status="cancelled")
    coming = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    await make_flight(
        ledger.operator, flat, name="To come", price_amount=9, starts_at=coming, ends_at=coming + dt.timedelta(days=1)
    )
    answer = await api.data(f"/insertion-orders/{order_id}/invoice")
    assert {row["flight_name"]: (row["quantity"], row["amount"], row["delivered"]) for row in answer["lines"]} == {
        # 650 at 25.00 a thousand is 16.25; 100 of 140 at 19.99 is 1.999.
        "Flight": (650, 1_625, 650),
        "Full": (100, 200, 140),
        "Fee": (None, 50_000, 0),
        "No fee": (None, 0, 0),
        "To come": (None, 0, 0),
    }
    assert pick(answer, "total_amount", "currency", "is_final", "run") == {
        "total_amount": 51_825,
        "currency": "EUR",
        "is_final": False,
        "run": None,
    }


async def test_conversions_are_invoiced_as_a_run_gives_them_for_sure(
    api: Api, ledger: Ledger, world: World, clock: FixedClock
) -> None:
    order_id = world.campaign.insertion_order_id
    cpa = await make_campaign(
        ledger.operator, world.campaign.tenant, world.campaign.sponsor_id, order_id=order_id, pricing="cpa"
    )
    flight_id = await make_flight(ledger.operator, cpa, name="Actions", price_amount=1_050, booked_impressions=None)
    path = f"/insertion-orders/{order_id}/invoice"

    async def line(**query: Any) -> tuple[Any, ...]:
        answer = await api.data(path, **query)
        found = next(row for row in answer["lines"] if row["flight_name"] == "Actions")
        return found["quantity"], found["amount"], found["reason"], answer["total_amount"]

    assert await line() == (None, None, "no_run", None)
    deterministic = [
        ("deterministic", flight_id, code, count * 1_000_000, 0, 0) for code, count in (("", 1), ("EUR", 2))
    ]
    first = await make_run(ledger.operator, cpa, *deterministic, ("linear", flight_id, "EUR", 9_500_000, 0, 100))
    assert await line() == (3_000_000, 3_150, None, 4_775)
    answer = await api.data(path)
    assert {row["is_final"] for row in answer["lines"]} == {False}
    clock.advance(dt.timedelta(days=30))
    # The run ends on the first of December, and knows nothing of conversions after that.
    answer = await api.data(path)
    assert {row["flight_name"]: row["is_final"] for row in answer["lines"]} == {"Flight": True, "Actions": False}
    await make_run(ledger.operator, cpa, created_at=dt.datetime(2026, 11, 2, tzinfo=dt.UTC))
    assert await line() == (0, 0, None, 1_625)
    assert await line(run_id=str(first)) == (3_000_000, 3_150, None, 4_775)
    queued = await make_run(ledger.operator, cpa, status="queued", created_at=dt.datetime(2026, 11, 3, tzinfo=dt.UTC))
    problem(await api.get(path, run_id=str(queued)), 409, "run_not_ready")
    problem(await api.get(path, run_id=str(uuid4())), 404, "not_found")
    problem(await api.get(path, run_id="yesterday"), 422, "invalid")


@pytest.mark.parametrize(("days", "is_final"), [(3, True), (4, False)])
async def test_what_a_run_counted_before_a_flights_end_is_not_final(
    api: Api, ledger: Ledger, world: World, clock: FixedClock, days: int, is_final: bool
) -> None:
    cpa = await make_campaign(ledger.operator, world.campaign.tenant, world.campaign.sponsor_id, pricing="cpa")
    await make_flight(ledger.operator, cpa, booked_impressions=None, measurement_days=days)
    # Of all of November, asked for on the 24th.
    await make_run(ledger.operator, cpa)
    clock.advance(dt.timedelta(days=30))
    invoice = await api.data(f"/insertion-orders/{cpa.insertion_order_id}/invoice")
    assert [line["is_final"] for line in invoice["lines"]] == [is_final]


async def test_a_run_that_never_looked_at_a_campaign_tells_nothing_of_it(
    api: Api, ledger: Ledger, world: World
) -> None:
    cpa = await make_campaign(ledger.operator, world.campaign.tenant, world.campaign.sponsor_id, pricing="cpa")
    flight_id = await make_flight(ledger.operator, cpa, price_amount=1_050, booked_impressions=None)
    own = await make_run(
        ledger.operator, cpa, ("deterministic", flight_id, "EUR", 3_000_000, 0, 900), tells_of=[cpa.campaign_id]
    )
    # As a merge of sponsors leaves it: a later one, of what the other had.
    others = await make_run(
        ledger.operator, cpa, created_at=dt.datetime(2026, 11, 2, tzinfo=dt.UTC), tells_of=[world.campaign.campaign_id]
    )
    for run, amount, reason, is_there in (({}, 3_150, None, True), ({"run_id": str(others)}, None, "no_run", False)):
        invoice = await api.data(f"/insertion-orders/{cpa.insertion_order_id}/invoice", **run)
        [line] = invoice["lines"]
        assert (line["amount"], line["reason"], line["is_final"]) == (amount, reason, False)
        assert invoice["total_amount"] == amount
        performance = await api.data(f"/campaigns/{cpa.campaign_id}/performance", **run)
        assert (performance["cost_amount"], performance["cost_reason"]) == (amount, reason)
        assert (performance["run"] or {}).get("run_id") == (str(own) if is_there else None)
        assert bool(performance["models"]) is is_there


async def test_a_performance_has_a_set_of_figures_a_model(api: Api, ledger: Ledger, world: World) -> None:
    path = f"/campaigns/{world.campaign.campaign_id}/performance"
    empty = await api.data(path)
    assert pick(empty, "impressions", "clicks", "cost_amount", "models", "run", "reach", "reach_reason") == {
        "impressions": 650,
        "clicks": 0,
        "cost_amount": 1_625,
        "models": [],
        "run": None,
        "reach": None,
        "reach_reason": "not_counted",
    }
    link = await make_link(api, {"sponsor_id": str(world.campaign.sponsor_id)}, slug="acme")
    await ledger.operator.execute(
        "update app.links set campaign_id = $1, flight_id = $2, clicks_dropped = 40 where link_id = $3",
        world.campaign.campaign_id,
        world.flight_id,
        UUID(link["link_id"]),
    )
    await follow(ledger, link, ["2026-11-20T10:00:00+00:00"] * 2)
    await follow(ledger, link, ["2026-11-20T11:00:00+00:00"], is_bot=True)
    await make_run(
        ledger.operator,
        world.campaign,
        ("deterministic", world.flight_id, "EUR", 4_000_000, 1_000_000, 10_000),
        ("linear", world.flight_id, "EUR", 2_500_000, 500_000, 6_500),
        ("linear", world.flight_id, "USD", 500_000, 0, 900),
        models=("linear", "last", "markov"),
        insufficient={Model.MARKOV: "2 conversions are too few"},
    )
    answer = await api.data(path)
    # One that said nothing has no figures, rather than some of nothing.
    assert answer["run"]["insufficient"] == {"markov": "2 conversions are too few"}
    assert answer["clicks"] == 42
    assert answer["models"] == [
        {
            "model": "deterministic",
            "conversions": 4.0,
            "new_customers": 1.0,
            "values": [{"value_amount": 10_000, "currency": "EUR"}],
            # 16.25 by 4 conversions, 100.00 by 16.25.
            "cpa_amount": 406,
            "roas": 6.1538,
            "roi": 5.1538,
            "return_reason": None,
        },
        {
            "model": "linear",
            "conversions": 3.0,
            "new_customers": 0.5,
            "values": [{"value_amount": 6_500, "currency": "EUR"}, {"value_amount": 900, "currency": "USD"}],
            "cpa_amount": 542,
            "roas": None,
            "roi": None,
            "return_reason": "other_currencies",
        },
        {
            "model": "last",
            "conversions": 0.0,
            "new_customers": 0.0,
            "values": [],
            "cpa_amount": None,
            "roas": 0.0,
            "roi": -1.0,
            "return_reason": None,
        },
    ]
    assert answer["cutoffs"]["conversions"] == "2026-11-24T11:00:00Z"
    assert pick(answer["run"], "from", "to") == {"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}


async def add_reach(
    ledger: Ledger, world: World, month: str, reach: int, impressions: int, *, is_final: bool = False
) -> None:
    for level, subject_id in (("campaign", world.campaign.campaign_id), ("flight", world.flight_id)):
        await ledger.operator.execute(
            """insert into app.reach_months (tenant_id, sponsor_id, level, subject_id, month, reach, impressions,
                is_final, computed_at) values ($1, $2, $3, $4, $5, $6, $7, $8, '2026-11-24T10:00:00Z')""",
            world.campaign.tenant.tenant_id,
            world.campaign.sponsor_id,
            level,
            subject_id,
            dt.date.fromisoformat(month),
            reach,
            impressions,
            is_final,
        )


async def test_reach_is_told_by_month_and_never_over_months(api: Api, ledger: Ledger, world: World) -> None:
    path = f"/campaigns/{world.campaign.campaign_id}/reach"
    await add_reach(ledger, world, "2026-11-01", 260, 640)
    one = await api.data(path)
    november = {
        "month": "2026-11-01",
        "delivered": 650,
        "reach": 260,
        "impressions": 640,
        "frequency": 2.4615,
        "reason": None,
        "is_final": False,
        "computed_at": "2026-11-24T10:00:00Z",
    }
    whole = {"reach": 260, "frequency": 2.4615, "reason": None, "months": [november]}
    assert pick(one, *whole) == whole
    assert one["flights"] == [{"flight_id": str(world.flight_id), "name": "Flight", **whole}]
    await deliver(ledger.operator, world.placements[0], "2026-12-01", 5)
    await add_reach(ledger, world, "2026-12-01", 5, 9, is_final=True)
    both = await api.data(path)
    assert pick(both, "reach", "frequency", "reason") == {"reach": None, "frequency": None, "reason": "across_months"}
    assert [(month["reach"], month["reason"]) for month in both["months"]] == [(260, None), (None, "changed_since")]


async def test_the_page_about_delivery_asks_for_what_there_is(api: Api, world: World) -> None:
    page = (Path(__file__).parents[3] / "docs" / "delivery.md").read_text()
    ids = {
        "FLIGHT_ID": world.flight_id,
        "ORDER_ID": world.campaign.insertion_order_id,
        "id": world.campaign.campaign_id,
    }
    commands = re.findall(r'curl "\$CASTLEDGER_API_URL/api/v1(/[^"]+)"', page)
    assert len(commands) == 2
    for command in commands:
        assert (await api.get(re.sub(r"\$(\w+)", lambda found: str(ids[found[1]]), command))).status_code == 200
    rows = re.findall(r"^\| `GET /api/v1(/(\w|-)+/){id}(/\w+)` \|", page, re.MULTILINE)
    things = {"/flights/": "FLIGHT_ID", "/insertion-orders/": "ORDER_ID", "/campaigns/": "id"}
    assert len(rows) == 5
    for noun, _, what in rows:
        assert (await api.get(f"{noun}{ids[things[noun]]}{what}")).status_code == 200
    shown = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])
    found = await api.data(f"/flights/{world.flight_id}/delivery")
    assert shown.keys() <= found.keys()
    assert shown["index"] == shown["delivered"] / shown["expected"]


async def test_a_flight_says_since_when_it_is_behind_to_all_but_its_sponsor(
    api: Api, ledger: Ledger, world: World
) -> None:
    path = f"/flights/{world.flight_id}/delivery"
    assert pick(await api.data(path), "behind_since", "told_at") == {"behind_since": None, "told_at": None}
    await ledger.operator.execute(
        """insert into app.flight_alerts (tenant_id, flight_id, behind_since, told_at)
        values ($1, $2, '2026-11-09T08:00Z', '2026-11-09T09:00Z')""",
        world.campaign.tenant.tenant_id,
        world.flight_id,
    )
    told = {"behind_since": "2026-11-09T08:00:00Z", "told_at": "2026-11-09T09:00:00Z"}
    assert pick(await api.data(path), "behind_since", "told_at") == told
    user_id = await make_person(ledger, "sam@example.com", "home", role=RoleName.SPONSOR)
    await hold(api, ledger, user_id, str(world.campaign.sponsor_id))
    seen = await api.data(path, key=(await sign_in(api, "sam@example.com")).access)
    assert pick(seen, "behind_since", "told_at") == {"behind_since": None, "told_at": None}


async def test_who_has_seen_it_is_told_so(api: Api, world: World) -> None:
    path = f"/campaigns/{world.campaign.campaign_id}/delivery"
    tag = (await api.get(path)).headers["etag"]
    assert (await api.request("GET", path, headers={"If-None-Match": tag})).status_code == 304


async def test_a_sponsors_login_sees_its_own_figures_and_no_others(api: Api, ledger: Ledger, world: World) -> None:
    other = await make(api, "Zenith")
    theirs = await make_campaign(ledger.operator, world.campaign.tenant, other["sponsor_id"])
    flight_id = await make_flight(ledger.operator, theirs)
    placement = await make_placement(ledger.operator, theirs, flight_id, world.episodes[0])
    await deliver(ledger.operator, placement, "2026-11-02", 9_000)
    run_id = await make_run(ledger.operator, theirs)
    mine = await make_run(ledger.operator, world.campaign, ("deterministic", world.flight_id, "EUR", 1_000_000, 0, 500))
    user_id = await make_person(ledger, "sam@example.com", "home", role=RoleName.SPONSOR)
    await hold(api, ledger, user_id, str(world.campaign.sponsor_id))
    access = (await sign_in(api, "sam@example.com")).access
    for path in (
        f"/flights/{world.flight_id}/delivery",
        f"/campaigns/{world.campaign.campaign_id}/delivery",
        f"/campaigns/{world.campaign.campaign_id}/performance",
        f"/campaigns/{world.campaign.campaign_id}/reach",
        f"/insertion-orders/{world.campaign.insertion_order_id}/invoice",
    ):
        whole, seen = await api.data(path), await api.data(path, key=access)
        for row in (*whole.get("placements", ()), *seen.get("placements", ())):
            # Whether it may read titles is for the catalogue to say.
            del row["podcast_title"], row["episode_title"]
        assert seen == whole
        assert "9000" not in str(seen)
    for path in (
        f"/flights/{flight_id}/delivery",
        f"/campaigns/{theirs.campaign_id}/delivery",
        f"/campaigns/{theirs.campaign_id}/performance",
        f"/campaigns/{theirs.campaign_id}/reach",
        f"/insertion-orders/{theirs.insertion_order_id}/invoice",
    ):
        assert (await api.get(path)).status_code == 200
        problem(await api.get(path, key=access), 404, "not_found")
    path = f"/campaigns/{world.campaign.campaign_id}/performance"
    assert (await api.data(path, key=access))["run"]["run_id"] == str(mine)
    problem(await api.get(path, key=access, run_id=str(run_id)), 404, "not_found")
