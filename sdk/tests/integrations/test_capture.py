"""What a request brings, whatever it is: rules that hold for every query, header and cookie."""

from __future__ import annotations

import base64
import doctest
import string
from urllib.parse import urlencode
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from castledger.integrations import Attribution, Capture, _capture, _context
from castledger.integrations._capture import Visit, format_cookie, parse_cookie
from castledger.testing import RecordingClient

_COOKIE_OCTETS = set(string.ascii_letters + string.digits + "!#$%&'()*+-./:<=>?@[]^_`{|}~")

names = st.sampled_from(["host", "referer", "cookie", "dnt", "sec-gpc"])
anything = st.text(st.characters(), max_size=60)
queries = st.one_of(
    anything,
    st.lists(
        st.tuples(st.sampled_from(["cl_click", "promo", "code", "state", "utm_source", "x"]), st.text(max_size=70)),
        max_size=6,
    ).map(lambda pairs: urlencode(pairs, errors="replace")),
)
headers = st.dictionaries(names, anything, max_size=5)
codes = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=64).filter(
    lambda code: code.isprintable() and "\ufffd" not in code
)
hosts = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?(:[0-9]{1,5})?", fullmatch=True)
addresses = st.builds(
    "{}://{}/{}".format, st.sampled_from(["http", "https"]), hosts, st.from_regex(r"[!-~]{0,200}", fullmatch=True)
)
attributions = st.builds(
    Attribution,
    click_id=st.none() | st.uuids(),
    promo_code=st.none() | codes,
    landing_url=st.none() | addresses,
    referrer=st.none() | addresses,
)


def cookie_in(header: str | None) -> str:
    """Give the value that a browser keeps, "" where it is not told to."""
    return (header or "").partition(";")[0].removeprefix("cl_attribution=")


def read(query: str = "", *, capture: Capture | None = None, path: str = "/", **headers: str) -> Visit:
    given_headers = {"host": "shop.example.com"} | {name.replace("_", "-"): text for name, text in headers.items()}
    return (capture or Capture()).read(scheme="https", path=path, query=query, headers=given_headers)


@given(query=queries, path=anything, headers=headers, remember=st.booleans())
@example(query="cl_click=%ff&promo=\ud800", path="\ud800", headers={"host": "\ud800", "referer": "//["}, remember=True)
def test_no_request_is_too_odd_and_what_comes_of_it_is_within_bounds(
    query: str, path: str, headers: dict[str, str], remember: bool
) -> None:
    attribution, header = Capture(remember=remember).read(scheme="https", path=path, query=query, headers=headers)
    assert set(attribution.fields()) <= {"click_id", "promo_code", "url", "referrer"}
    assert attribution.promo_code is None or 0 < len(attribution.promo_code.strip()) <= 64
    for url in (attribution.landing_url, attribution.referrer):
        assert url is None or (url.startswith(("http://", "https://")) and url.isascii() and len(url) <= 2048)
    if header is not None and "Max-Age=0;" not in header:
        assert remember
        assert parse_cookie(cookie_in(header)) == attribution


@given(query=queries, path=anything, headers=headers)
def test_whatever_is_captured_can_be_tracked(query: str, path: str, headers: dict[str, str]) -> None:
    visit = Capture().read(scheme="https", path=path, query=query, headers=headers)
    client = RecordingClient()
    client.track("purchase", **visit.attribution.fields())
    assert len(client.events) == 1


@given(attributions)
def test_a_cookie_gives_back_what_was_put_into_it(attribution: Attribution) -> None:
    value = format_cookie(attribution)
    assert parse_cookie(value) == attribution
    # What a browser takes without quotes, and within its 4,096 bytes for the name and the attributes as well.
    assert set(value) <= _COOKIE_OCTETS
    assert len(value) <= 3900


@given(st.text(max_size=200) | attributions.map(format_cookie), st.data())
def test_a_cookie_that_somebody_changed_is_another_valid_one_or_none(value: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(value)))
    found = parse_cookie(value[:at] + data.draw(st.characters()) + value[at + 1 :])
    assert found is None or parse_cookie(format_cookie(found)) == found


@given(st.uuids())
def test_a_click_is_read_as_links_write_it_and_as_a_uuid(click_id: UUID) -> None:
    written = base64.urlsafe_b64encode(click_id.bytes).decode().rstrip("=")
    for text in (written, str(click_id), click_id.hex):
        assert read(f"cl_click={text}").attribution.click_id == click_id
    assert read(f"cl_click={written}").attribution.fields()["click_id"] == written


@pytest.mark.parametrize(
    "text", ["", "A", "A" * 21, "A" * 21 + "R", "A" * 23, "/" * 22, "{" + "0" * 34 + "}", "é" * 32]
)
def test_what_is_no_click_is_ignored(text: str) -> None:
    assert read(urlencode({"cl_click": text})).attribution.click_id is None


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("promo=SAVE20", "SAVE20"),
        ("code=%20save%20", "save"),
        ("code=first&promo=second", "first"),
        ("promo=&promo=&code=third", "third"),
        ("code=4%2F0Ab&state=xyz", None),
        ("code=4%2F0Ab&state=xyz&promo=SAVE20", "SAVE20"),
        ("promo=" + "x" * 64, "x" * 64),
        ("promo=" + "x" * 65, None),
        ("promo=a%0ab", None),
        ("promo=%ff", None),
        ("promo=SAVE20&" + "a=1&" * 100, None),
        ("promo=SAVE20&a=" + "x" * 9000, None),
    ],
)
def test_a_promo_code_is_taken_where_it_is_one(query: str, code: str | None) -> None:
    assert read(query).attribution.promo_code == code


def test_parameters_of_ones_own_replace_the_usual_ones() -> None:
    capture = Capture(click_parameters=["c"], promo_parameters=["voucher"])
    found = read("c=AAAAAAAAAAAAAAAAAAAAAQ&voucher=V&promo=P&cl_click=AAAAAAAAAAAAAAAAAAAAAg", capture=capture)
    assert (found.attribution.click_id, found.attribution.promo_code) == (UUID(int=1), "V")


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        ("/", "token=secret", "https://shop.example.com/"),
        ("", "", "https://shop.example.com/"),
        ("/für, dich", "utm_medium=pod+cast&a=1", "https://shop.example.com/f%C3%BCr%2C%20dich?utm_medium=pod+cast"),
        ("/" + "x" * 100, "utm_term=" + "y" * 201, "https://shop.example.com/" + "x" * 100),
        ("/" + "x" * 480, "utm_term=yyyyyyyyy", "https://shop.example.com/" + "x" * 480),
        ("/" + "x" * 600, "", None),
    ],
)
def test_the_landing_page_is_kept_without_what_its_query_may_hold(path: str, query: str, url: str | None) -> None:
    assert read(query, path=path).attribution.landing_url == url


@pytest.mark.parametrize(
    "host", ["", "a b", "shop.example.com/x", "me@shop.example.com", "-x", "[::1", "x:123456", "ü"]
)
def test_a_page_of_a_host_that_is_none_is_left_out(host: str) -> None:
    assert read("promo=A", host=host).attribution == Attribution(promo_code="A")


@pytest.mark.parametrize(
    ("referrer", "kept"),
    [
        ("https://Show.Example.org/ep/1?q=private#x", "https://show.example.org/"),
        ("http://[2001:db8::1]:8080/", "http://[2001:db8::1]:8080/"),
        ("https://shop.example.com/cart", None),
        ("android-app://org.example", None),
        ("https://me:secret@show.example.org/", None),
        ("https://[::1/", None),
        ("", None),
    ],
)
def test_a_referrer_is_kept_as_the_site_alone(referrer: str, kept: str | None) -> None:
    assert read(referer=referrer).attribution.referrer == kept


def test_another_click_begins_another_visit_and_a_code_joins_the_one_that_there_is() -> None:
    capture = Capture(remember=True)

    def follow(query: str, before: Visit | None) -> Visit:
        kept = cookie_in(None if before is None else before.set_cookie)
        return read(query, capture=capture, cookie=f"a=1; cl_attribution={kept}; b=2")

    first = follow("cl_click=AAAAAAAAAAAAAAAAAAAAAQ&promo=OLD", None)
    coded = follow("promo=NEW", first)
    assert (coded.attribution.click_id, coded.attribution.promo_code) == (UUID(int=1), "NEW")
    second = follow("cl_click=AAAAAAAAAAAAAAAAAAAAAg", coded)
    assert (second.attribution.click_id, second.attribution.promo_code) == (UUID(int=2), None)
    assert follow("", second) == (second.attribution, None)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(_capture) == (0, 2)
    assert doctest.testmod(_context) == (0, 1)
