"""The SDK builds addresses that the tracker reads as they were meant: its golden file, decoded, and any other."""

from __future__ import annotations

import contextlib
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import castledger.urls
from analytics_core.enclosures import identify, prefix_url
from analytics_core.errors import InvalidInput
from analytics_core.links import (
    CLICK_PARAMETER,
    format_click_id,
    link_target,
    parse_click_id,
    requested_utm,
    set_parameters,
)
from analytics_core.registry import Link, Registry
from analytics_core.settings import HostPolicyMode
from prefix_redirect.decisions import decide
from prefix_redirect.host_policy import HostPolicy
from prefix_redirect.targets import TargetFault, parse_target, split_prefix

GOLDEN: dict[str, Any] = tomllib.loads(
    (Path(__file__).parents[2] / "sdk" / "tests" / "golden" / "urls.toml").read_text("utf-8")
)
PREFIX: str = GOLDEN["prefix"]
GUID = UUID(GOLDEN["guid"])
OWN: str = GOLDEN["public_url"]
LINKS = {"offer": Link("https://shop.example.com/?a=1"), "spring-sale": Link("https://shop.example.com/")}
POLICY = HostPolicy(Registry(links=LINKS), mode=HostPolicyMode.ANY)


def follow(url: str) -> str | None:
    """Ask a tracker for an address of its own; where it redirects to."""
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}" == OWN
    decision = decide(b"GET", url.removeprefix(OWN).encode(), navigation=False, policy=POLICY)
    headers = dict(line.split(b": ", 1) for line in decision.headers.split(b"\r\n") if line)
    return headers[b"Location"].decode("ascii") if decision.status == 302 else None


@pytest.mark.parametrize("vector", GOLDEN["enclosures"], ids=lambda vector: vector["url"])
def test_an_enclosure_comes_back_from_behind_the_prefix(vector: dict[str, str]) -> None:
    url = vector["url"]
    built = PREFIX + vector["behind"]
    assert prefix_url(OWN, GUID, url) == built
    assert follow(built) == vector.get("location", url)
    assert identify(built, own_hosts={"pod.example.com"}).key == identify(url).key


def _encode(url: str) -> str:
    """Write what is beyond ASCII as clients do, or as the tracker does for those that do not."""
    return re.sub(r"[^\x00-\x7f]", lambda found: quote(found[0], errors="surrogatepass"), url)


def _reads(url: str) -> str | None:
    """Read what a tracker makes of an address behind its prefix; ``None`` when it refuses."""
    try:
        path = prefix_url(OWN, GUID, url).removeprefix(OWN)
    except InvalidInput:
        return None
    split = split_prefix(_encode(path).encode())
    target = None if split is None else parse_target(split[1])
    return None if target is None or isinstance(target, TargetFault) else target.location.decode("ascii")


@pytest.mark.parametrize("vector", GOLDEN["refused"], ids=lambda vector: vector["url"])
def test_what_the_sdk_refuses_a_tracker_would_not_redirect_to(vector: dict[str, str]) -> None:
    assert _reads(vector["url"]) != _encode(vector["url"])


pieces = st.sampled_from(
    ["cdn.example.com", "a_b.example.com.", "-x.example.com", "93.184.216.34", "0x7f.1", "1.2.3", "[2606:2800::1]",
     "[::", "single", ":8080", ":0", ":99999", ":08", "@", "\\", "%2F", "%40", "/", "//", "/..", "/a%20b.mp3", "?", "&",
     "#t=10", "https://", "http:/", "https%3A%2F%2F", "pg=1/", " ", "ü", "\x00", "\n", "x" * 64, "e,pg=2/", ",", "."]
)  # fmt: skip
urls = st.builds("{}{}".format, st.sampled_from(["https://", "http://", "HTTPS://"]), st.lists(pieces).map("".join))


@given(urls | st.text(st.characters(codec="ascii"), max_size=30).map("https://cdn.example.com/{}".format))
@example("https://pg=1/cdn.example.com/a.mp3")
@example("https://https%3A%2F%2Fcdn.example.com/a.mp3")
@example("https://http/")
@example("https://cdn.example.com/für/\ud800.mp3?ü#ü")
@example("https://bücher.example.com/a.mp3")
def test_the_sdk_takes_what_comes_back_as_it_was_and_nothing_else(url: str) -> None:
    scheme, _, behind = url.partition("://")
    meant = _encode(f"{scheme.lower()}://{behind}")
    built = None
    with contextlib.suppress(ValueError):
        built = castledger.urls.prefix_url(PREFIX, url)
    if built is None:
        assert _reads(url) != meant
    else:
        assert built == prefix_url(OWN, GUID, url)
        assert _reads(url) == meant


@pytest.mark.parametrize("vector", GOLDEN["campaigns"], ids=lambda vector: vector["url"])
def test_campaign_parameters_are_set_as_a_links_are(vector: dict[str, Any]) -> None:
    assert link_target(vector["url"], vector["utm"]) == vector["built"]


@pytest.mark.parametrize("vector", GOLDEN["links"], ids=lambda vector: vector["slug"])
def test_a_link_with_campaign_parameters_leads_on_with_them(vector: dict[str, Any]) -> None:
    wanted = {f"utm_{name}": value for name, value in vector["utm"].items()}
    assert requested_utm(urlsplit(vector["built"]).query) == wanted
    assert follow(vector["built"]) == set_parameters(
        LINKS[vector["slug"].lower()].target, requested_utm(urlsplit(vector["built"]).query)
    )


@pytest.mark.parametrize("vector", GOLDEN["clicks"], ids=lambda vector: vector["url"])
def test_ids_of_clicks_are_a_trackers(vector: dict[str, str]) -> None:
    text = format_click_id(UUID(vector["click_id"]))
    assert set_parameters(vector["url"], {CLICK_PARAMETER: text}) == vector["built"]
    assert castledger.urls.CLICK_PARAMETER == CLICK_PARAMETER


values = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(st.dictionaries(st.sampled_from(["source", "medium", "campaign", "term", "content"]), values))
def test_any_campaign_parameters_arrive(utm: dict[str, str]) -> None:
    built = castledger.urls.link_url(OWN, "Offer", utm=utm)
    assert requested_utm(urlsplit(built).query) == {f"utm_{name}": value for name, value in utm.items()}
    assert castledger.urls.with_utm("https://a.example.com/?x=1", utm) == link_target("https://a.example.com/?x=1", utm)


@given(st.uuids())
def test_any_id_of_a_click_is_read_back(click_id: UUID) -> None:
    built = castledger.urls.with_click_id("https://shop.example.com/", click_id)
    assert parse_click_id(built.rpartition("=")[2]) == click_id
    assert (
        castledger.urls.find_click_id(set_parameters(built, {CLICK_PARAMETER: format_click_id(click_id)})) == click_id
    )
