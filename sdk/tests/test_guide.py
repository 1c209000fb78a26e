"""The guide's examples, in their order, against the real API; and everything else that both clients can do there."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from castledger import (
    AsyncCastledger,
    Castledger,
    Conflict,
    NotFound,
    PermissionDenied,
    Podcast,
    Utm,
    ValidationError,
)
from castledger.urls import link_url, prefix_url
from sdk.tests.servers import ENVIRON, Installation

GUIDE = Path(__file__).parents[2] / "docs" / "sdk.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)


def environ(installation: Installation) -> dict[str, str]:
    told = {"CASTLEDGER_API_KEY": installation.api_key, "CASTLEDGER_API_URL": installation.api_url}
    return {**ENVIRON, **told}


def test_the_guides_examples_run_one_after_the_other(installation: Installation, show: Podcast) -> None:
    script = "\n".join([*blocks("python"), "client.close()"])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        check=False, capture_output=True, text=True, env=environ(installation),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-4:-1] == [
        "https://pod.example.com/e,pg=9b024349-ccf0-5f69-a609-6b82873eab3c/cdn.example.com/1.mp3",
        "https://pod.example.com/go/spring-sale?utm_content=episode%2042",
        "00000000-0000-0000-0000-000000000001",
    ]
    assert lines[-1].startswith("not_found ")


def test_the_guides_commands_run(installation: Installation, show: Podcast) -> None:
    commands = [
        line for block in blocks("sh") for line in block.splitlines() if line.startswith("python -m castledger")
    ]
    assert len(commands) >= 6
    for command in commands:
        argv = [sys.executable, "-W", "error", *shlex.split(command)[1:]]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environ(installation))
        assert (done.returncode, done.stderr) == (0, ""), command
        if "--json" in argv:
            assert json.loads(done.stdout)["podcast_id"] == str(show.podcast_id)


def test_links_live_and_die_in_the_real_api(installation: Installation) -> None:
    with Castledger(installation.api_key, base_url=installation.api_url) as client:
        link = client.links.create(url="https://shop.example.com/a", slug="Spring-Sale", utm=Utm(source="show"))
        assert (link.slug, link.target) == ("spring-sale", "https://shop.example.com/a?utm_source=show")
        with pytest.raises(Conflict, match="slug_taken"):
            client.links.create(url="https://shop.example.com/", slug="spring-sale")
        with pytest.raises(ValidationError) as refused:
            client.links.create(url="ftp://shop.example.com/")
        assert [fault.pointer for fault in refused.value.errors] == ["/url"]
        changed = client.links.update(link.link_id, click_id=True)
        assert (changed.url, changed.utm, changed.click_id) == (link.url, Utm(source="show"), True)
        assert client.links.get(link.link_id) == changed
        assert link.link_id in {one.link_id for one in client.links.list()}
        clicks = client.links.clicks(link.link_id, interval="hour", tz="Europe/Berlin")
        assert (clicks.totals.clicks, clicks.tz, len(clicks.to_polars())) == (0, "Europe/Berlin", len(clicks.data))
        address = link_url(installation.tracker_url, link.slug, utm={"content": "episode 42"})
        assert address.endswith("/go/spring-sale?utm_content=episode%2042")
        client.links.delete(link.link_id)
        assert client.links.get(link.link_id).archived_at is not None
        with pytest.raises(NotFound):
            client.links.delete(link.link_id)


def test_keys_live_and_die_in_the_real_api(installation: Installation) -> None:
    with Castledger(installation.api_key, base_url=installation.api_url) as client:
        expires_at = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=1)
        made = client.keys.create(name="reader", scopes=["analytics:read"], expires_at=expires_at)
        assert (made.scopes, made.expires_at, made.kind) == (("analytics:read",), expires_at, "secret")
        with Castledger(made.key, base_url=installation.api_url) as reader:
            assert reader.analytics.downloads().tz == "UTC"
            with pytest.raises(PermissionDenied):
                reader.keys.create(name="more")
        assert client.keys.update(made.key_id, name="renamed").name == "renamed"
        rotated = client.keys.rotate(made.key_id, overlap=dt.timedelta(minutes=1))
        assert rotated.replaces == made.key_id
        assert client.keys.get(made.key_id).replaced_by == rotated.key_id
        for key in (made, rotated):
            client.keys.revoke(key.key_id)
        assert {key.key_id for key in client.keys.list() if key.revoked_at} >= {made.key_id, rotated.key_id}
        shop = client.keys.create(name="shop", kind="publishable", origins=["https://shop.example.com"])
        assert (shop.origins, shop.key[:7]) == (("https://shop.example.com",), "cl_pub_")
        client.keys.revoke(shop.key_id)


def test_a_write_whose_answer_was_lost_is_done_once(installation: Installation) -> None:
    class Lossy(httpx.HTTPTransport):
        """Sends every request, and loses the first answer to each write."""

        def __init__(self) -> None:
            super().__init__()
            self.lost: set[str] = set()

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            key = request.headers.get("idempotency-key")
            if key is not None and key not in self.lost:
                self.lost.add(key)
                answer.close()
                raise httpx.ReadError("lost", request=request)
            return answer

    lossy = Lossy()
    with Castledger(
        installation.api_key, base_url=installation.api_url, transport=lossy, sleep=lambda _: None
    ) as client:
        before = {link.link_id for link in client.links.list()}
        link = client.links.create(url="https://shop.example.com/once")
        assert {one.link_id for one in client.links.list()} - before == {link.link_id}
        client.links.delete(link.link_id)
        with pytest.raises(Conflict) as caught:
            client.keys.create(name="lost on its way")
        assert caught.value.code == "idempotency_answer_gone"
        [lost] = [key for key in client.keys.list() if key.name == "lost on its way"]
        assert str(lost.key_id) in caught.value.detail
        client.keys.revoke(lost.key_id)
    assert len(lossy.lost) == 4


@pytest.mark.anyio
async def test_the_asynchronous_client_reads_the_real_api(installation: Installation, show: Podcast) -> None:
    today = dt.datetime.now(dt.UTC).date()
    async with AsyncCastledger(installation.api_key, base_url=installation.api_url) as client:
        assert [podcast async for podcast in client.podcasts.list()] == [await client.podcasts.get(show.podcast_id)]
        assert show.prefix is not None
        [episode] = [episode async for episode in client.episodes.list(show.podcast_id)]
        assert prefix_url(show.prefix, episode.enclosures[0].url).endswith("/cdn.example.org/e1.mp3")
        [curve] = [curve async for curve in client.episodes.curves(podcast_id=show.podcast_id)]
        assert (curve.episode_id, [point.day for point in curve.points]) == (
            episode.episode_id,
            [1, 3, 7, 14, 28, 30, 60, 90],
        )
        overview = await client.analytics.overview(limit=3)
        assert (overview.downloads, overview.apps.data[0].key, overview.apps.data[0].share) == (1, "AntennaPod", 1.0)
        assert overview.podcasts is not None
        compared = await client.analytics.compare(episode_id=episode.episode_id, profiles=["castledger-1", "op3"])
        assert sum(day.counted for day in compared.data) == 1
        start, end = today - dt.timedelta(days=1), today + dt.timedelta(days=1)
        frame = await client.analytics.hits(start=start, end=end).to_polars()
        assert frame["verdict"].to_list() == ["eligible"]
        assert [event async for event in client.attribution.events(type="purchase")] == []
        assert [host async for host in client.podcasts.unknown_hosts(show.podcast_id)] == []
        with pytest.raises(ValidationError):
            await client.podcasts.accept_host(show.podcast_id, "127.0.0.1")
        accepted = await client.podcasts.accept_host(show.podcast_id, "media.example.org")
        assert (accepted.host, accepted.accepted_at is not None) == ("media.example.org", True)
