"""The SDK's server of tests answers in the API's own forms."""

from __future__ import annotations

import datetime as dt
from typing import Any, Generic, TypeVar
from uuid import UUID

import httpx
import msgspec
import pytest

from api.schemas.analytics import DownloadsAnswer
from api.schemas.links import Link as ApiLink
from api.schemas.podcasts import Episode as ApiEpisode
from api.schemas.podcasts import Podcast as ApiPodcast
from castledger import Link
from castledger.testing import Downloads, Server, make_episode, make_podcast

T = TypeVar("T")
NOW = dt.datetime(2026, 11, 30, 6, tzinfo=dt.UTC)
podcast = make_podcast("Castle Talk")
episode = make_episode(podcast, "Pilot")
LINK = Link(
    link_id=UUID(int=1),
    slug="sale",
    url="https://shop.example.com/",
    target="https://shop.example.com/",
    click_id=False,
    clicks=0,
    bots=0,
    created_at=NOW,
)


class Page(msgspec.Struct, Generic[T]):
    """A page of a list."""

    data: list[T]
    next_cursor: str | None


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/podcasts", Page[ApiPodcast]),
        (f"/podcasts/{podcast.podcast_id}", ApiPodcast),
        (f"/podcasts/{podcast.podcast_id}/episodes", Page[ApiEpisode]),
        ("/links", Page[ApiLink]),
        ("/analytics/downloads", DownloadsAnswer),
        ("/analytics/downloads?by=app&limit=1&interval=hour&tz=Asia/Kathmandu", DownloadsAnswer),
    ],
)
def test_what_it_answers_is_what_the_api_would(path: str, kind: Any) -> None:
    apps = [Downloads(podcast_id=podcast.podcast_id, at=NOW, app=app, count=2) for app in ("AntennaPod", "Overcast")]
    server = Server(podcasts=[podcast], episodes=[episode], links=[LINK], downloads=apps, clock=lambda: NOW)
    with httpx.Client(transport=server.transport, base_url=server.url) as http:
        answer = http.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {server.api_key}"})
    assert answer.status_code == 200
    read = msgspec.json.decode(answer.content, type=kind)
    # Nothing more, and nothing less, but what newer servers may tell of a podcast that was just added.
    sent = answer.json()
    for one in sent["data"] if isinstance(read, Page) else [sent]:
        one.pop("warnings", None)
    assert msgspec.json.decode(msgspec.json.encode(read)) == sent
