"""Each fault of a feed is found, at the right episode, and a good feed has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from analytics_core.feed_checks import Chain, Hop, check_chain, check_feed, newest_episodes
from analytics_core.feed_rules import RULES, FeedLevel
from analytics_core.feeds import FeedEpisode, parse_feed

OURS = "https://pod.example.com"
GUID = "917393e3-1b1e-5cef-ace4-edaa54e1f810"
PREFIX = f"{OURS}/e,pg={GUID}"
HEAD = (
    '<rss xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" '
    f'xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel><title>S</title><podcast:guid>{GUID}'
    "</podcast:guid>"
)
GOOD = (
    "<item><guid>g1</guid><title>One</title><pubDate>Mon, 02 Nov 2026 08:00:00 +0100</pubDate>"
    "<itunes:duration>1800</itunes:duration>"
    f'<enclosure url="{PREFIX}/cdn.example.org/1.mp3" type="audio/mpeg" length="28800000"/></item>'
)


def codes(*items: str, head: str = HEAD, public_url: str | None = OURS) -> list[str]:
    feed = parse_feed((head + "".join(items) + "</channel></rss>").encode(), feed_url="https://example.org/feed")
    return [finding.code for finding in check_feed(feed, public_url=public_url)]


def test_a_feed_in_order_has_no_findings() -> None:
    assert codes(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (f"{PREFIX}/", "https://", "no_prefix"),
        (f"e,pg={GUID}", "e,pg=00000000-0000-0000-0000-000000000001", "prefix_of_other_podcast"),
        (f"/e,pg={GUID}/", "/e/", "prefix_without_podcast"),
        ("/cdn.example.org", "/pod.example.com/e/cdn.example.org", "prefix_twice"),
        ("/1.mp3", "/play?file=1.mp3", "extension_lost"),
        ("/1.mp3", "/1", "extension_lost"),
        ("1.mp3", "1.m4a", "extension_differs"),
        ("/cdn.example.org", "/http://cdn.example.org", "http"),
        ("https://pod", "http://pod", "http"),
        ("/cdn.example.org", "/pdst.fm/e" * 2 + "/op3.dev/e/pdcn.co/e/arttrk.com/p/x/cdn.example.org", "many_prefixes"),
        ("<guid>g1</guid>", "", "guid_missing"),
        ("Mon, 02", "soon", "date_missing"),
        ('length="28800000"', "", "length_missing"),
        ('length="28800000"', 'length="0"', "length_missing"),
        ('length="28800000"', 'length="1800"', "length_unbelievable"),
        ("<itunes:duration>1800</itunes:duration>", "", "duration_missing"),
        ("<itunes:duration>1800<", "<itunes:duration>1<", "duration_unbelievable"),
    ],
)
def test_one_fault_is_found_and_nothing_else(old: str, new: str, code: str) -> None:
    assert old in GOOD
    assert codes(GOOD.replace(old, new)) == [code]


def test_an_address_that_is_none_is_told_as_such() -> None:
    assert codes(GOOD.replace(f"{PREFIX}/", "https://[")) == ["no_prefix", "address_invalid"]
    endless = "/pdst.fm/e" * 13 + "/cdn.example.org"
    assert codes(GOOD.replace("/cdn.example.org", endless)) == ["address_invalid"]


def test_faults_of_the_whole_feed_are_found() -> None:
    assert codes() == ["no_episodes"]
    assert codes(GOOD, head=HEAD.replace(GUID, "")) == ["podcast_guid_missing"]
    assert codes(GOOD, GOOD.replace("One", "Two")) == ["guid_repeated"]
    assert codes(GOOD, public_url=None) == ["prefix_unknown"]


def test_a_prefix_that_carries_the_computed_guid_is_this_podcasts_own() -> None:
    head = HEAD.replace(GUID, "")
    feed = parse_feed((head + "</channel></rss>").encode(), feed_url="https://example.org/feed")
    assert codes(GOOD.replace(GUID, str(feed.podcast_guid)), head=head) == ["podcast_guid_missing"]


def test_streams_and_torrents_are_not_held_to_what_files_are() -> None:
    live = GOOD.replace("item>", "podcast:liveItem>").replace(f"{PREFIX}/", "https://")
    assert codes(GOOD, live.replace("g1", "g2")) == []
    hls = GOOD.replace("1.mp3", "1.m3u8").replace(' type="audio/mpeg" length="28800000"', "")
    assert codes(hls) == []
    torrent = '<podcast:alternateEnclosure type="audio/mpeg"><podcast:source uri="https://x.org/1.torrent"/>'
    assert codes(GOOD.replace("</item>", f"{torrent}</podcast:alternateEnclosure></item>")) == []


def test_an_alternate_enclosure_needs_the_prefix_too() -> None:
    other = '<podcast:alternateEnclosure type="audio/opus"><podcast:source uri="https://x.org/1.opus"/>'
    assert codes(GOOD.replace("</item>", f"{other}</podcast:alternateEnclosure></item>")) == ["no_prefix"]


def test_the_newest_episodes_are_taken_by_date_and_streams_are_none() -> None:
    undated = GOOD.replace("g1", "g0").replace("Mon, 02", "soon")
    newer = GOOD.replace("g1", "g2").replace("2026", "2027")
    live = GOOD.replace("item>", "podcast:liveItem>").replace("g1", "g3").replace("2026", "2028")
    feed = parse_feed((HEAD + undated + GOOD + newer + live + "</channel></rss>").encode())
    assert [episode.guid for episode in newest_episodes(feed, 9)] == ["g2", "g1", "g0"]
    assert [episode.guid for episode in newest_episodes(feed, 1)] == ["g2"]


def episode() -> FeedEpisode:
    return parse_feed((HEAD + GOOD + "</channel></rss>").encode()).episodes[0]


def hops(*urls: str, ms: int = 50) -> tuple[Hop, ...]:
    return (*(Hop(url=url, status=302, ms=ms) for url in urls[:-1]), Hop(url=urls[-1], status=206, ms=ms))


FILE = "https://cdn.example.org/1.mp3"


@pytest.mark.parametrize(
    ("chain", "code"),
    [
        (Chain(hops=hops(OURS, FILE), range_status=206, length_bytes=28_800_001, media_type="audio/mpeg"), None),
        (Chain(hops=hops(OURS, FILE), range_status=206, length_bytes=20_000_000), "length_differs"),
        (Chain(hops=hops(OURS, FILE), range_status=200), "range_lost"),
        (Chain(hops=hops(OURS, FILE), range_status=416), "range_lost"),
        (Chain(hops=hops(OURS, FILE), range_status=206, media_type="text/html"), "not_media"),
        (Chain(hops=hops(OURS, FILE, ms=1001)[:1] + hops(FILE), range_status=206), "hop_slow"),
        (Chain(hops=hops(*(f"https://h{n}.example.org/" for n in range(5)), ms=900), range_status=206), "hop_slow"),
        (Chain(hops=hops(OURS, FILE.replace("https", "http")), range_status=206), "http"),
        (Chain(hops=hops(*(f"https://h{n}.example.org/" for n in range(7))), range_status=206), "many_redirects"),
        (Chain(hops=hops(*(f"https://h{n}.example.org/" for n in range(12))), range_status=206), "too_many_redirects"),
        (Chain(hops=hops(OURS), fault="hop_failed", detail="x"), "hop_failed"),
        (Chain(hops=(Hop(url=f"{PREFIX}/x", status=404, ms=1),), fault="hop_failed", detail="x"), "refused_here"),
        (Chain(hops=hops(OURS), fault="address_not_public", detail="x"), "address_not_public"),
    ],
)
def test_what_was_seen_on_the_way_is_judged(chain: Chain, code: str | None) -> None:
    found = check_chain(episode(), chain, public_url=OURS)
    assert [finding.code for finding in found] == ([] if code is None else [code])
    assert all((finding.guid, finding.title) == ("g1", "One") for finding in found)


def test_every_rule_says_what_it_means_and_what_to_do() -> None:
    assert {rule.level for rule in RULES.values()} == set(FeedLevel)
    assert all(rule.means and rule.remedy for rule in RULES.values())


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("themnshow", {"length_unbelievable": 2, "length_missing": 3}),
        ("sentimental-garbage", {"podcast_guid_missing": 1}),
        ("natube-test", {"no_prefix": 16}),
    ],
)
def test_real_feeds_have_the_faults_that_they_have(data_dir: Path, name: str, some: dict[str, int]) -> None:
    feed = parse_feed((data_dir / "feeds" / f"{name}.xml").read_bytes())
    found = [finding.code for finding in check_feed(feed, public_url="https://op3.dev")]
    assert {code: min(found.count(code), count) for code, count in some.items()} == some
    assert set(found) <= set(RULES)
