"""Polling, the registry, secrets and finality on a real database."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from analytics_core.db.podcasts import DuePodcast
from analytics_core.db.secrets import INSTALLATION, find_secret
from analytics_core.enclosures import identify
from analytics_core.errors import InvalidInput
from analytics_core.feed_fetch import Fetched, NotModified
from analytics_core.registry import RegistryDamaged, read_registry
from analytics_core.settings import DatabaseSettings, FeedSettings, load_settings
from ingest.catalogue_watch import CatalogueWatch
from ingest.finality import finalise_days
from ingest.polling import Poller, UnknownTargetPolls
from ingest.registry_writer import RegistryWriter
from ingest.secrets import SecretStore, destroy_old_secrets
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, write_segment
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio

FEED = FeedSettings(allow_private=True, max_mb=1, timeout_s=5, poll_s=900)

RSS = b"""<rss version="2.0"><channel><title>Polled</title>
<item><title>A</title><guid>a</guid><enclosure url="https://cdn.example.com/a.mp3" type="audio/mpeg" length="1"/></item>
<item><title>N</title><guid>n</guid><enclosure url="https://cdn.example.com/n.mp3" type="audio/mpeg" length="1"/></item>
</channel></rss>"""

Answer = Callable[[DuePodcast], Fetched | NotModified]


class Feeds:
    """Stands in for the network: answers each poll and remembers who asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[DuePodcast] = []

    async def __call__(self, due: DuePodcast, settings: FeedSettings) -> Fetched | NotModified:
        self.asked.append(due)
        return self.answer(due)


@pytest.fixture
async def polled(database: DatabaseSettings, podcast: MadePodcast) -> MadePodcast:
    return await make_podcast(
        database,
        podcast.tenant,
        make_episode("p", "https://p.example.com/p.mp3"),
        feed_url="https://feed.example.com/x",
    )


def make_poller(ledger: Ledger, feeds: Feeds) -> Poller:
    return Poller(ledger.pool, FEED, clock=ledger.clock, metrics=ledger.metrics, fetch=feeds)


async def test_a_poll_brings_new_episodes_and_the_answers_tags(
    ledger: Ledger, polled: MadePodcast, database: DatabaseSettings
) -> None:
    rss = RSS.replace(b"cdn.example.com", b"p.example.com")
    feeds = Feeds(lambda due: NotModified() if due.feed_etag else Fetched(rss, due.feed_url, "tag", "today"))
    poller = make_poller(ledger, feeds)
    assert await poller.start_due() == 1
    await poller.drain()
    row = await ledger.conn.fetchrow(
        "select title, feed_etag, feed_last_modified, next_poll_at, feed_error from app.podcasts where podcast_no = $1",
        polled.podcast_no,
    )
    assert row is not None
    assert tuple(row) == ("Polled", "tag", "today", NOW + dt.timedelta(minutes=15), None)
    guids = await ledger.conn.fetch(
        "select guid from app.episodes where podcast_no = $1 and removed_at is null order by 1", polled.podcast_no
    )
    assert [row["guid"] for row in guids] == ["a", "n"]
    assert await poller.start_due() == 0
    ledger.clock.advance(dt.timedelta(minutes=15))
    assert await poller.start_due() == 1
    await poller.drain()
    assert feeds.asked[1].feed_etag == "tag"
    assert await poller.start_due() == 0


async def test_a_failing_feed_is_polled_less_and_less_often_and_says_why(ledger: Ledger, polled: MadePodcast) -> None:
    def fail(due: DuePodcast) -> Fetched:
        raise InvalidInput("feed_url", "the feed's host answered 404", code="feed_status")

    feeds = Feeds(fail)
    poller = make_poller(ledger, feeds)
    waits = []
    for _ in range(12):
        assert await poller.start_due() == 1
        await poller.drain()
        row = await ledger.conn.fetchrow(
            "select next_poll_at, feed_error from app.podcasts where podcast_no = $1", polled.podcast_no
        )
        assert row is not None
        assert row["feed_error"] == "the feed's host answered 404"
        waits.append((row["next_poll_at"] - ledger.clock.now()) // dt.timedelta(minutes=15))
        ledger.clock.advance(row["next_poll_at"] - ledger.clock.now())
    assert waits == [1, 2, 4, 8, 16, 32, 64, 96, 96, 96, 96, 96]
    feeds.answer = lambda due: Fetched(b"<html>no feed</html>", due.feed_url, None, None)
    await poller.start_due()
    await poller.drain()
    row = await ledger.conn.fetchrow(
        "select feed_error, title from app.podcasts where podcast_no = $1", polled.podcast_no
    )
    assert row is not None
    assert row["feed_error"]
    assert row["title"] == "Podcast"


async def test_an_unexpected_fault_of_one_feed_is_that_feeds(ledger: Ledger, polled: MadePodcast) -> None:
    def explode(due: DuePodcast) -> Fetched:
        raise ZeroDivisionError

    poller = make_poller(ledger, Feeds(explode))
    await poller.start_due()
    await poller.drain()
    assert await poller.start_due() == 0
    error = await ledger.conn.fetchval("select feed_error from app.podcasts where podcast_no = $1", polled.podcast_no)
    assert "could not be stored" in error


async def test_an_unknown_target_of_a_known_podcast_has_its_feed_polled_at_once(
    ledger: Ledger, polled: MadePodcast
) -> None:
    rss = RSS.replace(b"cdn.example.com", b"p.example.com")
    poller = make_poller(ledger, Feeds(lambda due: Fetched(rss, due.feed_url, None, None)))
    await poller.start_due()
    await poller.drain()
    ledger.clock.advance(dt.timedelta(minutes=2))
    wake = asyncio.Event()
    seconds = [0.0]
    ask = UnknownTargetPolls(ledger.clock, wake, monotonic=lambda: seconds[0])
    ledger.shipper = ledger.make_shipper(on_unknown=ask)

    async def due_after_a_hit(target: str) -> int:
        wake.clear()
        write_segment(ledger.folder, [make_hit(minute(0), target, arguments=f"pg={polled.guid}")])
        await ledger.ship_all()
        started = await poller.start_due()
        await poller.drain()
        assert wake.is_set() is (started > 0)
        ledger.clock.advance(dt.timedelta(seconds=70))
        return started

    assert await due_after_a_hit("p.example.com/a.mp3") == 0
    assert await due_after_a_hit("p.example.com/gone.mp3") == 1
    # Within the same minute of the process's own time nothing is asked for again.
    assert await due_after_a_hit("p.example.com/gone2.mp3") == 0
    for asked in (1, 1, 1, 1, 0):
        seconds[0] += 61
        assert await due_after_a_hit("p.example.com/gone.mp3") == asked
    seconds[0] += 61
    assert await due_after_a_hit("p.example.com/other.mp3") == 1


async def test_a_podcast_that_others_named_is_not_polled(ledger: Ledger, polled: MadePodcast) -> None:
    wake = asyncio.Event()
    ledger.shipper = ledger.make_shipper(on_unknown=UnknownTargetPolls(ledger.clock, wake))
    write_segment(ledger.folder, [make_hit(minute(0), "x.example.net/x.mp3", arguments=f"pg={UUID(int=5)}")])
    await ledger.ship_all()
    assert await ledger.count("ops.pending_hits") == 1
    assert not wake.is_set()


async def test_the_registry_is_written_when_its_content_changes(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, tmp_path: Path
) -> None:
    path = tmp_path / "registry.snapshot"
    environ = {
        "CASTLEDGER_REGISTRY": str(path),
        "TRACKER_DENY_HOSTS": "Bad.example.com",
        "TRACKER_PUBLIC_URL": "https://Pod.Example.org:8443",
    }
    settings = load_settings(environ).tracker
    writer = RegistryWriter(settings)
    assert await writer.write(ledger.conn) is True
    assert await writer.write(ledger.conn) is False
    first = read_registry(path)
    assert first.version == 1
    assert set(first.hosts) == {"cdn.example.com"}
    assert set(first.click_keys) == {identify(f"cdn.example.com/{guid}.mp3").key.hex for guid in "ab"}
    assert first.deny_hosts == {"bad.example.com"}
    assert first.own_hosts == {"pod.example.org"}
    await make_podcast(database, podcast.tenant, make_episode("x", "https://x.example.net/x.mp3"), verified=False)
    again = RegistryWriter(settings)
    assert await again.write(ledger.conn) is True
    second = read_registry(path)
    assert second.version == 2
    assert set(second.hosts) == {"cdn.example.com", "x.example.net"}
    assert set(second.click_keys) == set(first.click_keys)
    path.write_bytes(b"{nonsense")
    with pytest.raises(RegistryDamaged):
        read_registry(path)
    assert await RegistryWriter(settings).write(ledger.conn) is True
    assert set(read_registry(path).hosts) == set(second.hosts)


async def test_a_change_of_the_catalogue_is_heard(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    heard, listening = asyncio.Event(), asyncio.Event()
    watch = CatalogueWatch(database, at_least_s=3600)
    watch.subscribe(heard.set)
    task = asyncio.create_task(watch.listen(on_listening=listening.set))
    async with asyncio.timeout(20):
        # Told once at the beginning, for what was not heard before.
        await heard.wait()
        heard.clear()
        await make_podcast(database, podcast.tenant, make_episode("x", "https://x.example.net/x.mp3"))
        await heard.wait()
        admin = await asyncpg.connect(str(database.url))
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'castledger-ingest-watch' and datname = current_database()"
        )
        await admin.close()
        await task
    assert listening.is_set()


async def test_secrets_are_made_once_and_destroyed_after_their_time(ledger: Ledger) -> None:
    october, november = dt.date(2026, 10, 1), dt.date(2026, 11, 1)
    others = SecretStore(ledger.pool, ledger.clock)
    one = await ledger.secrets.get(november, INSTALLATION)
    assert await others.get(november, INSTALLATION) == one
    assert not one.is_fresh
    assert (await ledger.secrets.get(november, 7)).secret != one.secret
    old = await ledger.secrets.get(october, INSTALLATION)
    assert old.secret != one.secret
    ledger.clock.advance(dt.datetime(2026, 12, 16, tzinfo=dt.UTC) - NOW)
    assert await destroy_old_secrets(ledger.conn, now=ledger.clock.now() - dt.timedelta(microseconds=1)) == 0
    assert await destroy_old_secrets(ledger.conn, now=ledger.clock.now()) == 1
    row = await find_secret(ledger.conn, month=october, tenant_no=INSTALLATION)
    assert row is not None
    assert row.secret is None
    ledger.secrets.forget_old()
    fresh = await ledger.secrets.get(october, INSTALLATION)
    assert fresh.is_fresh
    assert fresh.secret != old.secret
    assert await ledger.secrets.get(october, INSTALLATION) == fresh
    assert await others.get(october, INSTALLATION) != fresh
    assert await ledger.secrets.get(november, INSTALLATION) == one


async def test_a_secret_destroyed_while_the_clock_says_it_lives_is_not_made_again(ledger: Ledger) -> None:
    november = dt.date(2026, 11, 1)
    await ledger.secrets.get(november, INSTALLATION)
    await ledger.conn.execute("update ops.listener_secrets set secret = null, destroyed_at = now()")
    other = SecretStore(ledger.pool, ledger.clock)
    assert (await other.get(november, INSTALLATION)).is_fresh


async def test_days_become_final_when_they_are_old_enough_and_all_has_landed(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    write_segment(ledger.folder, [make_hit(minute(0)), make_hit(minute(0) - dt.timedelta(days=1))])
    write_segment(ledger.folder, [make_hit(minute(1), "gone.example.com/x.mp3", arguments=f"pg={podcast.guid}")])

    async def finalise(at: dt.datetime) -> int:
        return await finalise_days(ledger.conn, now=at, after_days=7)

    after = dt.datetime.combine(DAY, dt.time(), dt.UTC) + dt.timedelta(days=8)
    assert await finalise(after + dt.timedelta(days=1)) == 0
    await ledger.ship_all()
    # The cutoff stands on the second of the two days: only the first can be final.
    assert await finalise(after) == 1
    ledger.clock.advance(after - NOW)
    ledger.shipper = ledger.make_shipper()
    await ledger.ship_all()
    await ledger.conn.execute("update ops.days set final_at = null")
    assert await finalise(after - dt.timedelta(microseconds=1)) == 1
    assert await finalise(after) == 1
    assert await finalise(after) == 0
    days = await ledger.conn.fetch("select tenant_no, day, final_at from ops.days order by day")
    assert [tuple(day) for day in days][1] == (podcast.tenant.tenant_no, DAY, after)
    assert len(days) == 2
