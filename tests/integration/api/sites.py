"""A site that runs as a process, for a real browser to look at."""

from __future__ import annotations

import datetime as dt
import shutil
from typing import NamedTuple

from playwright.sync_api import ConsoleMessage, Error, Page, Request

from analytics_core.db.pool import connect, open_pool, tenant_transaction
from analytics_core.db.tenants import ensure_owner_key, find_key
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.factories import make_episode, make_podcast
from tests.integration.api.ledger import Ledger

__all__ = ("CHROMIUM", "Site", "fill_database", "sign_in", "watch")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""One that is on the machine; nothing is downloaded."""


class Site(NamedTuple):
    """A running API with one podcast in it."""

    url: str
    key: str
    podcast: str
    episode: str
    hit: str
    spike: str


async def fill_database(database: DatabaseSettings) -> tuple[str, str, str, str, str]:
    """Store a podcast with hits and a spike, and return the owner's key and their ids."""
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
