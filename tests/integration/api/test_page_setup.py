"""Adding podcasts on the page, their prefix, their feeds and the hosts that nobody knows."""

from __future__ import annotations

import io

import pytest
from litestar import Litestar

from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.browsers import ORIGIN, Browser, Page
from tests.integration.api.feed_hosts import feed_host
from tests.integration.api.ledger import Api, Ledger, make_feed

pytestmark = pytest.mark.anyio

NEW = "/podcasts/new"


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


async def send_file(browser: Browser, page: Page, action: str, data: bytes) -> Page:
    """Send a feed's file with a page's form."""
    answer = await browser.http.post(
        action,
        data=page.fields(action),
        files={"feed": ("feed.xml", data, "application/xml")},
        headers={"Origin": ORIGIN},
    )
    return Page(answer)


async def test_the_first_steps_lead_from_a_feed_to_its_prefix(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        first = await browser.sign_in(api.key)
        assert (first.path, first.texts("//h1")) == (NEW, ["Add a podcast"])
        assert "Step 1 of 3" in first.text
        with feed_host(make_feed()) as host:
            page = await browser.send(first, NEW, {"feed_url": f" {host.url} "})
        assert page.path.endswith("/setup")
        podcast = (await api.data("/podcasts"))["data"][0]
        assert page.texts("//div[@class='copy']/code") == [
            podcast["prefix"],
            f"{podcast['prefix']}cdn1.example.com/ep2.mp3?x=1",
        ]
        assert "No hit yet" in page.text
        assert "every 15 minutes" in page.text
        # The next one is no first step any more.
        assert "Step 1" not in (await browser.get(NEW)).text


async def test_a_podcast_is_added_by_its_file_and_remarks_are_told(app: Litestar, api: Api) -> None:
    bare = b"<rss><channel><title>Bare</title><item><title>x</title><enclosure url='https://x.example.com/1.mp3'/></item></channel></rss>"
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await send_file(browser, await browser.get(NEW), NEW, bare)
        assert (page.status, page.title) == (200, "Added: Bare · Castledger")
        assert len(page.texts("//main//li")) == 2
        setup = await browser.get(page.links("//a[@class='button']")[0])
        assert "none: it was sent as a file" in setup.text
        action = setup.path.removesuffix("setup") + "feed.xml"
        rewritten = await browser.http.post(
            action,
            data=setup.fields(action),
            files={"feed": ("f.xml", bare)},
            headers={"Origin": ORIGIN},
        )
        assert rewritten.headers["content-disposition"] == 'attachment; filename="bare.xml"'
        guid = (await api.data("/podcasts"))["data"][0]["podcast_guid"]
        prefix = f"https://pod.example.com/e,pg={guid}/".encode()
        assert rewritten.content == bare.replace(b"https://x.example.com", prefix + b"x.example.com")
        assert (await send_file(browser, setup, action, b"no feed")).texts("//*[@role='alert']") == ["This is no feed."]
        assert (await browser.get(action)).status == 409


@pytest.mark.parametrize(
    ("fields", "status", "word"),
    [
        ({}, 422, "Give the feed’s address"),
        ({"feed_url": "ftp://x.example.com/"}, 422, "http:// or https://"),
        ({"feed_url": "http://no-such-host.invalid/feed"}, 422, "has no address"),
        ({"feed_url": "https://x.example.com/" + "x" * 2000}, 422, "too long"),
    ],
)
async def test_an_address_that_leads_nowhere_is_told_beside_the_form(
    app: Litestar, api: Api, fields: dict[str, str], status: int, word: str
) -> None:
    async with Browser.open(app) as browser:
        page = await browser.send(await browser.sign_in(api.key), NEW, fields)
        assert (page.status, page.path) == (status, NEW)
        assert word in page.texts("//*[@role='alert']")[0]
        # What was typed is still there.
        assert page.find("//input[@id='feed_url']")[0].get("value") == fields.get("feed_url", "")
        assert (await api.data("/podcasts"))["data"] == []


@pytest.mark.parametrize(("body", "word"), [(b"<x/>", "This is no feed"), (b"", "choose its file")])
async def test_a_file_that_is_no_feed_is_told(app: Litestar, api: Api, body: bytes, word: str) -> None:
    async with Browser.open(app) as browser:
        page = await send_file(browser, await browser.sign_in(api.key), NEW, body)
        assert page.status == 422
        assert word in page.texts("//*[@role='alert']")[0]


async def test_a_file_that_is_too_large_is_told(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        page = await send_file(browser, await browser.sign_in(api.key), NEW, b"<rss>" + b" " * (1024 * 1024))
        assert page.status == 413
        assert "larger than 1 MiB" in page.text


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=x", "text/plain", ""])
async def test_a_body_that_is_no_form_is_refused(app: Litestar, api: Api, content_type: str) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        answer = await browser.http.post(NEW, content=b"--y\r\nx", headers={"Content-Type": content_type})
        assert answer.status_code in (400, 403, 415)
        assert answer.headers["content-type"].startswith("text/html")


async def test_a_feed_that_is_taken_can_be_claimed(app: Litestar, api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as host:
        added = await api.request("POST", "/podcasts", json={"feed_url": host.url})
        assert added.status_code == 201
        async with Browser.open(app) as browser:
            page = await browser.send(await browser.sign_in(other), NEW, {"feed_url": host.url})
            assert page.status == 409
            claim = (await api.data("/podcasts/claims", key=other))["data"][0]
            assert page.texts("//div[@class='copy']/code") == [
                f'<podcast:txt purpose="verify">{claim["token"]}</podcast:txt>'
            ]
        async with Browser.open(app) as browser:
            front = await browser.sign_in(api.key)
            page = await browser.send(await browser.get(NEW), NEW, {"feed_url": host.url})
            assert front.path != NEW
            assert page.texts("//*[@role='alert']") == ["You have added this podcast already."]


async def test_the_rewritten_feed_is_fetched_anew_and_a_host_that_is_down_is_told(app: Litestar, api: Api) -> None:
    with feed_host(make_feed()) as host:
        podcast = (await api.request("POST", "/podcasts", json={"feed_url": host.url})).json()
        async with Browser.open(app) as browser:
            await browser.sign_in(api.key)
            path = f"/podcasts/{podcast['podcast_id']}/feed.xml"
            answer = await browser.http.get(path)
            assert answer.headers["content-type"].startswith("application/rss+xml")
            prefixed = podcast["prefix"].encode() + b"cdn1.example.com"
            assert answer.content == make_feed().replace(b'url="https://cdn1.example.com', b'url="' + prefixed)
            host.status = 404
            page = await browser.get(path)
            assert page.status == 502
            assert page.texts("//*[@role='alert']") == ["The feed's host answered 404."]


async def test_the_feeds_state_is_shown_with_its_last_error(app: Litestar, api: Api, ledger: Ledger) -> None:
    with feed_host(make_feed()) as host:
        podcast = (await api.request("POST", "/podcasts", json={"feed_url": host.url})).json()["podcast_id"]
    await ledger.ingest.execute("update app.podcasts set feed_error = 'the host has no address', feed_failures = 2")
    async with Browser.open(app) as browser:
        page = await browser.sign_in(api.key)
        assert "(needs attention)" in page.text
        setup = await browser.get(f"/podcasts/{podcast}/setup")
        assert setup.texts("//p[@role='status']")[0].startswith("At the last poll: the host has no address.")
        assert "not in the feed that we read" in setup.text
        await browser.get("/podcasts")


async def test_a_podcast_without_an_episode_has_a_prefix_and_says_what_is_missing(app: Litestar, api: Api) -> None:
    podcast = (await api.add_podcast(episodes=0))["podcast_id"]
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        setup = await browser.get(f"/podcasts/{podcast}/setup")
        assert len(setup.texts("//div[@class='copy']/code")) == 1
        assert "no episode yet" in setup.text
        assert "No episode yet" in (await browser.get(f"/podcasts/{podcast}/episodes")).text
        assert (await browser.get(f"/podcasts/{podcast}")).status == 200


async def test_unknown_hosts_are_listed_and_accepted_by_a_button(app: Litestar, api: Api, ledger: Ledger) -> None:
    podcast = (await api.add_podcast())["podcast_id"]
    await ledger.ingest.execute(
        """insert into app.unknown_hosts (tenant_no, podcast_no, host, first_seen_at, last_seen_at, hits)
        select tenant_no, podcast_no, 'new.example.net', now(), now(), 7 from app.podcasts"""
    )
    action = f"/podcasts/{podcast}/hosts"
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        setup = await browser.get(f"/podcasts/{podcast}/setup")
        assert setup.texts("//section[@aria-labelledby='hosts']//tbody//bdi") == ["new.example.net"]
        done = await browser.send(setup, action)
        assert (done.status, done.path) == (200, setup.path)
        assert "accepted" in done.texts("//section[@aria-labelledby='hosts']//tbody/tr")[0]
        hosts = await api.data(f"/podcasts/{podcast}/unknown-hosts")
        assert hosts["data"][0]["accepted_at"] is not None
        for host in ("127.0.0.1", "x", "pod.example.com", ""):
            page = await browser.send(setup, action, {"host": host})
            assert (page.status, len(page.texts("//*[@role='alert']"))) == (422, 1)
