"""What events may say: every bound from both sides, times, and that nothing a sender writes raises."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.event_batches import (
    MAX_EVENT_BYTES,
    MAX_EVENTS,
    BatchRefused,
    JudgedBatch,
    judge_batch,
)
from analytics_core.event_rules import FIELDS, EventFault, Reception, judge_event, microseconds
from analytics_core.events import EventRecord, EventSource, decode_record, encode_record
from analytics_core.links import format_click_id

NOW = dt.datetime(2026, 11, 30, 6, tzinfo=dt.UTC)
EVENT_ID = UUID("018f2f1e-7d3c-7c4e-9b1a-2f3d4c5b6a79")
CLICK_ID = UUID("018f2f1e-7d3c-7c4e-9b1a-2f3d4c5b6a70")
RECEPTION = Reception(7, EventSource.SERVER, microseconds(NOW))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)
odd_values = json_values | st.sampled_from(["", "\0", "x" * 3000, 2**70, -1, "SAVE20", "EUR", "https://a.example/", {}])
odd_events = st.dictionaries(st.sampled_from(sorted(FIELDS)) | st.text(max_size=8), odd_values, max_size=8)

_printable = st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc"])
_labels = st.text(_printable, min_size=1, max_size=128)
_values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=512)
)
good_events = st.fixed_dictionaries(
    {"event_id": st.uuids().map(str), "type": st.from_regex(r"\A[a-z][a-z0-9_]{0,63}\Z")},
    optional={
        "occurred_at": st.datetimes(
            (NOW - dt.timedelta(days=90)).replace(tzinfo=None),
            (NOW + dt.timedelta(hours=24)).replace(tzinfo=None),
            timezones=st.just(dt.UTC),
        ).map(dt.datetime.isoformat),
        "click_id": st.uuids().flatmap(lambda at: st.sampled_from([str(at), at.hex, format_click_id(at)])),
        "promo_code": _labels.map(lambda text: text[:64]),
        "link": st.from_regex(r"\A[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\Z"),
        "customer_id": _labels,
        "external_id": _labels,
        "new_customer": st.none() | st.booleans(),
        "url": st.sampled_from(
            ["https://shop.example.com/ü?a=1#b", "HTTP://[2001:db8::1]:8080", "https://u@a.example/"]
        ),
        "referrer": st.sampled_from(["https://a.example", None]),
        "properties": st.dictionaries(st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z"), _values, max_size=32),
    },
)


def event(**fields: Any) -> dict[str, Any]:
    return {"event_id": str(EVENT_ID), "type": "purchase", **fields}


def judge(fields: dict[str, Any], reception: Reception = RECEPTION) -> EventRecord | list[EventFault]:
    return judge_event(fields, reception, pointer="/events/0")


def batch(*events: Any, **envelope: Any) -> JudgedBatch:
    return judge_batch(json.dumps({**envelope, "events": events}).encode(), RECEPTION)


def judged_or_refused(body: bytes) -> JudgedBatch | BatchRefused:
    try:
        return judge_batch(body, RECEPTION)
    except BatchRefused as refusal:
        return refusal


def test_a_whole_event_becomes_a_record() -> None:
    record = judge(
        event(
            occurred_at="2026-11-30T06:59:58+01:00",
            click_id=format_click_id(CLICK_ID),
            promo_code="SAVE20",
            link="Spring",
            customer_id="u_123",
            external_id="order-77",
            value_amount=4999,
            currency="EUR",
            new_customer=True,
            url="https://shop.example.com/x",
            referrer="https://a.example/",
            properties={"plan": "pro", "seats": 3, "rate": 0.5, "trial": False, "coupon": None},
        )
    )
    assert record == EventRecord(
        tenant_no=7,
        event_id=EVENT_ID,
        type="purchase",
        occurred_us=microseconds(NOW) - 2_000_000,
        click_id=CLICK_ID,
        promo_code="SAVE20",
        link="spring",
        customer_id="u_123",
        external_id="order-77",
        value_amount=4999,
        currency="EUR",
        new_customer=True,
        url="https://shop.example.com/x",
        referrer="https://a.example/",
        properties={"plan": "pro", "seats": 3, "rate": 0.5, "trial": False, "coupon": None},
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("type", value) for value in ("a", "a" * 64, "page_view", "x9_")],
        ("event_id", EVENT_ID.hex),
        *[("click_id", value) for value in (str(CLICK_ID), CLICK_ID.hex, CLICK_ID.hex.upper(), None)],
        *[("promo_code", value) for value in ("a", "ä" * 64, " a b ")],
        *[("link", value) for value in ("a", "a" * 64, "a-b", "A")],
        *[("customer_id", value) for value in ("a", "ü" * 128, None)],
        ("external_id", "a" * 128),
        *[("url", value) for value in ("http://a", "https://a.example/" + "x" * 2030, "https://münchen.example/?q=ä")],
        ("properties", {}),
        ("properties", None),
        ("properties", {"a" * 64: "x" * 512}),
        ("properties", {f"a{n}": n for n in range(32)}),
        ("properties", {"_.-": -(2**63), "A": 1e308, "b": "a\nb"}),
    ],
)
def test_what_is_within_bounds_is_accepted(field: str, value: object) -> None:
    assert isinstance(judge(event(**{field: value})), EventRecord)


@pytest.mark.parametrize(
    ("field", "value", "pointer", "code"),
    [
        *[("event_id", value, "/event_id", "invalid") for value in ("", "x", 1, None, str(EVENT_ID)[:-1])],
        *[("type", value, "/type", "invalid") for value in ("", "A", "1a", "a" * 65, "a-b", "a\n", None, 3)],
        *[("click_id", value, "/click_id", "invalid") for value in ("", "x" * 22, CLICK_ID.hex[:-1], "ü" * 32, 5)],
        *[("promo_code", value, "/promo_code", "invalid") for value in ("", "a" * 65, "a\0", "a\n", "\x85", 7)],
        *[("link", value, "/link", "invalid") for value in ("", "-a", "a-", "a" * 65, "a_b", "a/b")],
        *[("customer_id", value, "/customer_id", "invalid") for value in ("", "a" * 129, "\x7f", "a\tb", 12)],
        ("external_id", "", "/external_id", "invalid"),
        ("new_customer", 1, "/new_customer", "invalid"),
        *[
            ("url", value, "/url", "invalid")
            for value in (
                "",
                "ftp://a",
                "https://",
                "//a",
                "https://a b/",
                "https://a/\n",
                "https://a/\x80",
                "https://a\x00b/",
                "https://a/" + "x" * 2040,
            )
        ],
        ("referrer", "android-app://a.b", "/referrer", "invalid"),
        ("occurred_at", "2026-11-30T06:00:00", "/occurred_at", "naive_time"),
        *[("occurred_at", value, "/occurred_at", "invalid") for value in ("", "yesterday", 1764482400, "2026-13-01")],
        ("occurred_at", "2026-12-01T06:00:00.000001Z", "/occurred_at", "too_new"),
        ("occurred_at", "2026-09-01T05:59:59.999999Z", "/occurred_at", "too_old"),
        ("properties", [], "/properties", "invalid"),
        ("properties", {f"a{n}": n for n in range(33)}, "/properties", "too_many"),
        ("properties", {"a b": 1}, "/properties/a b", "invalid"),
        ("properties", {"~/": 1}, "/properties/~0~1", "invalid"),
        ("properties", {"a" * 65: 1}, "/properties/" + "a" * 64, "invalid"),
        *[
            ("properties", {"a": value}, "/properties/a", "invalid")
            for value in ("x" * 513, "a\0b", 2**63, -(2**63) - 1)
        ],
        *[("properties", {"a": nested}, "/properties/a", "invalid") for nested in ([], [1])],
        ("properties", {"a": {}}, "/properties/a", "invalid"),
    ],
)
def test_what_is_out_of_bounds_is_refused_and_named(field: str, value: object, pointer: str, code: str) -> None:
    faults = judge(event(**{field: value}))
    assert isinstance(faults, list)
    assert [(fault.pointer, fault.code) for fault in faults] == [(f"/events/0{pointer}", code)]


@pytest.mark.parametrize(
    ("money", "wrong"),
    [
        ({"value_amount": 0, "currency": "EUR"}, []),
        ({"value_amount": 10**12, "currency": "JPY"}, []),
        ({"value_amount": None, "currency": None}, []),
        ({"value_amount": 49.99, "currency": "EUR"}, ["value_amount"]),
        ({"value_amount": 4999.0, "currency": "EUR"}, ["value_amount"]),
        ({"value_amount": True, "currency": "EUR"}, ["value_amount"]),
        ({"value_amount": "4999", "currency": "EUR"}, ["value_amount"]),
        ({"value_amount": 10**12 + 1, "currency": "EUR"}, ["value_amount"]),
        ({"value_amount": -1, "currency": "eur"}, ["value_amount", "currency"]),
        ({"value_amount": 1}, ["currency"]),
        ({"currency": "EUR"}, ["value_amount"]),
        ({"value_amount": 1, "currency": "EURO"}, ["currency"]),
    ],
)
def test_money_is_whole_minor_units_with_a_currency(money: dict[str, Any], wrong: list[str]) -> None:
    judged = judge(event(**money))
    faults = judged if isinstance(judged, list) else []
    assert [fault.pointer.rpartition("/")[2] for fault in faults] == wrong


def test_all_that_is_wrong_is_told_at_once() -> None:
    faults = judge({"type": "A", "currency": "EUR", "properties": {"": 1, "b": []}})
    assert isinstance(faults, list)
    assert {fault.pointer for fault in faults} == {
        *("/events/0/event_id", "/events/0/type", "/events/0/value_amount"),
        *("/events/0/properties/", "/events/0/properties/b"),
    }


@given(good_events)
def test_every_event_within_the_bounds_is_accepted_and_read_back(fields: dict[str, Any]) -> None:
    text = json.dumps({"events": [fields]})
    judged = judge_batch(text.encode(), RECEPTION)
    assert [verdict.status for verdict in judged.verdicts] == [202], judged.verdicts
    [record] = judged.records
    assert decode_record(encode_record(record)) == record
    assert str(record.event_id) == fields["event_id"]
    assert record.properties == fields.get("properties", {})


@given(odd_events | odd_events.map(lambda fields: event(**{k: v for k, v in fields.items() if k != "event_id"})))
def test_an_event_is_a_record_or_a_list_of_faults_whatever_it_says(fields: dict[str, Any]) -> None:
    judged = judge(fields)
    if isinstance(judged, EventRecord):
        assert decode_record(encode_record(judged)) == judged
    else:
        assert judged
        assert all(fault.pointer.startswith("/events/0/") and fault.message for fault in judged)


@given(json_values | st.builds(lambda events: {"events": events}, st.lists(odd_events | json_values, max_size=5)))
def test_any_json_is_judged_or_refused_and_nothing_else(value: object) -> None:
    judged = judged_or_refused(json.dumps(value).encode())
    if isinstance(judged, BatchRefused):
        assert judged.status in (400, 413)
    else:
        assert isinstance(value, dict)
        assert len(judged.verdicts) == len(value["events"])
        assert len(judged.records) == sum(verdict.status == 202 for verdict in judged.verdicts)
        # What is answered can be written, whatever was sent.
        assert len(msgspec.json.decode(msgspec.json.encode(judged.verdicts))) == len(judged.verdicts)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0 events', max_size=80).map(str.encode))
def test_any_bytes_are_judged_or_refused(body: bytes) -> None:
    judged = judged_or_refused(body)
    assert isinstance(judged, JudgedBatch) or judged.status == 400


def test_each_event_is_judged_alone_and_answered_in_its_place() -> None:
    other = str(UUID(int=1))
    judged = batch(event(), 5, event(type="A"), {"type": "signup"}, event(event_id=other))
    assert [(verdict.event_id, verdict.status) for verdict in judged.verdicts] == [
        (EVENT_ID, 202),
        (None, 422),
        (EVENT_ID, 422),
        (None, 422),
        (UUID(int=1), 202),
    ]
    assert judged.verdicts[1].errors[0].pointer == "/events/1"
    assert judged.verdicts[2].errors[0].pointer == "/events/2/type"
    assert [record.event_id for record in judged.records] == [EVENT_ID, UUID(int=1)]


def test_a_clock_that_is_wrong_is_corrected_by_when_the_batch_was_sent() -> None:
    late = dt.timedelta(hours=3)
    sent_at, occurred_at = NOW - late, NOW - late - dt.timedelta(minutes=1)
    [record] = batch(event(occurred_at=occurred_at.isoformat()), sent_at=sent_at.isoformat()).records
    assert record.occurred_us == microseconds(NOW - dt.timedelta(minutes=1))


@pytest.mark.parametrize(("seconds", "is_corrected"), [(5, False), (-5, False), (5.000001, True), (-5.000001, True)])
def test_differences_up_to_five_seconds_are_those_of_networks(seconds: float, is_corrected: bool) -> None:
    offset = dt.timedelta(seconds=seconds)
    [record] = batch(event(occurred_at=(NOW - offset).isoformat()), sent_at=(NOW - offset).isoformat()).records
    assert record.occurred_us == microseconds(NOW if is_corrected else NOW - offset)


def test_age_is_judged_after_the_correction() -> None:
    ago = dt.timedelta(days=20_000)
    [record] = batch(event(occurred_at=(NOW - ago).isoformat()), sent_at=(NOW - ago).isoformat()).records
    assert record.occurred_us == microseconds(NOW)
    [verdict] = batch(event(occurred_at=NOW.isoformat()), sent_at=(NOW - ago).isoformat()).verdicts
    assert verdict.errors[0].code == "too_new"


def test_an_event_without_a_time_happened_when_it_was_received_whatever_the_senders_clock_says() -> None:
    [record] = batch(event(), sent_at=(NOW - dt.timedelta(days=3)).isoformat()).records
    assert record.occurred_us == microseconds(NOW)


def test_unknown_fields_are_ignored_counted_and_named() -> None:
    judged = batch(event(nickname=1, context={"a": {"b": 1}}), event(nickname=2), batch_no=3)
    assert judged.ignored_fields == 4
    assert sorted(judged.ignored) == ["batch_no", "context", "nickname"]
    assert len(judged.records) == 2
    many = batch(event(**{f"x{n}" + "y" * 100: n for n in range(100)}))
    assert many.ignored_fields == 100
    assert len(many.ignored) == 20
    assert max(map(len, many.ignored)) == 64


def test_what_a_sender_tells_of_itself_is_only_counted() -> None:
    judged = batch(library="castledger-python/0.2.0", lost={"queue_full": 12})
    assert (judged.library, judged.lost) == ("castledger-python/0.2.0", {"queue_full": 12})
    for odd in ({"library": 5}, {"lost": [1]}, {"lost": {"a": -1}}, {"lost": {str(n): n for n in range(101)}}):
        assert len(batch(event(), **odd).records) == 1


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"", 400, "malformed_json", None),
        (b"{", 400, "malformed_json", None),
        (b'{"events": [NaN]}', 400, "malformed_json", None),
        (b'{"events": ["\xff"]}', 400, "malformed_json", None),
        (b'{"events": [{"type": "\\ud800"}]}', 400, "malformed_json", None),
        (b'{"events": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400, "malformed_json", None),
        (b'{"events": [], "events": []}', 400, "malformed_json", None),
        (b'{"events" : [], "events": []}', 400, "malformed_json", None),
        (b"[]", 400, "invalid", ""),
        (b"{}", 400, "missing", "/events"),
        (b'{"events": {}}', 400, "invalid", "/events"),
        (b'{"events": [], "sent_at": 5}', 400, "invalid", "/sent_at"),
        (b'{"events": [], "sent_at": "2026-11-30T06:00:00"}', 400, "invalid", "/sent_at"),
        (b'{"events": [' + b"0," * MAX_EVENTS + b"0]}", 413, "too_many_events", "/events"),
    ],
)
def test_an_envelope_that_is_none_is_refused_whole(body: bytes, status: int, code: str, pointer: str | None) -> None:
    with pytest.raises(BatchRefused) as caught:
        judge_batch(body, RECEPTION)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert [fault.pointer for fault in caught.value.faults] == ([] if pointer is None else [pointer])


def test_as_many_events_as_there_may_be_are_judged() -> None:
    assert len(batch(*[event()] * MAX_EVENTS).records) == MAX_EVENTS


def test_an_event_that_is_too_large_is_refused_alone_and_known_by_its_id() -> None:
    room = MAX_EVENT_BYTES - len(json.dumps(event(more="")))
    judged = batch(event(more="x" * room), event(more="x" * (room + 1)), {"more": "x" * MAX_EVENT_BYTES})
    assert [(verdict.event_id, verdict.status, verdict.code) for verdict in judged.verdicts] == [
        (EVENT_ID, 202, None),
        (EVENT_ID, 413, "event_too_large"),
        (None, 413, "event_too_large"),
    ]


@pytest.mark.parametrize(
    ("inside", "pointer"),
    [
        ('"type": "a", "type": "b"', ""),
        ('"type": "a", "typ\\u0065": "b"', ""),
        ('"type" : "a", "type":"b"', ""),
        ('"type"\n:"a","type":"b"', ""),
        ('"type":"a","x":1,"x":2', ""),
        ('"type":"a","properties":{"p":1,"p":2}', "/properties"),
    ],
)
def test_a_name_that_is_there_twice_refuses_its_event_alone(inside: str, pointer: str) -> None:
    good = json.dumps(event(promo_code='":":', context={"a": 1}))
    text = f'{{"events":[{good},{{"event_id":"{EVENT_ID}",{inside}}}]}}'
    judged = judge_batch(text.encode(), RECEPTION)
    assert [verdict.status for verdict in judged.verdicts] == [202, 422]
    [fault] = judged.verdicts[1].errors
    assert (fault.pointer, fault.code) == (f"/events/1{pointer}", "repeated_name")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000])
def test_numbers_beyond_all_bounds_refuse_their_event_alone(number: str) -> None:
    text = f'{{"events":[{json.dumps(event())},{{"event_id":"{EVENT_ID}","type":"a","properties":{{"n":{number}}}}}]}}'
    assert [verdict.status for verdict in judge_batch(text.encode(), RECEPTION).verdicts] == [202, 422]


def test_an_event_that_is_nested_deeply_in_what_nobody_knows_is_judged_or_refused_alone() -> None:
    text = f'{{"events":[{json.dumps(event())},{{"more":{"[" * 300}{"]" * 300}}}]}}'
    assert [verdict.status for verdict in judge_batch(text.encode(), RECEPTION).verdicts] == [202, 422]
