"""The server in memory, asked by the real clients."""

from __future__ import annotations

import asyncio
import datetime as dt
import doctest
import gzip
import itertools
from collections.abc import Iterator
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castledger import (
    APIConnectionError,
    AuthenticationError,
    Castledger,
    Episode,
    Link,
    NotFound,
    RateLimited,
    ServerError,
    Utm,
)
from castledger.testing import Downloads, RecordedEvent, Server, _ledger, _server, make_episode, make_podcast
from castledger.testing._ledger import DIMENSIONS, INTERVALS, bucket_starts, sum_up

UTC = dt.UTC
NOW = dt.datetime(2026, 11, 30, 6, tzinfo=UTC)
PATH = "/api/v1/attribution/events"
talk = make_podcast("Castle Talk", episodes=2)
pilot, second = make_episode(talk, "Pilot"), make_episode(talk, "Second")
other = make_podcast("Tide Tables")


def downloads(at: dt.datetime, app: str, count: int, episode: Episode = pilot) -> Downloads:
    return Downloads(podcast_id=episode.podcast_id, episode_id=episode.episode_id, at=at, app=app, count=count)


def server(**options: Any) -> Server:
    given_options = {
        "podcasts": [talk, other],
        "episodes": [pilot, second],
        "downloads": [
            downloads(dt.datetime(2026, 11, 1, 23, 30, tzinfo=UTC), "AntennaPod", 3),
            downloads(dt.datetime(2026, 11, 3, 9, tzinfo=UTC), "Overcast", 2),
            downloads(dt.datetime(2026, 11, 3, 9, tzinfo=UTC), "AntennaPod", 1, second),
        ],
        "clock": lambda: NOW,
        **options,
    }
    return Server(**given_options)


def event(**fields: Any) -> dict[str, Any]:
    return {"event_id": str(UUID(int=1)), "type": "signup", **fields}


def post(ledger: Server, body: Any, **headers: str) -> Any:
    """Send a batch as something else than the SDK would."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    sent = {"Authorization": f"Bearer {ledger.api_key}", "Content-Type": "application/json", **headers}
    with httpx.Client(transport=ledger.transport, base_url=ledger.url) as http:
        return http.post(PATH, content=content, headers={name.replace("_", "-"): text for name, text in sent.items()})


def test_podcasts_and_episodes_are_read_page_by_page() -> None:
    podcasts = [make_podcast(f"Show {number}") for number in range(450)]
    ledger = server(podcasts=[talk, *podcasts])
    with ledger.client() as client:
        assert list(client.podcasts.list()) == [talk, *podcasts]
        assert client.podcasts.get(talk.podcast_id) == talk
        assert list(client.episodes.list(talk.podcast_id)) == [pilot, second]
        assert list(client.episodes.list(podcasts[0].podcast_id)) == []
        with pytest.raises(NotFound):
            client.podcasts.get(UUID(int=5))
    assert [request.path for request in ledger.requests[:3]] == ["/api/v1/podcasts"] * 3


def test_a_report_has_every_day_of_the_range_in_its_time_zone() -> None:
    with server().client() as client:
        report = client.analytics.downloads(
            start=dt.date(2026, 11, 1), end=dt.date(2026, 11, 4), podcast_id=talk.podcast_id, tz="Europe/Berlin"
        )
    berlin = ZoneInfo("Europe/Berlin")
    assert [(row.start, row.downloads) for row in report.data] == [
        (dt.datetime(2026, 11, 1, tzinfo=berlin), 0),
        (dt.datetime(2026, 11, 2, tzinfo=berlin), 3),
        (dt.datetime(2026, 11, 3, tzinfo=berlin), 3),
    ]
    assert (report.total, report.tz, report.interval, report.state) == (6, "Europe/Berlin", "day", "final")
    assert report.data[0].start.utcoffset() == dt.timedelta(hours=1)


def test_a_report_is_broken_down_as_the_api_does_it() -> None:
    with server().client() as client:
        ends: dict[str, Any] = {"start": dt.date(2026, 11, 1), "end": dt.date(2026, 12, 1), "interval": "month"}
        by_app = client.analytics.downloads(by="app", **ends)
        assert [(row.key, row.downloads) for row in by_app.data] == [("AntennaPod", 4), ("Overcast", 2)]
        first = client.analytics.downloads(by="app", limit=1, **ends)
        assert [(row.key, row.downloads) for row in first.data] == [("AntennaPod", 4), ("other", 2)]
        assert [row.values for row in first.data] == [None, 1]
        by_episode = client.analytics.downloads(by="episode", **ends)
        assert {row.key: row.downloads for row in by_episode.data} == {
            str(pilot.episode_id): 5,
            str(second.episode_id): 1,
        }
        of_second = client.analytics.downloads(episode_id=second.episode_id, **ends)
        assert of_second.total == 1
        assert client.analytics.downloads(podcast_id=other.podcast_id, **ends).total == 0
        # By default 30 days up to the end of today.
        assert client.analytics.downloads().total == 6


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"by": "shoe_size"}, "by"),
        ({"interval": "year"}, "interval"),
        ({"tz": "Europe/Atlantis"}, "tz"),
        ({"tz": "../etc/passwd"}, "tz"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "to"),
        ({"from": "2026-11-01T00:00:00"}, "from"),
        ({"from": "soon"}, "from"),
        ({"limit": "-1"}, "limit"),
        ({"from": "1000-01-01", "interval": "hour"}, "to"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_by_name(params: dict[str, str], named: str) -> None:
    ledger = server()
    with httpx.Client(transport=ledger.transport, base_url=ledger.url) as http:
        answer = http.get(
            "/api/v1/analytics/downloads", params=params, headers={"Authorization": f"Bearer {ledger.api_key}"}
        )
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, named)


moments = st.integers(0, 60 * 86_400).map(lambda s: dt.datetime(2026, 3, 1, tzinfo=UTC) + dt.timedelta(seconds=s))


@settings(max_examples=50)
@given(
    many=st.lists(
        st.builds(
            Downloads,
            podcast_id=st.just(talk.podcast_id),
            at=moments,
            count=st.integers(0, 9),
            app=st.sampled_from(["", "a", "b", "other"]),
        ),
        max_size=20,
    ),
    ends=st.tuples(moments, moments).map(sorted).filter(lambda ends: ends[0] < ends[1]),
    interval=st.sampled_from(INTERVALS),
    tz=st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")]),
    by=st.sampled_from([None, "app", "device"]),
    limit=st.integers(0, 4),
    order=st.randoms(),
)
def test_rows_add_up_to_what_lies_in_the_range_whatever_they_are_broken_down_by(
    many: list[Downloads],
    ends: list[dt.datetime],
    interval: str,
    tz: ZoneInfo,
    by: str | None,
    limit: int,
    order: Any,
) -> None:
    start, end = (at.replace(second=0, microsecond=0) for at in ends)
    if start == end:
        return
    starts = list(bucket_starts(start, end, interval=interval, tz=tz))
    assert starts[0] == start
    assert all(one < following for one, following in itertools.pairwise([*starts, end]))
    rows = sum_up(many, starts, end, by=by, limit=limit)
    assert sum(row.downloads for row in rows) == sum(one.count for one in many if start <= one.at < end)
    shuffled = list(many)
    order.shuffle(shuffled)
    assert sum_up(shuffled, starts, end, by=by, limit=limit) == rows
    if by is None:
        assert [row.start for row in rows] == starts


def test_every_dimension_is_one_of_downloads() -> None:
    one = downloads(NOW, "AntennaPod", 1)
    assert [one.key(name) for name in DIMENSIONS] == [str(pilot.episode_id), "AntennaPod", *[""] * 7, "tracker"]
    with pytest.raises(ValueError, match="at: has no time zone"):
        Downloads(podcast_id=UUID(int=1), at=dt.datetime(2026, 11, 1))  # noqa: DTZ001 - that is what is wrong


def test_links_are_read_and_what_a_server_is_made_with_is_its_own() -> None:
    link = Link(
        link_id=UUID(int=4),
        slug="sale",
        url="https://shop.example.com/",
        target="https://shop.example.com/?utm_source=talk",
        click_id=True,
        clicks=3,
        bots=1,
        created_at=NOW,
        utm=Utm(source="talk"),
        sponsor_id=UUID(int=9),
    )
    given_links = [link, msgspec.structs.replace(link, link_id=UUID(int=5), slug="other", sponsor_id=None)]
    ledger = server(links=given_links)
    given_links.clear()
    with ledger.client() as client:
        assert client.links.get(link.link_id) == link
        assert [one.slug for one in client.links.list()] == ["sale", "other"]
        assert list(client.links.list(sponsor_id=UUID(int=9))) == [link]


def test_what_it_does_not_have_is_said() -> None:
    with server().client() as client, pytest.raises(ServerError, match=r"501 not_in_testing.*GET /api/v1/api-keys"):
        list(client.keys.list())
    with server().client() as client, pytest.raises(ServerError, match=r"POST /api/v1/links"):
        client.links.create(url="https://shop.example.com/")


def test_events_arrive_once_and_can_be_found() -> None:
    ledger = Server()
    with ledger.client() as client:
        client.track("signup", promo_code="SAVE20", event_id=UUID(int=1))
        client.track("signup", promo_code="SAVE20", event_id=UUID(int=1))
        client.track("purchase", value_amount=4999, currency="EUR")
        assert client.flush()
        assert client.stats().sent == 3
    assert [one.type for one in ledger.events] == ["signup", "purchase"]
    assert [one.value_amount for one in ledger.find(type="purchase")] == [4999]
    assert ledger.find(promo_code="SAVE10") == []


def test_the_asynchronous_client_is_answered_as_well() -> None:
    ledger = server()

    async def ask() -> list[str]:
        async with ledger.async_client() as client:
            client.track("signup")
            assert await client.flush()
            return [podcast.title async for podcast in client.podcasts.list()]

    assert asyncio.run(ask()) == ["Castle Talk", "Tide Tables"]
    assert [one.type for one in ledger.events] == ["signup"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "malformed_json"),
        ({"events": {}}, {}, 400, "invalid"),
        (b"\xff", {}, 400, "malformed_json"),
        ({"sent_at": "2026-11-30T06:00:00", "events": []}, {}, 400, "invalid"),
        ({"events": [event()] * 501}, {}, 413, "too_many_events"),
        (b" " * (2 * 1024 * 1024 + 1), {}, 413, "too_large"),
        (gzip.compress(b" " * (64 * 1024 * 1024)), {"Content_Encoding": "gzip"}, 413, "too_large"),
        (b"hello", {"Content_Encoding": "gzip"}, 400, "malformed_encoding"),
        ({"events": []}, {"Content_Encoding": "br"}, 415, "unsupported_encoding"),
        ({"events": []}, {"Content_Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"events": []}, {"Authorization": "Bearer cl_live_wrong"}, 401, "unauthenticated"),
    ],
)
def test_a_batch_that_cannot_be_read_is_refused_as_a_whole(
    body: Any, headers: dict[str, str], status: int, code: str
) -> None:
    answer = post(Server(), body, **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_each_event_has_its_verdict_and_what_is_unknown_is_named() -> None:
    ledger = Server()
    good, bad = str(UUID(int=1)), str(UUID(int=2))
    events: list[Any] = [
        event(nickname="x"),
        event(event_id=bad, occurred_at="2026-11-30T06:00:00"),
        event(event_id=bad, properties={"plan": {}}),
        {"type": "signup"},
        "signup",
        event(properties={"text": "x" * 40_000}),
    ]
    answer = post(ledger, {"events": events, "lost": {"queue_full": 12}, "mood": "fine"}).json()
    assert [result["status"] for result in answer["results"]] == [202, 422, 422, 422, 422, 413]
    assert [result["event_id"] for result in answer["results"]] == [good, bad, bad, None, None, None]
    pointers = [(one["errors"][0]["pointer"], one["errors"][0]["code"]) for one in answer["results"][1:5]]
    assert pointers == [
        ("/events/1/occurred_at", "naive_time"),
        ("/events/2/properties/plan", "invalid"),
        ("/events/3/event_id", "missing"),
        ("/events/4", "invalid"),
    ]
    assert (answer["accepted"], answer["refused"], answer["ignored"]) == (1, 5, ["mood", "nickname"])
    assert ledger.lost == {"queue_full": 12}
    assert len(ledger.events) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20) | st.just(NOW.isoformat()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from([*RecordedEvent.__struct_fields__, "x"]), json_values, max_size=6)
        | json_values,
        max_size=4,
    ),
    st.datetimes().map(lambda at: at.replace(tzinfo=UTC)),
)
def test_whatever_is_sent_each_event_has_a_verdict(events: list[Any], sent_at: dt.datetime) -> None:
    ledger = server()
    answer = post(ledger, {"sent_at": sent_at, "events": events}).json()
    assert len(answer["results"]) == len(events)
    assert answer["accepted"] + answer["refused"] == len(events)
    accepted = {one["event_id"] for one in answer["results"] if one["status"] == 202}
    assert {str(one.event_id) for one in ledger.events} == {str(UUID(text)) for text in accepted}


def test_an_event_that_is_no_text_is_refused_alone() -> None:
    answer = post(Server(), b'{"events":[{"type":"\xff"},' + msgspec.json.encode(event()) + b"]}")
    assert [one["status"] for one in answer.json()["results"]] == [422, 202]


def test_a_clock_that_is_wrong_is_corrected() -> None:
    ledger = server()
    late = NOW - dt.timedelta(hours=3)
    body = {"sent_at": late, "events": [event(occurred_at=(late - dt.timedelta(minutes=1)).isoformat())]}
    assert post(ledger, body).status_code == 202
    [arrived] = ledger.events
    assert arrived.occurred_at == NOW - dt.timedelta(minutes=1)


def test_gzip_is_read() -> None:
    ledger = Server()
    body = gzip.compress(msgspec.json.encode({"events": [event()]}))
    assert post(ledger, body, Content_Encoding="gzip").json()["accepted"] == 1


def test_failures_come_in_their_order_and_where_they_were_asked_for() -> None:
    ledger = server()
    waits: list[float] = []
    ledger.fail(429, retry_after=7, path="/podcasts")
    ledger.fail(httpx.ConnectError("down"), path="/podcasts")
    with ledger.client(sleep=waits.append) as client:
        assert client.analytics.downloads().total == 6
        assert len(list(client.podcasts.list())) == 2
        assert waits[0] == 7
        ledger.fail(401)
        with pytest.raises(AuthenticationError):
            client.podcasts.get(talk.podcast_id)
        ledger.fail(429, retry_after=60, code="quota_exceeded")
        with pytest.raises(RateLimited, match="quota_exceeded") as caught:
            client.podcasts.get(talk.podcast_id)
        assert caught.value.retry_after == 60
        ledger.fail(httpx.ReadError("cut"), times=3)
        with pytest.raises(APIConnectionError):
            client.podcasts.get(talk.podcast_id)
        assert client.podcasts.get(talk.podcast_id) == talk
    assert [request.status for request in ledger.requests] == [200, 429, 0, 200, 401, 429, 0, 0, 0, 200]


def test_an_event_is_refused_or_asked_for_again_when_a_test_wants_it() -> None:
    ledger = Server()
    ledger.refuse("purchase", code="validation_failed")
    ledger.refuse(status=503, code="unavailable")
    with ledger.client() as client:
        client.track("purchase")
        client.track("signup")
        client.track("page_view")
        assert client.flush()
        assert client.stats().sent == 2
        assert client.stats().refused == {"collector.validation_failed": 1}
    assert sorted(one.type for one in ledger.events) == ["page_view", "signup"]


@pytest.fixture
def listening() -> Iterator[tuple[Server, str]]:
    """A server on a port of this machine."""
    ledger = server()
    with ledger.listen() as url:
        yield ledger, url


def test_it_listens_for_clients_that_bring_no_transport(listening: tuple[Server, str]) -> None:
    ledger, url = listening
    with Castledger(ledger.api_key, base_url=url, collector_url=url) as client:
        assert client.podcasts.get(talk.podcast_id) == talk
        client.track("signup")
        assert client.flush()
        assert [one.type for one in ledger.events] == ["signup"]
        ledger.fail(httpx.ConnectError("down"))
        assert len(list(client.podcasts.list())) == 2
    assert [request.status for request in ledger.requests].count(0) == 1


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(_server) == (0, 3)
    assert doctest.testmod(_ledger) == (0, 4)
