"""Referrers become hosts, and `_from` becomes a slug, whatever players send."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.referrers import MAX_SLUG_CHARS, feed_app, referrer_host


@pytest.mark.parametrize(
    ("referrer", "host"),
    [
        ("https://www.podverse.fm/episode/1", "podverse.fm"),
        ("http://Player.Example.COM:8080/x?listener=me#y", "player.example.com"),
        ("https://user:secret@example.org/", "example.org"),
        ("https://example.org./", "example.org"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("android-app://com.google.android.gm/", "com.google.android.gm"),
        ("  https://example.net/  ", "example.net"),
    ],
)
def test_a_referrer_is_reduced_to_its_host(referrer: str, host: str) -> None:
    assert referrer_host(referrer) == host


@pytest.mark.parametrize(
    "referrer",
    [
        "",
        "about:blank",
        "example.com/without-a-scheme",
        "file:///home/me/index.html",
        "javascript:alert(1)",
        "http://localhost:3000/",
        "http://192.168.1.5/",
        "http://[2001:db8::1]/",
        "http://[broken/",
        "https://exa mple.com/",
        "https://-bad-.example.com/",
        "https://" + "a" * 64 + ".example.com/",
        "https://" + "a." * 200 + "com/",
        "https://\ud800.example/",
        "https://<script>.com/",
    ],
)
def test_what_names_no_public_site_is_empty(referrer: str) -> None:
    assert referrer_host(referrer) == ""


@given(st.text(max_size=600) | st.text(max_size=100).map("https://{}".format))
def test_any_referrer_gives_a_bounded_lower_case_host_and_the_same_again(referrer: str) -> None:
    host = referrer_host(referrer)
    assert len(host) <= 253
    assert re.fullmatch(r"[a-z0-9._-]*", host)
    assert not host or referrer_host(f"https://{host}/") == host.removeprefix("www.")


@pytest.mark.parametrize(
    ("query", "slug"),
    [
        ("_from=overcast", "overcast"),
        ("aid=rss_feed&_from=Pocket-Casts&x=1", "pocket-casts"),
        ("x=1%3F_from=spotify", "spotify"),
        ("x=1?_from=castro", "castro"),
        ("_from=a%2Db", "a-b"),
        ("_from=&_from=second", "second"),
        ("_from=" + "a" * MAX_SLUG_CHARS, "a" * MAX_SLUG_CHARS),
    ],
)
def test_the_feeds_app_is_read_from_the_query(query: str, slug: str) -> None:
    assert feed_app(query) == slug


@pytest.mark.parametrize(
    "query",
    [
        "",
        "from=overcast",
        "x_from=overcast",
        "_from",
        "_from=",
        "_from=a b",
        "_from=%00",
        "_from=" + "a" * 65,
        "_from=é",
    ],
)
def test_anything_else_is_no_app(query: str) -> None:
    assert feed_app(query) == ""


@given(st.text(max_size=300) | st.text(max_size=100).map("_from={}".format))
def test_any_query_gives_a_safe_slug(query: str) -> None:
    assert re.fullmatch(rf"[a-z0-9._-]{{0,{MAX_SLUG_CHARS}}}", feed_app(query))
