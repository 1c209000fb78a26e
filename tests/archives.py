"""A ledger with something of everything in it, and all that can be asked of one."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analytics_core.archives.manifest import Encoding, Filters, Manifest
from analytics_core.clock import FixedClock
from analytics_core.db.day_sources import note_day_sources
from analytics_core.db.erasure_requests import find_listener
from analytics_core.db.hits import HitSource
from analytics_core.db.pool import Pool, Tenant, connect, connection, open_pool, tenant_transaction
from analytics_core.db.restating import RestatedDay
from analytics_core.db.spikes import decide
from analytics_core.db.sponsors import SponsorFields, add_sponsor
from analytics_core.db.tenants import create_key, find_tenant
from analytics_core.db.unknown_hosts import accept_host
from analytics_core.events import EventSource
from analytics_core.geo import open_countries
from analytics_core.ids import new_id
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, load_settings
from analytics_core.sponsors import Contact, Targeting
from api.app import create_app
from api.logs import RequestLog
from api.resources import open_resources
from castledger_server.archive_export import export_tenant
from castledger_server.archive_progress import Progress
from ingest.restatements import restate
from ingest.retention import KEEP_DOWNLOADS, drop_old
from ingest.rollups import refresh_listeners
from ingest.spikes import apply_due
from tests.address_databases import write_database
from tests.event_factories import make_event, write_event_segment
from tests.event_ledgers import Events
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.integration.api.ledger import Api
from tests.integration.ingest.erasing import Eraser
from tests.integration.ingest.test_clicks import click, make_links
from tests.ledgers import DAY, NOW, Ledger, minute
from tests.sponsorships import make_results, make_sponsorship

__all__ = ("OLD", "SLUG", "ask_everything", "contents", "export", "fill", "occupy", "open_ledger", "owner_key")

SLUG = "studio"
OLD = dt.date(2026, 10, 3)
"""A day of a month whose downloads are not kept any more."""

_AGENTS = (
    b"Overcast/3.0 (+http://overcast.fm/; iOS podcast app)",
    b"AntennaPod/3.3.2",
    b"Googlebot/2.1 (+http://www.google.com/bot.html)",
    "Pödcasts/1.0 \u4e2d".encode(),
)
_RANGES = ("", "bytes=0-1", "bytes=0-2000000", "bytes=5000000-5000100")
_REFERRERS = ("", "https://example.org/page", "https://example.net/")


async def open_ledger(database: DatabaseSettings, folder: Path, *, city: str = "Toulon") -> tuple[Ledger, Pool]:
    """Open an ingest on a database, which takes all listeners to be of one city; its pool is to be closed."""
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=3)
    conn = await connect(database, Role.INGEST, application_name="test")
    ledger = Ledger(pool, conn, folder)
    record = {"country_code": "FR", "state1": "Var", "city": city}
    path = write_database(folder.with_name(f"{folder.name}-{city}.mmdb"), {"country_code": "DE"}, record)
    ledger.pipeline = ledger.make_pipeline(countries=open_countries(path, cities=True))
    ledger.shipper = ledger.make_shipper()
    return ledger, pool


async def fill(database: DatabaseSettings, folder: Path) -> MadePodcast:
    """Make a tenant with something of everything, and another one who must not be seen.

    Hits of two months: the older one is final, and its downloads are gone. One hit is late, some wait for an episode.
    """
    tenant = await make_tenant(database, SLUG)
    podcast = await make_podcast(
        database, tenant, make_episode("a"), make_episode("b", published_at=None), feed_url="https://example.com/feed"
    )
    second = await make_podcast(database, tenant, make_episode("c", "https://media.example.com/c.mp3?x=1"))
    stranger = await make_tenant(database, "stranger")
    await make_podcast(database, stranger, make_episode("s", "https://s.example.net/s.mp3"))
    await make_links(database, podcast)
    await _make_sponsor(database, podcast)
    ledger, pool = await open_ledger(database, folder)
    try:
        old = dt.datetime.combine(OLD, dt.time(9), dt.UTC)
        await _land(ledger, [old, old + dt.timedelta(days=1, minutes=20)], second)
        await ledger.conn.execute("update ops.days set final_at = $1", NOW)
        assert (await drop_old(ledger.conn, now=NOW + KEEP_DOWNLOADS * 2, hits_months=25))["days of downloads"] == 2
        await _land(ledger, [NOW - dt.timedelta(days=1), NOW - dt.timedelta(hours=1), old], second)
        await _erase_somebody(database, podcast)
        await _accept(database, podcast)
        await _restate_yesterday(ledger, podcast)
        await _accept_spike(ledger, podcast)
        # Of what has landed last, listeners are not counted yet, and the very last is in no figure.
        for number in (8, 9):
            await ledger.refresh()
            hit = make_hit(minute(30), "cdn.example.com/b.mp3", address=f"198.51.100.{number}")
            write_segment(ledger.folder, [hit])
            await ledger.ship_all()
        await _land_events(ledger, podcast, stranger)
    finally:
        await ledger.conn.close()
        await pool.close()
    return podcast


async def _land_events(ledger: Ledger, podcast: MadePodcast, stranger: Tenant) -> None:
    """Have something happen in a shop, today and long ago."""
    events = Events(ledger)
    told = [
        (at, make_event(tenant.tenant_no, **more))
        for at in (dt.datetime.combine(OLD, dt.time(9), dt.UTC), minute(1))
        for tenant in (podcast.tenant, stranger)
        for more in (
            {},
            {"customer_id": "u_1", "value_amount": 0, "currency": "JPY", "new_customer": False, "promo_code": "Ü;'\t"},
            {
                "type": "page_view",
                "source": EventSource.BROWSER,
                "agent": "Example/1.0",
                "url": "https://a.example.com/?utm_id=1",
            },
            {"type": "own_name", "properties": {"a": None, "b": 1.5, "c": "\u4e2d", "d": True}, "external_id": "o-1"},
        )
    ]
    write_event_segment(events.folder, told)
    assert await events.ship_all() == len(told)


async def _make_sponsor(database: DatabaseSettings, podcast: MadePodcast) -> None:
    """Give one of the links to a sponsor, who has ordered something and paid for what came of it."""
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, podcast.tenant) as conn:
            fields = SponsorFields(
                name="O'Brien; DROP TABLE app.links",
                domain="shop.example.com",
                category="food",
                contacts=(Contact(name="Ana", email="ana@shop.example.com"), Contact(name="Bo", phone="+49 30 1")),
                targeting=Targeting(countries=("DE",), exclusions=("alcohol",)),
            )
            sponsor = await add_sponsor(conn, podcast.tenant, fields, now=NOW)
            assert await conn.execute("update app.links set sponsor_id = $1 where slug = 'offer'", sponsor.sponsor_id)
            made = await make_sponsorship(conn, podcast, sponsor.sponsor_id)
            await conn.execute(
                "update app.links l set campaign_id = f.campaign_id, flight_id = f.flight_id from app.flights f"
                " where l.slug = 'offer' and f.makegood_of is null"
            )
    finally:
        await pool.close()
    owner = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    try:
        async with tenant_transaction(owner, podcast.tenant) as conn:
            await make_results(conn, podcast, sponsor.sponsor_id, made)
    finally:
        await owner.close()


async def _accept_spike(ledger: Ledger, podcast: MadePodcast) -> None:
    """Leave what an agent asked for yesterday, some of it at least, out of downloads."""
    yesterday = NOW - dt.timedelta(days=1)
    spike_id = new_id()
    await ledger.conn.execute(
        "insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, user_agent, usual, hits,"
        " downloads, episodes, found_at)"
        " values ($1, $2, $3, 'agent', $4, $5, $6, '{3}', 1, 1, 1, $7)",
        podcast.tenant.tenant_no,
        spike_id,
        podcast.podcast_no,
        yesterday,
        yesterday + dt.timedelta(hours=1),
        _AGENTS[0].decode(),
        NOW,
    )
    assert await decide(ledger.conn, spike_id, "accepted", reason="a test", key_id=None, now=NOW)
    assert await apply_due(ledger.conn, clock=ledger.clock) == {"decisions": 1, "refused": 0}
    assert await ledger.count("ts.listener_events where flags & 1024 <> 0") > 0


async def _restate_yesterday(ledger: Ledger, podcast: MadePodcast) -> None:
    yesterday = NOW - dt.timedelta(days=1)
    await ledger.conn.execute("update ops.days set final_at = $1 where day = $2", NOW, yesterday.date())
    write_segment(ledger.folder, [make_hit(yesterday, "cdn.example.com/b.mp3", address="198.51.100.7")])
    await ledger.ship_all()
    days = [yesterday.date()]
    tenant_no = int(podcast.tenant.tenant_no)
    told_twice = [(podcast.podcast_no, yesterday.date())]
    await note_day_sources(ledger.conn, tenant_no, told_twice, source=HitSource.PREFIX)
    (told,) = await restate(ledger.conn, tenant_no, days, reason="a test", origin="command", clock=ledger.clock)
    assert isinstance(told.outcome, RestatedDay)


async def occupy(database: DatabaseSettings, folder: Path) -> None:
    """Have somebody else in a database, so that all numbers are others there."""
    tenant = await make_tenant(database, "resident")
    podcast = await make_podcast(
        database, tenant, *(make_episode(f"r{number}", f"https://r.example.net/{number}.mp3") for number in range(7))
    )
    await make_links(database, podcast, slugs=("theirs", "gone"))
    ledger, pool = await open_ledger(database, folder, city="Draguignan")
    try:
        for number in range(3):
            hit = make_hit(
                NOW - dt.timedelta(days=number),
                f"https://r.example.net/{number}.mp3",
                agent=_AGENTS[-number],
                referrer=f"https://{number}.example.net/",
            )
            write_segment(ledger.folder, [hit, click(NOW, "go=theirs", agent=b"Resident/1")])
            await ledger.ship_all()
        await ledger.refresh()
    finally:
        await ledger.conn.close()
        await pool.close()


async def _land(ledger: Ledger, times: list[dt.datetime], second: MadePodcast) -> None:
    hits = []
    for place, at in enumerate(times):
        for number in range(24):
            target = ("cdn.example.com/a.mp3", "cdn.example.com/b.mp3", "media.example.com/c.mp3?x=1")[number % 3]
            hits.append(
                make_hit(
                    at + dt.timedelta(minutes=number),
                    f"https://{target}",
                    address=f"192.0.2.{number % 5 + place}",
                    agent=_AGENTS[number % 4],
                    byte_range=_RANGES[number // 3 % 4],
                    referrer=_REFERRERS[number % 3],
                )
            )
        hits.append(make_hit(at, "https://s.example.net/s.mp3", address="192.0.2.1"))
        hits.append(make_hit(at, "https://new.example.com/d.mp3", arguments=f"pg={second.guid}"))
        hits.append(click(at + dt.timedelta(minutes=3), "go=offer,click=AAAAAAAAAAAAAAAAAAAA" + "AQw"[place % 2] + "Q"))
        hits.append(click(at + dt.timedelta(minutes=4), "go=offer", agent=_AGENTS[2]))
    write_segment(ledger.folder, hits, frame_hits=7)
    await ledger.ship_all()
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue


async def _erase_somebody(database: DatabaseSettings, podcast: MadePodcast) -> None:
    api = await open_pool(database, Role.API, application_name="test", max_size=1)
    ingest = await open_pool(database, Role.INGEST, application_name="test", max_size=4)
    try:
        async with connection(ingest) as conn:
            place = await conn.fetchrow(
                "select segment_no, ordinal from ts.listener_events where occurred_at > $1 and tenant_no = $2"
                " and verdict = 0 order by occurred_at limit 1",
                NOW - dt.timedelta(days=2),
                int(podcast.tenant.tenant_no),
            )
        assert place is not None
        async with tenant_transaction(api, podcast.tenant) as conn:
            named = await find_listener(conn, *place)
        assert named is not None
        await Eraser(api, ingest).erase_listener(podcast.tenant, *named, now=NOW)
    finally:
        await api.close()
        await ingest.close()


async def _accept(database: DatabaseSettings, podcast: MadePodcast) -> None:
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, podcast.tenant) as conn:
            await accept_host(conn, podcast.tenant, podcast.podcast_no, "more.example.com", now=NOW)
    finally:
        await pool.close()


async def owner_key(database: DatabaseSettings, podcast: MadePodcast) -> str:
    """Make an API key of a podcast's tenant."""
    conn = await connect(database, Role.AUTH, application_name="test")
    try:
        return await create_key(conn, podcast.tenant, name="test")
    finally:
        await conn.close()


async def ask_everything(database: DatabaseSettings, key: str, folder: Path) -> dict[str, Any]:
    """Ask all that the API answers of a ledger; ids of hits, which each installation gives anew, are left out."""
    environ = {"DATABASE_URL": str(database.url), "CASTLEDGER_DATA_DIR": str(folder), "CASTLEDGER_API_RATE": "0"}
    settings = load_settings(environ)
    said: dict[str, Any] = {}
    async with open_resources(settings, clock=FixedClock(NOW)) as resources:
        app = create_app(resources, log=RequestLog(io.StringIO()))
        async with Api.open(app, key) as api:

            async def ask(path: str, **query: Any) -> Any:
                answer = await api.get(path, **query)
                assert answer.status_code == 200, answer.text
                text = re.sub(r"h_[0-9a-f]+-[0-9a-f]+", "h_", answer.text)
                said[f"{path} {query}"] = re.sub(r'"next_cursor":"[^"]+"', "", text)
                return answer.json()

            scopes: list[dict[str, Any]] = []
            for podcast in (await ask("/podcasts"))["data"]:
                scopes.append({"podcast_id": podcast["podcast_id"]})
                await ask(f"/podcasts/{podcast['podcast_id']}/unknown-hosts")
                for episode in (await ask(f"/podcasts/{podcast['podcast_id']}/episodes"))["data"]:
                    scopes.append({"episode_id": episode["episode_id"]})
                    await ask("/analytics/curves", episode_id=episode["episode_id"])
            whole = {"from_": "2026-10-01", "to": "2026-11-03"}
            for scope in scopes:
                await ask("/analytics/downloads", **scope, **whole)
                await ask("/analytics/downloads", **scope, **whole, interval="month")
                await ask("/analytics/downloads", **scope, **whole, interval="week", tz="Asia/Kathmandu")
                for by in ("app", "device", "os", "country", "region", "city", "referrer", "feed_app", "source"):
                    await ask("/analytics/downloads", **scope, **whole, interval="month", by=by)
                for day in (OLD, OLD + dt.timedelta(days=1), DAY - dt.timedelta(days=1), DAY):
                    await ask("/analytics/explain", **scope, day=day.isoformat())
                if "podcast_id" in scope:
                    await ask("/analytics/overview", **scope, **whole)
                await ask("/analytics/hits", **scope, from_=DAY.isoformat(), to="2026-11-03")
                await ask("/analytics/hits", **scope, from_=OLD.isoformat(), to="2026-10-05")
            await ask("/analytics/overview", **whole)
            await ask("/links")
            await ask("/sponsors")
            for path in ("/insertion-orders", "/campaigns", "/flights"):
                await ask(path)
            (placed,) = (await ask("/placements"))["data"]
            assert placed["downloads"] > 0
            for podcast in {scope["podcast_id"] for scope in scopes if "podcast_id" in scope}:
                await ask(f"/podcasts/{podcast}/ad-slots")
                await ask(f"/podcasts/{podcast}/inventory", from_="2026-10-01", to="2026-12-01")
            await ask("/clicks", **whole)
            await ask("/spikes")
    return said


async def export(
    database: DatabaseSettings,
    folder: Path,
    *,
    encoding: Encoding = Encoding.NDJSON,
    wanted: Filters | None = None,
    now: Callable[[], dt.datetime] = lambda: NOW,
) -> Manifest:
    """Export what :func:`fill` has made."""
    conn = await connect(database, Role.AUTH, application_name="test")
    found = await find_tenant(conn, SLUG)
    await conn.close()
    assert found is not None
    return await export_tenant(
        database,
        found.tenant,
        folder,
        wanted=wanted or Filters(),
        encoding=encoding,
        now=now,
        progress=Progress(),
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder, by their names below it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
