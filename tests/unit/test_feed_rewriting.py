"""A rewritten feed is the same feed, byte for byte, but for the prefix."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.enclosures import find_own_prefix
from analytics_core.feed_rewriting import is_torrent, rewrite_feed
from analytics_core.feeds import parse_feed

OURS = "https://pod.example.com"
GUID = UUID("917393e3-1b1e-5cef-ace4-edaa54e1f810")
PREFIX = f"{OURS}/e,pg={GUID}/"
HEAD = (
    '<rss version="2.0" xmlns:podcast="https://podcastindex.org/namespace/1.0" '
    "xmlns:p='https://github.com/Podcastindex-org/podcast-namespace/blob/main/docs/1.0.md' "
    'xmlns:m="http://search.yahoo.com/mrss/"><channel><title>Ünsere 播客</title>'
)
TAIL = "</channel></rss>\r\n"
CODECS = ("utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


def rewrite(data: bytes) -> bytes:
    return rewrite_feed(data, public_url=OURS, podcast_guid=GUID)


def in_feed(text: str) -> str:
    return rewrite((HEAD + text + TAIL).encode()).decode().removeprefix(HEAD).removesuffix(TAIL)


# Before and after, with «…» where the prefix comes and nothing where it must not.
PIECES = (
    '<enclosure url="«https://»cdn.example.org/1.mp3?a=1&amp;b=2" type="audio/mpeg" length="1"/>',
    "<enclosure length='1'\n\turl = '«https://»cdn.example.org/it&apos;s.mp3' ></enclosure>",
    '<enclosure url=" \n«HTTPS://»cdn.example.org/é%C3%A9&#233;&#xe9;.mp3"/>',
    '<enclosure url="«http://»cdn.example.org/1.mp3"/>',
    '<enclosure url="«https&#58;//»cdn.example.org/1.mp3#t=1"/>',
    '<enclosure url="«&#104;ttps:/&#x2f;»cdn.example.org/1.mp3"/>',
    '<enclosure title="say url=\'https://cdn.example.org/no.mp3\'" url="«https://»cdn.example.org/1.mp3"/>',
    '<enclosure xurl="https://cdn.example.org/no.mp3" url="«https://»op3.dev/e/cdn.example.org/1.mp3"/>',
    f'<enclosure url="{PREFIX}cdn.example.org/1.mp3"/>',
    '<enclosure url="https://pod.example.com/e/cdn.example.org/1.mp3"/>',
    '<enclosure url="http://POD.example.com:443/e,x=1/cdn.example.org/1.mp3"/>',
    '<enclosure url="https://op3.dev/e/dts.podtrac.com/redirect.mp3/pod.example.com/e/cdn.example.org/1.mp3"/>',
    '<enclosure url="«https://»pod.example.com/episodes/1.mp3"/>',
    '<enclosure url="ftp://cdn.example.org/1.mp3"/><enclosure url=""/><enclosure url="https://"/><enclosure/>',
    '<podcast:alternateEnclosure type="audio/opus"><podcast:source uri="«https://»cdn.example.org/1.opus"/>'
    '<podcast:source uri="ipfs://x"/><podcast:source uri="https://x.org/1.torrent"/>'
    "<podcast:source contentType='application/x-bittorrent' uri='https://x.org/1'/></podcast:alternateEnclosure>",
    "<p:source uri='«https://»cdn.example.org/1.m3u8'>x</p:source><other:source uri='https://x.org/1.mp3'/>",
    '<source url="https://example.org/feed">elsewhere</source><itunes:image href="https://example.org/i.jpg"/>',
    '<enclosure url="«https://»a.example.org/v.mp4?x=1&amp;y=2"/>'
    "<m:content medium='video' url='«https://»a.example.org/v.mp4?x=1&#38;y=2'/><m:content url='https://a.b/p.jpg'/>",
    '<!-- <enclosure url="https://cdn.example.org/no.mp3"/> -->',
    "<description><![CDATA[<enclosure url='https://cdn.example.org/no.mp3'> ]] > <!-- ]]></description>",
    '<?note <enclosure url="https://cdn.example.org/no.mp3"/> ?>',
    '<title>5 > 4 "quoted" isn\'t &lt;enclosure url=&quot;https://a.b/c.mp3&quot;&gt;</title>',
    '<podcast:liveItem status="live"><enclosure url="https://live.example.org/s.mp3"/></podcast:liveItem>',
    '<podcast:liveItem status="ended"/>',
    '<p class="x""><enclosure url="«https://»cdn.example.org/behind-a-stray-quote.mp3"/>',
    "<item>\r\n\t<guid isPermaLink='false'>é</guid>\r\n</item >",
)


def before(piece: str) -> str:
    return piece.replace("«", "").replace("»", "")


def after(piece: str) -> str:
    out, rest = "", piece
    while "«" in rest:
        head, _, rest = rest.partition("«")
        scheme, _, rest = rest.partition("»")
        out += head + PREFIX + ("http://" if scheme.lower() == "http://" else "")
    return out + rest


@pytest.mark.parametrize("piece", PIECES)
def test_only_what_stands_before_an_enclosures_host_changes(piece: str) -> None:
    assert in_feed(before(piece)) == after(piece)


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text("aé>'\" \n]-&;", max_size=8))), st.sampled_from(CODECS))
def test_any_mixture_in_any_encoding_changes_nowhere_else(pieces: list[str], codec: str) -> None:
    head = HEAD if codec != "latin-1" else HEAD.replace("播客", "")
    given_ = (head + "".join(map(before, pieces)) + TAIL).encode(codec)
    wanted = (head + "".join(map(after, pieces)) + TAIL).encode(codec)
    assert rewrite(given_) == wanted
    assert rewrite(wanted) == wanted


@given(st.binary(max_size=200))
def test_bytes_that_are_no_feed_come_through_as_they_are(junk: bytes) -> None:
    assert rewrite(b"<rss>" + junk) == b"<rss>" + junk


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-16", "utf-32"])
def test_a_wide_feed_is_read_as_it_is_rewritten(codec: str) -> None:
    item = '<item><guid>1</guid><title>Çok 好</title><enclosure url="https://cdn.example.org/1.mp3"/></item>'
    data = (f'<?xml version="1.0" encoding="{codec}"?>' + HEAD + item + TAIL).encode(codec)
    parsed = parse_feed(data)
    assert (parsed.title, parsed.episodes[0].title) == ("Ünsere 播客", "Çok 好")
    again = parse_feed(rewrite(data))
    assert again.episodes[0].enclosures[0].url == f"{PREFIX}cdn.example.org/1.mp3"
    assert rewrite(data + b"\x00").endswith(b"\x00")


@pytest.mark.parametrize(
    "name",
    [
        *("1865", "natube-test", "no-agenda", "pc20rss"),
        *("podcast-namespace-example", "sentimental-garbage", "serial", "themnshow"),
    ],
)
def test_a_real_feed_gets_every_prefix_and_keeps_every_other_byte(data_dir: Path, name: str) -> None:
    data = (data_dir / "feeds" / f"{name}.xml").read_bytes()
    rewritten = rewrite(data)
    episodes = parse_feed(rewritten).episodes
    for episode in episodes:
        for enclosure in episode.enclosures:
            prefixed = find_own_prefix(enclosure.url, public_url=OURS) is not None
            assert prefixed is not (episode.live or is_torrent(enclosure.url, enclosure.media_type)), enclosure
    behind = rewritten.replace(f"{PREFIX}http://".encode(), b"http://").replace(PREFIX.encode(), b"https://")
    assert behind == data
    assert rewrite(rewritten) == rewritten


def test_a_public_address_with_a_path_and_marks_is_written_as_xml() -> None:
    data = b"<rss><enclosure url='https://a.b/c.mp3'/></rss>"
    rewritten = rewrite_feed(data, public_url="https://x.org/it's/", podcast_guid=GUID)
    assert rewritten == f"<rss><enclosure url='https://x.org/it&#x27;s/e,pg={GUID}/a.b/c.mp3'/></rss>".encode()
    assert rewrite_feed(rewritten, public_url="https://x.org/it's", podcast_guid=GUID) == rewritten


@pytest.mark.parametrize("piece", ["<a ", "<a '\"", "<!-- <!--", '<enclosure url="https://&#', "<?x <!DOCTYPE ["])
def test_a_hostile_feed_comes_through_as_it_is(piece: str) -> None:
    # Looked at again from every tag, this would not end.
    data = ("<rss>" + piece * 400_000).encode()
    assert rewrite(data) == data
