"""The SDK's bounds of an event are the collector's: neither takes what the other refuses."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from analytics_core.event_batches import judge_batch
from analytics_core.event_rules import judge_event
from analytics_core.events import EventRecord
from castledger import EventRefused
from castledger._events import Event, EventIds, encode_event
from castledger._worker import encode_body
from tests.unit.test_event_rules import NOW, RECEPTION, good_events, odd_values

_IDS = EventIds()
_FIELDS = Event.__struct_fields__
_tricky = st.one_of(
    odd_values,
    st.text(st.characters(), max_size=70),
    st.sampled_from(
        ["https://a.example/ b", "http://[::1]:80/", "https://a:b@c.example", "https://", "a\x85b", "-a", "A-b", "a\n"]
    ),
    st.from_regex(r"https?://[^ ]{0,20}"),
    st.dictionaries(st.text(max_size=66), odd_values, max_size=3),
    st.dictionaries(st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_.-]{0,64}\Z"), odd_values, max_size=34),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.timedeltas(dt.timedelta(days=-91), dt.timedelta(days=2)).map(lambda away: NOW + away),
)


def written(fields: dict[str, Any]) -> bytes:
    """Write an event as ``track`` does."""
    event = Event(**{name: fields.get(name) for name in _FIELDS})
    return encode_event(event, ids=_IDS, now=NOW)


@given(kind=st.sampled_from(["signup", "a_1"]) | _tricky, fields=st.dictionaries(st.sampled_from(_FIELDS), _tricky))
@example(kind="signup", fields={"properties": {"a": 2**63 - 1, "b": -(2**63), "c": "x\x01"}})
def test_what_the_sdk_writes_the_collector_takes(kind: Any, fields: dict[str, Any]) -> None:
    try:
        payload = written({**fields, "type": kind})
    except EventRefused:
        return
    judged = judge_event(json.loads(payload), RECEPTION)
    assert isinstance(judged, EventRecord), judged
    assert judged.properties == (fields.get("properties") or {})


@given(fields=good_events)
def test_what_the_collector_takes_the_sdk_writes(fields: dict[str, Any]) -> None:
    expected = judge_event(fields, RECEPTION)
    assert isinstance(expected, EventRecord), expected
    given_time = fields.get("occurred_at")
    at = None if given_time is None else dt.datetime.fromisoformat(given_time)
    assert judge_event(json.loads(written({**fields, "occurred_at": at})), RECEPTION) == expected


@given(events=st.lists(good_events, min_size=1, max_size=5))
def test_a_batch_of_the_sdk_is_one_to_the_collector(events: list[dict[str, Any]]) -> None:
    payloads = [written({**fields, "occurred_at": None}) for fields in events]
    body = encode_body(payloads, sent_at=NOW, lost={"queue_full": 3})
    judged = judge_batch(body, RECEPTION)
    assert [str(record.event_id) for record in judged.records] == [
        json.loads(payload)["event_id"] for payload in payloads
    ]
    assert judged.lost == {"queue_full": 3}
    assert judged.ignored == []
