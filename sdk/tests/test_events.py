"""What ``track`` takes and what it refuses: the field is named, the value never, and nothing given is changed."""

from __future__ import annotations

import datetime as dt
import doctest
import enum
import json
import logging
import pickle
from collections.abc import Iterator
from fractions import Fraction
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castledger import Castledger, EventRefused, _events
from castledger._events import Event, EventIds, encode_event
from sdk.tests.collectors import BlockingTracker, collecting, nobody
from sdk.tests.twin import KEY

NOW = dt.datetime(2026, 11, 30, 6, tzinfo=dt.UTC)
IDS = EventIds()


class Plan(enum.StrEnum):
    PRO = "pro"


class Seats(enum.IntEnum):
    TWO = 2


class Loud(str):
    def __str__(self) -> str:
        raise AssertionError("the host's code is not ours to run")

    __repr__ = __str__


def encoded(kind: Any = "signup", /, **fields: Any) -> dict[str, Any]:
    event = Event(fields.pop("event_id", None), kind, fields.pop("occurred_at", None), **fields)
    read: dict[str, Any] = json.loads(encode_event(event, ids=IDS, now=NOW))
    return read


def refused(kind: Any = "signup", /, **fields: Any) -> tuple[str, str]:
    with pytest.raises(EventRefused) as caught:
        encoded(kind, **fields)
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).startswith(f"{caught.value.field}: ")
    return caught.value.field, caught.value.code


@pytest.mark.parametrize("kind", ["page_view", "click", "promo_redeemed", "signup", "purchase", "x", "a" * 64, "a_1"])
def test_known_types_and_custom_names_are_taken(kind: str) -> None:
    event = encoded(kind)
    assert event == {"event_id": event["event_id"], "type": kind, "occurred_at": "2026-11-30T06:00:00Z"}
    assert UUID(event["event_id"]).version == 7


@pytest.mark.parametrize("kind", ["", "Purchase", "1a", "_a", "a-b", "a" * 65, "a b", "à", "hunter2\n", None, 7, ["a"]])
def test_other_types_are_refused(kind: Any) -> None:
    assert refused(kind)[0] == "type"


def test_everything_that_may_be_said_is_sent_as_it_was_given() -> None:
    given = {
        "click_id": "AAAAAAAAAAAAAAAAAAAAAQ",
        "promo_code": "SAVE 20 €",
        "link": "spring-sale",
        "customer_id": "u_123",
        "external_id": "order-77",
        "value_amount": 0,
        "currency": "EUR",
        "new_customer": False,
        "url": "HTTPS://shop.example.com/x?a=ü",
        "referrer": "http://a.example/",
        "properties": {
            "plan": "pro",
            "a.b-c": 1,
            "_": 1.5,
            "yes": True,
            "no": None,
            "long": "x" * 512,
            "lines": "a\nb",
        },
    }
    event = encoded("purchase", event_id=UUID(int=7), occurred_at=NOW, **given)
    assert event == {
        "event_id": str(UUID(int=7)),
        "type": "purchase",
        "occurred_at": "2026-11-30T06:00:00Z",
        **given,
    }


def test_what_is_written_is_plain() -> None:
    event = encoded(
        Loud("purchase"),
        click_id=UUID(int=1),
        customer_id=Loud("u"),
        link="Spring-Sale",
        value_amount=Seats.TWO,
        currency=Loud("EUR"),
        occurred_at=NOW.astimezone(dt.timezone(dt.timedelta(hours=2))),
        properties={Loud("plan"): Plan.PRO, "seats": Seats.TWO, "loud": Loud("x")},
    )
    assert event["type"] == "purchase"
    assert event["click_id"] == UUID(int=1).hex
    assert (event["customer_id"], event["link"], event["occurred_at"]) == ("u", "spring-sale", "2026-11-30T06:00:00Z")
    assert (event["value_amount"], event["currency"]) == (2, "EUR")
    assert event["properties"] == {"plan": "pro", "seats": 2, "loud": "x"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"event_id": "hunter2"}, ("event_id", "invalid")),
        ({"event_id": 7}, ("event_id", "invalid")),
        ({"occurred_at": dt.datetime(2026, 11, 30)}, ("occurred_at", "naive")),  # noqa: DTZ001 - the point
        ({"occurred_at": "2026-11-30T00:00:00Z"}, ("occurred_at", "type")),
        ({"occurred_at": NOW.date()}, ("occurred_at", "type")),
        ({"occurred_at": NOW + dt.timedelta(days=1, seconds=1)}, ("occurred_at", "in_future")),
        ({"occurred_at": NOW - dt.timedelta(days=90, seconds=1)}, ("occurred_at", "too_old")),
        ({"occurred_at": dt.datetime.min.replace(tzinfo=dt.UTC)}, ("occurred_at", "too_old")),
        ({"occurred_at": dt.datetime.max.replace(tzinfo=dt.UTC)}, ("occurred_at", "in_future")),
        ({"click_id": "hunter2"}, ("click_id", "invalid")),
        ({"click_id": "AAAAAAAAAAAAAAAAAAAAAB"}, ("click_id", "invalid")),
        ({"click_id": ""}, ("click_id", "invalid")),
        ({"click_id": 5}, ("click_id", "type")),
        ({"promo_code": ""}, ("promo_code", "empty")),
        ({"promo_code": "x" * 65}, ("promo_code", "too_long")),
        ({"promo_code": b"x"}, ("promo_code", "type")),
        ({"promo_code": "SAVE\x0020"}, ("promo_code", "invalid")),
        ({"link": "hunter2!"}, ("link", "invalid")),
        ({"link": 1}, ("link", "type")),
        ({"customer_id": "x" * 129}, ("customer_id", "too_long")),
        ({"customer_id": 123}, ("customer_id", "type")),
        ({"customer_id": "hunter2\n"}, ("customer_id", "invalid")),
        ({"external_id": "\x85hunter2"}, ("external_id", "invalid")),
        ({"external_id": ""}, ("external_id", "empty")),
        ({"value_amount": 4999}, ("currency", "missing")),
        ({"currency": "EUR"}, ("value_amount", "missing")),
        ({"value_amount": 49.99, "currency": "EUR"}, ("value_amount", "type")),
        ({"value_amount": True, "currency": "EUR"}, ("value_amount", "type")),
        ({"value_amount": -1, "currency": "EUR"}, ("value_amount", "out_of_range")),
        ({"value_amount": 10**12 + 1, "currency": "EUR"}, ("value_amount", "out_of_range")),
        ({"value_amount": 10**400, "currency": "EUR"}, ("value_amount", "out_of_range")),
        ({"value_amount": 1, "currency": "eur"}, ("currency", "invalid")),
        ({"value_amount": 1, "currency": 978}, ("currency", "type")),
        ({"new_customer": 1}, ("new_customer", "type")),
        ({"url": "shop.example.com"}, ("url", "invalid")),
        ({"url": "javascript:hunter2"}, ("url", "invalid")),
        ({"url": "https://" + "x" * 2041}, ("url", "too_long")),
        ({"url": "https://"}, ("url", "invalid")),
        ({"url": "https://shop.example.com/a b"}, ("url", "invalid")),
        ({"url": "https://shop.example.com/\n"}, ("url", "invalid")),
        ({"properties": {"a": "hunter2\0"}}, ("properties.a", "invalid")),
        ({"referrer": "android-app://x"}, ("referrer", "invalid")),
        ({"properties": [("a", 1)]}, ("properties", "type")),
        ({"properties": {f"a{n}": n for n in range(33)}}, ("properties", "too_many")),
        ({"properties": {"hunter2@example.com": 1}}, ("properties", "name")),
        ({"properties": {"a" * 65: 1}}, ("properties", "name")),
        ({"properties": {"ä": 1}}, ("properties", "name")),
        ({"properties": {1: 1}}, ("properties", "name")),
        ({"properties": {"a": "x" * 513}}, ("properties.a", "too_long")),
        ({"properties": {"a": float("nan")}}, ("properties.a", "not_finite")),
        ({"properties": {"a": float("-inf")}}, ("properties.a", "not_finite")),
        ({"properties": {"a": 2**63}}, ("properties.a", "out_of_range")),
        ({"properties": {"a": {"b": 1}}}, ("properties.a", "type")),
        ({"properties": {"a": ["hunter2"]}}, ("properties.a", "type")),
        ({"properties": {"a": NOW}}, ("properties.a", "type")),
        ({"properties": {"a": Fraction(1)}}, ("properties.a", "type")),
        ({"properties": {"a": "\ud800"}}, ("properties.a", "invalid")),
        ({"promo_code": "\udfff"}, ("promo_code", "invalid")),
        ({"properties": {f"a{n}": "€" * 512 for n in range(32)}}, ("event", "too_large")),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_field(fields: dict[str, Any], expected: tuple[str, str]) -> None:
    assert refused(**fields) == expected


@pytest.mark.parametrize("click", [UUID(int=2**127 + 5), uuid4()])
def test_a_click_id_may_be_written_in_every_way(click: UUID) -> None:
    for written in (click, click.hex, str(click), click.hex.upper()):
        assert UUID(encoded(click_id=written)["click_id"]) == click


_texts = st.text(max_size=200)
_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    _texts,
    st.text(st.characters(categories=["Cs"]), max_size=3),
    st.binary(max_size=3),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.dictionaries(_texts, st.one_of(st.none(), st.integers(), st.floats(), _texts), max_size=4),
    st.uuids(),
)


@given(
    kind=_values | st.sampled_from(["signup", "purchase"]),
    fields=st.dictionaries(st.sampled_from(Event.__struct_fields__), _values).map(
        lambda fields: {name: value for name, value in fields.items() if name != "type"}
    ),
)
def test_whatever_is_given_is_written_as_json_or_refused(kind: Any, fields: dict[str, Any]) -> None:
    before = repr(fields)
    caught: EventRefused | None = None
    event: dict[str, Any] = {}
    try:
        event = encoded(kind, **fields)
    except EventRefused as error:
        caught = error
    if caught is not None:
        assert caught.field.partition(".")[0] in (*Event.__struct_fields__, "event")
    else:
        assert event["type"] == kind
        assert {*event} == {"event_id", "type", "occurred_at"} | {
            name for name, value in fields.items() if value is not None
        }
    assert repr(fields) == before


def test_ids_are_distinct_ordered_by_time_and_of_version_7() -> None:
    made = [IDS.new() for _ in range(20_000)]
    assert len({*made}) == len(made)
    assert all(made_id.version == 7 and made_id.variant == "specified in RFC 4122" for made_id in made)
    assert sorted(made_id.int >> 80 for made_id in made) == [made_id.int >> 80 for made_id in made]


def test_a_strict_client_raises_and_counts() -> None:
    client = Castledger(KEY, collector_url=nobody(), strict=True)
    with pytest.raises(EventRefused, match=r"^value_amount: is a whole number of minor units .*, not float$"):
        client.track("purchase", value_amount=49.99, currency="EUR")  # type: ignore[arg-type]
    assert client.stats().refused == {"value_amount.type": 1}


def test_a_client_that_is_not_strict_counts_logs_and_tells(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Exception] = []
    client = Castledger(KEY, collector_url=nobody(), on_error=told.append)
    with caplog.at_level(logging.DEBUG, "castledger"):
        for number in range(50):
            assert client.track("signup", properties={f"a{number}": float("nan")}) is None
            assert client.track("signup", customer_id="hunter2\n") is None
    assert client.stats().refused == {"properties.not_finite": 50, "customer_id.invalid": 50}
    assert client.stats().tracked == 0
    # Once a minute for each reason.
    assert sorted(record.getMessage() for record in caplog.records) == [
        "event refused: customer_id: holds a control character",
        "event refused: properties.a0: is not a finite number",
    ]
    assert [type(error) for error in told] == [EventRefused] * 100
    assert pickle.loads(pickle.dumps(told[0])).field == "properties.a0"


def test_code_of_the_hosts_that_raises_is_a_refusal() -> None:
    class Odd(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("hunter2")

    class OddZone(dt.tzinfo):
        def utcoffset(self, at: dt.datetime | None) -> dt.timedelta:
            raise KeyError("hunter2")

        def dst(self, at: dt.datetime | None) -> None:
            """Not asked."""

        def tzname(self, at: dt.datetime | None) -> None:
            """Not asked."""

    class OddHandler(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("hunter2")

    def odd_listener(error: Exception) -> None:
        raise RuntimeError("hunter2")

    handler = OddHandler()
    logging.getLogger("castledger").addHandler(handler)
    try:
        client = Castledger(KEY, collector_url=nobody(), on_error=odd_listener)
        assert client.track("signup", properties=Odd()) is None
        assert client.track("signup", occurred_at=NOW.replace(tzinfo=OddZone())) is None
    finally:
        logging.getLogger("castledger").removeHandler(handler)
    assert client.stats().refused == {"event.invalid": 2}
    assert client.stats().listener_faults == 2


def test_later_changes_of_what_was_given_change_nothing() -> None:
    with collecting() as collector:
        client = BlockingTracker(collector.url)
        properties: dict[str, Any] = {"plan": "pro"}
        client.track("signup", properties=properties)
        assert properties == {"plan": "pro"}
        properties["plan"] = "changed"
        client.close()
    assert [event["properties"] for event in collector.accepted] == [{"plan": "pro"}]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    yield
    logging.getLogger("castledger").handlers.clear()


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(_events).failed == 0
    assert doctest.testmod(_events).attempted
