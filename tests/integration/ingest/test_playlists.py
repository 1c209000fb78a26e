"""Episodes of HLS: their playlists land as probes, beside their other files, and are told so afterwards."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from analytics_core.db.comparisons import stream_hits
from analytics_core.db.pool import open_pool, tenant_transaction
from analytics_core.enclosures import prefix_url
from analytics_core.feed_rewriting import is_torrent, rewrite_feed
from analytics_core.feeds import parse_feed
from analytics_core.hits import Hit, HitFlag, Method
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.playlists import is_playlist
from analytics_core.profiles import CASTLEDGER_1, PTMG_2_3
from analytics_core.rejudging import Judge
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import Evidence, Verdict
from ingest.pending import rejudge_pending
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, write_segment
from tests.ledgers import DAY, Ledger, minute

pytestmark = pytest.mark.anyio

MP3 = "cdn.example.com/hls.mp3"
PLAYLIST = "cdn.example.com/hls/master.m3u8"


@pytest.fixture
async def hls(database: DatabaseSettings, podcast: MadePodcast) -> MadePodcast:
    return await make_podcast(
        database,
        podcast.tenant,
        make_episode("hls", f"https://{MP3}", f"https://{PLAYLIST}"),
        make_episode("live", "https://cdn.example.com/live.m3u8", live=True),
    )


async def landed(ledger: Ledger) -> list[tuple[int, ...]]:
    rows = await ledger.conn.fetch(
        "select verdict, evidence, flags from ts.listener_events order by segment_no, ordinal"
    )
    return [tuple(row) for row in rows]


async def test_playlists_land_as_probes_whatever_is_asked_for(ledger: Ledger, hls: MadePodcast) -> None:
    hits = [
        make_hit(minute(0), PLAYLIST),
        make_hit(minute(1), f"{PLAYLIST}?_from=app&x=1", byte_range="bytes=0-"),
        make_hit(minute(2), f"op3.dev/e/{PLAYLIST}", byte_range="bytes=0-99"),
        make_hit(minute(3), PLAYLIST, address="192.0.2.2", method=Method.HEAD),
        make_hit(minute(4), "cdn.example.com/live.m3u8", address="192.0.2.3"),
        make_hit(minute(5), PLAYLIST, address="192.0.2.4"),
        make_hit(minute(6), MP3, address="192.0.2.4"),
    ]
    write_segment(ledger.folder, hits)
    await ledger.ship_all()
    playlist, probe, full, none = HitFlag.PLAYLIST, Evidence.PROBE, Evidence.FULL, Evidence.NONE
    assert await landed(ledger) == [
        (Verdict.ELIGIBLE, probe, playlist),
        (Verdict.ELIGIBLE, probe, playlist),
        (Verdict.ELIGIBLE, probe, playlist),
        (Verdict.HEAD, none, playlist),
        (Verdict.LIVE, none, playlist),
        (Verdict.ELIGIBLE, probe, playlist),
        (Verdict.ELIGIBLE, full, 0),
    ]
    episode = hls.episodes["hls"]
    assert [(row[0], row[1], row[5], row[6]) for row in await ledger.downloads()] == [
        (DAY, episode, 0, probe),
        (DAY, episode, 6, full),
    ]
    await ledger.refresh()
    counted = await ledger.conn.fetchrow(
        "select sum(downloads)::int, sum(downloads_strict)::int from app.metrics_daily where dimension = 'total'"
    )
    assert counted is not None
    assert tuple(counted) == (2, 1)


async def test_hits_that_waited_are_judged_alike(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    write_segment(ledger.folder, [make_hit(minute(0), PLAYLIST), make_hit(minute(1), PLAYLIST, byte_range="bytes=0-1")])
    await ledger.ship_all()
    assert await ledger.count("ops.pending_hits") == 2
    await make_podcast(database, podcast.tenant, make_episode("hls", f"https://{PLAYLIST}"))
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 2
    assert await landed(ledger) == [(Verdict.ELIGIBLE, Evidence.PROBE, HitFlag.PLAYLIST)] * 2


async def test_stored_hits_know_that_they_asked_for_a_playlist(
    ledger: Ledger, hls: MadePodcast, database: DatabaseSettings
) -> None:
    write_segment(ledger.folder, [make_hit(minute(0), PLAYLIST), make_hit(minute(1), MP3)])
    await ledger.ship_all()
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    async with tenant_transaction(pool, hls.tenant, readonly=True) as conn:
        scope = PodcastNo(hls.podcast_no), EpisodeNo(hls.episodes["hls"])
        found = [
            hit async for piece in stream_hits(conn, *scope, first=DAY, end=DAY + dt.timedelta(days=1)) for hit in piece
        ]
    await pool.close()
    assert [hit.facts.is_playlist for hit in found] == [True, False]
    verdicts = [[Judge(profile).verdict(hit.facts) for hit in found] for profile in (CASTLEDGER_1, PTMG_2_3)]
    assert verdicts == [[Verdict.ELIGIBLE] * 2, [Verdict.TINY_RANGE, Verdict.ELIGIBLE]]


async def test_every_file_of_a_real_feed_of_video_and_hls_is_its_episodes(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, data_dir: Path
) -> None:
    data = (data_dir / "feeds" / "natube-test.xml").read_bytes()
    feed = parse_feed(data)
    made = await make_podcast(database, podcast.tenant, *feed.episodes, guid=feed.podcast_guid)
    rewritten = rewrite_feed(data, public_url="https://pod.example.org", podcast_guid=feed.podcast_guid).decode()
    hits: list[Hit] = []
    expected: list[tuple[int, bool]] = []
    for episode in feed.episodes:
        playlists = [one for one in episode.enclosures if is_playlist(one.url.rsplit("/", 1)[-1], one.media_type)]
        assert playlists
        for enclosure in episode.enclosures:
            if is_torrent(enclosure.url, enclosure.media_type):
                continue
            assert (
                prefix_url("https://pod.example.org", feed.podcast_guid, enclosure.url) in rewritten
            ) != episode.live
            hits.append(make_hit(minute(len(hits) % 50), enclosure.url))
            expected.append((made.episodes[episode.guid], enclosure in playlists))
    write_segment(ledger.folder, hits)
    await ledger.ship_all()
    rows = await ledger.conn.fetch("select episode_no, flags & 4096 <> 0 from ts.listener_events order by ordinal")
    assert [tuple(row) for row in rows] == expected
    assert sum(playlist for _, playlist in expected) >= 10
