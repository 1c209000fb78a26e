"""The page in a real browser: three widths, light and dark, with scripts and without, by keyboard alone."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser

from analytics_core.api_keys import is_well_formed
from analytics_core.settings import DatabaseSettings
from tests.integration.api.ledger import Ledger
from tests.integration.api.people import take_token
from tests.integration.api.sites import CHROMIUM, Site, sign_in, watch

WIDTHS = (360, 768, 1280)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


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
