"""Links: made, listed, changed and taken away, each tenant's own, and known to trackers at once."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.links import Click, LinkRow, add_clicks
from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.hits import HitKind
from analytics_core.registry import Link, read_registry
from analytics_core.settings import Settings
from api.schemas.links import Link as ShownLink
from ingest.registry_writer import RegistryWriter
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

SHOP = "https://shop.example.com/landing?x=%2F"


async def make(api: Api, *, status: int = 201, key: str | None = None, **wanted: Any) -> Any:
    answer = await api.request("POST", "/links", json={"url": SHOP, **wanted}, key=key)
    assert answer.status_code == status, answer.text
    return answer.json()


async def known(ledger: Ledger, settings: Settings, slug: str) -> Link | None:
    """Write the snapshot as ingest does, and look a link up as trackers do."""
    await RegistryWriter(settings.tracker).write(ledger.ingest)
    return read_registry(settings.tracker.registry_path).links.get(slug)


async def test_a_link_is_made_listed_changed_and_taken_away(
    api: Api, ledger: Ledger, settings: Settings, clock: FixedClock
) -> None:
    heard = asyncio.Event()
    await ledger.ingest.add_listener(CATALOGUE_CHANNEL, lambda *_: heard.set())
    made = await make(api, slug="Spring-Sale", utm={"medium": "pod cast", "source": "the show"}, click_id=True)
    await asyncio.wait_for(heard.wait(), 10)
    target = f"{SHOP}&utm_source=the%20show&utm_medium=pod%20cast"
    assert made == {
        "link_id": made["link_id"],
        "slug": "spring-sale",
        "short_url": "https://pod.example.com/go/spring-sale",
        "url": SHOP,
        "target": target,
        "utm": {"source": "the show", "medium": "pod cast"},
        "click_id": True,
        "sponsor_id": None,
        "campaign_id": None,
        "flight_id": None,
        "clicks": 0,
        "bots": 0,
        "created_at": "2026-11-24T12:00:00Z",
        "archived_at": None,
    }
    path = f"/links/{made['link_id']}"
    assert await api.data(path) == made
    assert await known(ledger, settings, "spring-sale") == Link(target, True)

    clock.advance(dt.timedelta(seconds=1))
    other = await make(api)
    assert len(other["slug"]) == 8
    first = await api.data("/links", limit=1)
    assert first["data"] == [made]
    assert (await api.data("/links", cursor=first["next_cursor"]))["data"] == [other]

    heard.clear()
    changed = await api.request("PATCH", path, json={"url": "https://new.example.com/", "click_id": False})
    assert changed.json() == {
        **made,
        "url": "https://new.example.com/",
        "target": "https://new.example.com/?utm_source=the%20show&utm_medium=pod%20cast",
        "click_id": False,
    }
    await asyncio.wait_for(heard.wait(), 10)
    assert await known(ledger, settings, "spring-sale") == Link(changed.json()["target"])
    assert (await api.request("PATCH", path, json={"utm": {}})).json()["target"] == "https://new.example.com/"

    heard.clear()
    gone = await api.request("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    await asyncio.wait_for(heard.wait(), 10)
    assert await known(ledger, settings, "spring-sale") is None
    assert (await api.data(path))["archived_at"] == "2026-11-24T12:00:01Z"
    problem(await api.request("DELETE", path), 404, "not_found")
    problem(await api.request("PATCH", path, json={"click_id": True}), 404, "not_found")
    # Whoever has printed it somewhere must not find it leading elsewhere one day.
    problem(await api.request("POST", "/links", json={"url": SHOP, "slug": "spring-sale"}), 409, "slug_taken")


async def test_clicks_are_counted_by_link_and_bots_apart(api: Api, ledger: Ledger) -> None:
    made = await make(api, slug="offer")
    row = await ledger.ingest.fetchrow("select tenant_no, link_no from app.links")
    assert row is not None
    at = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
    clicks = [
        Click(row["tenant_no"], row["link_no"], at, 1, place, place == 2, UUID(int=7) if place == 0 else None)
        for place in range(4)
    ]
    await add_clicks(ledger.ingest, clicks[:1])
    await add_clicks(ledger.ingest, clicks)
    seen = await api.data(f"/links/{made['link_id']}")
    assert (seen["clicks"], seen["bots"]) == (3, 1)


@pytest.mark.parametrize(
    ("wanted", "faults"),
    [
        ({"url": "ftp://shop.example.com/"}, {("/url", "url_invalid")}),
        ({"url": "https://pod.example.com/go/x"}, {("/url", "url_own_host")}),
        ({"url": "https://10.0.0.1/"}, {("/url", "host_not_public")}),
        ({"url": 7}, {("/url", "invalid")}),
        ({"slug": "a b", "url": "nothing"}, {("/slug", "slug_invalid"), ("/url", "url_invalid")}),
        ({"slug": ""}, {("/slug", "invalid")}),
        ({"utm": {"sauce": "x"}}, {("/utm", "invalid")}),
        ({"utm": {"source": "a\nb"}}, {("/utm", "invalid")}),
        ({"utm": {"source": "a" * 201}}, {("/utm", "invalid")}),
        ({"utm": dict.fromkeys(("source", "medium", "campaign"), "€" * 200)}, {("/utm", "target_too_long")}),
        ({"click_id": "yes"}, {("/click_id", "invalid")}),
        ({"target": SHOP}, {("/target", "unknown_field")}),
    ],
)
async def test_bad_input_is_named_and_nothing_is_made(api: Api, wanted: dict[str, Any], faults: set[Any]) -> None:
    answer = await api.request("POST", "/links", json={"url": SHOP, **wanted})
    assert answer.status_code == 422
    assert codes(answer) == faults
    assert (await api.data("/links"))["data"] == []


async def test_a_change_that_makes_a_target_too_long_is_refused_whichever_part_it_changes(api: Api) -> None:
    made = await make(api, utm={"source": "€" * 200, "medium": "€" * 100})
    path = f"/links/{made['link_id']}"
    long_url = "https://shop.example.com/" + "a" * 2000
    answer = await api.request("PATCH", path, json={"url": long_url})
    assert codes(answer) == {("/url", "target_too_long")}
    answer = await api.request("PATCH", path, json={"utm": dict.fromkeys(made["utm"], "€" * 200), "url": long_url})
    assert codes(answer) == {("/utm", "target_too_long")}
    assert await api.data(path) == made


async def test_clicks_are_not_among_the_hits_that_verdicts_are_about(api: Api, ledger: Ledger) -> None:
    podcast = await api.add_podcast()
    click = await ledger.land("2026-11-24T01:00+00:00", None, podcast_id=podcast["podcast_id"], kind=HitKind.CLICK)
    hit = await ledger.land("2026-11-24T02:00+00:00", None, podcast_id=podcast["podcast_id"], bits=2)
    listed = await api.data("/analytics/hits", **{"from": "2026-11-24", "to": "2026-11-25"})
    assert [row["hit_id"] for row in listed["data"]] == [hit]
    problem(await api.get(f"/analytics/hits/{click}"), 404, "not_found")


def test_a_link_has_no_address_while_the_installation_has_none() -> None:
    row = LinkRow(
        UUID(int=1), "offer", SHOP, SHOP, {}, False, dt.datetime(2026, 11, 24, tzinfo=dt.UTC), None, 0, 0, None
    )
    assert ShownLink.of(row, public_url="").short_url is None
    assert ShownLink.of(row, public_url="https://pod.example.com").short_url == "https://pod.example.com/go/offer"


async def test_a_slug_has_one_owner_and_links_are_seen_by_it_alone(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    made = await make(api, slug="offer")
    refused = await api.request("POST", "/links", json={"url": SHOP, "slug": "OFFER"}, key=other)
    problem(refused, 409, "slug_taken")
    assert (await api.get("/links", key=other)).json()["data"] == []
    path = f"/links/{made['link_id']}"
    problem(await api.get(path, key=other), 404, "not_found")
    problem(await api.request("PATCH", path, json={"url": SHOP}, key=other), 404, "not_found")
    problem(await api.request("DELETE", path, key=other), 404, "not_found")
    problem(await api.get("/links/nothing"), 404, "not_found")
    assert await api.data(path) == made


async def test_a_suspended_tenants_links_lead_on(api: Api, ledger: Ledger, settings: Settings) -> None:
    late = await ledger.make_key("late-payer")
    await make(api, slug="late", key=late)
    await ledger.suspend("late-payer")
    await api.until_refused(late)
    problem(await api.request("POST", "/links", json={"url": SHOP}, key=late), 403, "tenant_suspended")
    assert await known(ledger, settings, "late") == Link(SHOP)
