"""The rules of delivery without threads and clocks: whatever is answered, no event is forgotten, none invented."""

from __future__ import annotations

import datetime as dt
import doctest
import json
from collections import deque
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from castledger import _spool, _worker
from castledger._worker import (
    MAX_BATCH_BYTES,
    MAX_QUEUE_BYTES,
    Counts,
    EventQueue,
    MemorySource,
    Post,
    Reply,
    Worker,
    encode_body,
    read_verdicts,
    take_batch,
)

_statuses = st.sampled_from([202, 202, 202, 408, 413, 422, 429, 500, 503])
_outcomes = st.one_of(
    st.just("ConnectError"),
    st.lists(_statuses, min_size=1, max_size=8),
    st.builds(
        Reply,
        st.sampled_from([200, 301, 400, 404, 408, 413, 429, 500, 503]),
        st.sampled_from([b"", b"hello", b"{}", b'{"results":[]}', b'{"code":"invalid_body"}']),
        st.none() | st.floats(0, 1e9),
    ),
)


def made(*, batch_size: int = 4, queue_size: int = 1000, interval: float = 2.0) -> tuple[EventQueue, Counts, Worker]:
    queue, counts = EventQueue(queue_size, batch_size=batch_size), Counts(None, clock=lambda: 0.0)
    worker = Worker(MemorySource(queue), counts, batch_size=batch_size, flush_interval=interval, chance=lambda: 0.5)
    return queue, counts, worker


def verdict_reply(post: Post, statuses: list[int]) -> Reply:
    """Give the events these statuses, in turn."""
    given = [statuses[number % len(statuses)] for number in range(len(post.items))]
    return Reply(202, json.dumps({"results": [{"status": status} for status in given]}).encode())


@given(sizes=st.lists(st.integers(1, 40), max_size=50), most=st.integers(1, 10), most_bytes=st.integers(1, 100))
def test_batches_are_what_was_there_in_its_order(sizes: list[int], most: int, most_bytes: int) -> None:
    events = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    waiting, taken = deque(events), []
    while batch := take_batch(waiting, most=most, most_bytes=most_bytes):
        assert len(batch) <= most
        assert len(batch) == 1 or sum(map(len, batch)) <= most_bytes
        # No smaller than it has to be.
        assert len(batch) == most or not waiting or sum(map(len, batch)) + len(waiting[0]) > most_bytes
        taken += batch
    assert taken == events


@given(sizes=st.lists(st.integers(1, 1_500_000), max_size=60), most=st.integers(1, 40))
def test_a_queue_never_holds_more_than_it_may(sizes: list[int], most: int) -> None:
    queue, kept = EventQueue(most, batch_size=1), []
    for number, size in enumerate(sizes):
        payload = bytes(size)
        is_taken = queue.put(payload) is not None
        fits = len(queue) - is_taken < most and queue.size_bytes + size * (not is_taken) <= MAX_QUEUE_BYTES
        assert is_taken == fits
        kept += [payload] * is_taken
        if number % 7 == 6:
            batch = queue.take(3)
            assert kept[: len(batch)] == batch
            del kept[: len(batch)]
        assert queue.size_bytes == sum(map(len, kept)) <= MAX_QUEUE_BYTES
        assert len(queue) == len(kept) <= most


@given(counts=st.lists(st.integers(0, 12), max_size=12), outcomes=st.lists(_outcomes, max_size=40))
def test_every_event_has_one_outcome_in_the_end(counts: list[int], outcomes: list[Any]) -> None:
    queue, books, worker = made()
    now, number = 0.0, 0
    accepted: list[bytes] = []
    script = deque(outcomes)
    for more in [*counts, 0]:
        for _ in range(more):
            queue.put(b"%d" % number)
            number += 1
        while (step := worker.next(now, hurry=True)) is not None:
            assert worker.waiting > 0
            if not isinstance(step, Post):
                assert 0 < step <= 3600 + 30
                now += step
                continue
            assert 1 <= len(step.items) <= 4
            outcome = script.popleft() if script else [202]
            reply = verdict_reply(step, outcome) if isinstance(outcome, list) else outcome
            if isinstance(reply, Reply):
                verdicts = read_verdicts(reply.body, len(step.items)) if 200 <= reply.status < 300 else None
                accepted += [
                    item.payload
                    for item, verdict in zip(step.items, verdicts or (), strict=False)
                    if verdict.is_accepted
                ]
            worker.answered(reply, now)
    assert worker.waiting == 0
    assert len({*accepted}) == len(accepted) == books.sent
    refused, lost = sum(books.refusals().values()), sum(books.losses().values())
    assert books.sent + refused + lost == number == queue.tracked
    assert {*books.losses()} <= {"rejected", "too_large"}


def test_a_batch_waits_for_others_and_not_for_ever() -> None:
    queue, _, worker = made(batch_size=3, interval=2.0)
    assert worker.next(0.0, hurry=False) is None
    queue.put(b"1")
    assert worker.next(10.0, hurry=False) == 2.0
    queue.put(b"2")
    assert worker.next(11.5, hurry=False) == 0.5
    step = worker.next(12.0, hurry=False)
    assert isinstance(step, Post)
    assert step.payloads == [b"1", b"2"]
    worker.answered(verdict_reply(step, [202]), 12.0)
    for payload in (b"3", b"4", b"5", b"6"):
        queue.put(payload)
    full = worker.next(13.0, hurry=False)
    assert isinstance(full, Post)
    assert full.payloads == [b"3", b"4", b"5"]
    worker.answered(verdict_reply(full, [202]), 13.0)
    assert worker.next(13.0, hurry=False) == 2.0
    assert isinstance(worker.next(13.0, hurry=True), Post)


def test_bytes_fill_a_batch_too() -> None:
    queue, _, worker = made(batch_size=100)
    queue.asleep = False
    woken = [queue.put(b"x" * 30_000) for _ in range(40)]
    # 18 times 30,000 bytes are the first beyond 512 KiB.
    assert [number for number, is_woken in enumerate(woken) if is_woken] == [17]
    step = worker.next(0.0, hurry=False)
    assert isinstance(step, Post)
    assert len(step.items) == MAX_BATCH_BYTES // 30_000


def waits(*replies: Reply | str) -> list[float]:
    """Say how long one event waits after each answer."""
    queue, _, worker = made()
    queue.put(b"1")
    now, found = 0.0, []
    for reply in replies:
        assert isinstance(worker.next(now, hurry=True), Post)
        worker.answered(reply, now)
        step = worker.next(now, hurry=True)
        assert isinstance(step, float)
        found.append(step)
        now += step
    return found


def test_waits_grow_with_failures_up_to_half_a_minute() -> None:
    assert waits(*["ConnectError"] * 9) == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]


def test_the_collectors_own_time_is_kept_within_an_hour() -> None:
    assert waits(Reply(429, b"", 7.0), Reply(503, b"", 0.0), Reply(503, b"", 1e9)) == [7.25, 0.5, 3601.0]


def test_a_wrong_key_is_asked_about_seldom() -> None:
    assert waits(*[Reply(401, b"")] * 6) == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]


def test_what_is_on_its_way_when_all_is_given_up_is_counted_by_its_answer() -> None:
    for reply, expected in ((Reply(503, b""), {"closed": 3}), ("ReadTimeout", {"closed": 3}), (None, {"closed": 1})):
        queue, counts, worker = made(batch_size=2)
        for payload in (b"1", b"2", b"3"):
            queue.put(payload)
        step = worker.next(0.0, hurry=True)
        assert isinstance(step, Post)
        worker.give_up()
        assert counts.losses() == {"closed": 1}
        worker.answered(verdict_reply(step, [202]) if reply is None else reply, 0.0)
        assert counts.losses() == expected
        assert (worker.waiting, worker.next(9e9, hurry=True)) == (0, None)


def test_a_collector_that_names_ever_new_reasons_fills_no_memory() -> None:
    counts = Counts(None)
    for number in range(1000):
        counts.refused_by_collector(f"field{number}.code")
        counts.lose(f"reason{number}")
    assert len(counts.refusals()) == len(counts.losses()) == 101
    assert sum(counts.refusals().values()) == 1000


@given(events=st.lists(st.binary(max_size=5).map(lambda data: json.dumps(data.hex()).encode()), min_size=1))
def test_a_body_is_the_events_in_an_envelope(events: list[bytes]) -> None:
    body = json.loads(encode_body(events, sent_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), lost={"queue_full": 1}))
    assert body["events"] == [json.loads(event) for event in events]
    assert (body["sent_at"], body["lost"]) == ("2026-01-01T00:00:00Z", {"queue_full": 1})


@given(
    body=st.binary(max_size=50)
    | st.recursive(st.none() | st.integers(), st.lists).map(lambda value: json.dumps({"results": value}).encode())
)
def test_whatever_is_answered_is_read_or_is_no_answer(body: bytes) -> None:
    verdicts = read_verdicts(body, 1)
    assert verdicts is None or len(verdicts) == 1


def test_reasons_name_fields_and_not_positions() -> None:
    def reason(**verdict: Any) -> str:
        found = read_verdicts(json.dumps({"results": [{"status": 422, "new": 1, **verdict}]}).encode(), 1)
        assert found is not None
        return found[0].reason

    def fault(pointer: str) -> dict[str, str]:
        return {"pointer": pointer, "code": "too_long", "message": "hunter2"}

    assert reason(code="validation_failed", errors=[fault("/events/3/properties/hunter2")]) == "properties.too_long"
    assert reason(code="validation_failed", errors=[fault("")]) == "event.too_long"
    assert reason(event_id=str(UUID(int=1)), code="event_too_large") == "event_too_large"
    assert reason() == "422"


def test_the_examples_of_the_docstrings_hold() -> None:
    for module in (_worker, _spool):
        result = doctest.testmod(module)
        assert (result.failed, result.attempted > 0) == (0, True)
