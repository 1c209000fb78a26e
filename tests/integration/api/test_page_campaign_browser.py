"""A campaign made in a real browser: with scripts and without, at the width of a telephone, by keyboard."""

from __future__ import annotations

import datetime as dt

import pytest
from playwright.sync_api import Browser, Page

from tests.integration.api.sites import CHROMIUM, Site, sign_in, watch

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

FORMS = (
    *("flights/new", "placements/new", "promo-codes/new", "links/new", "vanity-hosts/new"),
    *("conversion-actions/new", "redemptions", "reports/new"),
)


def fill_campaign(page: Page, **days: dt.date) -> None:
    """Fill the form of a new campaign in, which runs for a month from today unless days are given."""
    today = dt.datetime.now(dt.UTC).date()
    page.locator("#sponsor_name").fill("Acme")
    page.locator("#name").fill("Launch")
    page.locator("#starts_on").fill(str(days.get("starts_on", today)))
    page.locator("#ends_on").fill(str(days.get("ends_on", today + dt.timedelta(days=30))))
    page.locator("#budget_amount").fill("5,000.00")
    page.locator("#currency").fill("EUR")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_a_campaign_is_made_and_begun_without_a_script_on_a_telephone(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 360, "height": 800})
    page = context.new_page()
    sign_in(page, site)
    page.get_by_role("link", name="Campaigns").click()
    page.get_by_role("link", name="New campaign").click()
    fill_campaign(page)
    press(page, "Make campaign")
    path = page.url
    assert page.locator("h1").inner_text() == "Launch"
    press(page, "Activate")
    assert "no flight, no placement, no promo code or link" in page.get_by_role("alert").inner_text()
    page.locator(".lacking a", has_text="Add a flight").click()
    page.locator("#price_amount").fill("25")
    press(page, "Add flight")
    page.locator(".lacking a", has_text="Place it in an episode").click()
    press(page, "Place it")
    page.locator(".lacking a", has_text="Give it a promo code").click()
    page.locator("#code").fill("ACME20")
    press(page, "Add codes")
    assert page.locator("#devices ~ table code").inner_text() == "ACME20"
    press(page, "Activate")
    assert page.locator("h1 + p .state").inner_text() == "active"
    page.get_by_text("End it", exact=True).click()
    press(page, "Complete")
    assert (page.locator("h1 + p .state").inner_text(), page.url) == ("completed", path)
    assert page.get_by_role("link", name="Add a flight").count() == 0
    context.close()


def test_every_form_fits_every_width_and_what_is_wrong_is_where_the_keyboard_goes_next(
    chromium: Browser, site: Site
) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    complaints = watch(page, site)
    sign_in(page, site)
    page.goto(f"{site.url}/campaigns/new")
    fill_campaign(page, ends_on=dt.date(2026, 1, 1))
    press(page, "Make campaign")
    # A screen reader begins with what is wrong, and each fault leads to its field.
    assert page.evaluate("document.activeElement.id") == "faults"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "ends_on"
    assert page.locator("#ends_on").get_attribute("aria-describedby") == "ends_on-note ends_on-fault"
    assert page.locator("#sponsor_name").input_value() == "Acme"
    # A browser says on its own that an answer was a 422.
    assert len(complaints) == 1
    fill_campaign(page)
    # Twice as fast as anybody waits for.
    page.get_by_role("button", name="Make campaign").dblclick()
    page.get_by_role("heading", name="Before it can begin").wait_for()
    path = page.url
    page.goto(f"{path}/flights/new")
    page.locator("#price_amount").fill("25")
    press(page, "Add flight")
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        for form in ("", *(f"/{name}" for name in FORMS)):
            page.goto(f"{path}{form}")
            beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert beyond <= 0, (form, width)
            assert page.locator("h1").count() == 1, form
            nameless = page.evaluate(
                "[...document.querySelectorAll('main :is(input, select, textarea):not([type=hidden])')]"
                ".filter((field) => !field.labels.length).map((field) => field.name)"
            )
            assert nameless == [], form
    page.goto(f"{site.url}/campaigns")
    assert page.locator("tbody tr").count() == 1
    assert len(complaints) == 1
    context.close()
