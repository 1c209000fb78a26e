"""Enclosures that are playlists by their type alone are known as such from the migration on."""

from __future__ import annotations

import datetime as dt
from importlib import resources

import asyncpg
import pytest

from analytics_core.db.catalogue import find_owners_by_file_name
from analytics_core.db.pool import connect
from analytics_core.feeds import FeedEnclosure, FeedEpisode
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.catalogue import episode_of
from tests.factories import make_podcast, make_tenant

pytestmark = pytest.mark.anyio

_FILES = {
    "42": "application/x-mpegURL",
    "43": "Application/vnd.apple.mpegurl; charset=utf-8",
    "44": "audio/mpeg",
    "45": None,
    "46.m3u8": None,
    "47.m3u8": "audio/mpeg",
}
_BY_TYPE = {"42", "43"}


async def test_what_was_stored_before_is_found_by_its_type(database: DatabaseSettings) -> None:
    enclosures = [
        FeedEnclosure(f"https://cdn.example.com/{name}", media_type, None, "enclosure")
        for name, media_type in _FILES.items()
    ]
    episodes = [
        FeedEpisode(f"guid-{place}", "feed", "Episode", dt.datetime(2026, 10, 1, tzinfo=dt.UTC), 1800, False, (one,))
        for place, one in enumerate(enclosures)
    ]
    podcast = await make_podcast(database, await make_tenant(database), *episodes)

    async def playlists() -> dict[str, tuple[bool, bool]]:
        """Tell of each file whether it is stored as a playlist, and whether its hits are taken for one's."""
        conn = await connect(database, Role.INGEST, application_name="test")
        owners = await find_owners_by_file_name(conn, [(podcast.podcast_no, name) for name in _FILES])
        await conn.close()
        return {owner.file_name: (owner.is_playlist, episode_of(owner).is_playlist) for owner in owners}

    by_name = {name for name in _FILES if name.endswith(".m3u8")}
    assert await playlists() == {name: (name in by_name | _BY_TYPE,) * 2 for name in _FILES}
    conn = await asyncpg.connect(str(database.url))
    await conn.execute("set role castledger_owner; alter table app.enclosure_owners drop column is_playlist")
    migration = resources.files("migrations").joinpath("versions", "0031_pre_playlists.sql").read_text("utf-8")
    async with conn.transaction():
        await conn.execute(migration)
    forced = await conn.fetchval(
        "select bool_and(relforcerowsecurity) from pg_class"
        " where relname in ('episodes', 'enclosures', 'enclosure_owners') and relkind = 'r'"
    )
    await conn.close()
    assert forced
    assert await playlists() == {name: (name in _BY_TYPE, name in by_name | _BY_TYPE) for name in _FILES}
