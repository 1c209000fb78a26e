"""When a podcast moves, every hit lands for whoever owns it at that moment: cached, in flight or waiting."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID

import pytest

from analytics_core.claims import Proof
from analytics_core.db.claims import find_own, find_taken, note_check, start_claim
from analytics_core.db.podcasts import read_registry_parts
from analytics_core.db.pool import Connection, Tenant, connect
from analytics_core.db.transfers import settle_claims
from analytics_core.enclosures import identify
from analytics_core.feed_fetch import Fetched
from analytics_core.feeds import parse_feed
from analytics_core.listeners import listener_key
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, FeedSettings
from analytics_core.spool import HEADER_BYTES
from ingest.batches import Piece, build_batch
from ingest.pending import rejudge_pending, release_aged
from ingest.polling import Poller
from ingest.spool_reader import SpoolFolder
from ingest.writer import OwnershipMoved, land_batch
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, micros, write_segment
from tests.ledgers import NOW, Ledger, minute

pytestmark = pytest.mark.anyio

GUID = UUID("9b024349-ccf0-5f69-a609-6b82873eab3c")
URL = "https://feed.example.com/x"
TARGET = "cdn.example.com/a.mp3"
RSS = f"""<rss version="2.0" xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel><title>Moved</title>
<podcast:guid>{GUID}</podcast:guid><description>{{text}}</description>
<item><title>A</title><guid>a</guid><enclosure url="https://{TARGET}" type="audio/mpeg" length="28800000"/></item>
<item><title>N</title><guid>n</guid><enclosure url="https://cdn.example.com/n.mp3" type="audio/mpeg" length="1"/></item>
</channel></rss>"""
WAITING = """select exists (select from pg_locks where locktype = 'advisory' and mode = $1 and not granted
    and database = (select oid from pg_database where datname = current_database()))"""
FEED = FeedSettings(allow_private=True, max_mb=1, timeout_s=5, poll_s=900)


class Place(NamedTuple):
    """Where a hit is kept."""

    tenant_no: int
    podcast_no: int
    episode_no: int


class Claims:
    """Two tenants: one has the podcast, the other claims it."""

    def __init__(self, auth: Connection, former: MadePodcast, claimer: Tenant) -> None:
        self.auth = auth
        self.former = former
        self.claimer = claimer

    async def start(self, tenant: Tenant | None = None) -> tuple[UUID, str]:
        """Start a claim; return its id and token."""
        feed = parse_feed(RSS.format(text="").encode(), feed_url=URL)
        claimer = tenant or self.claimer
        taken = await find_taken(self.auth, claimer, feed, feed_url=URL)
        assert taken is not None
        assert taken.podcast_no == self.former.podcast_no
        row = await start_claim(self.auth, claimer, taken, title=feed.title, feed_url=URL, now=NOW)
        return row.claim_id, row.token

    async def prove(self, claim_id: UUID) -> None:
        await note_check(self.auth, self.claimer, claim_id, now=NOW, proof=Proof.PODCAST_TXT, digest=bytes(32))


@pytest.fixture
async def claims(database: DatabaseSettings) -> AsyncIterator[Claims]:
    former = await make_podcast(
        database,
        await make_tenant(database, "former"),
        make_episode("a"),
        make_episode("gone", "https://old.example.net/gone.mp3?v=1"),
        guid=GUID,
        feed_url=URL,
        verified=False,
    )
    claimer = await make_tenant(database, "claimer")
    auth = await connect(database, Role.AUTH, application_name="claims")
    yield Claims(auth, former, claimer)
    await auth.close()


async def move(ledger: Ledger, claims: Claims) -> int:
    """Prove a claim and settle it; return the number of the claimer's podcast."""
    claim_id, _ = await claims.start()
    await claims.prove(claim_id)
    assert await settle_claims(ledger.conn, now=NOW) == 1
    return int(await ledger.conn.fetchval("select to_podcast_no from app.podcast_transfers"))


async def places(ledger: Ledger, table: str = "ts.listener_events") -> list[Place]:
    column = "episode_no" if table == "ts.listener_events" else "0"
    rows = await ledger.conn.fetch(f"select tenant_no, podcast_no, {column} from {table} order by segment_no, ordinal")
    return [Place(*row) for row in rows]


def ask(ledger: Ledger, number: int, target: str = TARGET) -> None:
    write_segment(ledger.folder, [make_hit(minute(number), target, arguments=f"pg={GUID}")])


def make_poller(ledger: Ledger, text: str = "") -> Poller:
    async def fetch(due: object, settings: FeedSettings) -> Fetched:
        return Fetched(RSS.format(text=text).encode(), URL, None, None)

    return Poller(ledger.pool, FEED, clock=ledger.clock, metrics=ledger.metrics, fetch=fetch)


async def test_hits_go_to_the_new_owner_whatever_was_remembered(ledger: Ledger, claims: Claims) -> None:
    ask(ledger, 0)
    await ledger.ship_all()
    # Nobody tells the catalogue that it has to forget.
    podcast_no = await move(ledger, claims)
    ask(ledger, 1)
    ask(ledger, 2, "cdn.example.com/a.mp3?token=x")
    ask(ledger, 3, "old.example.net/gone.mp3?v=1")
    await ledger.ship_all()
    former, claimer = claims.former, claims.claimer
    rows = await ledger.conn.fetch("select guid, episode_no from app.episodes where podcast_no = $1", podcast_no)
    episodes = {row["guid"]: row["episode_no"] for row in rows}
    assert await places(ledger) == [
        Place(former.tenant.tenant_no, former.podcast_no, former.episodes["a"]),
        Place(claimer.tenant_no, podcast_no, episodes["a"]),
        Place(claimer.tenant_no, podcast_no, episodes["a"]),
        # What had left the feed has moved as well.
        Place(claimer.tenant_no, podcast_no, episodes["gone"]),
    ]
    keys = [row["listener_key"] for row in await ledger.conn.fetch("select listener_key from ts.downloads order by 1")]
    # One listener, who is nobody that the two tenants could compare.
    assert len(set(keys)) == 2
    assert await ledger.count("ts.downloads") == 3


async def test_a_batch_in_flight_lands_for_the_new_owner(
    ledger: Ledger, claims: Claims, database: DatabaseSettings
) -> None:
    claim_id, _ = await claims.start()
    await claims.prove(claim_id)
    ask(ledger, 0)
    ask(ledger, 1, "cdn.example.com/not-yet.mp3")
    mover = await connect(database, Role.INGEST, application_name="mover")
    moving = mover.transaction()
    await moving.start()
    assert await settle_claims(mover, now=NOW) == 1
    # The batch is judged under the former owner, who is still the one that can be seen, and waits for the move's end.
    shipping = asyncio.create_task(ledger.shipper.ship(ledger.conn))
    async with asyncio.timeout(30):
        while not await mover.fetchval(WAITING, "ShareLock"):
            assert not shipping.done()
            await asyncio.sleep(0.01)
    await moving.commit()
    assert (await shipping).hits == 2
    podcast_no = await mover.fetchval("select to_podcast_no from app.podcast_transfers")
    await mover.close()
    (hit,) = await places(ledger)
    assert (hit.tenant_no, hit.podcast_no) == (claims.claimer.tenant_no, podcast_no)
    assert await places(ledger, "ops.pending_hits") == [Place(claims.claimer.tenant_no, podcast_no, 0)]
    assert ledger.metrics.batches.labels("rejudged")._value.get() == 1
    assert [tuple(row) for row in await ledger.conn.fetch("select distinct tenant_no from ops.dirty_marks")] == [
        (claims.claimer.tenant_no,)
    ]


async def test_a_move_waits_for_the_batch_that_lands(
    ledger: Ledger, claims: Claims, database: DatabaseSettings
) -> None:
    claim_id, _ = await claims.start()
    await claims.prove(claim_id)
    lander = await connect(database, Role.INGEST, application_name="lander")
    landing = lander.transaction()
    await landing.start()
    await lander.execute("select pg_advisory_xact_lock_shared(hashtext('castledger.ownership'))")
    settling = asyncio.create_task(settle_claims(ledger.conn, now=NOW))
    async with asyncio.timeout(30):
        while not await lander.fetchval(WAITING, "ExclusiveLock"):
            assert not settling.done()
            await asyncio.sleep(0.01)
    assert await lander.fetchval("select count(*) from app.podcast_transfers") == 0
    await landing.commit()
    await lander.close()
    assert await settling == 1


async def test_what_was_judged_under_a_former_owner_does_not_land(ledger: Ledger, claims: Claims) -> None:
    ask(ledger, 0)
    spool = SpoolFolder(ledger.folder)
    (file,) = spool.scan()
    reading = spool.read(file, offset=HEADER_BYTES, max_hits=10)
    batch = build_batch([Piece(1, 0, reading.rows, reading.texts)], received_us=micros(NOW))
    judged = await ledger.pipeline.judge(ledger.conn, batch)
    await move(ledger, claims)
    with pytest.raises(OwnershipMoved):
        await land_batch(ledger.conn, judged, checkpoints=[], cutoff=None)
    assert await ledger.count("ts.listener_events") == 0


async def test_what_waits_moves_too_and_is_judged_for_the_new_owner(
    ledger: Ledger, claims: Claims, database: DatabaseSettings
) -> None:
    ask(ledger, 0, "cdn.example.com/n.mp3")
    ask(ledger, 1, "cdn.example.com/never.mp3")
    await ledger.ship_all()
    k0 = await ledger.conn.fetchval("select k0 from ops.pending_hits where file_name = 'n.mp3'")
    podcast_no = await move(ledger, claims)
    assert set(await places(ledger, "ops.pending_hits")) == {Place(claims.claimer.tenant_no, podcast_no, 0)}
    hosts = await ledger.conn.fetch("select tenant_no, podcast_no, hits from app.unknown_hosts")
    assert [tuple(row) for row in hosts] == [(claims.claimer.tenant_no, podcast_no, 2)]
    days = await ledger.conn.fetch("select tenant_no from ops.days order by 1")
    assert [row["tenant_no"] for row in days] == [claims.former.tenant.tenant_no, claims.claimer.tenant_no]
    # The next poll of the new owner's feed brings the episode.
    poller = make_poller(ledger)
    assert await poller.start_due() == 1
    await poller.drain()
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 1
    row = await ledger.conn.fetchrow("select tenant_no, podcast_no, listener_key from ts.downloads")
    secret = await ledger.secrets.get(NOW.date().replace(day=1), claims.claimer.tenant_no)
    assert row is not None
    assert (row["tenant_no"], row["podcast_no"]) == (claims.claimer.tenant_no, podcast_no)
    assert row["listener_key"].bytes == listener_key(k0.bytes, secret.secret)
    # What nobody's feed ever brings is let go of for the new owner.
    assert await release_aged(ledger.conn, ledger.secrets, now=NOW + dt.timedelta(days=31)) == 1
    assert {place.tenant_no for place in await places(ledger)} == {claims.claimer.tenant_no}


async def test_a_poll_finds_the_token_by_itself(ledger: Ledger, claims: Claims, database: DatabaseSettings) -> None:
    third = await make_tenant(database, "third")
    claim_id, token = await claims.start()
    other_id, _ = await claims.start(third)
    poller = make_poller(ledger, f"Mine: {token}.")
    assert await poller.start_due() == 1
    await poller.drain()
    rows = await ledger.conn.fetch("select claim_id, proof, length(feed_digest) from app.podcast_claims")
    assert {(row[0], row[1], row[2]) for row in rows} == {(claim_id, "channel_text", 32), (other_id, None, None)}
    assert await settle_claims(ledger.conn, now=NOW) == 1
    # How long a host stays known is the database's clock's.
    await ledger.conn.execute("update app.enclosures set gone_at = now() where gone_at is not null")
    parts = await read_registry_parts(ledger.conn)
    # The new owner's podcast is verified, so browsers are sent on to it; players always were.
    assert identify(TARGET).key.hex in parts.click_keys
    assert {"cdn.example.com", "old.example.net"} <= parts.hosts


async def test_browsers_are_sent_on_only_once_a_podcast_is_verified(ledger: Ledger, claims: Claims) -> None:
    assert (await read_registry_parts(ledger.conn)).click_keys == frozenset()
    former = claims.former.tenant
    own = await find_own(claims.auth, former, claims.former.podcast_id)
    assert own is not None
    row = await start_claim(claims.auth, former, own, title="Own", feed_url=URL, now=NOW)
    await note_check(claims.auth, former, row.claim_id, now=NOW, proof=Proof.CHANNEL_TEXT, digest=bytes(32))
    assert (await read_registry_parts(ledger.conn)).click_keys == frozenset()
    assert await settle_claims(ledger.conn, now=NOW) == 1
    keys = {identify(TARGET).key.hex, identify("old.example.net/gone.mp3?v=1").key.hex}
    assert (await read_registry_parts(ledger.conn)).click_keys == keys
    # It has not moved: what was judged before lands as it is.
    assert await ledger.count("app.podcast_transfers") == 0


async def test_a_poll_that_began_before_the_move_changes_nothing(ledger: Ledger, claims: Claims) -> None:
    began, moved = asyncio.Event(), asyncio.Event()

    async def fetch(due: object, settings: FeedSettings) -> Fetched:
        began.set()
        await moved.wait()
        return Fetched(RSS.format(text="").encode(), URL, None, None)

    poller = Poller(ledger.pool, FEED, clock=ledger.clock, metrics=ledger.metrics, fetch=fetch)
    assert await poller.start_due() == 1
    await began.wait()
    podcast_no = await move(ledger, claims)
    moved.set()
    await poller.drain()
    former = await ledger.conn.fetchrow("select * from app.podcasts where podcast_no = $1", claims.former.podcast_no)
    assert former is not None
    assert "another owner" in former["feed_error"]
    assert former["next_poll_at"] is None
    guids = await ledger.conn.fetch("select podcast_no, guid from app.episodes order by 1, 2")
    assert [tuple(row) for row in guids] == [
        (claims.former.podcast_no, "a"),
        (claims.former.podcast_no, "gone"),
        (podcast_no, "a"),
        (podcast_no, "gone"),
    ]
    assert {row[0] for row in await ledger.conn.fetch("select podcast_no from app.enclosure_owners")} == {podcast_no}


async def test_a_podcast_moves_on_and_back(ledger: Ledger, claims: Claims) -> None:
    first_no = await move(ledger, claims)
    back = Claims(claims.auth, claims.former._replace(podcast_no=first_no), claims.former.tenant)
    claim_id, _ = await back.start()
    await back.prove(claim_id)
    assert await settle_claims(ledger.conn, now=NOW) == 1
    ask(ledger, 0)
    await ledger.ship_all()
    (hit,) = await places(ledger)
    # Its first owner has it again, as a podcast of its own beside the one from before.
    assert hit.tenant_no == claims.former.tenant.tenant_no
    assert hit.podcast_no not in (first_no, claims.former.podcast_no)
    assert await ledger.count("app.podcast_transfers") == 2
