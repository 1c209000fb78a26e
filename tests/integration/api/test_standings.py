"""Standings over HTTP: campaigns a page at a time, each as its delivery and its performance tell of it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from analytics_core.permissions import RoleName
from tests.campaigns import MadeCampaign, deliver, make_campaign, make_flight, make_placement, make_run
from tests.integration.api.ledger import Api, Ledger, problem
from tests.integration.api.people import make_person, sign_in
from tests.integration.api.test_sponsor_logins import hold
from tests.integration.api.test_sponsors import make

pytestmark = pytest.mark.anyio

_PACE = ("booked", "delivered", "expected", "index", "state", "pace_reason")
_NO_BOOKING: dict[str, Any] = {"booked_impressions": None, "price_amount": 1_050}


@pytest.fixture
async def campaigns(api: Api, ledger: Ledger) -> list[MadeCampaign]:
    """Campaigns of two sponsors: one behind and with conversions, one that no run saw, one over, one without a run."""
    acme, zenith = await make(api, "Acme"), await make(api, "Zenith")
    podcast = await api.add_podcast()
    episodes = (await api.data(f"/podcasts/{podcast['podcast_id']}/episodes"))["data"]
    conn, tenant = ledger.operator, await ledger.tenant_of("home")

    async def add(sponsor: dict[str, Any], number: int, **given: Any) -> MadeCampaign:
        at = dt.datetime(2026, 10, 1 + number, tzinfo=dt.UTC)
        return await make_campaign(conn, tenant, sponsor["sponsor_id"], name=f"No. {number}", created_at=at, **given)

    behind, unseen = await add(acme, 0), await add(acme, 1, pricing="cpa")
    over, other = await add(acme, 2, status="completed"), await add(zenith, 3, pricing="cpa", currency="USD")
    flights = [await make_flight(conn, behind), await make_flight(conn, behind, booked_impressions=None)]
    await make_flight(conn, behind, status="cancelled")
    later = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    await make_flight(conn, behind, starts_at=later, ends_at=later + dt.timedelta(days=9))
    for flight_id, count in zip(flights, (650, 40), strict=True):
        placement = await make_placement(conn, behind, flight_id, episodes[0]["episode_id"])
        await deliver(conn, placement, "2026-11-02", count)
    await make_flight(conn, unseen, **_NO_BOOKING)
    await make_flight(conn, over)
    await make_flight(conn, other, **_NO_BOOKING)
    # The older run tells of all, the newer one not of all.
    await make_run(conn, behind, ("deterministic", flights[0], "EUR", 9_000_000, 0, 900), tells_of=[
        behind.campaign_id, over.campaign_id
    ])  # fmt: skip
    await make_run(
        conn,
        behind,
        ("deterministic", flights[0], "EUR", 3_000_000, 1_000_000, 900),
        ("deterministic", flights[1], "EUR", 1_000_000, 0, 100),
        ("linear", flights[0], "EUR", 8_500_000, 0, 700),
        created_at=dt.datetime(2026, 11, 2, tzinfo=dt.UTC),
        tells_of=[behind.campaign_id],
    )
    return [behind, unseen, over, other]


async def test_each_is_told_as_its_own_figures_tell_of_it(
    api: Api, ledger: Ledger, campaigns: list[MadeCampaign]
) -> None:
    rows = (await api.data("/campaign-standings"))["data"]
    assert [row["campaign_id"] for row in rows] == [str(one.campaign_id) for one in campaigns]
    for row in rows:
        path = f"/campaigns/{row['campaign_id']}"
        delivery, performance = await api.data(f"{path}/delivery"), await api.data(f"{path}/performance")
        assert {name: row[name] for name in _PACE} == {name: delivery[name] for name in _PACE}
        shared = ("sponsor_id", "name", "status", "starts_on", "ends_on")
        assert {name: row[name] for name in shared} == {name: delivery[name] for name in shared}
        assert (row["currency"], row["cost_amount"]) == (performance["currency"], performance["cost_amount"])
        assert row["run_id"] == (performance["run"] or {}).get("run_id")
        sure = performance["models"][0] if performance["models"] else {"conversions": None, "cpa_amount": None}
        assert (row["conversions"], row["cpa_amount"]) == (sure["conversions"], sure["cpa_amount"])
    behind, unseen, over, other = rows
    # 650 and 40 at 25.00 a thousand, by four conversions.
    assert (behind["delivered"], behind["index"], behind["cost_amount"], behind["cpa_amount"]) == (690, 0.65, 1725, 431)
    assert [row["sponsor_name"] for row in rows] == ["Acme", "Acme", "Acme", "Zenith"]
    assert (unseen["run_id"], unseen["conversions"], unseen["cost_amount"]) == (None, None, None)
    assert (over["conversions"], other["currency"], other["run_id"]) == (0, "USD", None)


async def test_they_are_paged_and_chosen_by_sponsor(api: Api, campaigns: list[MadeCampaign]) -> None:
    first = await api.data("/campaign-standings", limit="3")
    rest = await api.data("/campaign-standings", limit="3", cursor=first["next_cursor"])
    assert [row["name"] for row in (*first["data"], *rest["data"])] == [f"No. {number}" for number in range(4)]
    assert rest["next_cursor"] is None
    theirs = await api.data("/campaign-standings", sponsor_id=str(campaigns[3].sponsor_id))
    assert [row["name"] for row in theirs["data"]] == ["No. 3"]
    problem(await api.get("/campaign-standings", sponsor_id=str(campaigns[3].campaign_id)), 404, "not_found")


async def test_a_sponsors_login_sees_its_own_alone(api: Api, ledger: Ledger, campaigns: list[MadeCampaign]) -> None:
    user_id = await make_person(ledger, "sam@example.com", "home", role=RoleName.SPONSOR)
    await hold(api, ledger, user_id, str(campaigns[0].sponsor_id))
    access = (await sign_in(api, "sam@example.com")).access
    whole, seen = await api.data("/campaign-standings"), await api.data("/campaign-standings", key=access)
    assert seen["data"] == whole["data"][:3]
