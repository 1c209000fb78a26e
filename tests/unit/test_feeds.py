"""Feeds as they are in the wild, and what is refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.enclosures import identify
from analytics_core.errors import InvalidInput
from analytics_core.feeds import compute_guid, parse_duration, parse_feed, rewrite_feed

HEAD = (
    '<?xml version="1.0"?><rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" '
    'xmlns:pod="https://podcastindex.org/namespace/1.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>'
)
TAIL = "</channel></rss>"
ITEM = (
    "<item><guid>g1</guid><title>One &amp; only</title><pubDate>Mon, 02 Nov 2026 08:00:00 +0100</pubDate>"
    "<itunes:duration>1:02:03</itunes:duration>"
    '<enclosure url="https://cdn.example.org/1.mp3?a=1&amp;b=2" type="audio/mpeg" length="1234"/>'
    '<pod:alternateEnclosure type="audio/opus" length="99"><pod:source uri="https://cdn.example.org/1.opus"/>'
    '<pod:source uri="ipfs://x"/></pod:alternateEnclosure></item>'
)


def feed(*items: str, head: str = "<title>Show</title>") -> bytes:
    return (HEAD + head + "".join(items) + TAIL).encode()


def test_an_episode_is_read_whole() -> None:
    parsed = parse_feed(feed(ITEM), feed_url="https://podnews.net/rss")
    assert parsed.title == "Show"
    assert parsed.podcast_guid == UUID("9b024349-ccf0-5f69-a609-6b82873eab3c")
    assert not parsed.guid_declared
    (episode,) = parsed.episodes
    assert episode.guid == "g1"
    assert episode.title == "One & only"
    assert episode.published_at == dt.datetime(2026, 11, 2, 7, tzinfo=dt.UTC)
    assert episode.duration_s == 3723
    assert [(e.url, e.kind, e.length_bytes) for e in episode.enclosures] == [
        ("https://cdn.example.org/1.mp3?a=1&b=2", "enclosure", 1234),
        ("https://cdn.example.org/1.opus", "alternate", 99),
    ]


def test_a_source_may_be_of_another_type_than_its_file() -> None:
    item = ITEM.replace(
        '<pod:source uri="ipfs://x"/>',
        '<pod:source uri="https://cdn.example.org/1" contentType="application/x-mpegURL"/>'
        '<pod:source uri="https://cdn.example.org/1.torrent" contentType="application/x-bittorrent"/>',
    )
    (episode,) = parse_feed(feed(item)).episodes
    assert [one.media_type for one in episode.enclosures] == [
        "audio/mpeg",
        "audio/opus",
        "application/x-mpegURL",
        "application/x-bittorrent",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2712", 2712),
        ("45:12", 2712),
        ("00:45:12", 2712),
        ("0:45:12.5", 2712),
        ("2712.9", 2712),
        (" 45:12\n", 2712),
        ("90:00", 5400),
        ("0", None),
        ("00:00:00", None),
        ("-45:12", None),
        ("45:-12", None),
        ("45:", None),
        (":12", None),
        ("1:2:3:4", None),
        ("45 min", None),
        ("PT45M12S", None),
        ("1e9", None),
        ("nan", None),
        ("999999", 999_999),
        ("999999:00:00", None),
        ("9" * 5000, None),
    ],
)
def test_a_duration_is_read_in_any_spelling_or_is_none(text: str, seconds: int | None) -> None:
    assert parse_duration(text) == seconds
    (episode,) = parse_feed(feed(ITEM.replace("1:02:03", text))).episodes
    assert episode.duration_s == seconds


@given(st.text(max_size=40) | st.text("0123456789:.-+ ٣", max_size=40))
def test_no_duration_raises_and_none_is_out_of_bounds(text: str) -> None:
    seconds = parse_duration(text)
    assert seconds is None or 0 < seconds < 8_640_000


@pytest.mark.parametrize(
    ("text", "length"),
    [("0", 0), ("33", 33), (" 1234 ", 1234), ("-1", None), ("1,234", None), ("1e6", None), ("12 MB", None), ("", None)],
)
def test_a_length_is_a_whole_number_or_none(text: str, length: int | None) -> None:
    (episode,) = parse_feed(feed(ITEM.replace('length="1234"', f'length="{text}"'))).episodes
    assert episode.enclosures[0].length_bytes == length


def test_the_vectors_of_computed_guids_hold() -> None:
    assert compute_guid("mp3s.nashownotes.com/pc20rss.xml") == UUID("917393e3-1b1e-5cef-ace4-edaa54e1f810")
    assert compute_guid("https://podnews.net/rss") == compute_guid("http://podnews.net/rss//")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1:02:03", 3723),
        ("01:02:03", 3723),
        ("62:03", 3723),
        ("3723", 3723),
        (" 3723 ", 3723),
        ("3723.9", 3723),
        ("0:62:03", 3723),
        ("99:59:59", 359_999),
        ("0", None),
        ("00:00", None),
        ("-1800", None),
        ("30:-1", None),
        ("1:2:3:4", None),
        ("PT30M", None),
        ("30 min", None),
        ("1e3", None),
        ("8639999", None),
        ("2399:59:59", 8_639_999),
        ("2400:00:00", None),
        ("", None),
    ],
)
def test_a_duration_is_read_in_any_spelling_or_not_at_all(text: str, seconds: int | None) -> None:
    item = ITEM.replace("1:02:03", text)
    assert parse_feed(feed(item)).episodes[0].duration_s == seconds


@given(st.text() | st.from_regex(r"\d{0,9}(:\d{0,9}){0,4}"))
def test_whatever_a_feed_says_of_a_duration_is_seconds_or_nothing(text: str) -> None:
    seconds = parse_duration(text)
    assert seconds is None or 0 < seconds < 8_640_000


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("28800000", 28_800_000),
        (" 28800000 ", 28_800_000),
        ("0", 0),
        ("33", 33),
        ("-1", None),
        ("28,800,000", None),
        ("12.5", None),
        ("9" * 16, None),
        ("", None),
    ],
)
def test_a_length_is_digits_or_nothing(text: str, length: int | None) -> None:
    item = ITEM.replace('length="1234"', f'length="{text}"')
    assert parse_feed(feed(item)).episodes[0].enclosures[0].length_bytes == length


def test_a_declared_guid_wins_and_junk_is_told() -> None:
    declared = "<title>S</title><pod:guid>917393e3-1b1e-5cef-ace4-edaa54e1f810</pod:guid>"
    assert parse_feed(feed(ITEM, head=declared), feed_url="https://x.org/f").guid_declared
    junk = parse_feed(feed(ITEM, head="<title>S</title><pod:guid>y0ur</pod:guid>"), feed_url="https://x.org/f")
    assert junk.podcast_guid == compute_guid("https://x.org/f")
    assert "y0ur" in junk.warnings[0]


@pytest.mark.parametrize("date", ["", "soon", "Mon, 99 Nov 2026 08:00:00 +0100", "2026-13-01"])
def test_a_bad_date_is_none_and_never_now(date: str) -> None:
    item = ITEM.replace("Mon, 02 Nov 2026 08:00:00 +0100", date)
    assert parse_feed(feed(item)).episodes[0].published_at is None


def test_a_missing_guid_is_made_from_the_enclosure_and_flagged() -> None:
    parsed = parse_feed(feed(ITEM.replace("<guid>g1</guid>", "")), feed_url="https://x.org/f")
    assert parsed.episodes[0].guid_from == "enclosure"
    assert "no guid" in parsed.warnings[0]


def test_of_two_items_with_one_guid_the_first_is_taken() -> None:
    parsed = parse_feed(feed(ITEM, ITEM.replace("One", "Two")), feed_url="https://x.org/f")
    assert [episode.title for episode in parsed.episodes] == ["One & only"]
    assert "repeat" in parsed.warnings[0]


def test_live_items_are_episodes_that_are_live() -> None:
    live = ITEM.replace("<item>", '<pod:liveItem start="2026-11-03T10:00:00Z">').replace("</item>", "</pod:liveItem>")
    (episode,) = parse_feed(feed(live)).episodes
    assert episode.live
    rewritten = rewrite_feed(feed(live), public_url="https://pod.example.com", podcast_guid=UUID(int=1))
    assert rewritten == feed(live)


BOMB = b'<!DOCTYPE lolz [<!ENTITY lol "lol">]><rss><channel><title>&lol;</title></channel></rss>'


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"{}", b"<html><body>x</body></html>", b"<!DOCTYPE html><p>", b"<rss/>", BOMB, b"<<<<"]
)
def test_what_is_no_feed_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_feed(data)
    assert caught.value.code == "not_a_feed"
    assert caught.value.path == "feed_url"


def test_rewriting_touches_nothing_but_enclosures() -> None:
    data = feed(ITEM, '<!-- <enclosure url="https://a.b/c.mp3"/> -->')
    rewritten = rewrite_feed(data, public_url="https://pod.example.com", podcast_guid=UUID(int=1))
    prefix = f"https://pod.example.com/e,pg={UUID(int=1)}/".encode()
    assert rewritten.replace(prefix, b"https://") == data
    assert rewritten.count(prefix) == 2
    assert rewrite_feed(rewritten, public_url="https://pod.example.com", podcast_guid=UUID(int=1)) == rewritten


EPISODES = {
    "1865": 61,
    "natube-test": 16,
    "no-agenda": 29,
    "pc20rss": 56,
    "podcast-namespace-example": 4,
    "sentimental-garbage": 138,
    "serial": 40,
    "themnshow": 55,
}


@pytest.mark.parametrize("name", EPISODES)
def test_real_feeds_are_read_whole_and_keep_their_identity_when_rewritten(data_dir: Path, name: str) -> None:
    data = (data_dir / "feeds" / f"{name}.xml").read_bytes()
    parsed = parse_feed(data)
    assert len(parsed.episodes) == EPISODES[name]
    rewritten = rewrite_feed(data, public_url="https://pod.example.com", podcast_guid=parsed.podcast_guid)
    again = parse_feed(rewritten)
    before = [identify(e.url).key for episode in parsed.episodes for e in episode.enclosures]
    after = [
        identify(e.url, own_hosts={"pod.example.com"}).key for episode in again.episodes for e in episode.enclosures
    ]
    assert before == after
    assert rewritten != data
