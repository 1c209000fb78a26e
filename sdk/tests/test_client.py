"""What both clients ask, and how they read what is answered."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from castledger import AsyncCastledger, Castledger, UnexpectedAnswer
from sdk.tests.twin import API, END, KEY, PODCASTS, REPORT, START, Caller


def client(api: API, **options: Any) -> Castledger:
    return Castledger(KEY, transport=httpx.MockTransport(api), **options)


def test_lists_page_by_themselves(caller: type[Caller]) -> None:
    api = API()
    assert caller(api).titles() == [f"Show {number}" for number in range(5)]
    assert [request.url.params.get("cursor") for request in api.asked] == [None, "2", "4"]
    assert {request.headers["authorization"] for request in api.asked} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("cursors", [["2", "2"], ["2", "4", "2"]], ids=["the same", "in a circle"])
def test_a_cursor_that_comes_again_ends_the_list_with_an_error(caller: type[Caller], cursors: list[str]) -> None:
    pages = [httpx.Response(200, json={"data": PODCASTS[:2], "next_cursor": cursor}) for cursor in cursors]
    api = API(*pages)
    with pytest.raises(UnexpectedAnswer, match=r"/podcasts gave the same cursor twice"):
        caller(api).titles()
    assert len(api.asked) == len(cursors)


def test_what_came_before_a_broken_list_is_handed_out() -> None:
    page = {"data": PODCASTS[:2], "next_cursor": "2"}
    read: list[str] = []
    with client(API(*[httpx.Response(200, json=page) for _ in range(3)])) as ledger, pytest.raises(UnexpectedAnswer):
        read += (podcast.title for podcast in ledger.podcasts.list())
    # Extending a list takes over what a generator gave before it raised.
    assert read == ["Show 0", "Show 1", "Show 0", "Show 1"]


def test_a_report_is_asked_for_and_read(caller: type[Caller]) -> None:
    api = API()
    start = dt.datetime(2026, 11, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    report = caller(api).report(podcast_id=UUID(int=1), start=start, by="app", tz="Europe/Berlin")
    assert dict(api.asked[0].url.params) == {
        "podcast_id": str(UUID(int=1)),
        "interval": "day",
        "by": "app",
        "tz": "Europe/Berlin",
        "from": "2026-11-01T00:00:00+01:00",
        "to": "2026-12-01",
    }
    assert report.data[0].start == dt.datetime(2026, 11, 2, 8, tzinfo=dt.UTC)
    assert report.total == 14
    assert (report.start.isoformat(), report.end.isoformat()) == (REPORT["from"], REPORT["to"])
    assert (report.tz, report.interval, report.lists.networks) == ("Europe/Berlin", "day", "none")


def test_an_answer_without_an_offset_is_refused_and_its_place_named(caller: type[Caller]) -> None:
    answer = httpx.Response(200, json={**REPORT, "cutoff": "2026-11-02T08:00:00"}, headers={"X-Request-Id": "r-3"})
    with pytest.raises(UnexpectedAnswer, match=r"timezone.*\$\.cutoff") as caught:
        caller(API(answer)).report()
    assert (caught.value.status, caught.value.request_id) == (200, "r-3")


def test_instants_without_a_time_zone_are_refused_before_asking(caller: type[Caller]) -> None:
    api = API()
    naive = dt.datetime(2026, 11, 1)  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="start: an instant needs a time zone"):
        caller(api).report(start=naive)
    with pytest.raises(ValueError, match="end: an instant needs a time zone"):
        caller(api).report(end=naive)
    with pytest.raises(TypeError, match="start: is a date or an aware datetime, not str"):
        caller(api).report(start="2026-11-01")
    assert api.asked == []


def test_odd_questions_are_refused_before_asking() -> None:
    api = API()
    naive = dt.datetime(2026, 11, 1)  # noqa: DTZ001 - that is the point
    with client(api) as ledger:
        with pytest.raises(ValueError, match="start: an instant needs"):
            ledger.analytics.hits(start=naive, end=END)
        with pytest.raises(ValueError, match="not an instant"):
            ledger.analytics.explain(day=naive, podcast_id=UUID(int=1))
        with pytest.raises(ValueError, match="either"):
            ledger.analytics.explain(day=START)
        with pytest.raises(ValueError, match="badly formed"):
            ledger.podcasts.get("../secrets")
        with pytest.raises(ValueError, match="h_1a-ff"):
            ledger.analytics.hit("h_/../x")
    assert api.asked == []


def test_writes_have_a_key_of_their_own() -> None:
    api = API()
    with client(api) as ledger:
        ledger.podcasts.create(feed_url="https://x.example.org/feed")
        ledger.podcasts.create_from_feed(b"<rss/>")
    assert api.asked[0].headers["idempotency-key"] != api.asked[1].headers["idempotency-key"]
    assert json.loads(api.asked[0].content) == {"feed_url": "https://x.example.org/feed"}
    assert api.asked[1].headers["content-type"] == "application/rss+xml"


@pytest.mark.anyio
async def test_the_asynchronous_client_reads_everything_in_one_loop() -> None:
    api = API()
    async with AsyncCastledger(KEY, transport=httpx.MockTransport(api)) as ledger:
        assert len([podcast async for podcast in ledger.podcasts.list()]) == 5
        assert (await ledger.analytics.downloads(start=START, end=END)).total == 14
        with pytest.raises(ValueError, match="either"):
            await ledger.analytics.explain(day=START)


def test_a_path_in_front_of_the_api_is_kept(caller: type[Caller]) -> None:
    api = API()
    with pytest.raises(UnexpectedAnswer):
        caller(api, base_url="https://example.com/ledger/").titles()
    assert str(api.asked[0].url) == "https://example.com/ledger/api/v1/podcasts?limit=200"
