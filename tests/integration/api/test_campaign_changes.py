"""What was agreed upon stays once it has begun, what is over gets nothing, and what follows a flight moves with it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.pool import open_pool
from analytics_core.money import MAX_AMOUNT
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.test_campaigns import (
    FLIGHT,
    an_episode,
    call,
    make_campaign,
    make_flight,
    make_placement,
    states,
    track,
)

pytestmark = pytest.mark.anyio


async def activate(api: Api, ledger: Ledger) -> tuple[str, Any, Any, Any]:
    """Make a campaign that has begun, and return its path, its flight, its episode and its placement."""
    campaign = await make_campaign(api)
    path = f"/campaigns/{campaign['campaign_id']}"
    flight, episode = await make_flight(api, campaign), await an_episode(api)
    placement = await make_placement(api, flight, episode)
    await track(ledger, flight)
    assert (await call(api, f"{path}/activate")).status_code == 200
    return path, flight, episode, placement


async def patch(api: Api, path: str, **wanted: Any) -> Any:
    return await api.request("PATCH", path, json=wanted)


async def test_a_campaign_that_has_begun_keeps_its_pricing(api: Api, ledger: Ledger) -> None:
    path, flight, _, _ = await activate(api, ledger)
    refused = problem(await patch(api, path, pricing="flat", name="Other"), 409, "campaign_begun")
    assert "active: pricing cannot be changed" in refused["detail"]
    problem(await patch(api, f"/flights/{flight['flight_id']}", price_amount=1), 409, "flight_begun")
    # What says the same changes nothing, and the rest may be changed.
    same = await patch(api, path, pricing="cpm", starts_on="2026-11-20", name="Other", budget_amount=7)
    assert (same.json()["name"], same.json()["budget_amount"]) == ("Other", 7)
    booked = await patch(api, f"/flights/{flight['flight_id']}", price_amount=2500, booked_impressions=9)
    assert booked.json()["booked_impressions"] == 9
    await call(api, f"{path}/pause")
    problem(await patch(api, path, pricing="cpa"), 409, "campaign_begun")


@pytest.mark.parametrize("step", ["complete", "cancel"])
async def test_a_campaign_that_is_over_gets_no_placements(api: Api, ledger: Ledger, step: str) -> None:
    path, flight, episode, placement = await activate(api, ledger)
    # A flight that is over by itself stays sold when its campaign is cancelled.
    assert (await patch(api, f"/flights/{flight['flight_id']}", ends_at="2026-11-24T11:45:00Z")).status_code == 200
    over = (await call(api, f"{path}/{step}")).json()["status"]
    new = {"episode_id": episode["episode_id"], "delivery": "dynamic", "position": "pre"}
    answer = await call(api, f"/flights/{flight['flight_id']}/placements", json=new)
    assert f"the campaign is {over}" in problem(answer, 409, "campaign_over")["detail"]
    placed = f"/placements/{placement['placement_id']}"
    if step == "cancel":
        # It goes on being measured, and stays what it is.
        assert (await api.data(placed))["status"] != "pulled"
        problem(await patch(api, placed, aircheck_url="https://a.example.com/"), 409, "campaign_over")
        return
    problem(await patch(api, placed, live_until="2026-11-24T00:00:00Z"), 409, "campaign_over")
    assert (await patch(api, placed, aircheck_url="https://a.example.com/")).status_code == 200
    # What it owes is made good, and heard somewhere.
    good = {**FLIGHT, "starts_at": "2026-11-25T00:00:00Z", "makegood_of": flight["flight_id"]}
    made = (await call(api, f"{path}/flights", json=good)).json()
    added = await call(api, f"/flights/{made['flight_id']}/placements", json=new)
    assert added.status_code == 201
    moved = await patch(api, f"/placements/{added.json()['placement_id']}", live_until="2026-11-27T00:00:00Z")
    assert moved.status_code == 200


async def test_placements_follow_their_flight_until_they_are_live(api: Api, clock: FixedClock) -> None:
    campaign = await make_campaign(api)
    flight = await make_flight(api, campaign, starts_at="2026-11-25T00:00:00Z")
    path = f"/flights/{flight['flight_id']}"
    episode = await an_episode(api)
    follows = await make_placement(api, flight, episode, delivery="dynamic")
    baked = await make_placement(api, flight, episode)
    own = await make_placement(api, flight, episode, live_until="2026-11-27T00:00:00Z")
    sure = await make_placement(api, flight, episode)
    await call(api, f"/placements/{sure['placement_id']}/go-live")

    async def live(placement: Any) -> tuple[str, str, int]:
        row = await api.data(f"/placements/{placement['placement_id']}")
        return row["live_from"][:10], row["live_until"][:10], row["version"]

    moved = await patch(
        api, path, starts_at="2026-11-26T00:00:00Z", ends_at="2026-11-29T00:00:00Z", measurement_days=10
    )
    assert moved.status_code == 200, moved.text
    assert await live(follows) == ("2026-11-26", "2026-11-29", 2)
    assert await live(baked) == ("2026-11-26", "2026-12-09", 2)
    assert await live(own) == ("2026-11-25", "2026-11-27", 1)
    assert await live(sure) == ("2026-11-25", "2026-12-28", 2)
    # Once the time has come it stays.
    clock.advance(dt.timedelta(days=2))
    assert (await patch(api, path, ends_at="2026-11-28T00:00:00Z")).status_code == 200
    assert await live(follows) == ("2026-11-26", "2026-11-29", 2)
    assert await live(own) == ("2026-11-25", "2026-11-27", 1)


async def test_a_campaign_that_is_paused_ends_with_its_last_day(
    api: Api, ledger: Ledger, database: DatabaseSettings
) -> None:
    path, flight, _, _ = await activate(api, ledger)
    await call(api, f"{path}/pause")
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=2)
    try:
        seen = [
            await states(api, path, flight, pool, ledger, at)
            for at in ("2026-11-27T23:59:00+00:00", "2026-11-30T23:59:00+00:00", "2026-12-01T00:00:00+00:00")
        ]
    finally:
        await pool.close()
    assert seen == [(0, "paused", "paused"), (1, "paused", "completed"), (1, "completed", "completed")]


async def test_amounts_whose_sums_could_not_be_kept_are_refused_by_name(api: Api) -> None:
    campaign = await make_campaign(api, budget_amount=MAX_AMOUNT)
    path = f"/campaigns/{campaign['campaign_id']}"
    too_much = MAX_AMOUNT + 1
    assert codes(await patch(api, path, budget_amount=too_much)) == {("/budget_amount", "invalid")}
    wrong = await call(api, f"{path}/flights", json={**FLIGHT, "price_amount": too_much})
    assert codes(wrong) == {("/price_amount", "invalid")}
    action = {"sponsor_id": campaign["sponsor_id"], "name": "Order", "category": "purchase", "currency": "EUR"}
    wrong = await call(api, "/conversion-actions", json={**action, "default_value_amount": too_much})
    assert codes(wrong) == {("/default_value_amount", "invalid")}
    made = (await call(api, "/conversion-actions", json={**action, "default_value_amount": MAX_AMOUNT})).json()
    said = {"action_id": made["action_id"], "external_id": "1", "currency": "EUR"}
    sent = await call(api, "/attribution/conversions", json={**said, "value_amount": too_much})
    assert {pointer for pointer, _ in codes(sent)} == {"/value_amount"}
    sent = await call(api, "/attribution/conversions", json={**said, "value_amount": MAX_AMOUNT})
    assert sent.status_code == 201, sent.text
