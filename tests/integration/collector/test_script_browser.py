"""The script in a real browser, in a page of another origin than the collector's."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from analytics_core.api_keys import KeyKind
from analytics_core.events import EventSource
from analytics_core.links import format_click_id
from analytics_core.registry import CollectorKey
from tests.collectors import EVENTS, CollectorProcess, Keys, write_keys

_CHROMIUM: str | None = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium: apt-get install chromium")


class Shop(NamedTuple):
    """A site with the script in its pages, and the collector that it sends to."""

    url: str
    collector: CollectorProcess
    keys: Keys


class _Site(ThreadingHTTPServer):
    page = b""
    policy = ""


class _Pages(BaseHTTPRequestHandler):
    server: _Site

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        # As strict as sites are: nothing but what the documentation says that is needed.
        self.send_header("Content-Security-Policy", self.server.policy)
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    server = _Site(("127.0.0.1", 0), _Pages)
    url = f"http://localhost:{server.server_port}"
    keys = write_keys(tmp_path, origins=(url,))
    with CollectorProcess(tmp_path) as collector:
        tag = f'<script async src="{collector.url}/c.js" data-key="{keys.publishable}"></script>'
        server.page = f"<!doctype html><title>Shop</title>{tag}<a href='/next'>next</a>".encode()
        server.policy = f"script-src {collector.url}; connect-src {collector.url}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Shop(url, collector, keys)
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def browser(shop: Shop) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def open_page(browser: Browser, shop: Shop, path: str, *, script: str = "", **headers: str) -> tuple[Page, list[str]]:
    """Open a page and wait for the script; return it with all that the browser complains of."""
    page = browser.new_context(extra_http_headers=headers or None).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    if script:
        page.add_init_script(script)
    # A page is loaded once its scripts have run. A condition to wait for would be evaluated by the page, whose policy
    # forbids that.
    page.goto(shop.url + path)
    assert page.evaluate("typeof window.castledger") == "object"
    return page, complaints


def test_a_page_view_says_where_it_was_and_what_led_there(browser: Browser, shop: Shop) -> None:
    click_id = uuid4()
    path = f"/landing?cl_click={format_click_id(click_id)}&promo=SAVE20&utm_source=pod&q=ü"
    page, complaints = open_page(browser, shop, path)
    [stored] = shop.collector.wait_events(1)
    record = stored.record
    assert (record.type, record.source, record.tenant_no) == ("page_view", EventSource.BROWSER, 7)
    assert record.url == page.url
    assert (record.click_id, record.promo_code, record.referrer) == (click_id, "SAVE20", None)
    assert "Chrome" in record.agent
    assert abs(record.occurred_us - stored.received_us) < 60_000_000
    page.click("a")
    page.wait_for_url("**/next")
    second = shop.collector.wait_events(2)[1].record
    assert second.referrer == shop.url + path.replace("ü", "%C3%BC")
    assert second.event_id != record.event_id
    assert complaints == []


def test_a_page_tells_of_what_happens_on_it(browser: Browser, shop: Shop) -> None:
    page, complaints = open_page(browser, shop, "/?code=FROMCODE&cl_click=nonsense")
    shop.collector.wait_events(1)
    told = page.evaluate(
        "castledger.track('purchase', {value_amount: 4999, currency: 'EUR', external_id: 'order-77',"
        " promo_code: 'TYPED', properties: {plan: 'pro'}})"
    )
    view, purchase = (stored.record for stored in shop.collector.wait_events(2))
    assert (view.promo_code, view.click_id) == ("FROMCODE", None)
    assert purchase.event_id == UUID(told)
    assert purchase.event_id.version == 4
    assert (purchase.type, purchase.value_amount, purchase.currency) == ("purchase", 4999, "EUR")
    assert (purchase.external_id, purchase.promo_code, purchase.properties) == ("order-77", "TYPED", {"plan": "pro"})
    assert complaints == []


def test_without_beacons_it_asks_and_needs_no_permission_first(browser: Browser, shop: Shop) -> None:
    _, complaints = open_page(browser, shop, "/", script="delete Navigator.prototype.sendBeacon")
    assert len(shop.collector.wait_events(1)) == 1
    assert complaints == []


@pytest.mark.parametrize(
    "wish",
    [
        "Object.defineProperty(Navigator.prototype, 'doNotTrack', {get: () => '1'})",
        "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true})",
    ],
)
def test_whoever_does_not_want_to_be_followed_is_not(browser: Browser, shop: Shop, wish: str) -> None:
    page, complaints = open_page(browser, shop, "/", script=wish)
    assert page.evaluate("castledger.track('purchase')") is None
    assert complaints == []
    # A second page, which is counted, comes later than whatever the first would have sent.
    open_page(browser, shop, "/counted")
    [stored] = shop.collector.wait_events(1)
    assert stored.record.url == shop.url + "/counted"


def test_nothing_is_left_in_the_browser(browser: Browser, shop: Shop) -> None:
    page, _ = open_page(browser, shop, "/?promo=A")
    shop.collector.wait_events(1)
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_pages_of_others_are_refused_and_notice_nothing(browser: Browser, shop: Shop) -> None:
    collector = shop.collector
    key = CollectorKey(tenant_no=7, kind=KeyKind.PUBLISHABLE, origins=("https://another.example.com",))
    later = write_keys(collector.spool_dir.parent, more={shop.keys.publishable: key})
    deadline = time.monotonic() + 20
    while collector.send(later.secret, {"events": []}).status_code != 202 and time.monotonic() < deadline:
        time.sleep(0.05)
    page, _ = open_page(browser, shop, "/")
    assert page.evaluate("castledger.track('purchase')") is not None
    refused = {"route": EVENTS, "status": "403"}
    while collector.metric("castledger_collector_requests_total", **refused) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert collector.metric("castledger_collector_requests_total", **refused) == 2
    assert collector.events() == []
