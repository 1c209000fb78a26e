"""Orders, campaigns, flights, slots and placements: made, changed, moved on, and refused where they do not fit."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, Final
from uuid import UUID

import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.pool import Pool, open_pool
from analytics_core.ids import new_id
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.campaigns import follow_calendar
from ingest.rollups import refresh_rollups
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.test_sponsors import make, make_link

pytestmark = pytest.mark.anyio

CAMPAIGN: Final[dict[str, Any]] = {
    "name": "Launch",
    "starts_on": "2026-11-20",
    "ends_on": "2026-11-30",
    "pricing": "cpm",
    "budget_amount": 100_000,
    "model": "linear",
    "window_days": 30,
}
FLIGHT: Final[dict[str, Any]] = {
    "name": "First",
    "starts_at": "2026-11-20T00:00:00Z",
    "ends_at": "2026-11-28T00:00:00Z",
    "price_amount": 2_500,
}


async def create(api: Api, path: str, **body: Any) -> dict[str, Any]:
    answer = await api.request("POST", path, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def call(api: Api, path: str, **given: Any) -> Any:
    return await api.request("POST", path, **given)


async def make_campaign(api: Api, sponsor: Any = None, **more: Any) -> dict[str, Any]:
    sponsor_id = (sponsor or await make(api, f"Sponsor {new_id()}"))["sponsor_id"]
    return await create(api, "/campaigns", sponsor_id=sponsor_id, currency="EUR", **{**CAMPAIGN, **more})


async def make_flight(api: Api, campaign: Any, **more: Any) -> dict[str, Any]:
    return await create(api, f"/campaigns/{campaign['campaign_id']}/flights", **{**FLIGHT, **more})


async def an_episode(api: Api, number: int = 1) -> dict[str, Any]:
    podcast = await api.add_podcast(number)
    episodes = (await api.data(f"/podcasts/{podcast['podcast_id']}/episodes"))["data"]
    found: dict[str, Any] = episodes[0]
    return found


async def make_placement(api: Api, flight: Any, episode: Any, **more: Any) -> dict[str, Any]:
    body = {"episode_id": episode["episode_id"], "delivery": "baked_in", "position": "mid", **more}
    return await create(api, f"/flights/{flight['flight_id']}/placements", **body)


async def track(ledger: Ledger, flight: Any) -> None:
    """Give a flight a promo code."""
    await ledger.operator.execute(
        "insert into app.promo_codes (tenant_id, promo_code_id, sponsor_id, campaign_id, flight_id, code, valid_from,"
        " created_at) select tenant_id, $2, sponsor_id, campaign_id, flight_id, 'ACME10', starts_at, starts_at"
        " from app.flights where flight_id = $1",
        UUID(flight["flight_id"]),
        new_id(),
    )


async def test_an_order_is_numbered_changed_and_moved_on(api: Api) -> None:
    sponsor = await make(api)
    wanted = {"sponsor_id": sponsor["sponsor_id"], "name": " Autumn  2026 ", "reference": "PO-7", "currency": "JPY"}
    order = await create(api, "/insertion-orders", **wanted)
    assert (order["number"], order["name"], order["status"], order["version"]) == (1, "Autumn 2026", "draft", 1)
    others = await asyncio.gather(*(create(api, "/insertion-orders", **wanted) for _ in range(5)))
    assert sorted(one["number"] for one in others) == [2, 3, 4, 5, 6]
    path = f"/insertion-orders/{order['insertion_order_id']}"
    changed = await api.request("PATCH", path, json={"reference": None}, headers={"If-Match": '"1"'})
    assert (changed.json()["reference"], changed.headers["etag"]) == (None, '"2"')
    problem(await api.request("PATCH", path, json={"name": "x"}, headers={"If-Match": '"1"'}), 412, "outdated")
    assert (await call(api, f"{path}/open")).json()["status"] == "open"
    refused = problem(await call(api, f"{path}/open"), 409, "illegal_transition")
    assert "close, cancel" in refused["detail"]
    under = await create(api, "/campaigns", **CAMPAIGN, insertion_order_id=order["insertion_order_id"])
    assert (under["currency"], under["sponsor_id"]) == ("JPY", sponsor["sponsor_id"])
    assert (await api.data(path))["campaigns"] == 1
    assert (await call(api, f"{path}/close")).json()["status"] == "closed"
    problem(await api.request("PATCH", path, json={"name": "x"}), 409, "order_closed")
    for field, body in (
        ("order_closed", {"insertion_order_id": order["insertion_order_id"]}),
        ("sponsor_archived", {"sponsor_id": sponsor["sponsor_id"], "currency": "EUR"}),
    ):
        if field == "sponsor_archived":
            await call(api, f"/sponsors/{sponsor['sponsor_id']}/archive")
        problem(await call(api, "/campaigns", json={**CAMPAIGN, **body}), 409, field)


async def test_a_campaign_without_an_order_gets_one(api: Api) -> None:
    campaign = await make_campaign(api, budget_amount=0, utm={"campaign": "{campaign}"})
    order = await api.data(f"/insertion-orders/{campaign['insertion_order_id']}")
    assert (order["name"], order["status"], order["currency"]) == ("Launch", "open", "EUR")
    assert campaign["utm"] == {"campaign": "{campaign}"}
    listed = await api.data("/campaigns", sponsor_id=campaign["sponsor_id"], status="draft")
    assert listed["data"] == [campaign]
    assert (await api.data("/campaigns", status="active"))["data"] == []


@pytest.mark.parametrize(
    ("wrong", "faults"),
    [
        ({"ends_on": "2026-11-19"}, {("/ends_on", "ends_before_start")}),
        ({"budget_amount": -1}, {("/budget_amount", "invalid")}),
        ({"budget_amount": 1.5}, {("/budget_amount", "invalid")}),
        ({"currency": "eur"}, {("/currency", "unknown_currency")}),
        ({"currency": "XYZ"}, {("/currency", "unknown_currency")}),
        ({"sponsor_id": None}, {("/sponsor_id", "missing")}),
        ({"model": "magic", "pricing": "free", "window_days": 91}, None),
        ({"name": "\u202eevil"}, None),
        ({"utm": {"colour": "x"}}, None),
        ({"color": 1}, None),
    ],
)
async def test_what_is_wrong_with_a_campaign_is_named(
    api: Api, ledger: Ledger, wrong: dict[str, Any], faults: set[tuple[str, str]] | None
) -> None:
    sponsor = await make(api)
    body = {**CAMPAIGN, "sponsor_id": sponsor["sponsor_id"], "currency": "EUR", **wrong}
    answer = await call(api, "/campaigns", json=body)
    assert answer.status_code == 422, answer.text
    assert (
        codes(answer) == faults
        if faults is not None
        else {place.split("/")[1] for place, _ in codes(answer)} == {*wrong}
    )
    # Neither a campaign nor the order that would have come with it.
    assert await ledger.operator.fetchval("select count(*) from app.insertion_orders") == 0


async def test_a_campaign_begins_only_when_its_effect_can_be_seen(api: Api, ledger: Ledger) -> None:
    campaign = await make_campaign(api)
    path = f"/campaigns/{campaign['campaign_id']}"
    refused = problem(await call(api, f"{path}/activate"), 409, "not_trackable")
    assert "no flight, no placement, no promo code or link" in refused["detail"]
    flight = await make_flight(api, campaign)
    await make_placement(api, flight, await an_episode(api))
    assert "no promo code or link" in problem(await call(api, f"{path}/schedule"), 409, "not_trackable")["detail"]
    await track(ledger, flight)
    active = await call(api, f"{path}/activate")
    assert (active.status_code, active.json()["status"]) == (200, "active")
    assert active.json()["activated_at"] == "2026-11-24T12:00:00Z"
    assert (await api.data(f"/flights/{flight['flight_id']}"))["status"] == "active"
    for step, status in (("pause", "paused"), ("resume", "active"), ("complete", "completed")):
        moved = await call(api, f"{path}/{step}")
        assert moved.json()["status"] == status, moved.text
        assert (await api.data(f"/flights/{flight['flight_id']}"))["status"] == status
    assert "its end" in problem(await call(api, f"{path}/cancel"), 409, "illegal_transition")["detail"]
    problem(await api.request("PATCH", path, json={"name": "x"}), 409, "campaign_over")
    problem(await call(api, f"{path}/flights", json=FLIGHT), 409, "campaign_over")
    # What it owes is made good afterwards.
    good = await create(
        api,
        f"{path}/flights",
        **{**FLIGHT, "ends_at": "2026-12-20T00:00:00Z"},
        makegood_of=flight["flight_id"],
    )
    assert good["status"] == "active"
    problem(
        await call(api, f"{path}/flights", json={**FLIGHT, "makegood_of": good["flight_id"]}), 422, "makegood_invalid"
    )
    entries = (await api.data("/audit", resource=campaign["campaign_id"]))["data"]
    assert {one["action"] for one in entries} == {
        f"campaign.{step}" for step in ("create", "activate", "pause", "resume", "complete")
    }


async def test_before_its_first_day_it_is_scheduled_and_begins_and_ends_by_itself(
    api: Api, ledger: Ledger, database: DatabaseSettings
) -> None:
    campaign = await make_campaign(api, starts_on="2026-11-26", ends_on="2026-11-30")
    later = {"starts_at": "2026-11-26T06:00:00Z", "ends_at": "2026-11-28T00:00:00Z"}
    flight = await make_flight(api, campaign, **later)
    link = await make_link(api)
    await ledger.operator.execute(
        "update app.links l set sponsor_id = f.sponsor_id, campaign_id = f.campaign_id, flight_id = f.flight_id"
        " from app.flights f where link_id = $1",
        UUID(link["link_id"]),
    )
    await make_placement(api, flight, await an_episode(api))
    path = f"/campaigns/{campaign['campaign_id']}"
    problem(await call(api, f"{path}/activate"), 409, "not_yet")
    assert (await call(api, f"{path}/schedule")).json()["status"] == "scheduled"
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=2)
    try:
        seen = [
            await states(api, path, flight, pool, ledger, at)
            for at in (
                "2026-11-25T23:59:00+00:00",
                "2026-11-26T00:00:00+00:00",
                "2026-11-26T06:00:00+00:00",
                "2026-11-28T00:00:00+00:00",
                "2026-11-30T23:59:00+00:00",
                "2026-12-01T00:00:00+00:00",
            )
        ]
    finally:
        await pool.close()
    assert seen == [
        (0, "scheduled", "planned"),
        (1, "active", "planned"),
        (1, "active", "active"),
        (1, "active", "completed"),
        (0, "active", "completed"),
        (1, "completed", "completed"),
    ]
    entries = (await api.data("/audit", resource=campaign["campaign_id"]))["data"]
    assert {(one["action"], one["actor"]) for one in entries} >= {
        ("campaign.activate", "command"),
        ("campaign.complete", "command"),
    }


async def states(api: Api, path: str, flight: Any, pool: Pool, ledger: Ledger, at: str) -> tuple[int, str, str]:
    moved = (await follow_calendar(ledger.ingest, pool, now=dt.datetime.fromisoformat(at)))["moved"]
    return moved, (await api.data(path))["status"], (await api.data(f"/flights/{flight['flight_id']}"))["status"]


async def test_a_copy_has_the_fields_and_flights_and_nothing_that_happened(api: Api, ledger: Ledger) -> None:
    campaign = await make_campaign(api, excludes_prior_customers=True)
    flight = await make_flight(api, campaign, booked_impressions=1000, window_days=7)
    cancelled = await make_flight(api, campaign)
    await call(api, f"/flights/{cancelled['flight_id']}/cancel")
    await make_placement(api, flight, await an_episode(api))
    await track(ledger, flight)
    copy = await create(api, f"/campaigns/{campaign['campaign_id']}/duplicate")
    kept = {key: value for key, value in CAMPAIGN.items() if key != "name"}
    assert {key: copy[key] for key in kept} == kept
    assert (copy["name"], copy["status"], copy["flights"], copy["placements"]) == ("Launch (copy)", "draft", 1, 0)
    assert copy["excludes_prior_customers"] is True
    (one,) = (await api.data("/flights", campaign_id=copy["campaign_id"]))["data"]
    own = ("flight_id", "campaign_id", "created_at", "placements")
    assert {k: v for k, v in one.items() if k not in own} == {k: v for k, v in flight.items() if k not in own}
    assert await ledger.operator.fetchval("select count(*) from app.promo_codes") == 1


async def test_a_campaigns_days_hold_its_flights(api: Api) -> None:
    campaign = await make_campaign(api)
    flight = await make_flight(api, campaign)
    path = f"/campaigns/{campaign['campaign_id']}"
    problem(await api.request("PATCH", path, json={"ends_on": "2026-11-26"}), 409, "flights_outside")
    wrong = {"starts_at": "2026-11-19T00:00:00Z"}
    assert codes(await api.request("PATCH", f"/flights/{flight['flight_id']}", json=wrong)) == {
        ("/starts_at", "outside_campaign")
    }
    naive = await call(api, f"{path}/flights", json={**FLIGHT, "ends_at": "2026-11-28T00:00:00"})
    assert {place for place, _ in codes(naive)} == {"/ends_at"}
    moved = await api.request("PATCH", f"/flights/{flight['flight_id']}", json={"ends_at": "2026-11-24T00:00:00Z"})
    assert (moved.json()["status"], moved.json()["ends_at"]) == ("planned", "2026-11-24T00:00:00Z")


async def test_a_place_of_a_slot_is_one_placements_at_a_time(api: Api) -> None:
    campaign = await make_campaign(api)
    flight = await make_flight(api, campaign)
    episode = await an_episode(api)
    slots = f"/podcasts/{episode['podcast_id']}/ad-slots"
    slot = await create(api, slots, name="Middle", position="mid", per_episode=2)
    path = f"/flights/{flight['flight_id']}/placements"
    body = {"episode_id": episode["episode_id"], "delivery": "dynamic", "ad_slot_id": slot["ad_slot_id"]}
    answers = await asyncio.gather(*(call(api, path, json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"slot_taken"}
    first = next(answer.json() for answer in answers if answer.status_code == 201)
    assert first["position"] == "mid"
    second = await create(api, path, **body, slot_no=2)
    problem(await call(api, path, json={**body, "slot_no": 3}), 422, "slot_no_invalid")
    problem(await call(api, path, json={**body, "position": "pre"}), 422, "not_the_slots")
    days = {"from_": "2020-01-01", "to": "2030-01-01"}
    inventory = f"/podcasts/{episode['podcast_id']}/inventory"
    (found,) = (await api.data(inventory, **days))["data"]
    assert (found["total"], found["taken"], found["free"]) == (4, 2, 2)
    problem(await api.request("PATCH", f"/placements/{second['placement_id']}", json={"slot_no": 1}), 409, "slot_taken")
    assert (await call(api, f"/placements/{first['placement_id']}/miss")).json()["status"] == "missed"
    moved = await api.request("PATCH", f"/placements/{second['placement_id']}", json={"slot_no": 1})
    assert moved.json()["slot_no"] == 1
    (found,) = (await api.data(inventory, **days))["data"]
    assert (found["taken"], found["free"]) == (1, 3)
    await call(api, f"/ad-slots/{slot['ad_slot_id']}/archive")
    problem(await call(api, path, json={**body, "slot_no": 2}), 409, "ad_slot_archived")
    assert (await api.data(inventory, **days))["data"] == []
    other = await an_episode(api, 2)
    problem(await call(api, path, json={**body, "episode_id": other["episode_id"]}), 404, "not_found")


async def test_downloads_inside_of_the_live_range_are_delivered(api: Api, ledger: Ledger) -> None:
    campaign = await make_campaign(api)
    flight = await make_flight(api, campaign)
    episode = await an_episode(api)
    placement = await make_placement(api, flight, episode)
    assert (placement["live_from"], placement["live_until"]) == ("2026-11-20T00:00:00Z", "2026-12-28T00:00:00Z")
    path = f"/placements/{placement['placement_id']}"
    for number, at in enumerate(("2026-11-19T23:59", "2026-11-20T00:00", "2026-11-24T11:59", "2026-11-24T12:20")):
        await ledger.land(f"{at}+00:00", episode["episode_id"], listener=number)
    await ledger.roll_up()

    async def delivered() -> int:
        while await refresh_rollups(ledger.ingest):
            continue
        shown = (await api.data(path))["downloads"]
        assert isinstance(shown, int)
        return shown

    assert await delivered() == 3
    await api.request("PATCH", path, json={"live_from": "2026-11-20T00:15:00Z"})
    assert await delivered() == 2
    assert (await call(api, f"{path}/go-live")).json()["status"] == "live"
    # Until the end of the quarter hour, which is now.
    pulled = (await call(api, f"{path}/pull")).json()
    assert (pulled["status"], pulled["live_until"]) == ("pulled", "2026-11-24T12:00:00Z")
    assert await delivered() == 1
    problem(await api.request("PATCH", path, json={"host_read": False}), 409, "placement_over")
    twin = await make_placement(api, flight, episode)
    path = f"/placements/{twin['placement_id']}"
    assert await delivered() == 3
    assert (await call(api, f"{path}/miss")).json()["status"] == "missed"
    assert await delivered() == 0


async def test_cancelling_ends_what_is_placed(api: Api) -> None:
    campaign = await make_campaign(api)
    flight = await make_flight(api, campaign)
    episode = await an_episode(api)
    begun = await make_placement(api, flight, episode)
    later = await make_placement(api, flight, episode, live_from="2026-11-25T00:00:00Z")
    assert (await call(api, f"/campaigns/{campaign['campaign_id']}/cancel")).json()["status"] == "cancelled"
    assert (await api.data(f"/flights/{flight['flight_id']}"))["status"] == "cancelled"
    found = [await api.data(f"/placements/{one['placement_id']}") for one in (begun, later)]
    assert [(one["status"], one["live_until"]) for one in found] == [
        ("pulled", "2026-11-24T12:00:00Z"),
        ("missed", "2026-12-28T00:00:00Z"),
    ]
    problem(
        await call(
            api,
            f"/flights/{flight['flight_id']}/placements",
            json={"episode_id": episode["episode_id"], "delivery": "dynamic", "position": "pre"},
        ),
        409,
        "flight_cancelled",
    )


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"live_from": "2026-11-19T23:45:00Z"}, ("/live_from", "outside_flight")),
        ({"live_until": "2026-12-28T00:15:00Z"}, ("/live_until", "outside_flight")),
        ({"live_until": "2026-11-20T00:10:00Z"}, ("/live_until", "not_a_quarter_hour")),
        ({"delivery": "dynamic", "live_until": "2026-11-28T00:15:00Z"}, ("/live_until", "outside_flight")),
        ({"live_from": "0001-01-01T00:00:00+14:00"}, ("/live_from", "out_of_range")),
        ({"slot_no": 2}, ("/slot_no", "slot_no_invalid")),
        ({"position": None}, ("/position", "missing")),
        ({"aircheck_url": "javascript:alert(1)"}, ("/aircheck_url", "url_invalid")),
    ],
)
async def test_what_is_wrong_with_a_placement_is_named(api: Api, wrong: dict[str, Any], fault: tuple[str, str]) -> None:
    flight = await make_flight(api, await make_campaign(api))
    episode = await an_episode(api)
    body = {"episode_id": episode["episode_id"], "delivery": "baked_in", "position": "mid", **wrong}
    assert codes(await call(api, f"/flights/{flight['flight_id']}/placements", json=body)) == {fault}


async def test_an_answer_to_a_key_is_given_again(api: Api, ledger: Ledger) -> None:
    sponsor = await make(api)
    body = {**CAMPAIGN, "sponsor_id": sponsor["sponsor_id"], "currency": "EUR"}
    answers = [await call(api, "/campaigns", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["etag"] == '"1"'
    assert await ledger.operator.fetchval("select count(*) from app.campaigns") == 1


async def test_a_flight_that_is_cancelled_while_the_clock_passes_it_stays_cancelled(
    api: Api, ledger: Ledger, database: DatabaseSettings
) -> None:
    campaign = await make_campaign(api)
    flight = await make_flight(api, campaign, starts_at="2026-11-25T00:00:00Z")
    await make_placement(api, flight, await an_episode(api))
    await track(ledger, flight)
    assert (await call(api, f"/campaigns/{campaign['campaign_id']}/activate")).status_code == 200
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=2)
    try:
        async with ledger.operator.transaction():
            # As a request does that has not committed yet.
            await ledger.operator.execute(
                "update app.flights set status = 'cancelled' where flight_id = $1", UUID(flight["flight_id"])
            )
            now = dt.datetime(2026, 11, 25, 1, tzinfo=dt.UTC)
            following = asyncio.create_task(follow_calendar(ledger.ingest, pool, now=now))
            await ledger.somebody_waits()
        await following
    finally:
        await pool.close()
    assert (await api.data(f"/flights/{flight['flight_id']}"))["status"] == "cancelled"


async def test_a_flight_that_is_over_stays_over_and_is_paid_when_its_campaign_is_cancelled(
    api: Api, ledger: Ledger, clock: FixedClock
) -> None:
    campaign = await make_campaign(api, pricing="flat")
    over = await make_flight(api, campaign, ends_at="2026-11-22T00:00:00Z", price_amount=40_000)
    just = await make_flight(api, campaign, ends_at="2026-11-24T12:15:00Z", price_amount=45_000)
    runs = await make_flight(api, campaign, starts_at="2026-11-22T00:00:00Z", price_amount=50_000)
    heard = await make_placement(api, over, await an_episode(api))
    await track(ledger, over)
    path = f"/campaigns/{campaign['campaign_id']}"
    assert (await call(api, f"{path}/activate")).status_code == 200
    # Before the clock is followed, too.
    clock.advance(dt.timedelta(minutes=15))
    assert (await call(api, f"{path}/cancel")).status_code == 200
    found = [(await api.data(f"/flights/{one['flight_id']}"))["status"] for one in (over, just, runs)]
    assert found == ["completed", "completed", "cancelled"]
    # What was baked into it goes on being measured.
    assert await api.data(f"/placements/{heard['placement_id']}") == heard
    invoice = await api.data(f"/insertion-orders/{campaign['insertion_order_id']}/invoice")
    assert [(line["status"], line["amount"]) for line in invoice["lines"]] == [
        ("completed", 40_000),
        ("completed", 45_000),
        ("cancelled", 0),
    ]
