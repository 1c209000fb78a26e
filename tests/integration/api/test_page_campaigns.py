"""Campaigns on the page: what a sponsor reads is what the API says, and what is not its own is not there."""

from __future__ import annotations

import datetime as dt
import io
from typing import NamedTuple
from uuid import UUID

import pytest
from litestar import Litestar

from analytics_core.attribution.parameters import Model
from analytics_core.clock import FixedClock
from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from tests.campaigns import MadeCampaign, deliver, make_campaign, make_flight, make_placement, make_run
from tests.integration.api.browsers import Browser
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.test_sponsors import make

pytestmark = pytest.mark.anyio

NAME = "Autumn <b>& co</b>"


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


class World(NamedTuple):
    """A campaign of one flight and one placement, with 650 of 1,000 impressions delivered."""

    campaign: MadeCampaign
    flight_id: UUID


@pytest.fixture
async def world(api: Api, ledger: Ledger) -> World:
    sponsor = await make(api, "Acme")
    podcast = await api.add_podcast()
    episodes = (await api.data(f"/podcasts/{podcast['podcast_id']}/episodes"))["data"]
    campaign = await make_campaign(
        ledger.operator, await ledger.tenant_of("home"), sponsor["sponsor_id"], name=NAME, model="linear"
    )
    flight_id = await make_flight(ledger.operator, campaign)
    placement = await make_placement(ledger.operator, campaign, flight_id, episodes[0]["episode_id"])
    await deliver(ledger.operator, placement, "2026-11-02", 400)
    await deliver(ledger.operator, placement, "2026-11-03", 250)
    return World(campaign, flight_id)


async def test_a_campaign_is_listed_and_tells_what_was_delivered_beside_what_was_booked(
    app: Litestar, api: Api, world: World
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get("/campaigns")
        assert page.texts("//tbody//a[@class='title']") == [NAME]
        page = await browser.get(f"/campaigns/{world.campaign.campaign_id}")
        assert (page.status, page.texts("//h1/bdi")) == (200, [NAME])
        (delivered,) = page.texts("//dl[@class='figures']/div[1]/dd")
        assert delivered.startswith("650")
        assert "of 1,000 booked" in delivered
        assert "behind: 65" in delivered
        assert page.texts("//section[@aria-labelledby='flights']//tbody/tr/td[1]") == ["650"]
        assert page.texts("//section[@aria-labelledby='placements']//tbody/tr/td[last()]") == ["650"]
        assert page.texts("//table[@id='progress-table']/tbody/tr[last()]/td") == ["0", "0", "50"]
        assert "No attribution run is ready yet." in page.text
        assert "it has no promo code and no link" in page.text
    await api.request("POST", f"/flights/{world.flight_id}/promo-codes", json={"code": "AUTUMN"})
    await api.request(
        "POST", "/links", json={"url": "https://shop.example.com/", "slug": "autumn", "flight_id": str(world.flight_id)}
    )
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/campaigns/{world.campaign.campaign_id}")
        shown = page.texts("//section[@aria-labelledby='devices']//tbody/tr/th/code")
        assert (shown[0], shown[1].endswith("/go/autumn")) == ("AUTUMN", True)
        assert page.texts("//section[@aria-labelledby='devices']//tbody/tr/td[2]") == ["0 times", "0 clicks"]


async def test_a_campaign_that_is_over_tells_what_was_measured(
    app: Litestar, api: Api, world: World, clock: FixedClock
) -> None:
    clock.advance(dt.timedelta(days=60))
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/campaigns/{world.campaign.campaign_id}")
        (delivered,) = page.texts("//dl[@class='figures']/div[1]/dd")
        assert "of 1,000 booked, 65 % of what was booked; it is over, and all of it is counted" in delivered
        assert "to be expected in the end" not in delivered
        assert "due by now" not in page.text


async def test_of_many_placements_those_are_shown_that_delivered_most(
    app: Litestar, api: Api, ledger: Ledger, world: World
) -> None:
    await ledger.operator.execute(
        """insert into app.placements select (jsonb_populate_record(p, jsonb_build_object('placement_id',
            gen_random_uuid(), 'live_from', p.live_from - interval '1 day'))).*
        from app.placements p, generate_series(1, 250)"""
    )
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/campaigns/{world.campaign.campaign_id}")
        shown = page.texts("//section[@aria-labelledby='placements']//tbody/tr/td[last()]")
        assert (shown[0], len(shown)) == ("650", 200)
        assert "51 more are left out" in page.text


async def test_models_stand_beside_each_other_with_the_one_agreed_on_marked(
    app: Litestar, api: Api, ledger: Ledger, world: World
) -> None:
    await make_run(
        ledger.operator,
        world.campaign,
        ("deterministic", world.flight_id, "EUR", 3_000_000, 1_000_000, 15_000),
        ("linear", world.flight_id, "EUR", 3_500_000, 1_000_000, 17_000),
        models=("linear", "markov"),
        insufficient={Model.MARKOV: "2 paths led to a conversion"},
    )
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/campaigns/{world.campaign.campaign_id}")
        assert "Markov has too little to go by: 2 paths led to a conversion." in page.text
        rows = "//section[@aria-labelledby='conversions']//tbody/tr"
        assert page.texts(f"{rows}/td[1]") == ["3", "3.5"]
        assert page.texts(f"{rows}/td[3]") == ["€150.00", "€170.00"]
        assert page.texts(f"{rows}/th/span[@class='state']") == ["agreed on"]


async def test_a_flight_that_is_behind_says_since_when(app: Litestar, api: Api, ledger: Ledger, world: World) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/campaigns/{world.campaign.campaign_id}")
        assert "behind since" not in page.answer.text
        await ledger.operator.execute(
            "insert into app.flight_alerts (tenant_id, flight_id, behind_since) values ($1, $2, '2026-11-09T08:00Z')",
            world.campaign.tenant.tenant_id,
            world.flight_id,
        )
        page = await browser.get(f"/campaigns/{world.campaign.campaign_id}")
        assert "; behind since 9 Nov 2026" in page.answer.text


async def test_what_is_no_campaign_is_not_found(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get("/campaigns")
        assert "There is none yet." in page.text
        assert (await browser.get("/campaigns/nothing")).status == 404
        assert (await browser.get(f"/campaigns/{UUID(int=7)}")).status == 404
