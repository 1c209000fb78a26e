"""The page that a link to a report leads to, as somebody without a login sees it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from analytics_core.clock import FixedClock
from analytics_core.reporting.shares import MAX_FAILURES, new_token
from analytics_core.settings import DatabaseSettings
from analytics_core.tokens import LIFETIME
from ingest.reports import make_reports
from tests.campaigns import deliver, make_campaign, make_flight, make_placement, make_run
from tests.integration.api.browsers import Browser, Page
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.test_sponsors import make

pytestmark = pytest.mark.anyio

PASSWORD = "a harbour of seven boats"


@pytest.fixture
async def browser(api: Api) -> AsyncIterator[Browser]:
    async with Browser.open(api.app) as opened:
        yield opened


@pytest.fixture
async def report_id(api: Api, ledger: Ledger, database: DatabaseSettings, clock: FixedClock) -> str:
    sponsor = await make(api, "<b>Acme</b>")
    podcast = await api.add_podcast()
    (episode, _) = (await api.data(f"/podcasts/{podcast['podcast_id']}/episodes"))["data"]
    campaign = await make_campaign(ledger.operator, await ledger.tenant_of("home"), sponsor["sponsor_id"])
    flight_id = await make_flight(ledger.operator, campaign)
    placement_id = await make_placement(ledger.operator, campaign, flight_id, episode["episode_id"])
    await deliver(ledger.operator, placement_id, "2026-11-02", 640)
    await make_run(
        ledger.operator,
        campaign,
        ("deterministic", flight_id, "EUR", 4_000_000, 0, 10_000),
        ("linear", flight_id, "EUR", 2_500_000, 0, 6_000),
    )
    await ledger.set_cutoff("2026-11-24T11:00+00:00")
    wanted = {"kind": "sponsor", "format": "csv", "sponsor_id": sponsor["sponsor_id"]}
    asked = await api.request("POST", "/reports", json={**wanted, "from": "2026-11-01", "to": "2026-12-01"})
    assert await make_reports(ledger.ingest, database, clock=clock) == {"made": 1, "failed": 0}
    return str(asked.json()["report_id"])


async def share(api: Api, report_id: str, **given: Any) -> str:
    body = {"expires_at": "2026-12-24T12:00:00Z", **given}
    answer = await api.request("POST", f"/reports/{report_id}/shares", json=body)
    assert answer.status_code == 201, answer.text
    return f"/shared/{answer.json()['token']}"


def visit_of(page: Page) -> str:
    (field,) = page.find("//input[@name='visit']")
    return str(field.get("value"))


async def views(api: Api, report_id: str) -> list[int]:
    return [one["views"] for one in (await api.data(f"/reports/{report_id}/shares"))["data"]]


def cells(page: Page, table: str) -> list[list[str]]:
    return [
        [" ".join("".join(map(str, cell.itertext())).split()) for cell in row]
        for row in page.find(f"//table[@id='{table}-table']//tr")
    ]


async def test_a_sponsor_understands_it_without_us(api: Api, browser: Browser, report_id: str) -> None:
    path = await share(api, report_id)
    page = await browser.get(path)
    assert page.status == 200
    assert page.texts("//h1") == ["<b>Acme</b>: from 2026-11-01 to 2026-11-30"]
    assert page.find("//h1//b") == []
    assert [*zip(page.texts("//dl[@class='figures']//dt"), page.texts("//dl[@class='figures']//dd"), strict=True)] == [
        ("Delivered in these days", "640"),
        ("Booked", "1,000"),
        ("Clicks", "0"),
        ("Redemptions", "0"),
    ]
    assert cells(page, "conversions")[1:] == [
        ["Autumn", "Known for sure", "4.00", "0.00", "€100.00", "€16.00", "€4.00", "6.25"],
        ["Autumn", "Shared equally", "2.50", "0.00", "€60.00", "€16.00", "€6.40", "3.75"],
    ]
    (head, row) = cells(page, "placements")
    assert dict(zip(head, row, strict=True)) | {"From": "", "Until": ""} == {
        "Campaign": "Autumn",
        "Flight": "Flight",
        "Podcast": "Podcast 1",
        "Episode": "Episode 2",
        "Position": "mid-roll",
        "Status": "live",
        "From": "",
        "Until": "",
        "Delivered": "640",
        "Delivered in these days": "640",
    }
    assert len(page.find("//svg[@role='img']")) == 1
    # Notes call things as the page does.
    assert "“Known for sure” gives each one whole to the surest sign" in page.text
    assert "“Cost” is what the report's days cost" in page.text
    assert page.answer.headers["x-robots-tag"] == "noindex, nofollow"
    assert page.answer.headers["referrer-policy"] == "same-origin"
    assert await views(api, report_id) == [1]
    file = await browser.send(page, path, {"do": "download"})
    assert file.answer.headers["content-type"].startswith("text/csv")
    # The file of a page that was shown is no view of its own.
    assert await views(api, report_id) == [1]
    assert (await browser.send(page, path, {"do": "download", "visit": ""})).status == 200
    assert await views(api, report_id) == [2]


async def test_a_password_is_asked_for_and_stands_in_no_address(api: Api, browser: Browser, report_id: str) -> None:
    path = await share(api, report_id, password=PASSWORD)
    cover = await browser.get(path)
    assert cover.status == 200
    assert "Acme" not in cover.text
    wrong = await browser.send(cover, path, {"password": "not this one", "do": "show"})
    assert (wrong.status, wrong.texts("//*[@role='alert']")) == (401, ["This is not the password of this report."])
    page = await browser.send(wrong, path, {"password": PASSWORD, "do": "show"})
    assert "<b>Acme</b>" in page.text
    assert PASSWORD not in page.answer.text
    file = await browser.send(cover, path, {"password": PASSWORD, "do": "download"})
    assert file.answer.text.startswith("table,name,value")
    assert await views(api, report_id) == [2]
    for _ in range(MAX_FAILURES):
        assert (await browser.send(cover, path, {"password": "nor this", "do": "show"})).status == 401
    locked = await browser.send(cover, path, {"password": PASSWORD, "do": "show"})
    assert (locked.status, locked.answer.headers["retry-after"]) == (429, "900")


async def test_views_are_used_up_by_people_alone(api: Api, browser: Browser, report_id: str) -> None:
    path = await share(api, report_id, max_views=1)
    for _ in range(3):
        assert "1 more time." in (await browser.get(path)).text
    cover = await browser.get(path)
    assert await views(api, report_id) == [0]
    assert (await browser.send(cover, path, {"do": "show"})).status == 200
    assert await views(api, report_id) == [1]
    gone = await browser.get(path)
    assert (gone.status, "this link has ended" in gone.text) == (410, True)
    assert (await browser.send(cover, path, {"do": "show"})).status == 410


async def test_the_last_view_has_its_file(
    api: Api, browser: Browser, report_id: str, clock: FixedClock, log_stream: io.StringIO
) -> None:
    path = await share(api, report_id, max_views=1, password=PASSWORD)
    cover = await browser.get(path)
    page = await browser.send(cover, path, {"password": PASSWORD, "do": "show"})
    visit = visit_of(page)
    for _ in range(2):
        file = await browser.send(page, path, {"do": "download", "visit": visit})
        assert file.answer.text.startswith("table,name,value")
    assert await views(api, report_id) == [1]
    # It begins no other visit, opens no other link, and is not to be made up.
    assert (await browser.send(page, path, {"do": "show", "visit": visit})).status == 410
    other = await share(api, report_id, password=PASSWORD)
    assert (await browser.send(await browser.get(other), other, {"do": "download", "visit": visit})).status == 401
    expires, signature = visit.split(".")
    for wrong in (f"{int(expires) + 60}.{signature}", f"{expires}.{'0' * 64}", "x", "1" * 5_000, ""):
        assert (await browser.send(page, path, {"do": "download", "visit": wrong})).status == 410
    assert visit not in log_stream.getvalue()
    assert path.rpartition("/")[2] not in log_stream.getvalue()
    clock.advance(LIFETIME)
    assert (await browser.send(page, path, {"do": "download", "visit": visit})).status == 410


async def test_a_visit_ends_with_its_link(api: Api, browser: Browser, report_id: str, clock: FixedClock) -> None:
    path = await share(api, report_id, max_views=3, password=PASSWORD)
    cover = await browser.get(path)
    page = await browser.send(cover, path, {"password": PASSWORD, "do": "show"})
    wish = {"do": "download", "visit": visit_of(page)}
    clock.advance(LIFETIME)
    late = await browser.send(page, path, wish)
    assert (late.status, late.texts("//*[@role='alert']")) == (
        401,
        ["This page was open for too long: type the password once more."],
    )
    page = await browser.send(cover, path, {"password": PASSWORD, "do": "show"})
    wish = {"do": "download", "visit": visit_of(page)}
    assert (await browser.send(page, path, wish)).status == 200
    [share_id] = [one["share_id"] for one in (await api.data(f"/reports/{report_id}/shares"))["data"]]
    assert (await api.request("DELETE", f"/report-shares/{share_id}")).status_code == 204
    assert (await browser.send(page, path, wish)).status == 410


async def test_what_is_no_link_is_not_there_and_no_other_page_sends_the_form(
    api: Api, browser: Browser, report_id: str
) -> None:
    assert (await browser.get(f"/shared/{new_token()}")).status == 404
    assert (await browser.get("/shared/anything")).status == 404
    path = await share(api, report_id, max_views=1)
    answer = await browser.http.post(path, data={"do": "show"})
    assert answer.status_code == 403
    assert await views(api, report_id) == [0]
