"""Origins: which may be named, and from which ones a key may be used."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.api_keys import KeyKind
from analytics_core.errors import Forbidden, InvalidInput
from analytics_core.origins import MAX_ORIGINS, check_origin, parse_origin, parse_origins

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOSTS = st.builds(lambda labels, last: ".".join([*labels, last]), st.lists(LABELS, max_size=3), st.just("example"))
PORTS = st.none() | st.integers(1, 65535)
ORIGINS = st.builds(
    lambda host, port: f"https://{host}" + ("" if port in (None, 443) else f":{port}"), HOSTS, PORTS
) | st.builds(
    lambda host, port: f"http://{host}" + ("" if port in (None, 80) else f":{port}"),
    st.sampled_from(["localhost", "127.0.0.1", "[::1]"]),
    PORTS,
)


@given(ORIGINS)
def test_what_a_browser_sends_is_read_as_it_is(origin: str) -> None:
    assert parse_origin(origin, path="/origins/0") == origin


@given(ORIGINS, st.booleans())
def test_reading_twice_is_reading_once_and_case_is_of_no_matter(origin: str, upper: bool) -> None:
    once = parse_origin(origin.upper() if upper else origin, path="/origins/0")
    assert parse_origin(once, path="/origins/0") == once == origin


@given(st.text(max_size=40) | st.text(alphabet="htps:/.*0@[]%-_a ", max_size=20).map("https://".__add__))
def test_whatever_is_accepted_is_one_exact_origin(text: str) -> None:
    try:
        origin = parse_origin(text, path="/origins/0")
    except InvalidInput:
        return
    parts = urlsplit(origin)
    assert f"{parts.scheme}://{parts.netloc}" == origin
    assert parts.username is None
    assert parts.hostname
    assert parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://*.example.com", "no wildcards"),
        ("*", "no wildcards"),
        ("null", "any sandboxed page"),
        ("NULL", "any sandboxed page"),
        ("https://example.com/", "slash at the end"),
        ("https://example.com/shop", "without a user, a path"),
        ("https://user@example.com", "without a user"),
        ("https://example.com?x", "without a user"),
        ("example.com", "`https://host`"),
        ("ftp://example.com", "`https://host`"),
        ("chrome-extension://abc", "`https://host`"),
        ("http://example.com", "plain http is for localhost alone"),
        ("http://localhost.example.com", "plain http is for localhost alone"),
        ("https://müller.example", "xn--"),
        ("https://exa mple.com", "`https://host`"),
        ("https://-.example.com", "is no host name"),
        ("https://0x7f.1", "is no host name"),
        ("https://example.com:0", "no port 0"),
        ("https://example.com:65536", "no port 65536"),
        ("https://example.com:", "`https://host`"),
        ("https://[2001:db8::1]", "`https://host`"),
        ("https://" + "a." * 200 + "com", "`https://host`"),
        ("", "`https://host`"),
    ],
)
def test_what_is_no_origin_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match="origins/3") as caught:
        parse_origin(text, path="/origins/3")
    assert reason in caught.value.reason


@given(st.lists(ORIGINS, max_size=MAX_ORIGINS + 10))
def test_a_list_keeps_each_origin_once_in_its_order(given_: list[str]) -> None:
    if 0 < len(given_) <= MAX_ORIGINS:
        assert parse_origins(given_, path="/origins") == tuple(dict.fromkeys(given_))
    else:
        with pytest.raises(InvalidInput, match="1 to 50 origins"):
            parse_origins(given_, path="/origins")


@given(st.frozensets(ORIGINS, min_size=1), ORIGINS | st.none(), st.booleans())
def test_a_publishable_key_works_from_its_own_origins_and_nowhere_else(
    allowed: frozenset[str], origin: str | None, is_ours: bool
) -> None:
    if origin in allowed:
        check_origin(KeyKind.PUBLISHABLE, allowed, origin, is_ours=is_ours)
    else:
        with pytest.raises(Forbidden) as caught:
            check_origin(KeyKind.PUBLISHABLE, allowed, origin, is_ours=is_ours)
        assert caught.value.code == "origin_not_allowed"


@given(ORIGINS | st.none(), st.booleans())
def test_a_secret_key_works_where_no_other_sites_page_can_be(origin: str | None, is_ours: bool) -> None:
    if origin is None or is_ours:
        check_origin(KeyKind.SECRET, (), origin, is_ours=is_ours)
    else:
        with pytest.raises(Forbidden, match="must not be in a page") as caught:
            check_origin(KeyKind.SECRET, (), origin, is_ours=is_ours)
        assert caught.value.code == "secret_key_in_browser"
