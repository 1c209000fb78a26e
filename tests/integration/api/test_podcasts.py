"""Podcasts go in by their feed and come out in pages; one feed has one owner."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.integration.api.feed_hosts import feed_host
from tests.integration.api.ledger import Api, Ledger, codes, make_feed, problem

pytestmark = pytest.mark.anyio


async def test_a_podcast_is_added_by_the_address_of_its_feed(api: Api) -> None:
    with feed_host(make_feed()) as host:
        url = host.url
        answer = await api.request("POST", "/podcasts", json={"feed_url": url})
    assert answer.status_code == 201, answer.text
    podcast = answer.json()
    guid = "9b024349-ccf0-5f69-a609-000000000001"
    assert podcast["title"] == "Podcast 1"
    assert podcast["feed_url"] == url
    assert podcast["podcast_guid"] == guid
    assert podcast["prefix"] == f"https://pod.example.com/e,pg={guid}/"
    assert podcast["episodes"] == 2
    # What the installation's own tenant adds needs no proof.
    assert podcast["verified"] is True
    assert podcast["created_at"].endswith("Z")
    assert podcast["warnings"] == []
    listed = await api.data("/podcasts")
    podcast.pop("warnings")
    assert listed == {"data": [podcast], "next_cursor": None}
    assert await api.data(f"/podcasts/{podcast['podcast_id']}") == podcast


async def test_a_podcast_is_added_by_the_feed_itself(api: Api) -> None:
    podcast = await api.add_podcast()
    assert podcast["feed_url"] is None
    episodes = await api.data(f"/podcasts/{podcast['podcast_id']}/episodes")
    assert [episode["title"] for episode in episodes["data"]] == ["Episode 2", "Episode 1"]
    first = episodes["data"][1]
    assert UUID(first.pop("episode_id")).version == 7
    assert first == {
        "podcast_id": podcast["podcast_id"],
        "guid": "cdn1.example.com-1",
        "title": "Episode 1",
        "published_at": "2026-11-01T06:00:00Z",
        "duration_s": None,
        "live": False,
        "removed_at": None,
        "enclosures": [
            {
                "url": "https://cdn1.example.com/ep1.mp3?x=1",
                "type": "audio/mpeg",
                "length_bytes": 24000000,
                "kind": "enclosure",
            }
        ],
    }


async def test_what_another_tenant_adds_waits_for_its_proof(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    assert (await api.add_podcast(key=other))["verified"] is False


async def test_a_feed_that_is_taken_is_refused_and_stays_where_it_is(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    podcast = await api.add_podcast()
    for key in (api.key, other):
        answer = await api.request(
            "POST", "/podcasts", key=key, content=make_feed(), headers={"Content-Type": "text/xml; charset=utf-8"}
        )
        problem(answer, 409, "podcast_taken")
    assert (await api.get("/podcasts", key=other)).json()["data"] == []
    assert (await api.data("/podcasts"))["data"][0]["podcast_id"] == podcast["podcast_id"]


async def test_another_tenants_podcast_is_not_there(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    podcast = await api.add_podcast()
    for path in (f"/podcasts/{podcast['podcast_id']}", f"/podcasts/{podcast['podcast_id']}/episodes"):
        foreign = problem(await api.get(path, key=other), 404, "not_found")
        missing = problem(await api.get(path.replace(podcast["podcast_id"], str(UUID(int=7)))), 404, "not_found")
        # Nothing tells one's own missing podcast from another's.
        assert foreign["detail"] == missing["detail"] == "no such podcast"
    problem(await api.get("/podcasts/not-an-id"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"<html><body>No feed here</body></html>", 200, "not_a_feed"),
        (b"", 200, "not_a_feed"),
        (b"gone", 404, "feed_status"),
        (b"<rss>" + b" " * (1024 * 1024), 200, "feed_too_large"),
    ],
)
async def test_a_feed_that_cannot_be_read_is_422_and_nothing_is_stored(
    api: Api, body: bytes, status: int, code: str
) -> None:
    with feed_host(body, status=status) as host:
        answer = await api.request("POST", "/podcasts", json={"feed_url": host.url})
    assert codes(answer) == {("/feed_url", code)}
    assert answer.json()["code"] == code
    assert (await api.data("/podcasts"))["data"] == []


@pytest.mark.parametrize(
    "url",
    ["ftp://cdn.example.com/feed", "not a url", "http://", "http://user:pw@cdn.example.com/", "http://[::1", "x\x01"],
)
async def test_an_address_that_is_none_is_422(api: Api, url: str) -> None:
    assert codes(await api.request("POST", "/podcasts", json={"feed_url": url})) == {("/feed_url", "feed_url_invalid")}


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, {("/feed_url", "missing")}),
        ({"feed_url": 7}, {("/feed_url", "invalid")}),
        ({"feed_url": ""}, {("/feed_url", "invalid")}),
        ({"url": "https://x.example.com"}, {("/feed_url", "missing"), ("/url", "unknown_field")}),
    ],
)
async def test_a_body_without_a_feed_is_422(api: Api, body: object, faults: set[tuple[str, str]]) -> None:
    assert codes(await api.request("POST", "/podcasts", json=body)) == faults


async def test_a_sent_feed_that_is_none_or_too_large_is_422_and_of_another_type_415(api: Api) -> None:
    xml = {"Content-Type": "application/rss+xml"}
    assert codes(await api.request("POST", "/podcasts", content=b"<x/>", headers=xml)) == {("", "not_a_feed")}
    bomb = b'<!DOCTYPE x [<!ENTITY a "b">]><rss><channel><title>&a;</title></channel></rss>'
    assert codes(await api.request("POST", "/podcasts", content=bomb, headers=xml)) == {("", "not_a_feed")}
    problem(await api.request("POST", "/podcasts", content=b"a,b"), 415, "unsupported_media_type")
    large = b"<rss>" + b" " * (1024 * 1024)
    assert codes(await api.request("POST", "/podcasts", content=large, headers=xml)) == {("", "feed_too_large")}


async def test_pages_follow_one_another_and_end(api: Api) -> None:
    added = [(await api.add_podcast(number))["podcast_id"] for number in range(1, 6)]
    seen: list[str] = []
    cursor = None
    for expected in (2, 2, 1):
        page = await api.data("/podcasts", limit=2, **({"cursor": cursor} if cursor else {}))
        assert len(page["data"]) == expected
        seen += [row["podcast_id"] for row in page["data"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert seen == added


async def test_pages_of_episodes_hold_each_once(api: Api) -> None:
    podcast = await api.add_podcast(episodes=7)
    path = f"/podcasts/{podcast['podcast_id']}/episodes"
    whole = await api.data(path)
    one = await api.data(path, limit=3)
    two = await api.data(path, limit=3, cursor=one["next_cursor"])
    three = await api.data(path, limit=3, cursor=two["next_cursor"])
    assert one["data"] + two["data"] + three["data"] == whole["data"]
    assert three["next_cursor"] is None


@pytest.mark.parametrize("limit", ["0", "201", "-1", "ten", "1.0", "", "٣"])
async def test_a_limit_that_is_none_is_422(api: Api, limit: str) -> None:
    assert codes(await api.get("/podcasts", limit=limit)) == {("limit", "invalid")}


async def test_a_cursor_of_elsewhere_is_422(api: Api) -> None:
    for number in (1, 2):
        await api.add_podcast(number)
    podcasts = (await api.data("/podcasts", limit=1))["next_cursor"]
    for path in ("/api-keys", "/analytics/hits"):
        assert codes(await api.get(path, cursor=podcasts)) == {("cursor", "bad_cursor")}
    for cursor in ("", "x", "WyJwb2RjYXN0cyJd", podcasts + "AAAA", podcasts[:-2], "A" * 8_000, "é"):
        assert codes(await api.get("/podcasts", cursor=cursor)) == {("cursor", "bad_cursor")}
    assert codes(await api.get("/podcasts", cursor="x", limit="0", sort="x")) == {
        ("cursor", "bad_cursor"),
        ("limit", "invalid"),
        ("sort", "unknown_parameter"),
    }


async def test_a_parameter_given_twice_is_422(api: Api) -> None:
    answer = await api.request("GET", "/podcasts?limit=1&limit=2")
    assert codes(answer) == {("limit", "repeated")}
