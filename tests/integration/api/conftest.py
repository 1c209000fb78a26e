"""The application over a migrated database, with a clock that stands, two tenants and a feed in memory."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from analytics_core.clock import FixedClock
from analytics_core.settings import DatabaseSettings, Settings, load_settings
from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources, open_resources
from tests.api_processes import start
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.nouns import Owner
from tests.integration.api.sites import CHROMIUM, Site, fill_database

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def settings(database: DatabaseSettings, tmp_path: Path) -> Settings:
    return load_settings(
        {
            "DATABASE_URL": str(database.url),
            "CASTLEDGER_DATA_DIR": str(tmp_path),
            "TRACKER_PUBLIC_URL": "https://pod.example.com",
            "CASTLEDGER_API_MAX_BODY_MB": "1",
            "CASTLEDGER_BCRYPT_COST": "4",
            "CASTLEDGER_FEED_ALLOW_PRIVATE": "true",
            "CASTLEDGER_FEED_MAX_MB": "1",
            # Tests ask more often than people do, and their clock stands.
            "CASTLEDGER_API_RATE": "600000",
            "CASTLEDGER_API_BURST": "10000",
            "CASTLEDGER_API_NETWORK_RATE": "10000",
        }
    )


@pytest.fixture
async def resources(settings: Settings, clock: FixedClock) -> AsyncIterator[Resources]:
    async with open_resources(settings, clock=clock) as opened:
        yield opened


@pytest.fixture
def log_stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
async def ledger(database: DatabaseSettings) -> AsyncIterator[Ledger]:
    """What ingest would have written, written by hand."""
    async with Ledger.open(database) as opened:
        yield opened


@pytest.fixture
async def api(resources: Resources, ledger: Ledger, log_stream: io.StringIO) -> AsyncIterator[Api]:
    """A client with the key of the installation's own tenant."""
    app = create_app(resources, log=RequestLog(log_stream))
    async with Api.open(app, await ledger.make_key("home", is_installation=True)) as opened:
        yield opened


@pytest.fixture
async def owners(api: Api, ledger: Ledger) -> tuple[Owner, Owner]:
    """Two tenants beside the installation's own, each with one of everything."""
    made = []
    for number, slug in enumerate(("ours", "theirs"), start=1):
        owner = Owner(api, ledger, slug, await ledger.make_key(slug), number)
        await owner.sign_in(api.app)
        await owner.make_all()
        made.append(owner)
    return made[0], made[1]


@pytest.fixture
def site(database: DatabaseSettings, tmp_path: Path) -> Iterator[Site]:
    key, podcast, episode, hit, spike = asyncio.run(fill_database(database))
    with start(tmp_path, DATABASE_URL=str(database.url), TRACKER_PUBLIC_URL="https://pod.example.com") as running:
        yield Site(running.url, key, podcast, episode, hit, spike)


@pytest.fixture
def chromium(site: Site) -> Iterator[Browser]:
    """A Chromium that is on the machine; nothing is downloaded.

    It is closed before the site is: Playwright keeps a loop running in this thread, in which no other can run.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
