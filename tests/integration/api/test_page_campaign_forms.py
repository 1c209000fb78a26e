"""A campaign made by its forms alone: from the empty page to a shared report, as somebody without a program does it."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

import pytest
from litestar import Litestar

from analytics_core.permissions import RoleName
from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.browsers import Browser, Page
from tests.integration.api.kept_reports import keep_report
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.people import PASSWORD, make_person
from tests.integration.api.test_sponsor_logins import hold
from tests.integration.api.test_sponsors import make

pytestmark = pytest.mark.anyio

CAMPAIGN = {
    "sponsor_name": "Acme",
    "name": "Autumn <b>& co</b>",
    "starts_on": "2026-11-20",
    "ends_on": "2026-12-31",
    "pricing": "cpm",
    "budget_amount": "5,000.00",
    "currency": "eur",
    "model": "linear",
    "window_days": "30",
}
FLIGHT = {
    "name": "November",
    "starts_at": "2026-11-20",
    "ends_at": "2026-11-30",
    "price_amount": "25",
    "booked_impressions": "100,000",
}


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


async def fill(browser: Browser, path: str, fields: dict[str, str]) -> Page:
    """Open a form and send it."""
    page = await browser.get(path)
    assert page.status == 200, page.text
    return await browser.send(page, path.partition("?")[0], fields)


async def make_campaign(browser: Browser, **more: str) -> str:
    """Make a campaign by its form, and return its page's path."""
    page = await fill(browser, "/campaigns/new", {**CAMPAIGN, **more})
    assert page.status == 200, page.text
    return str(page.path)


async def actions_of(api: Api) -> list[str]:
    """List what was done about campaigns, the first first."""
    entries = (await api.data("/audit", limit=200))["data"]
    left_out = ("session.open", "podcast.create")
    return [entry["action"] for entry in reversed(entries) if entry["action"] not in left_out]


async def test_a_campaign_is_made_placed_tracked_and_begun_by_forms_alone(app: Litestar, api: Api) -> None:
    podcast = await api.add_podcast()
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get("/campaigns")
        assert page.links("//div[@class='empty']//a") == ["/campaigns/new"]
        path = await make_campaign(browser)
        page = await browser.get(path)
        assert page.texts("//ol[@class='lacking']/li/a") == [
            "Add a flight",
            "Place it in an episode",
            "Give it a promo code",
        ]
        refused = await browser.send(page, f"{path}/steps", {"do": "activate"})
        assert refused.status == 409
        assert "The campaign has no flight, no placement, no promo code or link" in refused.text
        assert refused.links("//ol[@class='lacking']//a")[0] == f"{path}/flights/new"

        page = await fill(browser, f"{path}/flights/new", {**FLIGHT, "name": "=November"})
        assert page.texts("//section[@aria-labelledby='flights']//tbody/tr/th/bdi") == ["=November"]
        flight = (await api.data("/flights"))["data"][0]
        assert (flight["starts_at"], flight["ends_at"]) == ("2026-11-20T00:00:00Z", "2026-12-01T00:00:00Z")
        assert (flight["price_amount"], flight["booked_impressions"], flight["window_days"]) == (2_500, 100_000, None)

        episodes = (await api.data(f"/podcasts/{podcast['podcast_id']}/episodes"))["data"]
        page = await browser.get(f"{path}/placements/new")
        assert page.texts("//select[@name='episode_id']/option") == [one["title"] for one in episodes]
        placed = {"episode_id": episodes[0]["episode_id"], "flight_id": flight["flight_id"], "delivery": "dynamic"}
        page = await browser.send(page, f"{path}/placements/new", {**placed, "position": "pre", "host_read": "on"})
        placement = (await api.data("/placements"))["data"][0]
        assert (placement["position"], placement["delivery"], placement["host_read"]) == ("pre", "dynamic", True)
        assert placement["live_until"] == "2026-12-01T00:00:00Z"

        coded = {"flight_id": flight["flight_id"], "code": "acme20", "valid_until": "2026-11-30", "grace_days": "3"}
        page = await fill(browser, f"{path}/promo-codes/new", coded)
        code = (await api.data("/promo-codes"))["data"][0]
        assert (code["code"], code["valid_until"], code["grace_days"]) == ("ACME20", "2026-12-01T00:00:00Z", 3)
        await fill(
            browser, f"{path}/promo-codes/new", {"flight_id": flight["flight_id"], "count": "3", "prefix": "POD"}
        )
        made = [one["code"] for one in (await api.data("/promo-codes"))["data"]]
        listed = await browser.http.get(f"{path}/promo-codes.csv")
        rows = list(csv.DictReader(listed.text.splitlines()))
        assert [row["code"] for row in rows] == made
        assert (len(made), {row["flight"] for row in rows}) == (4, {"'=November"})

        linked = {
            "flight_id": flight["flight_id"],
            "url": "https://shop.example.com/",
            "slug": "acme",
            "click_id": "on",
        }
        page = await fill(browser, f"{path}/links/new", linked)
        link = (await api.data("/links"))["data"][0]
        assert (link["slug"], link["flight_id"], link["click_id"]) == ("acme", flight["flight_id"], True)
        page = await fill(browser, f"{path}/vanity-hosts/new", {"link_id": link["link_id"], "host": "Acme.example.NET"})
        assert "acme.example.net leads there as well" in page.text
        picture = await browser.http.get(f"/links/{link['link_id']}/qr?format=svg&host=acme.example.net")
        assert picture.headers["content-disposition"] == f'attachment; filename="link-{link["link_id"]}.svg"'
        assert picture.content.startswith(b"<?xml") or picture.content.startswith(b"<svg")

        assert page.find("//ol[@class='lacking']") == []
        page = await browser.send(page, f"{path}/steps", {"do": "activate"})
        assert page.texts("//h1/following-sibling::p/span[@class='state']") == ["active"]
        assert [str(one) for one in page.find(f"//form[@action='{path}/steps']//button/@value")] == [
            "pause",
            "complete",
            "cancel",
        ]
    assert await actions_of(api) == [
        "sponsor.create",
        "campaign.create",
        "flight.create",
        "placement.create",
        "promo_code.create",
        "promo_code.create",
        "link.create",
        "vanity_host.create",
        "campaign.activate",
    ]


async def test_what_is_wrong_is_said_beside_each_field_and_nothing_typed_is_lost_or_half_written(
    app: Litestar, api: Api
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        wrong = {**CAMPAIGN, "name": "", "ends_on": "2026-11-19", "budget_amount": "5.000,00", "window_days": "91"}
        page = await fill(browser, "/campaigns/new", wrong)
        assert page.status == 422
        assert page.texts("//div[@id='faults']//li/a") == ["Name", "Last day", "Budget", "Window in days"]
        assert page.texts("//p[@id='window_days-fault']") == ["Window in days has to be at most 90."]
        assert [str(one) for one in page.find("//input[@aria-invalid]/@name")] == [
            "name",
            "ends_on",
            "budget_amount",
            "window_days",
        ]
        assert [str(one) for one in page.find("//input[@name='sponsor_name' or @name='ends_on']/@value")] == [
            "Acme",
            "2026-11-19",
        ]
        page = await browser.send(page, "/campaigns/new", {**CAMPAIGN, "ends_on": "2026-11-19"})
        assert page.texts("//p[@id='ends_on-fault']") == ["Last day has to be on “First day” or after it."]
        page = await browser.send(page, "/campaigns/new", {**CAMPAIGN, "currency": "EURO"})
        assert page.texts("//div[@id='faults']//li/a") == ["Currency"]
        assert (await api.data("/sponsors"))["data"] == (await api.data("/campaigns"))["data"] == []
        assert await actions_of(api) == []

        path = await make_campaign(browser)
        page = await fill(browser, "/campaigns/new", CAMPAIGN)
        assert (page.status, page.texts("//div[@id='faults']//li/a")) == (409, ["New sponsor’s name"])
        page = await fill(browser, f"{path}/flights/new", {**FLIGHT, "ends_at": "2027-01-05", "price_amount": ""})
        assert page.texts("//div[@id='faults']//li/a") == ["Price"]
        page = await browser.send(page, f"{path}/flights/new", {**FLIGHT, "ends_at": "2027-01-05"})
        assert "Last day is after the campaign ends, on 2026-12-31." in page.text


async def test_a_button_that_is_pressed_twice_makes_one_and_another_page_makes_another(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get("/campaigns/new")
        sent = await asyncio.gather(*(browser.send(page, "/campaigns/new", CAMPAIGN) for _ in range(3)))
        assert len({one.path for one in sent}) == 1
        assert [one.status for one in sent] == [200, 200, 200]
        assert len((await api.data("/campaigns"))["data"]) == 1
        path = sent[0].path
        form = await browser.get(f"{path}/flights/new")
        for name in ("November", "November", "December"):
            await browser.send(form, f"{path}/flights/new", {**FLIGHT, "name": name})
        await fill(browser, f"{path}/flights/new", FLIGHT)
        assert [one["name"] for one in (await api.data("/flights"))["data"]] == ["November", "December", "November"]


async def test_more_codes_than_an_answer_is_kept_of_are_made_once_too(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        path = await make_campaign(browser)
        await fill(browser, f"{path}/flights/new", FLIGHT)
        flight_id = (await api.data("/flights"))["data"][0]["flight_id"]
        form = await browser.get(f"{path}/promo-codes/new")
        for _ in range(2):
            page = await browser.send(form, f"{path}/promo-codes/new", {"flight_id": flight_id, "count": "300"})
            assert page.status == 200
        listed = await browser.http.get(f"{path}/promo-codes.csv")
        assert len(listed.text.splitlines()) == 301


async def test_a_conflict_says_who_was_first(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "sal@example.com", "home", role=RoleName.SALES)
    async with Browser.open(app) as ours, Browser.open(app) as theirs:
        await ours.sign_in(api.key)
        path = await make_campaign(ours)
        stale = await ours.get(path)
        await theirs.send(await theirs.get("/sign-in"), "/sign-in", {"email": "sal@example.com", "password": PASSWORD})
        await theirs.send(await theirs.get(path), f"{path}/steps", {"do": "cancel"})
        page = await ours.send(stale, f"{path}/steps", {"do": "cancel"})
        assert page.status == 409
        assert "The campaign was changed since you read it. Ann was first (cancel), " in page.text


async def test_what_was_agreed_on_is_changed_in_the_version_that_was_shown(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        path = await make_campaign(browser, excludes_prior_customers="on")
        await fill(browser, f"{path}/flights/new", FLIGHT)
        page = stale = await browser.get(f"{path}/change")
        typed = {
            str(one.get("name")): str(one.get("value"))
            for one in page.find("//main//input[@id and not(@type='checkbox')]")
        }
        assert typed == {
            "name": CAMPAIGN["name"],
            "starts_on": "2026-11-20",
            "ends_on": "2026-12-31",
            "budget_amount": "5000.00",
            "window_days": "30",
        }
        ticked = [str(one.get("value") or one.get("name")) for one in page.find("//main//input[@checked]")]
        assert ticked == ["cpm", "linear", "excludes_prior_customers"]
        wanted = {**typed, "pricing": "flat", "model": "last", "ends_on": "2026-11-25"}
        page = await browser.send(page, f"{path}/change", wanted)
        assert (page.status, "lights would be outside of the campaign: November" in page.text) == (409, True)
        page = await browser.send(page, f"{path}/change", {**wanted, "ends_on": "2026-11-30", "name": ""})
        assert page.texts("//p[@class='fault']") == ["Name is missing."]
        page = await browser.send(page, f"{path}/change", {**wanted, "ends_on": "2026-11-30", "name": "Autumn"})
        (campaign,) = (await api.data("/campaigns"))["data"]
        changed = (page.path, campaign["name"], campaign["ends_on"], campaign["pricing"], campaign["model"])
        assert changed == (path, "Autumn", "2026-11-30", "flat", "last")
        assert (campaign["excludes_prior_customers"], campaign["budget_amount"]) == (False, 500_000)
        late = await browser.send(stale, f"{path}/change", {**typed, "name": "Late"})
        assert (late.status, "A program with an API key was first (update)" in late.text) == (409, True)
        assert [str(one) for one in late.find("//input[@name='name']/@value")] == ["Late"]
        assert (await api.data("/campaigns"))["data"] == [campaign]
        await browser.send(late, f"{path}/change", {**typed, "name": "Late"})
        assert (await api.data("/campaigns"))["data"][0]["name"] == "Late"


async def test_what_is_a_part_of_a_campaign_is_moved_on_or_taken_away(app: Litestar, api: Api) -> None:
    podcast = await api.add_podcast()
    (episode, *_) = (await api.data(f"/podcasts/{podcast['podcast_id']}/episodes"))["data"]
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        path = await make_campaign(browser)
        await fill(browser, f"{path}/flights/new", FLIGHT)
        flight_id = (await api.data("/flights"))["data"][0]["flight_id"]
        placed = {"episode_id": episode["episode_id"], "flight_id": flight_id, "position": "mid"}
        await fill(browser, f"{path}/placements/new", {**placed, "delivery": "baked_in"})
        await fill(browser, f"{path}/promo-codes/new", {"flight_id": flight_id, "code": "ACME20", "grace_days": "7"})
        await fill(browser, f"{path}/links/new", {"flight_id": flight_id, "url": "https://shop.example.com/"})
        (link,) = (await api.data("/links"))["data"]
        await fill(browser, f"{path}/vanity-hosts/new", {"link_id": link["link_id"], "host": "acme.example.net"})
        page = await browser.get(path)

        placement = f"/placements/{(await api.data('/placements'))['data'][0]['placement_id']}"
        offered = f"//form[@action='{placement}/steps']//button/@value"
        assert [str(one) for one in page.find(offered)] == ["go-live", "verify", "miss"]
        stale = page
        page = await browser.send(page, f"{placement}/steps", {"do": "verify"})
        assert [str(one) for one in page.find(offered)] == ["pull"]
        late = await browser.send(stale, f"{placement}/steps", {"do": "miss"})
        assert (late.status, "The placement was changed since you read it." in late.text) == (409, True)
        page = await browser.send(page, f"{placement}/steps", {"do": "pull"})
        assert (await api.data(placement))["status"] == "pulled"

        code = (await api.data("/promo-codes"))["data"][0]["promo_code_id"]
        page = await browser.send(page, f"/promo-codes/{code}/end")
        assert "ended 24 Nov 2026" in page.text
        host = (await api.data("/vanity-hosts"))["data"][0]["vanity_host_id"]
        page = await browser.send(page, f"/vanity-hosts/{host}/remove")
        assert "acme.example.net" not in page.text
        page = await browser.send(page, f"/links/{link['link_id']}/remove")
        assert (await api.data(f"/links/{link['link_id']}"))["archived_at"] is not None
        page = await browser.send(page, f"/flights/{flight_id}/steps", {"do": "cancel"})
        assert page.path == path
        assert (await api.data("/flights"))["data"][0]["status"] == "cancelled"
        assert page.find("//form[contains(@action, '/flights/')]") == []


async def test_orders_are_looked_through_and_then_taken_as_they_were(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        path = await make_campaign(browser)
        await fill(browser, f"{path}/flights/new", FLIGHT)
        page = await browser.get(f"{path}/redemptions")
        assert page.links("//section//p/a")[-1] == f"{path}/conversion-actions/new"
        wanted = {"name": "Purchase", "category": "purchase", "counting": "every", "default_value_amount": "49.90"}
        page = await fill(browser, f"{path}/conversion-actions/new", {**wanted, "currency": "EUR"})
        action = (await api.data("/conversion-actions"))["data"][0]
        assert (action["default_value_amount"], action["currency"], action["event_type"]) == (4_990, "EUR", None)
        assert page.links("//section[@aria-labelledby='conversions']//li//a") == [
            f"{path}/redemptions?action_id={action['action_id']}"
        ]

        async def upload(page: Page, data: bytes, do: str) -> Page:
            return await browser.send(
                page,
                f"{path}/redemptions",
                {"action_id": action["action_id"], "do": do},
                files={"orders": ("orders.csv", data, "text/csv")},
            )

        page = await browser.get(f"{path}/redemptions")
        bad = await upload(page, b"order,occurred_at,code\n1,2026-11-22T10:00:00Z,ACME20\n2,yesterday,ACME20\n", "look")
        assert (bad.status, bad.texts("//tbody/tr/td[position() < 3]")) == (422, ["3", "occurred_at"])
        assert (await upload(page, b"PK\x03\x04", "look")).status == 415
        empty = await upload(page, b"", "look")
        assert empty.texts("//p[@id='orders-fault']") == ["File is missing, or empty."]
        good = b"order;occurred_at;code\n1;2026-11-22T10:00:00Z;ACME20\n2;2026-11-22T11:00:00Z;ACME20\n"
        page = await upload(page, good, "look")
        assert "2 orders can be taken: 2 new, 0 known already. Nothing is stored yet." in page.text
        assert (await api.data("/attribution/conversions"))["data"] == []
        page = await browser.send(page, f"{path}/redemptions", {"do": "take"})
        assert "2 orders were taken; 0 were known already." in page.text
        assert len((await api.data("/attribution/conversions"))["data"]) == 2
        page = await browser.get(path)
        page = await browser.send(page, f"{path}/attribution-runs")
        (run,) = (await api.data("/attribution/runs"))["data"]
        assert (run["from"], run["to"]) == ("2026-11-20T00:00:00Z", "2026-11-25T00:00:00Z")
        assert "An attribution run is being made" in page.text


async def test_a_report_is_asked_for_followed_shared_and_the_link_taken_back(
    app: Litestar, api: Api, ledger: Ledger
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        path = await make_campaign(browser)
        page = await fill(browser, f"{path}/reports/new", {"from": "2026-11-20", "to": "2026-11-23", "format": "csv"})
        assert "It waits for its turn" in page.text
        (report,) = (await api.data("/reports"))["data"]
        assert (report["params"]["from"], report["params"]["to"]) == ("2026-11-20", "2026-11-24")
        assert report["params"]["campaign_id"] == path.rpartition("/")[2]
        waiting = await browser.get(page.path, headers={"X-Castledger-Fragment": "live"})
        assert (waiting.status, waiting.find("//h1")) == (200, [])
        shown = await browser.get(path)
        assert shown.links("//section[@aria-labelledby='reports']//th/a") == [f"/reports/{report['report_id']}"]

        sponsor_id = report["sponsor_id"]
        await api.request("DELETE", f"/reports/{report['report_id']}")
        ready = await keep_report(api, ledger, kind="sponsor", sponsor_id=sponsor_id)
        page = await browser.get(f"/reports/{ready}")
        file = await browser.http.get(f"/reports/{ready}/file")
        assert (file.status_code, "attachment" in file.headers["content-disposition"]) == (200, True)
        done = await browser.get(f"/reports/{ready}", headers={"X-Castledger-Fragment": "live"})
        assert done.status == 205
        shares = f"/reports/{ready}/shares"
        weak = await browser.send(page, shares, {"expires_at": "2026-12-24", "password": "short"})
        assert (weak.status, weak.texts("//div[@id='faults']//li/a")) == (422, ["Password"])
        assert weak.find("//input[@name='password']/@value") == []
        made = await browser.send(page, shares, {"expires_at": "2026-12-24", "max_views": "3"})
        (address,) = made.texts("//div[@class='copy']/code")
        token = address.rpartition("/")[2]
        assert (await browser.get(f"/shared/{token}")).status == 200
        again = await browser.send(page, shares, {"expires_at": "2026-12-24", "max_views": "3"})
        assert (again.status, "This was sent twice" in again.text) == (409, True)
        (kept,) = (await api.data(f"{shares}"))["data"]
        assert (kept["expires_at"], kept["max_views"]) == ("2026-12-25T00:00:00Z", 3)
        page = await browser.send(again, f"/report-shares/{kept['share_id']}/revoke")
        assert page.texts("//section[@aria-labelledby='shares']//strong") == ["Taken back"]
        assert (await browser.get(f"/shared/{token}")).status == 410


FORMS = (
    *("change", "flights/new", "placements/new", "promo-codes/new", "links/new", "vanity-hosts/new"),
    *("conversion-actions/new", "redemptions", "reports/new"),
)


async def test_a_sponsors_login_reads_its_campaign_and_finds_no_form(app: Litestar, api: Api, ledger: Ledger) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        path = await make_campaign(browser)
        await fill(browser, f"{path}/flights/new", FLIGHT)
    campaign = (await api.data("/campaigns"))["data"][0]
    other = await make(api, "Zenith")
    user_id = await make_person(ledger, "sam@example.com", "home", role=RoleName.SPONSOR)
    await hold(api, ledger, user_id, campaign["sponsor_id"])
    report = await keep_report(api, ledger, kind="sponsor", sponsor_id=campaign["sponsor_id"])
    hidden = await keep_report(api, ledger, kind="sponsor", sponsor_id=other["sponsor_id"])
    before: list[Any] = [await api.data(what) for what in ("/campaigns", "/flights", "/reports")]
    async with Browser.open(app) as browser:
        await browser.send(
            await browser.get("/sign-in"), "/sign-in", {"email": "sam@example.com", "password": PASSWORD}
        )
        page = await browser.get(path)
        assert (page.status, page.find("//main//form"), page.find("//main//a[contains(@href, '/new')]")) == (
            200,
            [],
            [],
        )
        assert (await browser.get("/campaigns")).links("//main//a[contains(@href, 'new')]") == []
        # With the token of a page that it sees, as somebody would who writes the form by themselves.
        token = {"form_token": page.fields("/sign-out")["form_token"]}
        for one in ("/campaigns/new", *(f"{path}/{form}" for form in FORMS)):
            assert (await browser.get(one)).status == 403, one
            sent = await browser.http.post(one, data=token, headers={"Origin": "http://page.test"})
            assert sent.status_code == 403, one
        flight_id = (await api.data("/flights"))["data"][0]["flight_id"]
        steps = (f"{path}/steps", f"/flights/{flight_id}/steps", f"{path}/attribution-runs")
        for one in (*steps, f"/reports/{report}/shares"):
            sent = await browser.http.post(one, data={**token, "do": "cancel"}, headers={"Origin": "http://page.test"})
            assert sent.status_code == 403, one
        page = await browser.get(f"/reports/{report}")
        assert (page.status, page.find("//main//form")) == (200, [])
        assert (await browser.http.get(f"/reports/{report}/file")).status_code == 200
        assert (await browser.http.get(f"{path}/promo-codes.csv")).text.startswith("code,flight,")
        assert (await browser.get(f"/reports/{hidden}")).status == 404
        assert (await browser.http.get(f"/reports/{hidden}/file")).status_code == 404
    assert [await api.data(what) for what in ("/campaigns", "/flights", "/reports")] == before


async def test_everybody_is_offered_what_they_may_do_and_nothing_else(app: Litestar, api: Api, ledger: Ledger) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        path = await make_campaign(browser)
        wanted = {"name": "Purchase", "category": "purchase", "counting": "every"}
        await fill(browser, f"{path}/conversion-actions/new", wanted)
    await make_person(ledger, "ana@example.com", "home", role=RoleName.ANALYST)
    async with Browser.open(app) as browser:
        await browser.send(
            await browser.get("/sign-in"), "/sign-in", {"email": "ana@example.com", "password": PASSWORD}
        )
        page = await browser.get(path)
        offered = page.links("//main//p[contains(@class, 'ways')]/a | //main//div[contains(@class, 'ways')]/a")
        assert offered == [f"{path}/redemptions", f"{path}/conversion-actions/new", f"{path}/reports/new"]
        assert [str(one) for one in page.find("//main//form/@action")] == [f"{path}/attribution-runs"]
        for one in ("change", "flights/new", "placements/new", "promo-codes/new", "links/new"):
            assert (await browser.get(f"{path}/{one}")).status == 403, one
