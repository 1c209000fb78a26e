"""What may be said of a conversion, and when two sayings are the same."""

from __future__ import annotations

import datetime as dt
import unicodedata
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.conversions import (
    FIELDS,
    GivenConversion,
    answer_key,
    external_id_of,
    judge_conversion,
    said_hash,
)

NOW = dt.datetime(2026, 11, 30, 6, tzinfo=dt.UTC)
SAID = {"action_id": str(UUID(int=1)), "external_id": "order-77"}

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)
_odd = _json | st.sampled_from(
    ["", "\0", "x" * 3000, 2**70, -1, "SAVE20", "EUR", "https://a.example/", str(UUID(int=1))]
)


@given(_json | st.dictionaries(st.sampled_from(sorted(FIELDS)) | st.text(max_size=8), _odd, max_size=8))
def test_nothing_that_is_sent_raises(fields: Any) -> None:
    judged = judge_conversion(fields, now=NOW, pointer="/conversions/3")
    if isinstance(judged, list):
        assert judged
        assert all(fault.pointer.startswith("/conversions/3") for fault in judged)
        assert all(fault.message for fault in judged)
    else:
        assert judged.external_id == external_id_of(fields)


def test_every_field_by_itself_from_both_sides() -> None:
    good: dict[str, list[Any]] = {
        "external_id": ["x", "x" * 128],
        "occurred_at": ["2026-11-30T06:00:00Z", "2026-12-01T06:00:00Z", "2026-09-01T08:00:00+02:00", None],
        "click_id": [str(UUID(int=1)), "AAAAAAAAAAAAAAAAAAAAAQ", None],
        "link": ["offer", "Offer-1", None],
        "promo_code": ["x", "x" * 64, None],
        "survey_answer": ["The Daily", "x" * 200, None],
        "customer_id": ["u", "x" * 128, None],
        "new_customer": [True, False, None],
        "referrer": ["https://a.example/x", "http://localhost/", None],
    }
    bad: dict[str, list[Any]] = {
        "action_id": [5, "x", None],
        "external_id": ["", "x" * 129, 5, "\x07", None],
        "occurred_at": ["2026-11-30T06:00:00", "2026-12-01T06:00:01Z", "2026-09-01T05:59:59Z", 5, "now"],
        "click_id": ["", "x", "x" * 36, 5],
        "link": ["", "-x", "x" * 65, 5],
        "promo_code": ["", "x" * 65, "\x07", 5],
        "survey_answer": ["", "x" * 201, "\n", 5],
        "customer_id": ["", "x" * 129, "\n", 5],
        "new_customer": ["true", 1],
        "referrer": ["a.example", "ftp://a.example/", "https://a.example/" + "x" * 2048, 5],
    }
    for name, values in good.items():
        for value in values:
            assert isinstance(judge_conversion({**SAID, name: value}, now=NOW), GivenConversion), (name, value)
    for name, values in bad.items():
        for value in values:
            judged = judge_conversion({**SAID, name: value}, now=NOW)
            assert isinstance(judged, list), (name, value)
            assert [fault.pointer for fault in judged] == [f"/{name}"]


def test_money_is_whole_and_has_a_currency() -> None:
    for amount, currency, is_good in [
        (0, "EUR", True),
        (10**12, "EUR", True),
        (10**12 + 1, "EUR", False),
        (-1, "EUR", False),
        (49.99, "EUR", False),
        ("4999", "EUR", False),
        (True, "EUR", False),
        (1, "eur", False),
        (1, "EURO", False),
        (1, None, False),
        (None, "EUR", False),
        (None, None, True),
    ]:
        judged = judge_conversion({**SAID, "value_amount": amount, "currency": currency}, now=NOW)
        assert isinstance(judged, GivenConversion) is is_good, (amount, currency)


def test_anything_else_that_is_said_is_another_saying() -> None:
    first = GivenConversion(action_id=UUID(int=1), external_id="o")
    others: dict[str, Any] = {
        "external_id": "p",
        "occurred_at": NOW,
        "value_amount": 0,
        "currency": "EUR",
        "click_id": UUID(int=2),
        "link": "x",
        "promo_code": "x",
        "survey_answer": "x",
        "new_customer": False,
        "referrer_host": "a.example",
    }
    hashes = {said_hash(msgspec.structs.replace(first, **{name: value}), None) for name, value in others.items()}
    assert len({*hashes, said_hash(first, None), said_hash(first, UUID(int=3))}) == len(others) + 2
    # Whose name for the customer is not kept makes no difference: their key does.
    named = msgspec.structs.replace(first, customer_id="u_1")
    assert said_hash(named, UUID(int=3)) == said_hash(first, UUID(int=3))


@given(st.datetimes(dt.datetime(2026, 11, 1), dt.datetime(2026, 11, 29)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001 - zones are given below
def test_a_time_is_the_same_in_whichever_zone_it_is_written(at: dt.datetime, minutes: int) -> None:
    first = at.replace(tzinfo=dt.UTC)
    other = first.astimezone(dt.timezone(dt.timedelta(minutes=minutes)))
    hashes = set()
    for one in (first, other):
        judged = judge_conversion({**SAID, "occurred_at": one.isoformat()}, now=NOW)
        assert isinstance(judged, GivenConversion)
        hashes.add(said_hash(judged, None))
    assert len(hashes) == 1


@given(st.text(min_size=1, max_size=50))
def test_answers_are_compared_without_regard_to_case_and_blanks(text: str) -> None:
    assert answer_key(f"  {text}\u200b ") == answer_key(text)
    # Letters are folded in canonical order: a mark below that becomes a letter of its own stands behind the others.
    assert answer_key(unicodedata.normalize("NFD", text).casefold()) == answer_key(text)
