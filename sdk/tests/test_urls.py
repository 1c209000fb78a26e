"""Addresses as they are built: the golden file, whose other half the server's tests read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castledger.urls import find_click_id, link_url, prefix_url, with_click_id, with_utm

GOLDEN: dict[str, Any] = tomllib.loads((Path(__file__).parent / "golden" / "urls.toml").read_text("utf-8"))
PREFIX: str = GOLDEN["prefix"]


@pytest.mark.parametrize("vector", GOLDEN["enclosures"], ids=lambda vector: vector["url"])
def test_enclosures_get_the_prefix_once(vector: dict[str, str]) -> None:
    built = prefix_url(PREFIX, vector["url"])
    assert built == PREFIX + vector["behind"]
    assert prefix_url(PREFIX, built) == built


@pytest.mark.parametrize("vector", GOLDEN["refused"], ids=lambda vector: vector["url"])
def test_what_no_tracker_redirects_to_is_refused_and_not_quoted(vector: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"^url: .*{vector['why']}") as caught:
        prefix_url(PREFIX, vector["url"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "prefix",
    ["", "https://pod.example.com/", "https://pod.example.com/e", "https://pod.example.com/e,pg=1",
     "pod.example.com/e/", "https://pod.example.com/e/?x=/e/", "https://pod.example.com/episodes/"],
)  # fmt: skip
def test_a_prefix_that_is_none_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"^prefix: "):
        prefix_url(prefix, "https://cdn.example.com/ep1.mp3")


@pytest.mark.parametrize("vector", GOLDEN["campaigns"], ids=lambda vector: vector["url"])
def test_campaign_parameters_are_set_and_the_rest_stays(vector: dict[str, Any]) -> None:
    assert with_utm(vector["url"], vector["utm"]) == vector["built"]
    assert with_utm(vector["built"], vector["utm"]) == vector["built"]


@pytest.mark.parametrize("vector", GOLDEN["links"], ids=lambda vector: vector["slug"])
def test_links_are_written(vector: dict[str, Any]) -> None:
    assert link_url(GOLDEN["public_url"], vector["slug"], utm=vector["utm"]) == vector["built"]
    assert link_url(f"{GOLDEN['public_url']}/", vector["slug"], utm=vector["utm"]) == vector["built"]


@pytest.mark.parametrize("vector", GOLDEN["clicks"], ids=lambda vector: vector["url"])
def test_ids_of_clicks_are_set_and_read(vector: dict[str, str]) -> None:
    click_id = UUID(vector["click_id"])
    assert with_click_id(vector["url"], click_id) == vector["built"]
    assert find_click_id(vector["built"]) == click_id


@pytest.mark.parametrize(
    "url",
    ["https://shop.example.com/", "https://shop.example.com/?a=1#cl_click=AAAAAAAAAAAAAAAAAAAAAQ",
     "https://shop.example.com/?cl_click=AAAAAAAAAAAAAAAAAAAAAR", "https://shop.example.com/?cl_click=ü",
     "https://shop.example.com/?cl_click=AAAA", "https://shop.example.com/?cl_click", "", "nonsense"],
)  # fmt: skip
def test_what_no_tracker_wrote_is_no_id_of_a_click(url: str) -> None:
    assert find_click_id(url) is None


@given(st.uuids(), st.text(max_size=20), st.text(st.characters(exclude_characters="#", codec="utf-8"), max_size=20))
def test_an_id_of_a_click_comes_back_whatever_the_query_was(click_id: UUID, fragment: str, query: str) -> None:
    url = "https://shop.example.com/?" + "".join(char for char in query if ord(char) > 32 and char not in "\\\x7f")
    fragment = "".join(char for char in fragment if ord(char) > 32 and char not in "\\\x7f")
    assert find_click_id(with_click_id(f"{url}#{fragment}", click_id)) == click_id


@pytest.mark.parametrize(
    ("utm", "why"),
    [({"utm_source": "x"}, "utm: has source, medium"), ({"source": "x" * 201}, "utm: source is longer than 200")],
)
def test_campaign_parameters_that_a_tracker_ignores_are_refused(utm: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        link_url("https://pod.example.com", "offer", utm=utm)


@pytest.mark.parametrize("slug", ["", "-a", "a-", "a_b", "a/b", "ü", "a" * 65, "a b"])
def test_a_slug_that_is_none_is_refused(slug: str) -> None:
    with pytest.raises(ValueError, match=r"^slug: has 1 to 64"):
        link_url("https://pod.example.com", slug)
