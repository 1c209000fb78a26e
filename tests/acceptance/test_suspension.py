"""A tenant that is suspended while everything runs: its prefix leads on and counts, and nothing of it is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.acceptance.feeds import own_feed
from tests.acceptance.whole import Up, until

_PLAYER = "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"


@pytest.fixture
def said(folder: Path) -> Iterator[dict[str, str]]:
    """What a running `up` printed."""
    up = Up(folder)
    try:
        yield up.wait()
    finally:
        up.kill_all()


def _api(said: dict[str, str], key: str) -> httpx.Client:
    return httpx.Client(base_url=f"{said['api_url']}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=30)


def test_the_tracker_redirects_and_records_and_the_api_writes_nothing(said: dict[str, str]) -> None:
    with _api(said, said["api_key"]) as home:
        studio = home.post("/tenants", json={"slug": "studio", "name": "Studio"}).raise_for_status().json()
        with _api(said, studio["api_key"]) as tenant:
            feed = tenant.post("/podcasts", content=own_feed(), headers={"Content-Type": "application/rss+xml"})
            podcast_id = feed.raise_for_status().json()["podcast_id"]
            guid = tenant.get(f"/podcasts/{podcast_id}").json()["podcast_guid"]
            link = tenant.post("/links", json={"url": "https://shop.example.com/"}).raise_for_status().json()
            tracker = urlsplit(said["tracker_url"])
            enclosure = f"/e,pg={guid}/dts.podtrac.com/redirect.mp3/pdst.fm/e/cdn.example.org/s/e1.mp3?s=1&_from=a"

            def play(first: int, count: int) -> None:
                at = f"http://{tracker.hostname}:{tracker.port}"
                with httpx.Client(base_url=at, headers={"User-Agent": _PLAYER}, timeout=60) as player:
                    for number in range(first, first + count):
                        answer = player.get(enclosure, headers={"User-Agent": f"{_PLAYER} {number}"})
                        assert (answer.status_code, answer.headers["location"][:24]) == (
                            302,
                            "https://dts.podtrac.com/",
                        )
                    # The tracker knows of a link within two seconds.
                    until(lambda: player.get(f"/go/{link['slug']}").status_code == 302, "the link leads nowhere")
                    clicked = player.get(f"/go/{link['slug']}")
                    assert (clicked.status_code, clicked.headers["location"]) == (302, "https://shop.example.com/")

            def downloads() -> int:
                rows = tenant.get("/analytics/downloads", params={"podcast_id": podcast_id}).raise_for_status().json()
                return sum(row["downloads"] for row in rows["data"])

            play(0, 5)
            until(lambda: downloads() == 5, "hits went missing")
            suspended = home.patch(f"/tenants/{studio['tenant_id']}", json={"status": "suspended"})
            assert suspended.raise_for_status().json()["status"] == "suspended"
            for method, path, body in (
                ("POST", "/links", {"url": "https://shop.example.com/more"}),
                ("PATCH", f"/links/{link['link_id']}", {"url": "https://shop.example.com/other"}),
                ("DELETE", f"/links/{link['link_id']}", None),
                ("POST", "/podcasts", {"feed_url": "https://show.example.org/feed"}),
            ):
                refused = tenant.request(method, path, json=body)
                assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
            play(5, 7)
            until(lambda: downloads() == 12, "hits of a suspended tenant went missing")
            assert tenant.get("/links").raise_for_status().json()["data"][0]["url"] == "https://shop.example.com/"
            home.patch(f"/tenants/{studio['tenant_id']}", json={"status": "active"}).raise_for_status()
            more = tenant.post("/links", json={"url": "https://shop.example.com/more"})
            assert more.status_code == 201
