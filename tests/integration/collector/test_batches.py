"""Batches over real HTTP: every row of the contract, and what of it is in the spool."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from analytics_core.addresses import UNSPECIFIED, pack_address
from analytics_core.api_keys import KeyKind, new_key
from analytics_core.event_batches import MAX_BODY_BYTES
from analytics_core.events import EventSource
from analytics_core.registry import CollectorKey
from tests.collectors import EVENTS, ORIGIN, CollectorProcess, Keys, write_keys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EXPIRED, SUSPENDED, CLOSING = (new_key() for _ in range(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("collector")


@pytest.fixture(scope="module")
def keys(folder: Path) -> Keys:
    return write_keys(
        folder,
        more={
            EXPIRED: CollectorKey(tenant_no=7, expires_us=time.time_ns() // 1000 - 1),
            SUSPENDED: CollectorKey(tenant_no=8, status="suspended"),
            CLOSING: CollectorKey(tenant_no=9, status="closing"),
        },
    )


@pytest.fixture(scope="module")
def collector(folder: Path, keys: Keys) -> Iterator[CollectorProcess]:
    environ = {"COLLECTOR_TRUSTED_PROXIES": "127.0.0.1/32", "COLLECTOR_NETWORK_RATE": "0", "COLLECTOR_RATE": "0"}
    with CollectorProcess(folder, **environ) as process:
        yield process


def event(**fields: Any) -> dict[str, Any]:
    return {"event_id": str(uuid4()), "type": "signup", **fields}


def batch(*events: Any) -> dict[str, Any]:
    return {"events": events or (event(),)}


def test_a_server_sends_events_that_are_in_the_spool_before_they_are_answered(
    collector: CollectorProcess, keys: Keys
) -> None:
    before_us = time.time_ns() // 1000
    sent = [event(customer_id="u_1", properties={"plan": "pro"}), event(type="A"), event()]
    answer = collector.send(keys.secret, batch(*sent), headers={"User-Agent": "shop/1.0", "X-Forwarded-For": "8.8.8.8"})
    first, last = collector.events()[-2:]
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    told = answer.json()
    assert [(one["event_id"], one["status"]) for one in told["results"]] == [
        (sent[0]["event_id"], 202),
        (sent[1]["event_id"], 422),
        (sent[2]["event_id"], 202),
    ]
    assert told["results"][1]["code"] == "validation_failed"
    [fault] = told["results"][1]["errors"]
    assert set(fault) == {"pointer", "code", "message"}
    assert fault["pointer"] == "/events/1/type"
    assert (told["accepted"], told["refused"], told["ignored"]) == (2, 1, [])
    assert (str(first.record.event_id), str(last.record.event_id)) == (sent[0]["event_id"], sent[2]["event_id"])
    assert first.record.tenant_no == 7
    assert first.record.source is EventSource.SERVER
    assert first.record.customer_id == "u_1"
    assert first.record.properties == {"plan": "pro"}
    assert before_us <= first.received_us == first.record.occurred_us <= time.time_ns() // 1000
    # Of a server neither is told: they are nobody's.
    assert (first.address, first.record.agent) == (UNSPECIFIED, "")


def test_a_browser_sends_events_with_its_address_and_agent(collector: CollectorProcess, keys: Keys) -> None:
    headers = {"Origin": ORIGIN, "User-Agent": "Mozilla/5.0 " + "x" * 600, "X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
    answer = collector.send(keys.publishable, batch(), headers=headers)
    assert answer.status_code == 202
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["vary"] == "Origin"
    stored = collector.events()[-1]
    assert stored.record.source is EventSource.BROWSER
    assert stored.address == pack_address("203.0.113.9")
    assert stored.record.agent == headers["User-Agent"][:512]


def test_a_beacon_shows_its_key_in_the_address_and_sends_json_as_text(collector: CollectorProcess, keys: Keys) -> None:
    one = event(type="page_view")
    answer = collector.client.post(
        f"{EVENTS}?k={keys.publishable}",
        content=json.dumps(batch(one)).encode(),
        headers={"Origin": ORIGIN, "Content-Type": "text/plain;charset=UTF-8"},
    )
    assert answer.status_code == 202
    assert str(collector.events()[-1].record.event_id) == one["event_id"]


def test_preflights_of_any_page_are_answered_without_a_key(collector: CollectorProcess) -> None:
    asked = {"Origin": "https://anybody.example", "Access-Control-Request-Method": "POST"}
    answer = collector.client.options(EVENTS, headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert {"Authorization", "Content-Type"} <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_the_scheme_is_written_in_any_case(collector: CollectorProcess, keys: Keys, scheme: str) -> None:
    answer = collector.send("", batch(), headers={"Authorization": scheme + keys.secret})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "key",
    ["", "x", "cl_live_" + "A" * 38, new_key(), new_key(KeyKind.PUBLISHABLE), EXPIRED],
    ids=["none", "none of ours", "cut", "unknown", "unknown publishable", "expired"],
)
def test_a_key_that_is_not_valid_is_refused_and_nothing_is_recorded(collector: CollectorProcess, key: str) -> None:
    recorded = len(collector.events())
    answer = collector.send(key, batch())
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert len(collector.events()) == recorded


def test_a_secret_key_in_an_address_is_refused_for_the_place(collector: CollectorProcess, keys: Keys) -> None:
    answer = collector.client.post(f"{EVENTS}?k={keys.secret}", json=batch())
    assert answer.status_code == 401
    assert "Authorization" in answer.json()["detail"]
    assert keys.secret not in answer.text


@pytest.mark.parametrize(
    ("key", "origin", "code"),
    [
        ("secret", ORIGIN, "secret_key_in_browser"),
        ("publishable", None, "origin_not_allowed"),
        ("publishable", "https://evil.example", "origin_not_allowed"),
        ("publishable", "null", "origin_not_allowed"),
        ("publishable", ORIGIN + ".evil.example", "origin_not_allowed"),
        pytest.param(SUSPENDED, None, "tenant_suspended", id="suspended"),
        pytest.param(CLOSING, None, "tenant_closing", id="closing"),
    ],
)
def test_a_valid_key_in_the_wrong_place_is_forbidden(
    collector: CollectorProcess, keys: Keys, key: str, origin: str | None, code: str
) -> None:
    recorded = len(collector.events())
    headers = {} if origin is None else {"Origin": origin}
    answer = collector.send(getattr(keys, key, key), batch(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert "access-control-allow-origin" not in answer.headers
    assert len(collector.events()) == recorded


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/xml", "application/x-www-form-urlencoded"])
def test_a_body_of_another_type_is_refused(collector: CollectorProcess, keys: Keys, media_type: str) -> None:
    answer = collector.send(keys.secret, batch(), headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b"[]", 400, "invalid"),
        (b'{"events": 1}', 400, "invalid"),
        (b'{"events": [' + b"1," * 500 + b"1]}", 413, "too_many_events"),
        (b'{"events": ["' + b"x" * MAX_BODY_BYTES + b'"]}', 413, "too_large"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_whole(
    collector: CollectorProcess, keys: Keys, body: bytes, status: int, code: str
) -> None:
    # What is too large is not read to its end, which ends the connection.
    answer = collector.send(keys.secret, body, headers={"Connection": "close"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) <= {"title", "status", "detail", "code", "errors"}


def test_a_page_may_read_why_its_batch_was_refused(collector: CollectorProcess, keys: Keys) -> None:
    answer = collector.send(keys.publishable, b"{", headers={"Origin": ORIGIN})
    assert answer.status_code == 400
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def _deflated(data: bytes) -> bytes:
    return zlib.compress(data)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_bodies_may_be_compressed(collector: CollectorProcess, keys: Keys, encoding: str, compress: Any) -> None:
    one = event()
    answer = collector.send(
        keys.secret, compress(json.dumps(batch(one)).encode()), headers={"Content-Encoding": encoding}
    )
    assert answer.json()["accepted"] == 1
    assert str(collector.events()[-1].record.event_id) == one["event_id"]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
@pytest.mark.parametrize("spoil", ["bomb", "cut", "more", "none", "twice"])
def test_compressed_bodies_that_are_none_or_too_large_are_refused(
    collector: CollectorProcess, keys: Keys, encoding: str, compress: Any, spoil: str
) -> None:
    good = compress(json.dumps(batch()).encode())
    body = {
        "bomb": compress(b" " * (64 * 1024 * 1024)) if spoil == "bomb" else b"",
        "cut": good[:-5],
        "more": good + b"x",
        "none": b"{}",
        "twice": good + good,
    }[spoil]
    answer = collector.send(keys.secret, body, headers={"Content-Encoding": encoding})
    expected = (413, "too_large") if spoil == "bomb" else (400, "malformed_encoding")
    assert (answer.status_code, answer.json()["code"]) == expected


def test_a_frame_that_asks_for_a_window_of_a_gigabyte_is_refused(collector: CollectorProcess, keys: Keys) -> None:
    parameters: dict[int, int] = {zstd.CompressionParameter.window_log: 30}
    compressor = zstd.ZstdCompressor(options=parameters)
    body = compressor.compress(json.dumps(batch()).encode()) + compressor.flush()
    answer = collector.send(keys.secret, body, headers={"Content-Encoding": "zstd"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_encoding")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "x"])
def test_other_encodings_are_named_as_unknown(collector: CollectorProcess, keys: Keys, encoding: str) -> None:
    answer = collector.send(keys.secret, _deflated(b"{}"), headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_encoding")
    assert answer.headers["accept-encoding"] == "gzip, zstd"


def test_a_body_that_says_no_length_is_bounded_as_well(collector: CollectorProcess, keys: Keys) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"events": ["'
        for _ in range(64):
            yield b"x" * 65536

    # On a connection of its own: what is not read to its end ends it.
    answer = httpx.post(
        collector.url + EVENTS,
        content=chunks(),
        headers={"Authorization": f"Bearer {keys.secret}", "Content-Type": "application/json"},
        trust_env=False,
        timeout=60,
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", EVENTS, 405, "method_not_allowed"),
        ("PUT", EVENTS, 405, "method_not_allowed"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/api/v1/podcasts", 404, "not_found"),
        ("POST", "/p.gif", 405, "method_not_allowed"),
    ],
)
def test_nothing_else_is_served(collector: CollectorProcess, method: str, path: str, status: int, code: str) -> None:
    answer = collector.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_is_ignored_refused_and_lost_is_counted(collector: CollectorProcess, keys: Keys) -> None:
    def numbers() -> list[float]:
        return [
            collector.metric("castledger_collector_events_total", source="server"),
            collector.metric("castledger_collector_refused_events_total", reason="naive_time"),
            collector.metric("castledger_collector_ignored_fields_total"),
            collector.metric("castledger_collector_batches_total", library="castledger-python"),
            collector.metric("castledger_collector_sender_lost_events_total", reason="queue_full"),
            collector.metric("castledger_collector_sender_lost_events_total", reason="other"),
        ]

    before = numbers()
    answer = collector.send(
        keys.secret,
        {
            "library": "castledger-python/9.0",
            "lost": {"queue_full": 12, "made up": 3},
            "nickname": 1,
            "events": [event(), event(mood="good"), event(occurred_at="2026-11-30T00:00:00")],
        },
    )
    assert answer.json()["ignored"] == ["nickname", "mood"]
    assert [after - was for was, after in zip(before, numbers(), strict=True)] == [2, 1, 2, 1, 12, 3]


def test_the_same_event_twice_is_accepted_twice_and_spooled_twice(collector: CollectorProcess, keys: Keys) -> None:
    one = event()
    recorded = len(collector.events())
    assert collector.send(keys.secret, batch(one, one)).json()["accepted"] == 2
    assert {stored.record.event_id for stored in collector.events()[recorded:]} == {UUID(one["event_id"])}


def test_a_client_that_stops_in_the_middle_of_its_head_is_not_waited_for(collector: CollectorProcess) -> None:
    with socket.create_connection(("127.0.0.1", collector.port), timeout=40) as connection:
        connection.sendall(b"POST /api/v1/attribution/events HTTP/1.1\r\nHost: a")
        assert connection.recv(4096)[:12] in (b"", b"HTTP/1.1 408")


def test_a_client_that_goes_away_is_no_error_of_ours(collector: CollectorProcess, keys: Keys) -> None:
    gone = {"route": EVENTS, "status": "400"}
    before = collector.metric("castledger_collector_requests_total", **gone)
    head = f"POST {EVENTS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {keys.secret}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", collector.port)) as connection:
        connection.sendall(head.encode())
        time.sleep(0.2)
    deadline = time.monotonic() + 20
    while collector.metric("castledger_collector_requests_total", **gone) == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert collector.metric("castledger_collector_requests_total", **gone) == before + 1
    assert not [line for line in collector.log_path.read_text().splitlines() if json.loads(line)["level"] == "error"]


def test_no_log_line_names_a_key_an_address_or_a_payload(collector: CollectorProcess, keys: Keys) -> None:
    marker = "do-not-log-me"
    collector.send(keys.publishable, batch(event(customer_id=marker)), headers={"Origin": ORIGIN})
    collector.send(keys.secret, f'{{"events": [{{"type": "{marker}"'.encode())
    log = collector.log_path.read_text()
    assert all(json.loads(line)["service"] == "collector" for line in log.splitlines())
    for private in (marker, keys.secret, keys.publishable, "127.0.0.1", "203.0.113.9"):
        assert private not in log
