"""Links: what a slug and a target may be, and that setting parameters disturbs nothing else."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.errors import InvalidInput
from analytics_core.links import (
    UTM,
    format_click_id,
    link_target,
    new_slug,
    parse_click_id,
    parse_link_arguments,
    parse_slug,
    parse_target_url,
    requested_utm,
    set_parameters,
)

values = st.text(max_size=12)
wishes = st.dictionaries(st.sampled_from([f"utm_{name}" for name in UTM]), values, max_size=5)
# Whatever stands in queries: repeated names, empty pairs, broken escapes, other separators, names that look alike.
pieces = st.text("ab=%&;+?2F", max_size=8) | st.sampled_from(
    ["utm_source=x", "utm_source", "UTM_SOURCE=y", "utm%5Fterm=z"]
)
queries = st.none() | st.lists(pieces, max_size=6).map("&".join)
urls = st.builds(
    lambda path, query, fragment: (
        f"https://shop.example.com{path}"
        + ("" if query is None else f"?{query}")
        + ("" if fragment is None else f"#{fragment}")
    ),
    st.sampled_from(["", "/", "/a%2Fb/c;d"]),
    queries,
    st.none() | st.text("a?&=", max_size=5),
)


def names_of(query: str) -> list[str]:
    return [name for name, _ in parse_qsl(query, keep_blank_values=True)]


@given(urls, wishes)
def test_parameters_are_set_and_the_rest_is_left_byte_for_byte(url: str, wanted: dict[str, str]) -> None:
    changed = set_parameters(url, wanted)
    before, after = urlsplit(url), urlsplit(changed)
    assert (after.scheme, after.netloc, after.path) == (before.scheme, before.netloc, before.path)
    assert changed.partition("#")[1:] == url.partition("#")[1:]
    found = dict(parse_qsl(after.query, keep_blank_values=True))
    assert {name: found[name] for name in wanted} == wanted
    assert all(names_of(after.query).count(name) == 1 for name in wanted)

    def others(query: str) -> list[str]:
        return [part for part in query.split("&") if not set(names_of(part)) & set(wanted)]

    kept = others(url.partition("#")[0].partition("?")[2])
    assert [part for part in others(after.query) if part] == [part for part in kept if part]
    assert set_parameters(changed, wanted) == changed


def test_a_target_that_campaign_parameters_make_too_long_is_refused() -> None:
    url = "https://shop.example.com/#top"
    assert link_target(url, {"source": "ü" * 200}) == "https://shop.example.com/?utm_source=" + "%C3%BC" * 200 + "#top"
    with pytest.raises(InvalidInput, match="4096") as refused:
        link_target(url, dict.fromkeys(UTM, "€" * 200))
    assert (refused.value.path, refused.value.code) == ("utm", "target_too_long")


@given(wishes)
def test_what_a_request_asks_for_is_read_as_it_was_written(wanted: dict[str, str]) -> None:
    query = urlsplit(set_parameters("https://a.example.com/?x=1&fbclid=2", wanted)).query
    assert requested_utm(query) == wanted


@given(st.text(max_size=80))
def test_no_query_whatever_raises(query: str) -> None:
    assert all(name.startswith("utm_") for name in requested_utm(query))


def test_a_flood_of_parameters_and_long_values_are_ignored() -> None:
    assert requested_utm("&".join(f"utm_source={number}" for number in range(200))) == {}
    assert requested_utm("utm_source=" + "a" * 201) == {}


@pytest.mark.parametrize("slug", ["a", "offer", "Spring-Sale-2", "a" * 64, "0"])
def test_slugs_are_letters_digits_and_hyphens(slug: str) -> None:
    assert parse_slug(slug) == slug.lower()


@pytest.mark.parametrize("slug", ["", "-a", "a-", "a_b", "a.b", "a/b", "ü", "a" * 65, "a\n"])
def test_anything_else_is_no_slug(slug: str) -> None:
    with pytest.raises(InvalidInput, match="letters"):
        parse_slug(slug)


def test_slugs_that_are_made_are_slugs_and_differ() -> None:
    made = {new_slug() for _ in range(100)}
    assert len(made) == 100
    assert all(parse_slug(slug) == slug for slug in made)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://shop.example.com", "https://shop.example.com"),
        ("HTTP://Shop.Example.com:8080/a//b?x=%2f#y", "HTTP://Shop.Example.com:8080/a//b?x=%2f#y"),
        ("https://shop.example.com/für?q=ö", "https://shop.example.com/f%C3%BCr?q=%C3%B6"),
    ],
)
def test_a_target_is_kept_as_it_was_written(text: str, url: str) -> None:
    assert parse_target_url(text) == url


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("shop.example.com/a", "url_invalid"),
        ("javascript:alert(1)", "url_invalid"),
        ("ftp://shop.example.com/", "url_invalid"),
        ("//shop.example.com/", "url_invalid"),
        ("https:///a", "url_invalid"),
        ("https://user:password@shop.example.com/", "url_invalid"),
        ("https://shop.example.com:0/", "url_invalid"),
        ("https://shop.example.com:99999/", "url_invalid"),
        ("https://shop.example.com/a b", "url_invalid"),
        ("https://shop.example.com/\r\nSet-Cookie: a=b", "url_invalid"),
        ("https://shop.example.com\\@evil.example.org/", "url_invalid"),
        ("https://größe.example.com/", "url_invalid"),
        ("https://[::1", "url_invalid"),
        ("https://127.0.0.1/", "host_not_public"),
        ("https://[2606:4700::1]/", "host_not_public"),
        ("https://printer.local/", "host_not_public"),
        ("https://intranet/", "host_not_public"),
        ("https://-a.example.com/", "host_invalid"),
        ("https://POD.example.net/go/x", "url_own_host"),
        ("https://shop.example.com/" + "ü" * 400, "url_too_long"),
    ],
)
def test_what_is_no_public_web_address_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_target_url(text, own_hosts=("pod.example.net",))
    assert (refused.value.path, refused.value.code) == ("url", code)


@given(st.uuids())
def test_an_id_of_a_click_is_read_as_it_was_written(click_id: UUID) -> None:
    text = format_click_id(click_id)
    assert parse_click_id(text) == click_id
    assert parse_link_arguments(f"go=a-b,click={text}".encode()) == ("a-b", click_id)


@given(st.text(max_size=30))
def test_any_other_text_is_no_id_of_a_click(text: str) -> None:
    try:
        assert format_click_id(parse_click_id(text)) == text
    except InvalidInput:
        assert parse_link_arguments(b"go=a,click=" + text.encode().replace(b",", b"")).click_id is None


@pytest.mark.parametrize(
    "arguments",
    [b"", b"pg=1", b"going=a", b"click=AAAA", b",,=", b"\xff=go", b"go=a\x00b", b"go=A", b"go=" + b"a" * 65],
)
def test_other_arguments_name_no_link(arguments: bytes) -> None:
    assert parse_link_arguments(arguments) == ("", None)
