"""Spikes on the page: a notice, a list, one with what it changes, and a form to decide about it."""

from __future__ import annotations

import datetime as dt
import io
from uuid import UUID

import pytest
from litestar import Litestar

from analytics_core.clock import FixedClock
from analytics_core.ids import new_id
from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from ingest.rollups import refresh_rollups
from ingest.spikes import apply_due
from tests.integration.api.browsers import Browser
from tests.integration.api.ledger import Api, Ledger

pytestmark = pytest.mark.anyio

DAY = "2026-11-02"
BEGINS = dt.datetime.fromisoformat(f"{DAY}T11:00+00:00")
NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


@pytest.fixture
async def podcast(api: Api) -> str:
    podcast_id: str = (await api.add_podcast())["podcast_id"]
    return podcast_id


@pytest.fixture
async def spike(api: Api, ledger: Ledger, podcast: str) -> str:
    """A spike of two downloads, beside one of others; returns its id."""
    episode = (await api.data(f"/podcasts/{podcast}/episodes"))["data"][0]["episode_id"]
    earwig = await ledger.agent("Earwig/1.0", app="Earwig <b>")
    for listener in (1, 2):
        await ledger.land(f"{DAY}T11:0{listener}+00:00", episode, listener=listener, agent_no=earwig)
    await ledger.land(f"{DAY}T11:30+00:00", episode, listener=3)
    await ledger.mark_dirty(episode, DAY)
    await ledger.finalise("home", [DAY])
    spike_id = new_id()
    await ledger.ingest.execute(
        "insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, app, asn, usual, hits,"
        " downloads, episodes, found_at)"
        " select tenant_no, $2, podcast_no, 'agent', $3, $4, 'Earwig <b>', null, '{1}', 2, 2, 1, $5 from app.podcasts"
        " where podcast_id = $1",
        UUID(podcast),
        spike_id,
        BEGINS,
        BEGINS + dt.timedelta(hours=1),
        NOW,
    )
    await settle(ledger)
    return str(spike_id)


async def settle(ledger: Ledger) -> None:
    await apply_due(ledger.ingest, clock=FixedClock(NOW))
    while await refresh_rollups(ledger.ingest):
        continue


async def test_a_spike_is_noticed_looked_at_accepted_and_reverted(
    app: Litestar, api: Api, ledger: Ledger, podcast: str, spike: str
) -> None:
    async with Browser.open(app) as browser:
        overview = await browser.sign_in(api.key)
        assert "1 spike to look at" in overview.text
        listing = await browser.get(f"/podcasts/{podcast}/spikes")
        assert listing.texts("//h1") == ["Spikes"]
        assert listing.links("//tbody//a") == [f"/spikes/{spike}"]
        page = await browser.get(f"/spikes/{spike}")
        assert page.texts("//h1") == ["Earwig <b>"]
        # At eleven o'clock two were asked for, and one would have been usual.
        assert page.texts("//table[@id='hours-table']//tr[12]/*") == ["11:00", "2", "1"]
        action = f"/spikes/{spike}/decide"
        refused = await browser.send(page, action, {"decision": "accept", "reason": " "})
        assert (refused.status, "The reason is a line of" in refused.text) == (422, True)
        accepted = await browser.send(refused, action, {"decision": "accept", "reason": "a crawler"})
        assert (accepted.status, accepted.path) == (200, f"/spikes/{spike}")
        assert "Figures follow within seconds" in accepted.text
        await settle(ledger)
        after = await browser.get(f"/spikes/{spike}")
        assert "Accepted: it does not count" in after.text
        day = await browser.get(f"/podcasts/{podcast}/hits?day={DAY}")
        assert "Left out" in day.text
        assert "spike to look at" not in (await browser.get(f"/podcasts/{podcast}")).text
        hit = await browser.get(after.links("//dd/a[starts-with(@href, '/hits/')]")[0])
        assert "spike that was accepted on" in hit.text
        wrong = await browser.send(after, action, {"decision": "dismiss", "reason": "x"})
        assert (wrong.status, "revert it first" in wrong.text) == (409, True)
        await browser.send(after, action, {"decision": "revert", "reason": "people"})
        await settle(ledger)
        assert "Reverted: it counts" in (await browser.get(f"/spikes/{spike}")).text
        assert "Left out" not in (await browser.get(f"/podcasts/{podcast}/hits?day={DAY}")).text


async def test_what_is_another_tenants_or_no_decision_is_not_there(
    app: Litestar, api: Api, ledger: Ledger, spike: str
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/spikes/{spike}")
        assert (await browser.send(page, f"/spikes/{spike}/decide", {"decision": "erase", "reason": "x"})).status == 404
    async with Browser.open(app) as browser:
        await browser.sign_in(await ledger.make_key("other"))
        assert (await browser.get(f"/spikes/{spike}")).status == 404


async def test_a_podcast_without_spikes_says_so(app: Litestar, api: Api, podcast: str) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        assert "None was found." in (await browser.get(f"/podcasts/{podcast}/spikes")).text
