"""What is kept of pages and customers: little, and never more than that."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.event_pages import SECRET_BYTES, UTM, customer_key, describe_page

secrets = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)


@given(st.text(max_size=3000))
def test_no_address_is_too_odd_to_be_described(url: str) -> None:
    page = describe_page(url)
    assert len(page.host) <= 253
    assert len(page.path) <= 1024
    assert page.utm.keys() <= set(UTM)
    assert all(len(value) <= 255 for value in page.utm.values())


_words = st.text(string.ascii_letters + string.digits, min_size=1, max_size=20)


@given(st.dictionaries(_words, _words, max_size=8), st.dictionaries(st.sampled_from(UTM), _words), _words)
def test_of_a_query_nothing_but_campaigns_is_kept(others: dict[str, str], utm: dict[str, str], fragment: str) -> None:
    query = "&".join(
        [*(f"x{name}={value}" for name, value in others.items()), *(f"utm_{n}={v}" for n, v in utm.items())]
    )
    page = describe_page(f"https://shop.example.com/a/b?{query}#utm_{fragment}")
    assert page == ("shop.example.com", "/a/b", utm)


@pytest.mark.parametrize(
    ("url", "utm"),
    [
        ("https://a.example.com/?utm_source=one&utm_source=two", {"source": "one"}),
        ("https://a.example.com/?utm_other=one&UTM_SOURCE=two&source=three", {}),
        ("https://a.example.com/?utm_source=a%00b", {"source": "a\ufffdb"}),
        ("https://a.example.com/?utm_source=" + "x" * 300, {"source": "x" * 255}),
        ("https://a.example.com/?" + "a=1&" * 101 + "utm_source=x", {}),
        ("https://192.0.2.1/?utm_source=x", {}),
        ("ftp://a.example.com/?utm_source=x", {}),
        ("https://[::1/?utm_source=x", {}),
    ],
)
def test_what_is_kept_of_odd_queries(url: str, utm: dict[str, str]) -> None:
    assert describe_page(url).utm == utm


@given(st.text(min_size=1, max_size=128), st.text(min_size=1, max_size=128), secrets, secrets)
def test_customers_are_told_apart_inside_a_tenant_and_not_across(
    one: str, other: str, mine: bytes, theirs: bytes
) -> None:
    assert (customer_key(one, mine) == customer_key(other, mine)) is (one == other)
    assert (customer_key(one, mine) == customer_key(one, theirs)) is (mine == theirs)


def test_a_secret_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        customer_key("u_1", b"short")
