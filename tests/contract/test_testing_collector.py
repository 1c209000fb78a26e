"""The SDK's server of tests judges events as the collector does."""

from __future__ import annotations

import datetime as dt
from typing import Any

import httpx
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_core.event_rules import FIELDS, Reception, judge_event, microseconds
from analytics_core.events import EventRecord, EventSource
from castledger.testing import Server

NOW = dt.datetime(2026, 11, 30, 6, tzinfo=dt.UTC)
ID = "018f2f1e-7d3c-7c4e-9b1a-2f3d4c5b6a79"
# On both sides of each rule's edge.
texts = st.text(max_size=6) | st.sampled_from(
    [
        *("", "x" * 64, "x" * 65, "x" * 128, "x" * 129, "a\x00b", "a\x85b", "é"),
        *(ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", "A" * 22, "A" * 21 + "Q", "A" * 21 + "B"),
        *("https://shop.example.com/x", "HTTPS://x.example/é", "http://a b/", "https://", "ftp://a.example/"),
        "https://shop.example.com/" + "x" * 2100,
        *("EUR", "eur", "EURO", "signup", "sign_up", "Sign", "9x", "Spring-Sale", "-x", "a" * 65),
        *("2026-11-30T06:00:00Z", "2026-11-30T06:00:00", "2026-11-30", "9999-12-31T23:59:59-01:00"),
        *("2026-12-01T06:00:00Z", "2026-12-01T06:00:01Z", "2026-09-01T06:00:00Z", "2026-09-01T05:59:59Z"),
    ]
)
numbers = st.sampled_from([0, 4999, 10**12, 10**12 + 1, -1, 1.5, 2**63, -(2**63), 2**70]) | st.floats(
    allow_nan=False, allow_infinity=False
)
plain = texts | numbers | st.none() | st.booleans()
names = st.text(max_size=3) | st.sampled_from(["plan", "a.b", "_x", "9x", "x" * 64, "x" * 65])
values = plain | st.lists(plain, max_size=2) | st.dictionaries(names, plain | st.just("y" * 513), max_size=3)
amounts = st.fixed_dictionaries({"value_amount": numbers, "currency": texts})
events = st.tuples(st.dictionaries(st.sampled_from(sorted(FIELDS)), values, max_size=3), st.just({}) | amounts).map(
    lambda given: {"event_id": ID, "type": "signup", **given[0], **given[1]}
)


def status_in_tests(event: dict[str, Any]) -> int:
    """Send an event to the server of tests."""
    server = Server(clock=lambda: NOW)
    with httpx.Client(transport=server.transport, base_url=server.url) as http:
        answer = http.post(
            "/api/v1/attribution/events",
            content=msgspec.json.encode({"events": [event]}),
            headers={"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"},
        )
    [result] = answer.json()["results"]
    return int(result["status"])


@settings(max_examples=300)
@given(events)
def test_an_event_is_taken_in_tests_when_the_collector_takes_it(event: dict[str, Any]) -> None:
    reception = Reception(1, EventSource.SERVER, received_us=microseconds(NOW))
    judged = judge_event(msgspec.json.decode(msgspec.json.encode(event)), reception)
    assert status_in_tests(event) == (202 if isinstance(judged, EventRecord) else 422), judged
