"""Listeners of a month: counted beforehand, not too often, and kept when their downloads go."""

from __future__ import annotations

import datetime as dt

import asyncpg
import pytest

from analytics_core.db.analytics import Scope
from analytics_core.db.listeners import read_listeners
from analytics_core.db.pool import connect
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.rollups import refresh_listeners
from tests.factories import MadePodcast, make_hit, write_segment
from tests.ledgers import DAY, Ledger, minute

pytestmark = pytest.mark.anyio


async def _land(ledger: Ledger, *addresses: str, target: str = "cdn.example.com/a.mp3") -> None:
    write_segment(ledger.folder, [make_hit(minute(1), target, address=address) for address in addresses])
    await ledger.ship_all()
    await ledger.refresh()


async def _read(ledger: Ledger, podcast: MadePodcast, *, day: dt.date = DAY, guid: str | None = None) -> int | None:
    episode_no = None if guid is None else EpisodeNo(podcast.episodes[guid])
    scope = Scope((PodcastNo(podcast.podcast_no),), episode_no)
    return await read_listeners(ledger.conn, scope, first=day, last=day)


async def test_a_first_download_is_counted_at_once_and_others_a_little_later(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    assert not await refresh_listeners(ledger.conn)
    await _land(ledger, "192.0.2.1")
    assert await _read(ledger, podcast) is None
    assert await refresh_listeners(ledger.conn)
    assert await _read(ledger, podcast) == 1
    await _land(ledger, "192.0.3.1", "192.0.4.1")
    # Counted a moment ago: it waits, and its mark with it.
    assert not await refresh_listeners(ledger.conn)
    assert await ledger.count("ops.listener_marks") > 0
    assert await _read(ledger, podcast) == 1
    # As if that moment were long ago.
    await ledger.conn.execute("update app.listener_months set counted_at = counted_at - interval '16 seconds'")
    assert await refresh_listeners(ledger.conn)
    assert await _read(ledger, podcast) == 3
    assert not await refresh_listeners(ledger.conn, at_most_every=None)


async def test_what_takes_long_is_counted_seldom(ledger: Ledger, podcast: MadePodcast) -> None:
    await _land(ledger, "192.0.2.1")
    await refresh_listeners(ledger.conn)
    await _land(ledger, "192.0.3.1")
    await ledger.conn.execute(
        "update app.listener_months set took = interval '2 seconds', counted_at = counted_at - interval '90 seconds'"
    )
    assert not await refresh_listeners(ledger.conn)
    await ledger.conn.execute("update app.listener_months set counted_at = counted_at - interval '10 seconds'")
    assert await refresh_listeners(ledger.conn)
    assert await _read(ledger, podcast) == 2


async def test_who_heard_two_episodes_is_one_listener_of_the_podcast(ledger: Ledger, podcast: MadePodcast) -> None:
    await _land(ledger, "192.0.2.1", "192.0.3.1")
    await _land(ledger, "192.0.2.1", target="cdn.example.com/b.mp3")
    await refresh_listeners(ledger.conn)
    assert await _read(ledger, podcast) == 2
    assert [await _read(ledger, podcast, guid=guid) for guid in "ab"] == [2, 1]
    # A day of the month on which nobody came, and a month that was never counted.
    assert await _read(ledger, podcast, day=DAY + dt.timedelta(days=1)) == 0
    assert await _read(ledger, podcast, day=dt.date(2026, 12, 1)) is None


async def test_listeners_stay_when_their_downloads_are_not_kept_any_more(ledger: Ledger, podcast: MadePodcast) -> None:
    await _land(ledger, "192.0.2.1", "192.0.3.1")
    await refresh_listeners(ledger.conn)
    await ledger.conn.execute("delete from ts.downloads")
    await ledger.conn.execute(
        "insert into ops.listener_marks (tenant_no, podcast_no, month) values ($1, $2, $3)",
        int(podcast.tenant.tenant_no),
        podcast.podcast_no,
        DAY.replace(day=1),
    )
    assert await refresh_listeners(ledger.conn, at_most_every=None)
    assert await _read(ledger, podcast) == 2


async def test_what_another_counts_at_this_moment_is_left_to_it(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await _land(ledger, "192.0.2.1")
    other = await connect(database, Role.INGEST, application_name="other")
    async with other.transaction():
        await other.execute("select pg_advisory_xact_lock(hashtext('castledger.listeners'), $1)", podcast.podcast_no)
        assert not await refresh_listeners(ledger.conn)
    await other.close()
    assert await refresh_listeners(ledger.conn)


@pytest.mark.parametrize(
    ("podcasts", "last"), [((1, 2), DAY), ((1,), DAY + dt.timedelta(days=31))], ids=["podcasts", "months"]
)
async def test_what_keys_cannot_tell_is_refused(ledger: Ledger, podcasts: tuple[int, ...], last: dt.date) -> None:
    scope = Scope(tuple(PodcastNo(number) for number in podcasts))
    with pytest.raises(ValueError, match="one podcast in one UTC month"):
        await read_listeners(ledger.conn, scope, first=DAY, last=last)


async def test_other_tenants_listeners_are_not_there(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await _land(ledger, "192.0.2.1")
    await refresh_listeners(ledger.conn)
    api = await connect(database, Role.API, application_name="api")
    seen = []
    for tenant_no in (int(podcast.tenant.tenant_no), int(podcast.tenant.tenant_no) + 1):
        async with api.transaction():
            await api.execute("select set_config('app.tenant_no', $1, true)", str(tenant_no))
            seen.append(await api.fetchval("select count(*) from app.listener_months"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await api.execute("delete from app.listener_months")
    await api.close()
    # The podcast as a whole, and its episode.
    assert seen == [2, 0]
