"""Links of flights: whose they are, what their campaign puts into their targets, and what cannot be."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from analytics_core.registry import Link
from analytics_core.settings import Settings
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.sold_flights import SoldFlight, place_flight, sell_flight
from tests.integration.api.test_links import SHOP, known, make
from tests.integration.api.test_sponsors import make as make_sponsor

pytestmark = pytest.mark.anyio

UTM = {"source": "{podcast}", "medium": "podcast", "campaign": "{sponsor}-{campaign}", "content": "{flight}"}


@pytest.fixture
async def flight(api: Api, ledger: Ledger) -> SoldFlight:
    sponsor = await make_sponsor(api, "Acme & Co.")
    return await sell_flight(ledger, sponsor["sponsor_id"], utm=UTM)


async def change(api: Api, link: dict[str, Any], **wanted: Any) -> Any:
    answer = await api.request("PATCH", f"/links/{link['link_id']}", json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_link_of_a_flight_is_its_sponsors_and_campaigns(
    api: Api, ledger: Ledger, flight: SoldFlight, settings: Settings
) -> None:
    made = await make(api, slug="acme", flight_id=flight.flight_id, utm={"medium": "read"})
    assert {name: made[name] for name in flight._fields} == flight._asdict()
    # Nobody knows in which podcast it will be heard; its own parameters win.
    target = f"{SHOP}&utm_medium=read&utm_campaign=acme-co-spring-sale&utm_content=november"
    assert (made["target"], made["utm"]) == (target, {"medium": "read"})
    assert await known(ledger, settings, "acme") == Link(target)
    assert (await api.data("/links", flight_id=flight.flight_id))["data"] == [made]

    podcast = await api.add_podcast()
    await place_flight(ledger, flight, podcast["podcast_id"])
    filled = await change(api, made)
    assert filled["target"].startswith(f"{SHOP}&utm_source=podcast-1&utm_medium=read")
    # In two podcasts it is neither's.
    other = await api.add_podcast(7)
    await place_flight(ledger, flight, other["podcast_id"], status="missed")
    assert (await change(api, made))["target"] == filled["target"]
    await place_flight(ledger, flight, other["podcast_id"])
    assert (await change(api, made))["target"] == target


async def test_a_link_is_tied_to_a_flight_untied_and_tied_to_another(
    api: Api, ledger: Ledger, flight: SoldFlight
) -> None:
    other = await sell_flight(
        ledger, (await make_sponsor(api, "Zenith"))["sponsor_id"], name="Spots", utm={"term": "x"}
    )
    made = await make(api, slug="acme")
    tied = await change(api, made, flight_id=flight.flight_id)
    assert {name: tied[name] for name in flight._fields} == flight._asdict()
    assert "utm_campaign=acme-co-spring-sale" in tied["target"]
    assert (await change(api, made, url="https://new.example.com/"))["flight_id"] == flight.flight_id
    untied = await change(api, made, flight_id=None, url=SHOP)
    assert (untied["flight_id"], untied["campaign_id"], untied["sponsor_id"]) == (None, None, flight.sponsor_id)
    assert untied["target"] == SHOP
    moved = await change(api, made, flight_id=other.flight_id)
    assert {name: moved[name] for name in other._fields} == other._asdict()
    assert moved["target"] == f"{SHOP}&utm_term=x"
    assert (await api.data("/links", flight_id=flight.flight_id))["data"] == []


async def test_a_link_of_a_flight_is_no_other_sponsors(api: Api, flight: SoldFlight) -> None:
    other = (await make_sponsor(api, "Zenith"))["sponsor_id"]
    answer = await api.request("POST", "/links", json={"url": SHOP, "flight_id": flight.flight_id, "sponsor_id": other})
    assert codes(answer) == {("/sponsor_id", "not_of_flight")}
    made = await make(api, flight_id=flight.flight_id, sponsor_id=flight.sponsor_id)
    for sponsor_id in (other, None):
        answer = await api.request("PATCH", f"/links/{made['link_id']}", json={"sponsor_id": sponsor_id})
        assert codes(answer) == {("/sponsor_id", "not_of_flight")}
    changed = await change(api, made, sponsor_id=other, flight_id=None)
    assert (changed["sponsor_id"], changed["campaign_id"]) == (other, None)


async def test_flights_that_get_nothing_new_get_no_links(api: Api, ledger: Ledger, flight: SoldFlight) -> None:
    gone = await sell_flight(ledger, flight.sponsor_id, status="cancelled")
    made = await make(api)
    kept = await make(api, flight_id=flight.flight_id)
    await api.request("POST", f"/sponsors/{flight.sponsor_id}/archive")
    for flight_id, status, code in (
        (gone.flight_id, 409, "flight_cancelled"),
        (flight.flight_id, 409, "sponsor_archived"),
        (str(UUID(int=1)), 404, "not_found"),
    ):
        wanted = {"flight_id": flight_id}
        problem(await api.request("POST", "/links", json={"url": SHOP, **wanted}), status, code)
        problem(await api.request("PATCH", f"/links/{made['link_id']}", json=wanted), status, code)
    # What it has it keeps, and leads elsewhere where it must.
    assert (await change(api, kept, url="https://new.example.com/"))["flight_id"] == flight.flight_id
    await api.request("POST", f"/sponsors/{flight.sponsor_id}/restore")
    problem(
        await api.request("POST", "/links", json={"url": SHOP, "flight_id": gone.flight_id}), 409, "flight_cancelled"
    )
    problem(await api.get("/links", flight_id=str(UUID(int=1))), 404, "not_found")


async def test_what_a_campaign_makes_too_long_is_refused_where_it_was_asked_for(
    api: Api, ledger: Ledger, flight: SoldFlight
) -> None:
    long = await sell_flight(ledger, flight.sponsor_id, utm=dict.fromkeys(UTM, "€" * 200))
    answer = await api.request("POST", "/links", json={"url": SHOP, "flight_id": long.flight_id})
    assert codes(answer) == {("/utm", "target_too_long")}
    made = await make(api)
    path = f"/links/{made['link_id']}"
    answer = await api.request("PATCH", path, json={"flight_id": long.flight_id})
    assert codes(answer) == {("/flight_id", "target_too_long")}
    assert await api.data(path) == made


async def test_what_a_campaign_or_a_flight_is_called_reaches_the_links_that_are_there(
    api: Api, ledger: Ledger, flight: SoldFlight, settings: Settings
) -> None:
    await make(api, slug="acme", flight_id=flight.flight_id, utm={"medium": "read"})
    await make(api, slug="other")
    campaign, own = f"/campaigns/{flight.campaign_id}", f"/flights/{flight.flight_id}"
    for path, wanted, query in (
        (campaign, {"name": "Summer"}, "utm_medium=read&utm_campaign=acme-co-summer&utm_content=november"),
        (own, {"name": "First half"}, "utm_medium=read&utm_campaign=acme-co-summer&utm_content=first-half"),
        (campaign, {"utm": {"term": "{flight}"}}, "utm_medium=read&utm_term=first-half"),
        (campaign, {"utm": {}}, "utm_medium=read"),
    ):
        answer = await api.request("PATCH", path, json=wanted)
        assert answer.status_code == 200, answer.text
        assert await known(ledger, settings, "acme") == Link(f"{SHOP}&{query}")
        assert await known(ledger, settings, "other") == Link(SHOP)


async def test_a_template_that_cannot_be_filled_is_refused_and_nothing_changes(api: Api, flight: SoldFlight) -> None:
    link = await make(api, url="https://shop.example.com/" + "a" * 2000, flight_id=flight.flight_id)
    path = f"/campaigns/{flight.campaign_id}"
    before = await api.data(path)
    answer = await api.request("PATCH", path, json={"utm": {"source": "{episode}"}})
    assert codes(answer) == {("/utm/source", "utm_invalid")}
    answer = await api.request("PATCH", path, json={"utm": dict.fromkeys(UTM, "€" * 200)})
    assert codes(answer) == {("/utm", "target_too_long")}
    assert link["slug"] in answer.json()["detail"]
    assert (await api.data(path), await api.data(f"/links/{link['link_id']}")) == (before, link)
    wanted = {"name": "X", "insertion_order_id": before["insertion_order_id"], "starts_on": "2026-11-01"}
    wanted |= {"ends_on": "2026-11-30", "pricing": "cpm", "budget_amount": 1, "model": "last", "window_days": 30}
    answer = await api.request("POST", "/campaigns", json={**wanted, "utm": {"source": "{x}"}})
    assert codes(answer) == {("/utm/source", "utm_invalid")}
