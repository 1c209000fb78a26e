"""Identity of enclosures: strict tables of what is the same, what is not, and what is refused."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.enclosures import MEDIA_EXTENSIONS, identify, media_extension, parse_prefix_arguments, prefix_url
from analytics_core.errors import InvalidInput

GUID = UUID("9b024349-ccf0-5f69-a609-6b82873eab3c")
OURS = frozenset({"pod.example.com"})

PREFIXES = (
    "op3.dev/e/",
    "op3.dev/e,pg=9b024349-ccf0-5f69-a609-6b82873eab3c/",
    "dts.podtrac.com/redirect.mp3/",
    "www.podtrac.com/pts/redirect.m4a/",
    "play.podtrac.com/npr-1/",
    "pdst.fm/e/",
    "chrt.fm/track/9EE2G/",
    "chtbl.com/track/637E/",
    "prfx.byspotify.com/e/",
    "pfx.veritonicmetrics.com/abc/",
    "arttrk.com/p/ABCDE/",
    "pdcn.co/e/",
    "2.gum.fm/",
    "s.gum.fm/s-0a1b/",
    "verifi.podscribe.com/rss/p/",
    "pscrb.fm/rss/p/",
    "claritaspod.com/measure/",
    "clrtpod.com/m/",
    "growx.podkite.com/https/x/",
    "media.blubrry.com/show/p/",
    "mgln.ai/track/",
    "mgln.ai/e/31/",
    "p.podderapp.com/123/",
    "r.zencastr.com/r/",
    "t.glystn.com/v2/track/x/",
    "adbarker.com/stream/x/",
    "pfx.vpixl.com/x/",
    "bktrks.co/t/x/",
    "rss.pdrl.fm/x/",
    "pdrl.fm/r/a/b/",
    "a.pdcst.to/x/",
    "ipfspodcasting.net/e/",
    "cohst.app/pdcst/x/",
    "tracking.swap.fm/track/x/",
    "pdcds.co/x/",
    "prefix.up.audio/s/",
    "m.pfxes.com/x/",
    "pp2.example.org/protect/x/",
    "enrichment.soundstack.com/x/",
    "analytics.podcastplusplus.com/e/",
    "track.fstry.me/p/x/",
    "tr.ausha.co/x/",
    "pod.example.com/e/",
    "pod.example.com/e,pg=9b024349-ccf0-5f69-a609-6b82873eab3c/",
)
CLIENT_PARAMETERS = (
    "_from=podcastindex.org",
    "_ulid=1",
    "DIST=TuneIn",
    "aw_0_1st.playerid=x",
    "played_on=1",
    "rss_browser=BAh",
    "download=true",
    "fbclid=1",
)


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example.org/a/b.mp3?id=1",
        "http://cdn.example.org/a/b.mp3?id=1",
        "HTTPS://CDN.Example.ORG:443/a/b.mp3?id=1",
        "cdn.example.org:80/a/b.mp3?id=1",
        "https:/cdn.example.org/a/b.mp3?id=1",
        "https%3A%2F%2Fcdn.example.org/a/b.mp3?id=1",
        "//cdn.example.org/a/b.mp3?id=1",
        "cdn.example.org/%61/b.mp3?id=1#t=30",
        "cdn.example.org./a/b.mp3?_from=x&id=1",
        "pdst.fm/e/https%3A%2F%2Fcdn.example.org%2Fa%2Fb.mp3?id=1",
        "letscast.fm/track/https://cdn.example.org/a/b.mp3?id=1",
    ],
)
def test_spellings_of_one_enclosure_have_one_identity(url: str) -> None:
    assert identify(url, own_hosts=OURS).text == "cdn.example.org/a/b.mp3?id=1"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_each_known_prefix_is_stripped(prefix: str) -> None:
    identity = identify(f"https://{prefix}cdn.example.org/a.mp3", own_hosts=OURS)
    assert identity.text == "cdn.example.org/a.mp3"
    assert identity.innermost == "https://cdn.example.org/a.mp3"
    assert identity.hosts[-1] == "cdn.example.org"
    assert "pod.example.com" not in identity.hosts


@pytest.mark.parametrize(
    "url",
    [
        "cdn.example.org/e/other.example.org/a.mp3",
        "media.blubrry.com/show/episode.mp3",
        "op3.dev/x/cdn.example.org/a.mp3",
        "2.gum.fm/a.mp3/",
    ],
)
def test_what_only_looks_like_a_prefix_stays(url: str) -> None:
    assert identify(url, own_hosts=OURS).text == url.partition("?")[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.example.org/a.mp3", "b.example.org/a.mp3"),
        ("a.example.org/a.mp3", "a.example.org/A.mp3"),
        ("a.example.org/a.mp3?id=1", "a.example.org/a.mp3?id=2"),
        ("a.example.org:8080/a.mp3", "a.example.org/a.mp3"),
        ("a.example.org/a%2Fb.mp3", "a.example.org/a/b.mp3"),
        ("a.example.org/a.mp3?download=1", "a.example.org/a.mp3"),
    ],
)
def test_different_files_have_different_identities(one: str, other: str) -> None:
    assert identify(one).key != identify(other).key


@pytest.mark.parametrize(
    "url", ["", "https://", "/", "ftp://a.example.org/a.mp3", "https://?x", "https:///", "a b"[1:2]]
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        identify(url)


def test_an_endless_chain_is_refused() -> None:
    with pytest.raises(InvalidInput, match="prefixes"):
        identify("op3.dev/e/" * 40 + "a.example.org/a.mp3")


@given(st.lists(st.sampled_from(PREFIXES), max_size=8), st.lists(st.sampled_from(CLIENT_PARAMETERS), max_size=3))
def test_stacked_prefixes_and_client_parameters_change_nothing(prefixes: list[str], parameters: list[str]) -> None:
    query = "&".join(["id=7", *parameters])
    stacked = identify("".join(prefixes) + f"cdn.example.org/a.mp3?{query}", own_hosts=OURS)
    plain = identify("cdn.example.org/a.mp3?id=7")
    assert (stacked.key, stacked.bare_key, stacked.file_name) == (plain.key, plain.bare_key, plain.file_name)


@given(
    st.sampled_from(PREFIXES) | st.from_regex(r"[a-z0-9_-]{1,5}(\.[a-z0-9_-]{1,5}){1,3}/", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9._~+,=@/-]{0,20}", fullmatch=True),
)
def test_a_plain_target_is_what_it_is_with_its_scheme(host: str, path: str) -> None:
    own = ("own.example", "a.b")
    for target in (host + path, f"own.example/e/{host}{path}", f"a.b/{path}"):
        try:
            expected = identify(f"https://{target}", own_hosts=own)
        except InvalidInput:
            with pytest.raises(InvalidInput):
                identify(target, own_hosts=own)
        else:
            assert identify(target, own_hosts=own) == expected


@given(st.binary(max_size=200))
def test_identity_is_total_and_stable(raw: bytes) -> None:
    try:
        identity = identify(raw)
    except InvalidInput:
        return
    assert identify(raw) == identity
    assert "\x00" not in identity.text + identity.file_name


@given(
    st.sampled_from(["https://", "http://"]),
    st.from_regex(r"[a-z]{1,10}\.example\.org(:8080)?/[A-Za-z0-9%/._-]{0,40}(\?[a-z]=[a-z0-9%]{0,9})?", fullmatch=True),
)
def test_our_prefix_keeps_the_enclosure(scheme: str, rest: str) -> None:
    prefixed = prefix_url("https://pod.example.com", GUID, scheme + rest)
    assert prefixed.endswith(rest)
    assert prefix_url("https://pod.example.com", GUID, prefixed) == prefixed
    assert identify(prefixed, own_hosts=OURS).key == identify(scheme + rest).key
    arguments = prefixed.removeprefix("https://pod.example.com/e,").partition("/")[0]
    assert parse_prefix_arguments(arguments).podcast_guid == GUID


@pytest.mark.parametrize("extension", sorted(MEDIA_EXTENSIONS))
def test_media_extensions_are_known_in_any_case(extension: str) -> None:
    assert media_extension(f"/x.{extension}")
    assert media_extension(f"/x.{extension.upper()}")
    assert not media_extension(f"/{extension}")
    assert not media_extension(f"/x.{extension}/y")
