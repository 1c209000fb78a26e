"""Podcasts in the database: one owner a feed, identity by guid and enclosure, nothing lost when a feed shrinks."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from analytics_core.db.episodes import list_episodes
from analytics_core.db.podcasts import (
    add_podcast,
    due_podcasts,
    get_podcast,
    list_podcasts,
    note_poll,
    read_registry_parts,
    refresh_podcast,
    request_poll,
)
from analytics_core.db.pool import Pool, Tenant, connect, open_pool, tenant_transaction
from analytics_core.db.tenants import create_key, create_tenant, ensure_owner_key, find_key, revoke_key
from analytics_core.errors import Conflict
from analytics_core.feeds import Feed, FeedEnclosure, FeedEpisode
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings

pytestmark = pytest.mark.anyio

NOW = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)


def episode(guid: str, *urls: str, day: int = 1, title: str = "T") -> FeedEpisode:
    enclosures = tuple(FeedEnclosure(url, "audio/mpeg", 1000, "enclosure") for url in urls)
    return FeedEpisode(guid, "feed", title, dt.datetime(2026, 10, day, tzinfo=dt.UTC), 60, False, enclosures)


def feed(*episodes: FeedEpisode, guid: UUID | None = None) -> Feed:
    return Feed("Show", None, "en", None, guid or uuid4(), True, (), episodes, ())


@pytest.fixture
async def api(database: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = await open_pool(database, Role.API, application_name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def tenants(database: DatabaseSettings) -> tuple[Tenant, Tenant]:
    conn = await connect(database, Role.AUTH, application_name="test")
    one = await create_tenant(conn, slug="one", name="One")
    two = await create_tenant(conn, slug="two", name="Two")
    await conn.close()
    return one.tenant, two.tenant


async def add(
    pool: Pool, tenant: Tenant, what: Feed, url: str | None = "https://x.example.org/feed", *, verified: bool = True
) -> UUID:
    async with tenant_transaction(pool, tenant) as conn:
        return (await add_podcast(conn, tenant, what, feed_url=url, verified=verified, now=NOW)).podcast_id


async def test_a_podcast_is_its_tenants_alone(api: Pool, tenants: tuple[Tenant, Tenant]) -> None:
    one, two = tenants
    podcast_id = await add(api, one, feed(episode("a", "https://c.example.org/a.mp3"), episode("b", day=2)))
    async with tenant_transaction(api, one) as conn:
        row = await get_podcast(conn, podcast_id)
        assert row is not None
        assert row.episodes == 2
        listed = await list_episodes(conn, podcast_id, after=None, limit=10)
        assert [item.guid for item in listed] == ["b", "a"]
        assert listed[1].enclosures[0].url == "https://c.example.org/a.mp3"
        last = (listed[0].published_at or NOW, listed[0].episode_id)
        assert [item.guid for item in await list_episodes(conn, podcast_id, after=last, limit=10)] == ["a"]
        assert await list_podcasts(conn, after=(row.created_at, row.podcast_id), limit=10) == []
    async with tenant_transaction(api, two) as conn:
        assert await get_podcast(conn, podcast_id) is None
        assert await list_podcasts(conn, after=None, limit=10) == []
        assert await list_episodes(conn, podcast_id, after=None, limit=10) == []


@pytest.mark.parametrize("same", ["guid", "url", "enclosure"])
async def test_a_feed_has_one_owner(api: Pool, tenants: tuple[Tenant, Tenant], same: str) -> None:
    one, two = tenants
    guid = uuid4()
    await add(api, one, feed(episode("a", "https://c.example.org/a.mp3"), guid=guid))
    other = feed(
        episode("z", f"http://op3.dev/e/c.example.org/{'a' if same == 'enclosure' else 'z'}.mp3"),
        guid=guid if same == "guid" else None,
    )
    url = "http://X.example.org/feed/" if same == "url" else "https://y.example.org/feed"
    with pytest.raises(Conflict) as caught:
        await add(api, two, other, url)
    assert caught.value.code == "podcast_taken"
    async with tenant_transaction(api, two) as conn:
        assert await list_podcasts(conn, after=None, limit=10) == []


async def test_a_poll_moves_a_podcast_to_what_its_feed_says(
    api: Pool, tenants: tuple[Tenant, Tenant], database: DatabaseSettings
) -> None:
    one, _ = tenants
    podcast_id = await add(api, one, feed(episode("a", "https://c.example.org/a.mp3"), episode("b")))
    ingest = await connect(database, Role.INGEST, application_name="test")
    (due,) = await due_podcasts(ingest, now=NOW, limit=10)
    later = NOW + dt.timedelta(minutes=15)
    told = feed(episode("a", "https://c.example.org/a2.mp3", title="New"), episode("c", "https://c.example.org/a.mp3"))
    for changed in (True, False):
        async with ingest.transaction():
            assert changed is await refresh_podcast(
                ingest, due, told, now=NOW, etag="x", last_modified=None, next_poll_at=later
            )
    assert await due_podcasts(ingest, now=NOW, limit=10) == []
    assert await request_poll(ingest, [due.podcast_no], now=NOW) == 0
    assert await request_poll(ingest, [due.podcast_no], now=NOW + dt.timedelta(seconds=61)) == 1
    async with tenant_transaction(api, one) as conn:
        rows = {row.guid: row for row in await list_episodes(conn, podcast_id, after=None, limit=10)}
    assert rows["a"].title == "New"
    assert [enclosure.url for enclosure in rows["a"].enclosures] == ["https://c.example.org/a2.mp3"]
    assert rows["b"].removed_at == NOW
    owners = await ingest.fetch("select episode_no from app.enclosure_owners order by file_name")
    assert [row["episode_no"] for row in owners] == [rows["c"].episode_no, rows["a"].episode_no]
    await note_poll(ingest, due, now=later, error="gone", next_poll_at=later)
    async with tenant_transaction(api, one) as conn:
        row = await get_podcast(conn, podcast_id)
    assert row is not None
    assert row.feed_error == "gone"
    await ingest.close()


async def test_the_registry_knows_hosts_and_verified_enclosures(
    api: Pool, tenants: tuple[Tenant, Tenant], database: DatabaseSettings
) -> None:
    one, two = tenants
    await add(api, one, feed(episode("a", "https://pdst.fm/e/c.example.org/a.mp3")))
    await add(api, two, feed(episode("a", "https://d.example.org/b.mp3")), None, verified=False)
    ingest = await connect(database, Role.INGEST, application_name="test")
    parts = await read_registry_parts(ingest)
    await ingest.close()
    assert parts.hosts == {"pdst.fm", "c.example.org", "d.example.org"}
    assert len(parts.click_keys) == 1


async def test_keys_are_found_by_hash_and_refused_once_revoked(database: DatabaseSettings) -> None:
    conn = await connect(database, Role.AUTH, application_name="test")
    owner = await ensure_owner_key(conn, None)
    assert await ensure_owner_key(conn, owner) == owner
    found = await find_key(conn, owner)
    assert found is not None
    assert found.is_installation
    other = await create_tenant(conn, slug="other", name="Other")
    foreign = await create_key(conn, other.tenant, name="k")
    assert await ensure_owner_key(conn, foreign) not in (owner, foreign)
    assert not await revoke_key(conn, other.tenant, found.key_id)
    assert await revoke_key(conn, found.tenant, found.key_id)
    assert await find_key(conn, owner) is None
    assert await find_key(conn, "cl_live_nonsense") is None
    stored = await conn.fetch("select key_hash, hint from app.api_keys")
    assert all(owner.encode() not in row["key_hash"] and len(row["hint"]) < 20 for row in stored)
    await conn.close()
