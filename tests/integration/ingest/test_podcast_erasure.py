"""Erasure of a podcast: all of it goes, nobody else's, nothing of it comes back, and a record proves it."""

from __future__ import annotations

import asyncio
import datetime as dt
from uuid import uuid4

import pytest

from analytics_core.claims import Proof
from analytics_core.db.claims import find_own, note_check, start_claim
from analytics_core.db.ownership import read_ownership
from analytics_core.db.podcast_erasure import PODCAST_TABLES, count_podcast
from analytics_core.db.podcasts import CATALOGUE_CHANNEL, due_podcasts, read_registry_parts, refresh_podcast
from analytics_core.db.pool import Tenant, connect, connection, tenant_transaction
from analytics_core.db.transfers import settle_claims
from analytics_core.erasures import is_about
from analytics_core.errors import Conflict
from analytics_core.feeds import Feed
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.erasures import work_off
from ingest.pending import rejudge_pending, release_aged
from ingest.rollups import refresh_listeners
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.integration.ingest.erasing import Eraser
from tests.integration.ingest.test_dead_letters import BAD, refuse
from tests.ledgers import DAY, NOW, Ledger, minute
from tests.sponsorships import sell

pytestmark = pytest.mark.anyio

ONE_DAY = dt.timedelta(days=1)
MADE_ANEW = {"dirty_marks", "sum_marks", "placement_marks", "listener_marks", "figure_versions", "day_sources"}
"""Says what is to be made anew, or by what: goes uncounted."""
FEED_URL = "https://feed.example.com/x"


@pytest.fixture
async def neighbour(database: DatabaseSettings, podcast: MadePodcast) -> MadePodcast:
    """Another podcast of the same tenant."""
    return await make_podcast(database, podcast.tenant, make_episode("n", "https://n.example.net/n.mp3"))


async def land(ledger: Ledger, podcast: MadePodcast, *targets: str, at: dt.datetime | None = None) -> None:
    hits = [
        make_hit(at or minute(place), target, address=f"192.0.2.{place}", arguments=f"pg={podcast.guid}")
        for place, target in enumerate(targets)
    ]
    write_segment(ledger.folder, hits)
    await ledger.ship_all()


async def figures(ledger: Ledger) -> None:
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue


async def kept(eraser: Eraser, podcast: MadePodcast) -> dict[str, int]:
    """Count what is kept of a podcast, without what is not there."""
    async with tenant_transaction(eraser.ingest, podcast.tenant) as conn:
        counts = await count_podcast(conn, podcast.tenant, podcast.podcast_id, podcast.podcast_no)
    return {what: count for what, count in counts.items() if count}


async def keep_report(ledger: Ledger, eraser: Eraser, podcast: MadePodcast) -> None:
    """Keep a report of a podcast that was made."""
    report_id = uuid4()
    async with tenant_transaction(eraser.api, podcast.tenant) as conn:
        await conn.execute(
            "insert into app.reports (tenant_id, report_id, kind, format, params, status, sha256, bytes, created_at,"
            " finished_at, expires_at) values ($1, $2, 'podcast', 'json', $3, 'ready', sha256(''), 0, $4, $4, $5)",
            podcast.tenant.tenant_id,
            report_id,
            {"podcast_id": str(podcast.podcast_id)},
            NOW,
            NOW + ONE_DAY,
        )
    await ledger.conn.execute(
        "insert into app.report_files (tenant_id, report_id, content) values ($1, $2, 'Episode a')",
        podcast.tenant.tenant_id,
        report_id,
    )


async def claim(database: DatabaseSettings, podcast: MadePodcast, claimer: Tenant) -> None:
    """Have another tenant claim a podcast, and prove it."""
    auth = await connect(database, Role.AUTH, application_name="test")
    try:
        taken = await find_own(auth, podcast.tenant, podcast.podcast_id)
        assert taken is not None
        row = await start_claim(auth, claimer, taken, title="Podcast", feed_url=FEED_URL, now=NOW)
        await note_check(auth, claimer, row.claim_id, now=NOW, proof=Proof.PODCAST_TXT, digest=bytes(32))
    finally:
        await auth.close()


async def test_all_of_a_podcast_goes_and_nobody_elses(
    ledger: Ledger, podcast: MadePodcast, neighbour: MadePodcast, eraser: Eraser, database: DatabaseSettings
) -> None:
    targets = ("cdn.example.com/a.mp3", "cdn.example.com/b.mp3", "n.example.net/n.mp3")
    await land(ledger, podcast, *targets)
    await land(ledger, podcast, *targets, at=NOW - ONE_DAY)
    await refuse(database, "ts.listener_events")
    bad = [make_hit(minute(1), target, agent=BAD) for target in targets]
    write_segment(ledger.folder, [*bad, make_hit(minute(2), targets[2], address="192.0.9.1")])
    await land(ledger, podcast, "new.example.org/x.mp3")
    await figures(ledger)
    # Something of each is to be made anew as well.
    await land(ledger, podcast, *targets, at=minute(9))
    await ledger.conn.execute(
        "insert into ops.sum_marks (tenant_no, podcast_no, episode_no, day)"
        " select tenant_no, podcast_no, episode_no, day from ts.downloads"
    )
    await ledger.conn.execute(
        "insert into ops.listener_marks (tenant_no, podcast_no, month)"
        " select tenant_no, podcast_no, date_trunc('month', day::timestamp)::date from ts.downloads"
    )
    for whose in (podcast, neighbour):
        await ledger.conn.execute(
            "insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, app, usual, hits,"
            " downloads, episodes, found_at)"
            " values ($1, gen_random_uuid(), $2, 'agent', $3, $4, 'x', '{0}', 1, 1, 1, $4)",
            whose.tenant.tenant_no,
            whose.podcast_no,
            minute(0),
            NOW,
        )
        await ledger.conn.execute(
            "insert into ops.day_sources (tenant_no, day, podcast_no, source) values ($1, $2, $3, 1)",
            whose.tenant.tenant_no,
            NOW.date(),
            whose.podcast_no,
        )
        await keep_report(ledger, eraser, whose)
        await sell(database, whose, name=f"Sponsor {whose.podcast_no}", code=f"CODE{whose.podcast_no}")
    await ledger.conn.execute(
        "insert into app.placement_daily (tenant_id, sponsor_id, campaign_id, flight_id, placement_id, day, downloads,"
        " downloads_strict) select tenant_id, sponsor_id, campaign_id, flight_id, placement_id, $1, 1, 1"
        " from app.placements on conflict do nothing",
        NOW.date(),
    )
    others = await kept(eraser, neighbour)
    before = await kept(eraser, podcast)
    assert set(before) == {*PODCAST_TABLES, "enclosures", "placement_daily", "reports"} - {"claims", "transfers"}
    generations = await ledger.conn.fetch("select day, generation from ops.days order by 1")

    record = await eraser.erase_podcast(podcast, now=NOW)
    assert record.removed == {
        **{what: count for what, count in before.items() if what not in MADE_ANEW},
        "report_files": 1,
        "claims": 0,
        "transfers": 0,
    }
    assert record.remaining == dict.fromkeys([*PODCAST_TABLES, "enclosures", "placement_daily", "reports"], 0)
    assert await kept(eraser, podcast) == {}
    assert await kept(eraser, neighbour) == others
    found = await eraser.stored(podcast.tenant, record.erasure_id)
    assert found.is_whole
    assert is_about(found.record, podcast.podcast_id.bytes)
    assert not is_about(found.record, neighbour.podcast_id.bytes)
    assert [
        row["generation"] - old["generation"]
        for old, row in zip(
            generations, await ledger.conn.fetch("select day, generation from ops.days order by 1"), strict=True
        )
    ] == [1, 1]
    assert await ledger.count("app.flights") == 4
    # Both of the neighbour: its own, and that of a sponsor that was heard there.
    assert await ledger.count("app.report_files") == 2
    await figures(ledger)
    assert await kept(eraser, podcast) == {}
    assert await eraser.requests() == []


async def test_every_table_that_knows_podcasts_is_looked_at(database: DatabaseSettings, ledger: Ledger) -> None:
    rows = await ledger.conn.fetch(
        """select distinct n.nspname || '.' || c.relname as name
        from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('app', 'ops', 'ts') and c.relkind in ('r', 'p') and not c.relispartition
            and a.attname ~ '(podcast|episode)_(no|id)$'"""
    )
    # Enclosures are by their episode's id; what asks for an erasure goes with its end.
    assert {row["name"] for row in rows} == {*PODCAST_TABLES.values(), "app.enclosures", "app.erasure_requests"}


async def test_what_is_asked_for_later_is_nobodys(ledger: Ledger, podcast: MadePodcast, eraser: Eraser) -> None:
    # The pipeline remembers whose the addresses are, and nobody tells it to forget.
    await land(ledger, podcast, "cdn.example.com/a.mp3")
    await eraser.erase_podcast(podcast, now=NOW)
    await land(ledger, podcast, "cdn.example.com/a.mp3", "cdn.example.com/b.mp3?x=1", "new.example.org/x.mp3")
    waiting = await ledger.conn.fetch("select tenant_no, podcast_no from ops.pending_hits")
    assert [tuple(row) for row in waiting] == [(0, 0)] * 3
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 0
    assert await release_aged(ledger.conn, ledger.secrets, now=NOW + 40 * ONE_DAY) == 3
    rows = await ledger.conn.fetch("select tenant_no, podcast_no, episode_no, verdict from ts.listener_events")
    assert {tuple(row) for row in rows} == {(0, 0, 0, 2)}
    assert await ledger.count("ts.downloads") == 0
    assert await kept(eraser, podcast) == {}


async def test_hits_and_waiting_ones_that_land_meanwhile_go_as_well(
    ledger: Ledger, podcast: MadePodcast, eraser: Eraser
) -> None:
    await land(ledger, podcast, "cdn.example.com/a.mp3")
    # Writers that have not committed yet: the erasure waits for them before it begins.
    async with ledger.conn.transaction():
        write_segment(
            ledger.folder, [make_hit(minute(9)), make_hit(minute(9), "x.org/x", arguments=f"pg={podcast.guid}")]
        )
        await ledger.shipper.ship(ledger.conn)
        working = asyncio.create_task(eraser.erase_podcast(podcast, now=NOW))
        await eraser.somebody_waits()
    record = await working
    assert (record.removed["hits"], record.removed["pending_hits"]) == (2, 1)
    await ledger.ship_all()
    await figures(ledger)
    assert await kept(eraser, podcast) == {}


async def test_waiting_hits_that_become_landed_ones_meanwhile_go_as_well(
    ledger: Ledger, podcast: MadePodcast, eraser: Eraser
) -> None:
    await land(ledger, podcast, "new.example.org/x.mp3")
    request = await eraser.ask_for_podcast(podcast, now=NOW)
    async with connection(eraser.ingest) as conn, conn.transaction():
        assert await release_aged(conn, ledger.secrets, now=NOW + 40 * ONE_DAY) == 1
        working = asyncio.create_task(eraser.perform(request, now=NOW))
        await eraser.somebody_waits()
    record = await working
    assert (record.removed["hits"], record.removed["pending_hits"]) == (1, 0)
    assert await kept(eraser, podcast) == {}


async def test_a_poll_in_flight_brings_nothing_back(ledger: Ledger, eraser: Eraser, database: DatabaseSettings) -> None:
    podcast = await make_podcast(database, await make_tenant(database), make_episode("a"), feed_url=FEED_URL)
    feed = Feed("Podcast", None, "en", FEED_URL, podcast.guid, True, (), (make_episode("a"), make_episode("late")), ())
    [due] = await due_podcasts(ledger.conn, now=NOW, limit=5)

    async def poll() -> bool:
        return await refresh_podcast(
            ledger.conn, due, feed, now=NOW, etag=None, last_modified=None, next_poll_at=NOW + ONE_DAY
        )

    async with ledger.conn.transaction():
        assert await poll()
        working = asyncio.create_task(eraser.erase_podcast(podcast, now=NOW))
        await eraser.somebody_waits()
    record = await working
    assert record.removed["episodes"] == 2
    assert not await poll()
    assert await kept(eraser, podcast) == {}
    parts = await read_registry_parts(ledger.conn)
    assert (parts.hosts, parts.click_keys) == (frozenset(), frozenset())


async def test_ingest_hears_of_it_at_once_and_trackers_forget_its_hosts(
    ledger: Ledger, podcast: MadePodcast, neighbour: MadePodcast, eraser: Eraser
) -> None:
    heard = asyncio.Event()
    assert (await read_registry_parts(ledger.conn)).hosts == {"cdn.example.com", "n.example.net"}
    await ledger.conn.add_listener(CATALOGUE_CHANNEL, lambda *_: heard.set())
    await eraser.erase_podcast(podcast, now=NOW)
    await asyncio.wait_for(heard.wait(), 10)
    parts = await read_registry_parts(ledger.conn)
    assert parts.hosts == {"n.example.net"}
    assert len(parts.click_keys) == 1


async def test_an_erasure_that_was_stopped_goes_on_wherever_it_was(
    ledger: Ledger, podcast: MadePodcast, eraser: Eraser
) -> None:
    await land(ledger, podcast, "cdn.example.com/a.mp3", at=NOW - ONE_DAY)
    await land(ledger, podcast, "cdn.example.com/a.mp3")
    await figures(ledger)
    request = await eraser.ask_for_podcast(podcast, now=NOW)
    # Somebody holds the second day's row, so that the erasure stands still behind the first day, and is killed there.
    async with ledger.conn.transaction():
        await ledger.conn.execute("update ops.days set rekeyed = rekeyed where day = $1", DAY)
        working = asyncio.create_task(eraser.perform(request, now=NOW))
        await eraser.somebody_waits()
        with pytest.raises(Conflict, match="another erasure is at work"):
            await eraser.perform(request, now=NOW)
        async with connection(eraser.ingest) as conn:
            assert await work_off(conn, eraser.ingest, now=NOW) == {"done": 0, "left": 1}
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    [half] = await eraser.all_of(podcast.tenant)
    assert (half.record.removed["podcasts"], half.record.removed["hits"]) == (1, 1)
    assert not half.is_whole
    # Asked for again it is the same, though the podcast is gone; and ingest comes to it by itself.
    assert (await eraser.ask_for_podcast(podcast, now=NOW + ONE_DAY)).erasure_id == request.erasure_id
    async with connection(eraser.ingest) as conn:
        assert await work_off(conn, eraser.ingest, now=NOW + ONE_DAY) == {"done": 1, "left": 0}
        assert await work_off(conn, eraser.ingest, now=NOW + ONE_DAY) == {"done": 0, "left": 0}
    [whole] = await eraser.all_of(podcast.tenant)
    assert whole.record.erasure_id == request.erasure_id
    assert (whole.record.removed["podcasts"], whole.record.removed["hits"]) == (1, 2)
    assert whole.is_whole
    assert whole.record.finished_at == NOW + ONE_DAY
    assert await kept(eraser, podcast) == {}


async def test_claims_and_moves_go_whoever_the_others_are_and_the_generation_never_falls(
    ledger: Ledger, eraser: Eraser, database: DatabaseSettings
) -> None:
    former_tenant, claimer, third = [await make_tenant(database, slug) for slug in ("former", "claimer", "third")]
    former = await make_podcast(database, former_tenant, make_episode("a"), feed_url=FEED_URL)
    await claim(database, former, claimer)
    assert await settle_claims(ledger.conn, now=NOW) == 1
    row = await ledger.conn.fetchrow(
        "select podcast_id, podcast_no from app.podcasts where tenant_no = $1", int(claimer.tenant_no)
    )
    assert row is not None
    moved = MadePodcast(row["podcast_id"], row["podcast_no"], former.guid, claimer, {})
    await claim(database, moved, third)
    assert await kept(eraser, moved) == {
        "enclosure_owners": 1,
        "enclosures": 1,
        "episodes": 1,
        "podcasts": 1,
        "claims": 2,
        "transfers": 1,
    }
    before = await read_ownership(ledger.conn)
    record = await eraser.erase_podcast(moved, now=NOW)
    assert (record.removed["claims"], record.removed["transfers"]) == (2, 1)
    assert await read_ownership(ledger.conn) == before + 1
    # Nobody's any more: who had it before still has its past, and nothing of its future.
    assert await kept(eraser, former) == {"enclosures": 1, "episodes": 1, "podcasts": 1}
    assert (await eraser.erase_podcast(former, now=NOW)).remaining == record.remaining
    again = await make_podcast(database, third, make_episode("a"), guid=former.guid, feed_url=FEED_URL)
    await land(ledger, again, "cdn.example.com/a.mp3")
    assert (await kept(eraser, again))["downloads"] == 1
