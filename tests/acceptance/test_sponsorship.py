"""A sponsor's story over real HTTP: from the order to the report, every number beside a count by hand.

What is counted by hand:

- 8 impressions: five listeners of the first episode, of whom two came twice, and three of the second; a bot, and four
  downloads of an episode without a placement, are none. Six listeners had them: two heard both episodes.
- 1 click, which led Ann to an order of 49.99; 9.99 of it went back, so that 40.00 are left.
- Bob's order of 30.00 came with the code, as he typed it. Cem's of 10.00 came with no sign of anything. Dan's of 20.00
  came with the code and went back whole.
- So 2 conversions of 70.00 are known for sure. At 1,000.00 a thousand, 8 impressions cost 8.00.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from castledger import AttributionResult, Castledger
from tests.acceptance.feeds import own_feed
from tests.acceptance.whole import Up, castledger, until
from tests.days import find_today

_PLAYER = "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"
_BOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
_FILE = "dts.podtrac.com/redirect.mp3/pdst.fm/e/cdn.example.org/s/e{number}.mp3?s=1&_from=a"


@pytest.fixture
def said(folder: Path) -> Iterator[dict[str, str]]:
    """What a running `up` printed."""
    up = Up(folder)
    try:
        yield up.wait()
    finally:
        up.kill_all()


class Story:
    """Whoever tells it: a podcaster's client, a listener's player and browser, and a shop."""

    def __init__(self, said: dict[str, str], folder: Path) -> None:
        self.folder = folder
        self.client = Castledger(
            said["api_key"], base_url=said["api_url"], collector_url=said["collector_url"], strict=True
        )
        tracker = urlsplit(said["tracker_url"])
        self.tracker = httpx.Client(base_url=f"http://{tracker.hostname}:{tracker.port}", timeout=60)
        headers = {"Authorization": f"Bearer {said['api_key']}"}
        self.http = httpx.Client(base_url=f"{said['api_url']}/api/v1", headers=headers, timeout=30)
        added = self.http.post("/podcasts", content=own_feed(), headers={"Content-Type": "application/rss+xml"})
        self.podcast = added.raise_for_status().json()

    def close(self) -> None:
        """End all that is open."""
        self.client.close()
        self.tracker.close()
        self.http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Read from the API as it is on the wire."""
        return self.http.get(path, params=query).raise_for_status().json()

    def play(self, number: int, *agents: str) -> None:
        """Download an episode with some players."""
        for agent in agents:
            target = _FILE.format(number=number)
            path = f"/e,pg={self.podcast['podcast_guid']}/{target}"
            assert self.tracker.get(path, headers={"User-Agent": agent}).status_code == 302

    def run_job(self, name: str) -> None:
        """Have something done now that is done every few minutes."""
        self.tell("jobs", "run", name)

    def tell(self, *command: str) -> str:
        """Run a command, and return what it tells."""
        done = castledger(*command, "--data-dir", str(self.folder / "ledger"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def click(self, slug: str) -> str:
        """Follow a link, and return the id that the shop is told."""

        def follow(agent: str) -> httpx.Response:
            return self.tracker.get(f"/go/{slug}", headers={"User-Agent": agent})

        until(lambda: follow(_BOT).status_code == 302, "the link leads nowhere")
        (click_id,) = parse_qs(urlsplit(follow(_BROWSER).headers["location"]).query)["cl_click"]
        return click_id


@pytest.fixture
def story(said: dict[str, str], folder: Path) -> Iterator[Story]:
    story = Story(said, folder)
    try:
        yield story
    finally:
        story.close()


def _listeners(*numbers: int) -> list[str]:
    return [f"{_PLAYER} {number}" for number in numbers]


def test_from_the_order_to_the_report(story: Story) -> None:
    client, today = story.client, find_today(lasting_s=180)
    midnight = dt.datetime.combine(today, dt.time(), dt.UTC)
    episodes = {episode.guid: episode for episode in client.episodes.list(story.podcast["podcast_id"])}

    # The promise.
    acme = client.sponsors.create(name="Acme", domain="shop.example.com")
    order = client.insertion_orders.create(sponsor_id=acme.sponsor_id, name="Autumn", currency="EUR")
    campaign = client.campaigns.create(
        insertion_order_id=order.insertion_order_id,
        name="Autumn",
        starts_on=today,
        ends_on=today + dt.timedelta(days=29),
        pricing="cpm",
        budget_amount=10_000,
        model="linear",
        window_days=30,
    )
    flight = client.campaigns.create_flight(
        campaign.campaign_id,
        name="First",
        starts_at=midnight,
        ends_at=midnight + dt.timedelta(days=30),
        price_amount=100_000,
        booked_impressions=1_000,
    )
    for guid in ("e0", "e1"):
        client.campaigns.create_placement(
            flight.flight_id, episode_id=episodes[guid].episode_id, delivery="dynamic", position="mid"
        )
    client.promo_codes.create(flight.flight_id, code="ACME20")
    client.links.create(url="https://shop.example.com/", slug="acme", click_id=True, flight_id=flight.flight_id)
    action = client.conversions.create_action(
        sponsor_id=acme.sponsor_id, name="Order", category="purchase", event_type="purchase"
    )
    assert client.campaigns.activate(campaign.campaign_id).status == "active"

    # What is heard.
    story.play(0, *_listeners(0, 1, 2, 3, 4), *_listeners(0, 1), _BOT)
    story.play(1, *_listeners(3, 4, 5))
    story.play(2, *_listeners(6, 7, 8, 9))
    click_id = story.click("acme")

    # What comes of it: the shop tells through the SDK.
    shop: Any = {"url": "https://shop.example.com/thanks", "currency": "EUR"}
    client.track(
        "purchase",
        external_id="o-1",
        value_amount=4999,
        customer_id="ann",
        click_id=click_id,
        new_customer=True,
        **shop,
    )
    client.track("purchase", external_id="o-2", value_amount=3000, customer_id="bob", promo_code="acme 20", **shop)
    client.track("purchase", external_id="o-3", value_amount=1000, customer_id="cem", **shop)
    client.track("purchase", external_id="o-4", value_amount=2000, customer_id="dan", promo_code="ACME20", **shop)
    client.track("refund", external_id="o-1", value_amount=999, properties={"refund_id": "r-1"}, **shop)
    client.track("refund", external_id="o-4", value_amount=2000, properties={"refund_id": "r-2"}, **shop)
    assert client.flush(30)

    def worth() -> dict[str, int | None]:
        return {
            found.external_id: found.effective_value_amount
            for found in client.conversions.list(sponsor_id=acme.sponsor_id, action_id=action.action_id)
        }

    settled = {"o-1": 4000, "o-2": 3000, "o-3": 1000, "o-4": None}
    until(lambda: worth() == settled, "conversions or refunds went missing")
    path = f"/campaigns/{campaign.campaign_id}"
    until(lambda: bool(story.get(f"{path}/delivery")["delivered"] == 8), "impressions went missing")

    # Who did it.
    run = client.attribution.create_run(
        sponsor_id=acme.sponsor_id, start=today, end=today + dt.timedelta(days=1), models=["first", "last", "linear"]
    )
    result = client.attribution.wait(run.run_id)
    assert result.run.status == "ready"
    _check_run(result)
    orders = {found.external_id: found.conversion_id for found in client.conversions.list(sponsor_id=acme.sponsor_id)}
    _check_path(client.attribution.path(orders["o-1"]), "click")
    _check_path(client.attribution.path(orders["o-2"]), "code")
    delivery = story.get(f"{path}/delivery")
    assert (delivery["booked"], delivery["delivered"]) == (1_000, 8)
    by_episode = {row["episode_title"]: row["delivered"] for row in delivery["placements"]}
    assert by_episode == {"Episode 0": 5, "Episode 1": 3}
    story.run_job("reach")
    until(lambda: story.get(f"{path}/reach")["reach"] == 6, "listeners went missing")
    performance = story.get(f"{path}/performance", run_id=str(run.run_id))
    assert (performance["impressions"], performance["clicks"], performance["reach"]) == (8, 1, 6)
    assert (performance["cost_amount"], performance["currency"]) == (800, "EUR")
    for model in performance["models"]:
        assert (model["conversions"], model["values"]) == (2, [{"value_amount": 7000, "currency": "EUR"}]), model
        # 8.00 for two of them, which were worth 70.00.
        assert (model["cpa_amount"], model["roas"], model["new_customers"]) == (400, 8.75, 1), model
    invoice = story.get(f"/insertion-orders/{order.insertion_order_id}/invoice")
    assert (invoice["total_amount"], [line["quantity"] for line in invoice["lines"]]) == (800, [8])

    # What the sponsor reads, without a login.
    made = client.reports.create(
        kind="sponsor",
        format="json",
        start=today,
        end=today + dt.timedelta(days=1),
        sponsor_id=acme.sponsor_id,
        run_id=run.run_id,
    )
    made = client.reports.wait(made.report_id)
    assert made.status == "ready", made.error
    content = client.reports.download(made.report_id)
    shared = client.reports.share(made.report_id, expires_at=midnight + dt.timedelta(days=3))
    with httpx.Client(timeout=60) as anybody:
        opened = anybody.get(f"{story.http.base_url}shared/{shared.token}", params={"download": "1"})
        assert (opened.status_code, opened.content) == (200, content)
        assert shared.url is not None
        page = anybody.get(shared.url)
        assert (page.status_code, "Acme" in page.text) == (200, True)
    _check_report(json.loads(content), performance)

    # The same in a terminal.
    told = story.tell("campaigns", "--sponsor", "acme")
    assert re.search(r"active +8 +1,000 .* 2 +€4\.00 +Autumn \(Acme\)\n", told), told
    told = story.tell("campaign", str(campaign.campaign_id))
    assert re.search(r"^delivered  #\.+  8 of 1,000 booked\n(?s:.*)^sure       2 conversions, €4\.00 each$", told, re.M)
    kept = story.folder / "acme.json"
    days = ("--from", str(today), "--to", str(today + dt.timedelta(days=1)))
    story.tell("report", "sponsor", "--sponsor", "Acme", "--run", str(run.run_id), *days, "--out", str(kept))
    _check_report(json.loads(kept.read_bytes()), performance)


def _check_run(result: AttributionResult) -> None:
    (found,) = result.campaigns or ()
    sure = [(one.conversions_ppm, one.value_amount, one.currency) for one in found.deterministic]
    assert sure == [(2_000_000, 7000, "EUR")]
    assert {one.model for one in found.models} == {"first", "last", "linear"}
    for model in found.models:
        assert [(one.conversions_ppm, one.value_amount) for one in model.credited or ()] == [(2_000_000, 7000)]


def _check_path(path: dict[str, Any], kind: str) -> None:
    assert [touch["signal"] for touch in path["touches"]] == [kind]


def _check_report(report: dict[str, Any], performance: dict[str, Any]) -> None:
    tables = report["tables"]
    assert [(row["delivered"], row["booked"]) for row in tables["flights"]] == [(8, 1_000)]
    assert {row["episode"]: row["delivered"] for row in tables["placements"]} == {"Episode 0": 5, "Episode 1": 3}
    assert [row["impressions"] for row in tables["days"]] == [8]
    assert [(row["code"], row["redemptions"], row["late"]) for row in tables["codes"]] == [("ACME20", 1, 0)]
    assert [(row["link"], row["clicks"]) for row in tables["links"]] == [("/go/acme", 1)]
    assert [(row["reach"], row["frequency"]) for row in tables["reach"]] == [(6, 1.3333)]
    assert [
        (row["model"], row["conversions"], row["value_amount"], row["cpa_amount"]) for row in tables["conversions"]
    ] == [(row["model"], row["conversions"], 7000, row["cpa_amount"]) for row in performance["models"]]
