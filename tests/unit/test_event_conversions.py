"""Whose an event is, what it is one of, and that refunds add up in any order."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.attribution.counting import Adjustment, Standing, last_word
from analytics_core.conversions import AdjustmentKind
from analytics_core.event_conversions import (
    REFUND_WAITS,
    CodeOwner,
    Decision,
    Known,
    MarkedEvent,
    Outcome,
    Refundable,
    decide,
    given_of,
    is_marked,
    next_look,
    plan_refund,
)
from analytics_core.intake import OUTCOME_WORDS
from analytics_core.sponsors import name_key

NOW = dt.datetime(2026, 11, 30, 6, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
ACME, GLOBEX = UUID(int=1), UUID(int=2)
PURCHASE = UUID(int=11)
CONVERSION = UUID(int=21)


def event(**told: Any) -> MarkedEvent:
    made: dict[str, Any] = {
        "mark_no": 1,
        "tenant_no": 1,
        "event_id": UUID(int=99),
        "type": "purchase",
        "occurred_at": NOW,
        "received_at": NOW,
        "marked_at": NOW,
        **told,
    }
    return MarkedEvent(**made)


def known(**more: Any) -> Known:
    nothing = Known({}, {}, {}, {}, {}, {}, {(ACME, "purchase"): PURCHASE})
    return nothing._replace(**more)


def owner(sponsor_id: UUID, first: int, last: int | None, grace_days: int = 7) -> CodeOwner:
    """A code that is a sponsor's from some day to before another one."""
    return CodeOwner(sponsor_id, NOW + first * DAY, None if last is None else NOW + last * DAY, grace_days)


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        ([owner(ACME, -1, 1)], ACME),
        ([owner(ACME, -1, None)], ACME),
        ([owner(ACME, 0, 1)], ACME),
        ([owner(ACME, -2, 0)], ACME),
        ([owner(ACME, -9, -7)], None),
        ([owner(ACME, -9, -7, 8)], ACME),
        ([owner(ACME, 1, None)], None),
        # Whoever has it now, and not who had it just before.
        ([owner(GLOBEX, -9, -1), owner(ACME, -1, 1)], ACME),
        ([owner(ACME, -1, 1), owner(GLOBEX, -1, 1)], None),
        ([owner(ACME, -9, -1), owner(GLOBEX, -9, -2)], None),
        ([], None),
    ],
)
def test_a_code_is_of_the_one_sponsor_who_has_it_then(owners: list[CodeOwner], expected: UUID | None) -> None:
    decision = decide(event(promo_code=" save-20 "), known(codes={"SAVE20": owners}))
    assert decision.sponsor_id == expected
    assert decision.outcome is (Outcome.CONVERSION if expected == ACME else Outcome.UNKNOWN_CODE)


def test_what_is_surer_decides_whose_an_event_is() -> None:
    click_id = UUID(int=5)
    ways: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
        (
            {"properties": {"sponsor": "acme"}},
            {"names": {name_key("Acme"): ACME}},
            {"names": {name_key("acme"): GLOBEX}},
        ),
        ({"click_id": click_id}, {"clicks": {click_id: ACME}}, {"clicks": {click_id: GLOBEX}}),
        ({"link": "offer"}, {"links": {"offer": ACME}}, {"links": {"offer": GLOBEX}}),
        ({"promo_code": "X"}, {"codes": {"X": [owner(ACME, -1, 1)]}}, {"codes": {"X": [owner(GLOBEX, -1, 1)]}}),
        ({"page_host": "a.b.example"}, {"domains": {"b.example": [ACME]}}, {"domains": {"b.example": [GLOBEX]}}),
    ]
    for surer, less in itertools.combinations(ways, 2):
        told = event(**surer[0], **less[0])
        assert decide(told, known(**surer[1], **less[2])) == Decision(Outcome.CONVERSION, ACME, PURCHASE)
        assert decide(told, known(**surer[2], **less[1])).sponsor_id == GLOBEX


def test_a_domain_of_two_sponsors_is_of_neither() -> None:
    page = event(page_host="shop.example")
    assert decide(page, known(domains={"shop.example": [ACME, GLOBEX]})).outcome is Outcome.NO_SPONSOR
    # The nearest decides, even where it decides nothing.
    page = event(page_host="a.shop.example")
    domains = {"a.shop.example": [ACME, GLOBEX], "shop.example": [ACME]}
    assert decide(page, known(domains=domains)).outcome is Outcome.NO_SPONSOR
    assert decide(event(page_host="example"), known(domains={"example": [ACME]})).outcome is Outcome.NO_SPONSOR


def test_pages_are_looked_at_where_they_tell_who_was_led_by_what() -> None:
    customer = UUID(int=3)
    assert is_marked(event(type="page_view", customer_key=customer, link="offer"))
    assert not is_marked(event(type="page_view", customer_key=customer))
    assert not is_marked(event(type="page_view", link="offer"))
    assert is_marked(event(type="signup"))


def test_an_event_without_a_name_is_told_by_its_id() -> None:
    assert given_of(event(), PURCHASE).external_id == str(UUID(int=99))
    said = given_of(event(external_id="o-1", properties={"survey_answer": "x" * 201}), PURCHASE)
    assert (said.external_id, said.survey_answer) == ("o-1", None)
    assert given_of(event(properties={"survey_answer": " x" * 100 + " "}), PURCHASE).survey_answer == "x" + " x" * 99


@given(st.integers(0, 100 * 86_400))
def test_a_refund_is_looked_at_less_and_less_often_and_then_no_more(waited_s: int) -> None:
    now = NOW + dt.timedelta(seconds=waited_s)
    later = next_look(event(type="refund"), now)
    if now - NOW >= REFUND_WAITS:
        assert later is None
    else:
        assert later is not None
        assert dt.timedelta(seconds=10) <= later - now <= dt.timedelta(hours=1)


def apply(refunds: list[MarkedEvent], value: int | None = 5000) -> tuple[Standing, list[Outcome]]:
    """Give back, one after the other; say what is left."""
    conversion = Refundable(CONVERSION, ACME, NOW - DAY, value, None if value is None else "EUR", ())
    outcomes = []
    for number, one in enumerate(refunds):
        outcome, planned = plan_refund(one, None, [conversion])
        outcomes.append(outcome)
        for plan in planned:
            assert (plan.kind is AdjustmentKind.RETRACT) is (plan.value_amount is None)
            said = (
                plan.external_id,
                plan.said_hash,
                Adjustment(plan.adjusted_at, UUID(int=1000 + number), plan.value_amount),
            )
            conversion = conversion._replace(adjustments=[*conversion.adjustments, said])
    return last_word(value, [adjustment for *_, adjustment in conversion.adjustments]), outcomes


_refunds = st.lists(
    st.builds(
        lambda amount, hours, number: event(
            type="refund",
            event_id=UUID(int=number),
            external_id="o-1",
            value_amount=amount,
            currency="EUR",
            occurred_at=NOW + dt.timedelta(hours=hours),
        ),
        st.integers(1, 3000),
        st.integers(-40, 40),
        st.integers(0, 2**64),
    ),
    max_size=6,
    unique_by=lambda one: one.event_id,
)


@given(refunds=_refunds, data=st.data())
def test_refunds_add_up_in_any_order_and_with_any_repetition(refunds: list[MarkedEvent], data: st.DataObject) -> None:
    left = 5000 - sum(one.value_amount or 0 for one in refunds)
    expected = Standing(False, left) if left > 0 else Standing(True, None)
    repeated = data.draw(st.lists(st.sampled_from(refunds), max_size=3)) if refunds else []
    standing, outcomes = apply(data.draw(st.permutations([*refunds, *repeated])))
    assert standing == expected
    # What is told again once nothing is left was never written, and takes nothing.
    assert set(outcomes) <= {Outcome.REFUND, Outcome.REPEATED}


def test_a_refund_means_what_it_can_only_mean() -> None:
    def plan(found: list[Refundable], sponsor_id: UUID | None = None, **told: Any) -> tuple[Outcome, set[UUID]]:
        one = event(type="refund", external_id="o-1", **told)
        outcome, planned = plan_refund(one, sponsor_id, found)
        return outcome, {refund.conversion_id for refund in planned}

    order = Refundable(UUID(int=31), ACME, NOW, 5000, "EUR", ())
    signup = order._replace(conversion_id=UUID(int=32), value_amount=None, currency=None)
    theirs = order._replace(conversion_id=UUID(int=33), sponsor_id=GLOBEX)
    money: dict[str, Any] = {"value_amount": 100, "currency": "EUR"}
    assert plan([order, signup], **money) == (Outcome.REFUND, {UUID(int=31)})
    assert plan([order, signup]) == (Outcome.REFUND, {UUID(int=31)})
    assert plan([signup]) == (Outcome.REFUND, {UUID(int=32)})
    assert plan([order, theirs], **money) == (Outcome.WAITING, set())
    assert plan([order, theirs], GLOBEX, **money) == (Outcome.REFUND, {UUID(int=33)})
    assert plan([order], GLOBEX, **money) == (Outcome.WAITING, set())
    assert plan([], **money) == (Outcome.WAITING, set())
    assert plan([order], value_amount=100, currency="USD") == (Outcome.OTHER_CURRENCY, set())


def test_every_outcome_has_words() -> None:
    assert set(OUTCOME_WORDS) == set(Outcome)


def test_of_what_nobody_has_the_surest_sign_is_named() -> None:
    signs: list[tuple[dict[str, Any], Outcome]] = [
        ({"properties": {"sponsor": "Initech"}}, Outcome.UNKNOWN_SPONSOR),
        ({"click_id": UUID(int=5)}, Outcome.UNKNOWN_CLICK),
        ({"link": "offer"}, Outcome.UNKNOWN_LINK),
        ({"promo_code": "SAVE20"}, Outcome.UNKNOWN_CODE),
        ({"page_host": "shop.example"}, Outcome.NO_SPONSOR),
    ]
    for first, (_, outcome) in enumerate(signs):
        told = {name: value for given, _ in signs[first:] for name, value in given.items()}
        assert decide(event(**told), known()) == Decision(outcome)
