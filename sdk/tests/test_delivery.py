"""Events arrive, with both clients: once each, whatever the collector answers, and losses are counted."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
from typing import Any

import httpx
import pytest

from castledger import AsyncCastledger, Castledger, ConfigurationError, EventsHeldUp, EventsLost, __version__
from sdk.tests.collectors import (
    Answer,
    AsynchronousTracker,
    BlockingTracker,
    Cut,
    Event,
    Hang,
    Tracker,
    collecting,
    nobody,
    verdicts,
    wait_for,
)
from sdk.tests.twin import KEY

PROBLEM = {"Content-Type": "application/problem+json"}


@pytest.fixture(params=[BlockingTracker, AsynchronousTracker], ids=["blocking", "asynchronous"])
def tracker(request: pytest.FixtureRequest) -> type[Tracker]:
    """Each client in turn."""
    kind: type[Tracker] = request.param
    return kind


def test_events_arrive_in_batches(tracker: type[Tracker]) -> None:
    with collecting() as collector:
        client = tracker(collector.url, batch_size=10)
        ids = sorted(str(client.track("signup", promo_code=f"S{number}")) for number in range(95))
        assert client.flush()
        assert collector.ids == ids
        stats = client.stats()
        client.close()
    assert (stats.tracked, stats.sent, stats.queued, dict(stats.lost)) == (95, 95, 0, {})
    assert all(1 <= len(body["events"]) <= 10 for body in collector.bodies)
    assert collector.bodies[0]["library"] == f"castledger-python/{__version__}"
    assert collector.bodies[0]["sent_at"].endswith("Z")
    assert "lost" not in collector.bodies[0]
    assert collector.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert collector.headers[0]["Content-Type"] == "application/json"


def test_events_arrive_without_being_asked_for(tracker: type[Tracker]) -> None:
    with collecting() as collector:
        client = tracker(collector.url)
        client.track("signup")
        client.wait_for(lambda: client.stats().sent == 1)
        client.track("signup")
        client.wait_for(lambda: client.stats().sent == 2)
        client.close()
    assert len(collector.accepted) == 2


def test_closing_sends_what_waits_and_takes_no_more(tracker: type[Tracker]) -> None:
    told: list[Exception] = []
    with collecting() as collector:
        client = tracker(collector.url, flush_interval=3600, on_error=told.append, strict=True)
        first = client.track("signup")
        client.close()
        assert collector.ids == [str(first)]
        if isinstance(client, BlockingTracker):
            client.close()
            assert client.track("signup") is None
            assert client.flush()
            assert dict(client.stats().lost) == {"closed": 1}
            assert [(type(error), str(error)) for error in told] == [(EventsLost, "1 event(s) lost: closed")]


@pytest.mark.parametrize(
    "failure",
    [
        Cut(),
        Answer(408, b""),
        Answer(429, {"code": "rate_limited"}, {"Retry-After": "0", **PROBLEM}),
        Answer(500, b"<html>"),
        Answer(502, b"<html>"),
        Answer(503, {"code": "unavailable"}, PROBLEM),
        Answer(202, b"<html>hello"),
        Answer(200, {"results": []}),
        Answer(202, {"results": [{"status": "fine"}]}),
        Answer(202, b"\xff"),
        Answer(302, b"", {"Location": "http://127.0.0.1:1/login"}),
        Answer(404, b"nothing here"),
        Answer(400, b"The plain HTTP request was sent to an HTTPS port"),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(tracker: type[Tracker], failure: Any) -> None:
    with collecting(failure, failure) as collector:
        client = tracker(collector.url)
        ids = sorted(str(client.track("signup")) for _ in range(3))
        assert client.flush()
        assert collector.ids == ids
        stats = client.stats()
        client.close()
    assert (stats.sent, stats.failures >= 2, dict(stats.lost), stats.held_up) == (3, True, {}, "")


def test_only_events_that_deserve_it_are_sent_again(tracker: type[Tracker]) -> None:
    def mixed(events: list[Event]) -> Answer:
        return verdicts(events, {0: 503, 1: 422, 3: 429, 4: 413})

    told: list[Exception] = []
    with collecting(mixed) as collector:
        client = tracker(collector.url, batch_size=6, flush_interval=3600, on_error=told.append)
        ids = [str(client.track("signup")) for _ in range(6)]
        assert client.flush()
        stats = client.stats()
        client.close()
    assert collector.ids == sorted(ids[number] for number in (0, 2, 3, 5))
    assert [event["event_id"] for event in collector.bodies[1]["events"]] == [ids[0], ids[3]]
    assert (stats.sent, stats.queued) == (4, 0)
    assert dict(stats.refused) == {"collector.url.too_old": 2}
    assert told == []


def test_a_wrong_key_is_told_once_and_not_stormed_with(
    tracker: type[Tracker], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Exception] = []
    refusal = Answer(401, {"code": "unauthorized"}, PROBLEM)
    with collecting(*[refusal] * 50) as collector, caplog.at_level(logging.DEBUG, "castledger"):
        # The first batch is all five, however busy the machine is.
        client = tracker(collector.url, queue_size=20, batch_size=5, flush_interval=3600, on_error=told.append)
        for _ in range(5):
            client.track("signup")
        client.wait_for(lambda: client.stats().held_up == "unauthorized")
        # At once, since the pause is longer than that.
        assert not client.flush(5.0)
        for _ in range(40):
            client.track("signup")
        stats = client.stats()
        client.close(0.2)
    assert len(collector.bodies) == 1
    assert (stats.queued, dict(stats.lost)) == (25, {"unauthorized": 20})
    assert [type(error) for error in told if not isinstance(error, EventsLost)] == [EventsHeldUp]
    assert sum(error.count for error in told if isinstance(error, EventsLost)) == 45
    assert dict(client.stats().lost) == {"unauthorized": 20, "closed": 25}
    assert [record.levelname for record in caplog.records if "key is wrong" in record.getMessage()] == ["ERROR"]
    assert KEY not in caplog.text


def test_what_is_no_collector_is_told(tracker: type[Tracker]) -> None:
    told: list[Exception] = []
    with collecting(Answer(404, b"?")) as collector:
        client = tracker(collector.url, on_error=told.append)
        client.track("signup")
        assert client.flush()
        client.close()
    assert [str(error).partition(".")[0] for error in told] == [
        "what answers at collector_url (404) is not the collector, or its version and this SDK's are too far apart"
    ]


def test_a_batch_that_is_too_large_is_split(tracker: type[Tracker]) -> None:
    def at_most_three(events: list[Event]) -> Answer:
        return verdicts(events) if len(events) <= 3 else Answer(413, {"code": "too_many_events"}, PROBLEM)

    with collecting(*[at_most_three] * 40) as collector:
        client = tracker(collector.url, batch_size=50, flush_interval=3600)
        ids = sorted(str(client.track("signup")) for _ in range(50))
        assert client.flush()
        client.close()
    assert collector.ids == ids


def test_an_event_that_is_too_large_alone_is_lost(tracker: type[Tracker]) -> None:
    told: list[Exception] = []
    with collecting(Answer(413, {"code": "too_large"}, PROBLEM)) as collector:
        client = tracker(collector.url, on_error=told.append)
        client.track("signup")
        assert client.flush()
        client.close()
    assert [str(error) for error in told] == ["1 event(s) lost: too_large"]


def test_a_batch_that_the_collector_refuses_is_lost_and_told_to_it(tracker: type[Tracker]) -> None:
    with collecting(Answer(400, {"code": "invalid_body"}, PROBLEM)) as collector:
        client = tracker(collector.url, batch_size=3, flush_interval=3600)
        for _ in range(3):
            client.track("signup")
        assert client.flush()
        client.track("signup", promo_code="")
        client.track("signup")
        assert client.flush()
        client.track("signup")
        assert client.flush()
        client.close()
    assert [body.get("lost") for body in collector.bodies] == [None, {"rejected": 3, "refused": 1}, None]


def test_losses_stay_untold_until_somebody_understands(tracker: type[Tracker]) -> None:
    with collecting(Answer(503, b""), Cut()) as collector:
        client = tracker(collector.url)
        client.track("signup", promo_code="")
        client.track("signup")
        assert client.flush()
        client.close()
    assert [body.get("lost") for body in collector.bodies] == [{"refused": 1}] * 3


def test_an_event_that_breaks_the_collector_does_not_hold_up_others(tracker: type[Tracker]) -> None:
    def breaking(events: list[Event]) -> Answer:
        is_broken = any(event["type"] == "breaks" for event in events)
        return Answer(500, b"oops") if is_broken else verdicts(events)

    with collecting(*[breaking] * 500) as collector:
        client = tracker(collector.url, batch_size=8)
        client.track("breaks")
        for _ in range(30):
            client.track("signup")
        client.wait_for(lambda: client.stats().sent == 30)
        client.close(0.0)
    assert len(collector.ids) == len({*collector.ids}) == 30
    assert dict(client.stats().lost) == {"closed": 1}


def test_a_full_queue_drops_what_comes_last_and_says_so(tracker: type[Tracker]) -> None:
    told: list[Exception] = []
    with collecting(Hang()) as collector:
        client = tracker(collector.url, queue_size=5, batch_size=2, on_error=told.append, timeout=30.0)
        client.track("first")
        client.wait_for(lambda: len(collector.bodies) == 1)
        kept = [client.track("signup") for _ in range(12)]
        stats = client.stats()
        assert [event is not None for event in kept] == [True] * 5 + [False] * 7
        assert (stats.tracked, stats.queued, dict(stats.lost)) == (6, 6, {"queue_full": 7})
        client.close(0.1)
    assert {str(error) for error in told} >= {"7 event(s) lost: queue_full"}


def test_events_outlast_a_collector_that_comes_back(tracker: type[Tracker]) -> None:
    client = tracker(nobody())
    client.track("signup")
    client.wait_for(lambda: client.stats().failures > 0)
    assert client.stats().queued == 1
    client.close(0.0)
    assert dict(client.stats().lost) == {"closed": 1}


def test_a_transport_that_raises_anything_harms_nobody(tracker: type[Tracker]) -> None:
    class Odd(httpx.BaseTransport, httpx.AsyncBaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            raise ZeroDivisionError

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise ZeroDivisionError

    client = tracker("http://collector.example.com", collector_transport=Odd())
    client.track("signup")
    client.wait_for(lambda: client.stats().failures > 1)
    client.close(0.0)


def test_a_listener_may_use_the_client(tracker: type[Tracker]) -> None:
    calls: list[str] = []

    def listener(error: Exception) -> None:
        calls.append(type(error).__name__)
        if isinstance(client, BlockingTracker):
            client.flush(30.0)
            client.track("signup")

    with collecting(Answer(404, b"?")) as collector:
        client = tracker(collector.url, on_error=listener)
        client.track("signup")
        client.wait_for(lambda: client.stats().sent == client.stats().tracked and len(calls) == 1)
        client.close()


def test_a_client_that_is_not_enabled_does_nothing(tracker: type[Tracker]) -> None:
    threads = threading.active_count()
    with collecting() as collector:
        client = tracker(collector.url, enabled=False, strict=True)
        assert client.track("this is refused otherwise", value_amount=-1) is None
        assert client.flush()
        assert threading.active_count() == threads + 1
        client.close()
    assert collector.bodies == []
    assert client.stats().refused == client.stats().lost == {}


def test_no_thread_runs_before_something_is_tracked() -> None:
    before = threading.active_count()
    client = Castledger(KEY, collector_url=nobody())
    client.track("Refused")
    assert client.flush()
    client.close()
    assert threading.active_count() == before


def test_threads_track_side_by_side() -> None:
    with collecting() as collector, Castledger(KEY, collector_url=collector.url) as client:
        found: list[str] = []

        def track() -> None:
            found.extend(str(client.track("signup")) for _ in range(500))

        threads = [threading.Thread(target=track) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.flush()
        assert collector.ids == sorted(found)
        assert client.stats().tracked == 4000


def test_the_thread_ends_with_a_client_that_was_forgotten() -> None:
    with collecting() as collector:
        client = Castledger(KEY, collector_url=collector.url, flush_interval=3600)
        tracked = str(client.track("signup"))
        del client
        gc.collect()
        wait_for(lambda: collector.ids == [tracked])
        wait_for(lambda: not any(thread.name == "castledger-events" for thread in threading.enumerate()))


def test_other_threads_may_track_with_the_asynchronous_client() -> None:
    async def main() -> list[str]:
        async with AsyncCastledger(KEY, collector_url=collector.url) as client:
            tracked = [client.track("signup")]
            tracked += await asyncio.gather(*(asyncio.to_thread(client.track, "signup") for _ in range(50)))
            assert await client.flush()
            return sorted(map(str, tracked))

    with collecting() as collector:
        assert asyncio.run(main()) == collector.ids


def test_events_of_a_loop_that_ended_are_sent_on_the_next() -> None:
    async def leave() -> None:
        client.track("signup")
        await asyncio.to_thread(wait_for, lambda: len(collector.bodies) == 1)
        client.track("signup")

    async def finish() -> None:
        client.track("signup")
        assert await client.flush()
        await client.aclose()

    with collecting(Hang()) as collector:
        client = AsyncCastledger(KEY, collector_url=collector.url, flush_interval=0.01)
        # Nobody runs yet.
        client.track("signup")
        asyncio.run(leave())
        assert client.stats().queued == 3
        asyncio.run(finish())
        assert len({*collector.ids}) == len(collector.ids) == client.stats().sent == 4


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"collector_url": "nonsense"}, "collector_url"),
        ({"collector_url": "http://user:hunter2@x.example"}, "collector_url"),
        ({"queue_size": 0}, "queue_size"),
        ({"queue_size": 1.5}, "queue_size"),
        ({"batch_size": 501}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"flush_interval": 0}, "flush_interval"),
        ({"flush_interval": float("nan")}, "flush_interval"),
        ({"spool_mb": 0}, "spool_mb"),
    ],
)
def test_misuse_raises_when_a_client_is_made(options: dict[str, Any], name: str) -> None:
    for kind in (Castledger, AsyncCastledger):
        with pytest.raises(ConfigurationError, match=f"^{name}: ") as caught:
            kind(KEY, **options)
        assert "hunter2" not in str(caught.value)


def test_the_environment_names_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("CASTLEDGER_COLLECTOR_URL", collector.url)
        with Castledger(KEY) as client:
            client.track("signup")
    assert len(collector.accepted) == 1
    assert json.loads(json.dumps(collector.bodies[0]))["events"][0]["type"] == "signup"
