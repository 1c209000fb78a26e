"""The host policy: open for audio, closed for clicks, in every mode."""

from __future__ import annotations

import pytest

from analytics_core.enclosures import identify
from analytics_core.registry import Registry
from analytics_core.settings import HostPolicyMode
from prefix_redirect.host_policy import HostPolicy, Ruling, is_navigation
from prefix_redirect.targets import Target, parse_target

EPISODE = "known.example.com/shows/1.mp3"
REGISTRY = Registry(
    hosts=frozenset({"known.example.com", "op3.dev", "localhost", "127.0.0.1", "[::1]", "denied.example.com"}),
    click_keys=frozenset({identify(f"https://{EPISODE}").key.hex}),
    deny_hosts=frozenset({"evil.example.org", "denied.example.com"}),
    own_hosts=frozenset({"pod.example.net"}),
)

PLAYERS = [
    # target, media, known, any
    ("known.example.com/anything", Ruling.REDIRECT, Ruling.REDIRECT, Ruling.REDIRECT),
    ("KNOWN.example.com:8443/x.php", Ruling.REDIRECT, Ruling.REDIRECT, Ruling.REDIRECT),
    ("known.example.com./x", Ruling.REDIRECT, Ruling.REDIRECT, Ruling.REDIRECT),
    ("new.example.org/a.mp3", Ruling.REDIRECT, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("new.example.org/a.MP3?x=1", Ruling.REDIRECT, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("new.example.org/a.m3u8", Ruling.REDIRECT, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("new.example.org/a", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("new.example.org/mp3", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("new.example.org/login?a.mp3", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("new.example.org/login#a.mp3", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("new.example.org", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("new.example.mp3", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("8.8.8.8/a.mp3", Ruling.REDIRECT, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    # Prefix services are judged by where they lead.
    ("op3.dev/e/known.example.com/x", Ruling.REDIRECT, Ruling.REDIRECT, Ruling.REDIRECT),
    ("op3.dev/e/new.example.org/login", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("op3.dev/e/new.example.org/a.mp3", Ruling.REDIRECT, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("op3.dev/e/10.0.0.1/a.mp3", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    ("pdst.fm/e/op3.dev/e/known.example.com/x", Ruling.REDIRECT, Ruling.REDIRECT, Ruling.REDIRECT),
    ("pod.example.net/e/known.example.com/x", Ruling.REDIRECT, Ruling.REDIRECT, Ruling.REDIRECT),
    # Anyone may own a host that looks like one of these services.
    ("pp1.attacker.org/protect/1/known.example.com/x", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_HOST, Ruling.REDIRECT),
    # Denied in every mode, registered or not, in front or behind.
    ("evil.example.org/a.mp3", Ruling.DENIED, Ruling.DENIED, Ruling.DENIED),
    ("sub.EVIL.example.org/a.mp3", Ruling.DENIED, Ruling.DENIED, Ruling.DENIED),
    ("op3.dev/e/evil.example.org/a.mp3", Ruling.DENIED, Ruling.DENIED, Ruling.DENIED),
    ("denied.example.com/a.mp3", Ruling.DENIED, Ruling.DENIED, Ruling.DENIED),
    # Reserved hosts have to be registered.
    ("localhost:8000/a.mp3", Ruling.REDIRECT, Ruling.REDIRECT, Ruling.REDIRECT),
    ("127.0.0.1:8000/a.mp3", Ruling.REDIRECT, Ruling.REDIRECT, Ruling.REDIRECT),
    ("[::1]:8000/a.mp3", Ruling.REDIRECT, Ruling.REDIRECT, Ruling.REDIRECT),
    ("127.0.0.2/a.mp3", Ruling.NOT_REGISTERED, Ruling.NOT_REGISTERED, Ruling.NOT_REGISTERED),
    ("intranet/a.mp3", Ruling.NOT_REGISTERED, Ruling.NOT_REGISTERED, Ruling.NOT_REGISTERED),
    ("nas.local/a.mp3", Ruling.NOT_REGISTERED, Ruling.NOT_REGISTERED, Ruling.NOT_REGISTERED),
]

BROWSERS = [
    (EPISODE, Ruling.REDIRECT),
    (f"http://{EPISODE}", Ruling.REDIRECT),
    (f"{EPISODE}?_from=app&utm=1", Ruling.UNKNOWN_CLICK),
    (f"{EPISODE}?_from=app&download=true", Ruling.REDIRECT),
    (f"op3.dev/e/{EPISODE}", Ruling.REDIRECT),
    ("known.example.com/shows/2.mp3", Ruling.UNKNOWN_CLICK),
    ("known.example.com/login", Ruling.UNKNOWN_CLICK),
    ("new.example.org/a.mp3", Ruling.UNKNOWN_CLICK),
    (f"pp1.attacker.org/protect/1/{EPISODE}", Ruling.UNKNOWN_CLICK),
    ("evil.example.org/a.mp3", Ruling.DENIED),
    ("intranet/a.mp3", Ruling.NOT_REGISTERED),
]

ALL_SUFFIXES = "mp3 m4a m4b mp4 m4v mov aac ogg oga opus flac wav webm m3u8"


def ruling(raw: str, mode: HostPolicyMode, *, navigation: bool = False) -> Ruling:
    target = parse_target(raw.encode())
    assert isinstance(target, Target), target
    return HostPolicy(REGISTRY, mode=mode).rule(target, navigation=navigation)


@pytest.mark.parametrize(("raw", "media", "known", "anything"), PLAYERS)
def test_players_are_sent_where_the_mode_says(raw: str, media: Ruling, known: Ruling, anything: Ruling) -> None:
    assert ruling(raw, HostPolicyMode.MEDIA) is media
    assert ruling(raw, HostPolicyMode.KNOWN) is known
    assert ruling(raw, HostPolicyMode.ANY) is anything


@pytest.mark.parametrize(("raw", "expected"), BROWSERS)
@pytest.mark.parametrize("mode", [HostPolicyMode.MEDIA, HostPolicyMode.KNOWN])
def test_browsers_are_sent_to_registered_enclosures_only(raw: str, expected: Ruling, mode: HostPolicyMode) -> None:
    assert ruling(raw, mode, navigation=True) is expected


def test_mode_any_sends_browsers_anywhere_but_to_denied_hosts() -> None:
    assert ruling("new.example.org/login", HostPolicyMode.ANY, navigation=True) is Ruling.REDIRECT
    assert ruling("evil.example.org/login", HostPolicyMode.ANY, navigation=True) is Ruling.DENIED


@pytest.mark.parametrize("suffix", ALL_SUFFIXES.split())
def test_every_suffix_of_audio_and_video_is_media(suffix: str) -> None:
    assert ruling(f"new.example.org/a.{suffix}", HostPolicyMode.MEDIA) is Ruling.REDIRECT


@pytest.mark.parametrize("suffix", ["html", "php", "mp3x", "zip", "exe", "m3u", "pls"])
def test_other_suffixes_are_not(suffix: str) -> None:
    assert ruling(f"new.example.org/a.mp3.{suffix}", HostPolicyMode.MEDIA) is Ruling.UNKNOWN_HOST


# Hosts where anyone may put a file: one podcast of each is registered, only the first of a podcast that was verified.
SHARED = Registry(
    hosts=frozenset({"s3.amazonaws.com", "drive.google.com", "storage.googleapis.com"}),
    click_keys=frozenset({identify("https://s3.amazonaws.com/show/1.mp3").key.hex}),
    own_hosts=frozenset({"pod.example.net"}),
)
ATTACKS = [
    # target, a player's request, a browser's
    ("s3.amazonaws.com/show/1.mp3", Ruling.REDIRECT, Ruling.REDIRECT),
    # Fail open for audio: a player that is sent to a foreign file there plays nothing, and counts for nobody.
    ("s3.amazonaws.com/phisher/login.html", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
    ("s3.amazonaws.com/phisher/1.mp3", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
    ("s3.amazonaws.com/show/1.mp3/../../phisher/login.html", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
    ("s3.amazonaws.com/show/%2e%2e/phisher/login.html", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
    ("s3.amazonaws.com//show/1.mp3", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
    ("s3.amazonaws.com/SHOW/1.mp3", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
    ("s3.amazonaws.com/show/1.mp3?response-content-type=text/html", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
    ("drive.google.com/uc?id=1&export=download", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
    ("storage.googleapis.com/unverified/1.mp3", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
    # Names that only look like a known host.
    ("s3.amazonaws.com.evil.org/login", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_CLICK),
    ("xs3.amazonaws.com/login", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_CLICK),
    ("sub.s3.amazonaws.com/login", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_CLICK),
    ("s3.amazonaws.com:444/login", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
    # Known services and ourselves in front, however deep: the innermost is judged.
    ("op3.dev/e/evil.org/login", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_CLICK),
    ("dts.podtrac.com/redirect.mp3/evil.org/login", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_CLICK),
    ("pdst.fm/e/op3.dev/e/pdst.fm/e/op3.dev/e/evil.org/login", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_CLICK),
    ("pod.example.net/e/pod.example.net/e/evil.org/login", Ruling.UNKNOWN_HOST, Ruling.UNKNOWN_CLICK),
    ("pdst.fm/e/op3.dev/e/s3.amazonaws.com/show/1.mp3", Ruling.REDIRECT, Ruling.REDIRECT),
    ("op3.dev/e/s3.amazonaws.com/phisher/login.html", Ruling.REDIRECT, Ruling.UNKNOWN_CLICK),
]


@pytest.mark.parametrize(("raw", "player", "browser"), ATTACKS)
@pytest.mark.parametrize("mode", [HostPolicyMode.MEDIA, HostPolicyMode.KNOWN])
def test_shared_hosts_and_chains_open_no_way_for_browsers(
    raw: str, player: Ruling, browser: Ruling, mode: HostPolicyMode
) -> None:
    target = parse_target(raw.encode())
    assert isinstance(target, Target), target
    policy = HostPolicy(SHARED, mode=mode)
    assert policy.rule(target, navigation=False) is player
    assert policy.rule(target, navigation=True) is browser


def test_the_settings_add_to_the_registrys_deny_list_and_own_hosts() -> None:
    policy = HostPolicy(REGISTRY, deny_hosts=("bad.example.com",), own_hosts=("me.example.com",))
    denied = parse_target(b"x.bad.example.com/a.mp3")
    through_us = parse_target(b"me.example.com/e/known.example.com/x")
    assert isinstance(denied, Target)
    assert isinstance(through_us, Target)
    assert policy.rule(denied, navigation=False) is Ruling.DENIED
    assert policy.rule(through_us, navigation=False) is Ruling.REDIRECT


CHROME = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "fetch_dest", "expected"),
    [
        (CHROME, b"document", True),
        (CHROME, b"", True),
        (b"", b"document", True),
        (b"*/*", b"Document", True),
        (b"Text/HTML", b"", True),
        (b"text/html;q=0.9,audio/*;q=0.8", b"", True),
        (b"", b"", False),
        (b"*/*", b"", False),
        (b"*/*", b"audio", False),
        (b"audio/webm,audio/ogg,audio/wav,audio/*;q=0.9,application/ogg;q=0.7,*/*;q=0.5", b"audio", False),
        (b"audio/mpeg,text/html", b"", False),
        (b"audio/*,text/html;q=0.5", b"", False),
        (b"text/html;q=0", b"", False),
        (b"text/html;q=x", b"", False),
    ],
)
def test_a_navigation_is_told_from_a_players_request(accept: bytes, fetch_dest: bytes, expected: bool) -> None:
    assert is_navigation(accept, fetch_dest) is expected
