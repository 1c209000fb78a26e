"""The page that answers what a request would count as that nobody has sent."""

from __future__ import annotations

import io
from urllib.parse import quote

import pytest

from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.browsers import Browser, Page
from tests.integration.api.ledger import Api, Ledger

pytestmark = pytest.mark.anyio

OVERCAST = "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"


async def ask(browser: Browser, url: str, **given: str) -> Page:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in {"url": url, **given}.items())
    return await browser.get(f"/what-if?{query}")


async def test_a_request_is_walked_through_the_rules_and_leaves_no_trace(
    api: Api, ledger: Ledger, resources: Resources, log_stream: io.StringIO
) -> None:
    podcast = (await api.add_podcast())["podcast_id"]
    url = (await api.data(f"/podcasts/{podcast}/episodes"))["data"][0]["enclosures"][0]["url"]
    tables = ("ts.listener_events", "ops.pending_hits", "ops.agents", "app.unknown_hosts")
    before = [await ledger.operator.fetchval(f"select count(*) from {table}") for table in tables]
    async with Browser.open(create_app(resources, log=RequestLog(log_stream))) as browser:
        await browser.sign_in(api.key)
        page = await browser.get("/what-if")
        assert (page.find("//section"), page.find("//*[@role='alert']")) == ([], [])
        for asked in (url, f"https://pod.example.com/e,pg=x/{url}"):
            page = await ask(browser, asked, user_agent=OVERCAST)
            assert page.texts("//h2")[0] == "It would count"
            assert "Overcast, app" in page.text
        page = await ask(browser, url, user_agent=OVERCAST, range="bytes=0-1")
        assert page.texts("//h2")[0] == "It would count"
        assert "ptmg-2.3 does not count: tiny range" in page.text
        page = await ask(browser, url, user_agent="Googlebot/2.1", method="HEAD")
        assert page.texts("//h2")[0] == "It would not count"
        assert page.texts("//ol[@class='rules']/li[1]//strong") == ["Yes: this decides."]
        page = await ask(browser, "https://cdn.example.com/nobody.mp3", user_agent="<script>")
        assert "No episode has this target." in page.text
        assert page.find("//main//script") == []
        for bad in ("ftp://x", "https://", "x" * 3_000):
            page = await ask(browser, bad)
            assert (len(page.find("//*[@role='alert']")), page.texts("//h2")) == (1, [])
    assert [await ledger.operator.fetchval(f"select count(*) from {table}") for table in tables] == before


async def test_somebody_elses_episode_is_none(
    api: Api, ledger: Ledger, resources: Resources, log_stream: io.StringIO
) -> None:
    podcast = (await api.add_podcast())["podcast_id"]
    url = (await api.data(f"/podcasts/{podcast}/episodes"))["data"][0]["enclosures"][0]["url"]
    async with Browser.open(create_app(resources, log=RequestLog(log_stream))) as browser:
        await browser.sign_in(await ledger.make_key("stranger"))
        page = await ask(browser, url, user_agent=OVERCAST)
        assert page.texts("//h2")[0] == "It would not count"
        assert "none of yours has this file" in page.text
