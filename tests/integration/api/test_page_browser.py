"""The page in a real browser: three widths, light and dark, with scripts and without, by keyboard alone."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

from analytics_core.api_keys import is_well_formed
from analytics_core.db.pool import connect, open_pool, tenant_transaction
from analytics_core.db.tenants import ensure_owner_key, find_key
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.api_processes import start
from tests.factories import make_episode, make_podcast
from tests.integration.api.ledger import Ledger
from tests.integration.api.people import take_token

WIDTHS = (360, 768, 1280)
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium: apt-get install chromium")


class Site(NamedTuple):
    """A running API with one podcast in it."""

    url: str
    key: str
    podcast: str
    episode: str
    hit: str
    spike: str


async def _fill(database: DatabaseSettings) -> tuple[str, str, str, str, str]:
    auth = await connect(database, Role.AUTH, application_name="test")
    try:
        key = await ensure_owner_key(auth, None)
        owner = await find_key(auth, key)
    finally:
        await auth.close()
    assert owner is not None
    podcast = await make_podcast(database, owner.tenant, make_episode("a"), make_episode("b"))
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, owner.tenant, readonly=True) as conn:
            episode = str(await conn.fetchval("select episode_id from app.episodes where guid = 'a'"))
    finally:
        await pool.close()
    async with Ledger.open(database) as ledger:
        now = await ledger.ingest.fetchval("select date_trunc('hour', now())")
        hits = [await ledger.land(now.isoformat(), episode, listener=listener) for listener in range(12)]
        await ledger.roll_up()
        await ledger.set_cutoff(now.isoformat())
        spike = await ledger.ingest.fetchval(
            "insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, app, usual, hits,"
            " downloads, episodes, found_at)"
            " values ($1, gen_random_uuid(), $2, 'agent', $3, $4, 'Castaway', '{2}', 12, 12, 1, $3)"
            " returning spike_id",
            podcast.tenant.tenant_no,
            podcast.podcast_no,
            now,
            now + dt.timedelta(hours=1),
        )
    return key, str(podcast.podcast_id), episode, hits[0], str(spike)


@pytest.fixture
def site(database: DatabaseSettings, tmp_path: Path) -> Iterator[Site]:
    key, podcast, episode, hit, spike = asyncio.run(_fill(database))
    with start(tmp_path, DATABASE_URL=str(database.url), TRACKER_PUBLIC_URL="https://pod.example.com") as running:
        yield Site(running.url, key, podcast, episode, hit, spike)


@pytest.fixture
def chromium(site: Site) -> Iterator[Browser]:
    """A Chromium that is on the machine; nothing is downloaded.

    It is closed before the site is: Playwright keeps a loop running in this thread, in which no other can run.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def sign_in(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/")
    page.get_by_label("API key").fill(site.key)
    page.get_by_role("button", name="Use key").click()
    page.wait_for_url(f"{site.url}/podcasts/{site.podcast}")


def watch(page: Page, site: Site) -> list[str]:
    """Collect what a browser complains of, and what it asks of others."""
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def on_error(error: Error) -> None:
        complaints.append(str(error))

    def on_request(request: Request) -> None:
        if not request.url.startswith(f"{site.url}/"):
            complaints.append(request.url)

    page.on("console", on_console)
    page.on("pageerror", on_error)
    page.on("request", on_request)
    return complaints


def test_every_page_fits_every_width_has_a_title_and_one_heading_and_complains_of_nothing(
    chromium: Browser, site: Site
) -> None:
    paths = (
        f"/podcasts/{site.podcast}",
        f"/podcasts/{site.podcast}?range=year",
        f"/podcasts/{site.podcast}?first=2025-01-01&last=2025-01-31",
        f"/podcasts/{site.podcast}/episodes",
        f"/podcasts/{site.podcast}/hits",
        f"/podcasts/{site.podcast}/setup",
        f"/podcasts/{site.podcast}/spikes",
        f"/spikes/{site.spike}",
        f"/episodes/{site.episode}",
        f"/episodes/{site.episode}/compare",
        f"/hits/{site.hit}",
        "/podcasts",
        "/podcasts/new",
        "/settings/keys",
        "/settings/members",
        "/sponsors",
        "/what-if?url=https://cdn.example.com/a.mp3&user_agent=curl/8.5.0&range=bytes%3D0-1",
        "/methodology",
    )
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            context = chromium.new_context(
                viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
            )
            page = context.new_page()
            complaints = watch(page, site)
            sign_in(page, site)
            titles = set()
            for path in paths:
                page.goto(f"{site.url}{path}")
                beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert beyond <= 0, (path, width)
                assert page.locator("h1").count() == 1, path
                assert page.title().endswith(" · Castledger")
                titles.add(page.title())
            # One podcast, thrice shown for other days.
            assert len(titles) == len(paths) - 2
            assert complaints == []
            context.close()


def test_all_forms_and_links_work_without_javascript(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 360, "height": 800})
    page = context.new_page()
    page.goto(f"{site.url}/podcasts/{site.podcast}")
    page.get_by_label("API key").fill("cl_live_wrong")
    page.get_by_role("button", name="Use key").click()
    assert page.get_by_role("alert").inner_text() == "This key is not valid."
    page.get_by_label("API key").fill(site.key)
    page.get_by_role("button", name="Use key").click()
    # Back where it was meant to go.
    page.wait_for_url(f"{site.url}/podcasts/{site.podcast}")
    assert page.locator(".figures strong").first.inner_text() == "12"
    assert page.get_by_role("img").count() >= 1
    page.get_by_text("Figures as a table").first.click()
    assert page.locator("#bars-table tbody tr").last.is_visible()
    page.get_by_text("Custom").click()
    page.get_by_label("from").fill("2025-01-01")
    page.get_by_label("to", exact=True).fill("2025-01-31")
    page.get_by_role("button", name="Show").click()
    assert page.get_by_text("No download in 1–31 Jan 2025.").is_visible()
    page.get_by_role("link", name="Hits").click()
    page.locator("section[aria-labelledby=hits] tbody a").first.click()
    assert page.locator("h1").inner_text() == "Counts"
    page.get_by_role("link", name="What if").click()
    page.get_by_label("Address").fill("https://pod.example.com/e/cdn.example.com/a.mp3")
    page.get_by_label("User agent").fill("Googlebot/2.1")
    page.get_by_role("button", name="Explain").click()
    assert page.locator("h2").first.inner_text() == "It would not count"
    assert page.get_by_text("Yes: this decides.").count() == 1
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{site.url}/sign-in")
    context.close()


def test_the_keyboard_reaches_everything_in_the_order_in_which_it_stands(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    sign_in(page, site)
    names = []
    for _ in range(22):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                "(document.activeElement.getAttribute('aria-label') || document.activeElement.textContent)"
                ".trim().split('\\n')[0]"
            )
        )
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", names[-1]
    expected = [
        "Skip to content",
        "Castledger",
        "Podcasts",
        "Add",
        "Sponsors",
        "Campaigns",
        "Members",
        "Keys",
        "Sign out",
        "Overview",
        "Episodes",
        "Hits",
        "Set-up",
    ]
    assert names[: len(expected)] == expected
    assert names[len(expected) : len(expected) + 9] == [
        "Decide whether they count",
        "7 days",
        "30 days",
        "90 days",
        "Year",
        "Custom",
        "Day",
        "Week",
        "Month",
    ]
    # The first of them leads past all of it.
    page.goto(page.url)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    context.close()


def test_a_chart_points_at_its_figures_by_mouse_and_by_arrow_keys(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    sign_in(page, site)
    chart = page.locator("svg.chart").first
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 50)
    tip = page.locator(".tip").first
    assert "Downloads: 12" in tip.inner_text()
    page.mouse.move(5, 5)
    assert not tip.is_visible()
    chart.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert "Downloads: 0" in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    context.close()


def test_the_prefix_is_copied_by_a_button(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    sign_in(page, site)
    page.goto(f"{site.url}/podcasts/{site.podcast}/setup")
    page.get_by_role("button", name="Copy").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".copy code").first.inner_text()
    assert copied.startswith("https://pod.example.com/e,pg=")
    context.close()


def test_the_live_day_is_fetched_again_while_somebody_looks(
    chromium: Browser, site: Site, database: DatabaseSettings
) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.clock.install()
    sign_in(page, site)
    figure = page.locator(".figures strong").first
    assert figure.inner_text() == "12"

    async def land() -> None:
        async with Ledger.open(database) as ledger:
            now = await ledger.ingest.fetchval("select date_trunc('hour', now())")
            await ledger.land(now.isoformat(), site.episode, listener=99)
            await ledger.roll_up()

    # Playwright's own loop runs in this thread, so this needs one of its own.
    landing = threading.Thread(target=lambda: asyncio.run(land()))
    landing.start()
    landing.join()
    page.clock.run_for(14_000)
    assert figure.inner_text() == "12"
    with page.expect_response(lambda answer: "/podcasts/" in answer.url):
        page.clock.run_for(2_000)
    page.get_by_text("13", exact=True).first.wait_for()
    context.close()


def test_a_key_is_made_without_a_script_and_copied_with_one(chromium: Browser, site: Site) -> None:
    for has_scripts in (False, True):
        context = chromium.new_context(
            java_script_enabled=has_scripts,
            viewport={"width": 360, "height": 800},
            permissions=["clipboard-read", "clipboard-write"],
        )
        page = context.new_page()
        complaints = watch(page, site)
        sign_in(page, site)
        page.get_by_role("link", name="Keys").click()
        page.get_by_label("Name").first.fill("nightly report")
        page.get_by_label("analytics:read").check()
        page.get_by_role("button", name="Make secret key").click()
        text = page.locator(".copy code")
        made = text.inner_text()
        assert is_well_formed(made)
        if has_scripts:
            page.get_by_role("button", name="Copy").click()
            page.get_by_role("button", name="Copied").wait_for()
            assert page.evaluate("navigator.clipboard.readText()") == made
        else:
            # One click marks all of it, for whoever copies it by themselves.
            text.click()
            assert page.get_by_role("button", name="Copy").count() == 0
        page.goto(f"{site.url}/settings/keys")
        assert made not in page.content()
        assert page.get_by_text("nightly report").count() == 1 + has_scripts
        assert complaints == []
        context.close()


def test_an_invited_person_sets_a_password_signs_in_changes_it_and_signs_out(
    chromium: Browser, site: Site, database: DatabaseSettings
) -> None:
    owner = chromium.new_context()
    page = owner.new_page()
    sign_in(page, site)
    page.get_by_role("link", name="Members").click()
    page.get_by_label("Mail address").fill("bob@example.com")
    page.get_by_role("button", name="Invite").click()
    page.get_by_role("heading", name="Invited").wait_for()
    owner.close()

    async def read_mail() -> str:
        async with Ledger.open(database) as ledger:
            return await take_token(ledger, "inv", to="bob@example.com")

    # As above: Playwright's own loop runs in this thread.
    with ThreadPoolExecutor(1) as reader:
        token = reader.submit(lambda: asyncio.run(read_mail())).result()
    context = chromium.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    complaints = watch(page, site)

    def enter(password: str) -> None:
        page.get_by_label("Mail address").fill("bob@example.com")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()

    page.goto(f"{site.url}/invitation?token={token}")
    page.get_by_label("Your name").fill("Bob")
    page.get_by_label("Password").fill("seven wise llamas")
    page.get_by_role("button", name="Join").click()
    page.get_by_role("link", name="Sign in").click()
    enter("seven wise llamas")
    page.wait_for_url(f"{site.url}/podcasts/{site.podcast}")
    assert page.locator(".figures strong").first.inner_text() == "12"
    for absent in ("Members", "Keys", "Sponsors", "Hits", "What if"):
        assert page.get_by_role("link", name=absent).count() == 0, absent
    page.get_by_role("link", name="Account").click()
    beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert beyond <= 0
    page.get_by_label("Current password").fill("seven wise llamas")
    page.get_by_label("New password").fill("eight brisk alpacas")
    page.get_by_role("button", name="Change password").click()
    page.get_by_text("Your password is changed").wait_for()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(f"{site.url}/sign-in")
    assert complaints == []
    # A browser says on its own that an answer was a 401.
    enter("seven wise llamas")
    assert page.get_by_role("alert").inner_text() == "This mail address and password do not belong together."
    enter("eight brisk alpacas")
    page.wait_for_url(f"{site.url}/podcasts/{site.podcast}")
    context.close()
