"""Money: currencies, rounding, and how people write it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.errors import InvalidInput
from analytics_core.money import (
    CURRENCIES,
    MAX_AMOUNT,
    CurrencyMismatch,
    Money,
    divide_half_up,
    format_money,
    parse_amount,
    parse_currency,
    price_conversions,
    price_impressions,
    sum_money,
)
from ingest.attribution import MAX_CONVERSIONS

_CODES = st.sampled_from(sorted(CURRENCIES))
_AMOUNTS = st.integers(0, MAX_AMOUNT)


@pytest.mark.parametrize(
    ("code", "exponent"), [("EUR", 2), ("USD", 2), ("JPY", 0), ("KRW", 0), ("ISK", 0), ("KWD", 3), ("TND", 3)]
)
def test_amounts_have_the_decimals_of_their_currency(code: str, exponent: int) -> None:
    assert CURRENCIES[code] == exponent


@pytest.mark.parametrize("text", ["eur", "EU", "EURO", "XXX", "XAU", "", "E€R"])
def test_what_nobody_is_paid_in_is_no_currency(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_currency(text)
    assert (refused.value.path, refused.value.code) == ("/currency", "unknown_currency")


@given(st.lists(st.tuples(_AMOUNTS, st.sampled_from(["EUR", "USD"])), max_size=8))
def test_amounts_of_two_currencies_are_never_added(parts: list[tuple[int, str]]) -> None:
    money = [Money(*part) for part in parts]
    if any(part.currency != "EUR" for part in money):
        with pytest.raises(CurrencyMismatch):
            sum_money(money, "EUR")
        return
    assert sum_money(money, "EUR") == Money(sum(part.amount for part in money), "EUR")


@given(_AMOUNTS, _AMOUNTS, _CODES)
def test_what_was_added_can_be_taken_away(one: int, other: int, code: str) -> None:
    assert Money(one, code) + Money(other, code) - Money(other, code) == Money(one, code)
    assert Money(one, code) + Money(other, code) == Money(other, code) + Money(one, code)


@given(st.integers(0, 10**30), st.integers(1, 10**12))
def test_a_division_is_the_nearest_whole_number_and_halves_go_up(dividend: int, divisor: int) -> None:
    exact = Fraction(dividend, divisor)
    found = divide_half_up(dividend, divisor)
    assert -Fraction(1, 2) < found - exact <= Fraction(1, 2)


@pytest.mark.parametrize(("dividend", "divisor"), [(-1, 2), (1, 0), (1, -3)])
def test_a_division_that_has_no_meaning_here_is_an_error(dividend: int, divisor: int) -> None:
    with pytest.raises(ValueError, match="not negative"):
        divide_half_up(dividend, divisor)


@pytest.mark.parametrize(
    ("delivered", "cpm", "cap", "amount"),
    [
        (0, 2500, 1000, 0),
        (1, 500, None, 1),
        (1, 499, None, 0),
        (999, 2500, 1000, 2498),
        (1000, 2500, 1000, 2500),
        (1001, 2500, 1000, 2500),
        (10**12, 10**15, None, 10**24),
    ],
)
def test_impressions_are_priced_by_the_thousand_up_to_the_booking(
    delivered: int, cpm: int, cap: int | None, amount: int
) -> None:
    assert price_impressions(delivered, cpm_amount=cpm, cap=cap) == amount


@given(st.integers(0, 10**12), st.integers(0, 10**9), st.integers(1, 10**12))
def test_more_impressions_never_cost_less_and_none_beyond_the_booking_cost_more(
    delivered: int, cpm: int, cap: int
) -> None:
    price = price_impressions(delivered, cpm_amount=cpm, cap=cap)
    assert price <= price_impressions(delivered + 1, cpm_amount=cpm, cap=cap)
    assert price <= price_impressions(delivered, cpm_amount=cpm, cap=None)
    assert price_impressions(cap + delivered, cpm_amount=cpm, cap=cap) == price_impressions(
        cap, cpm_amount=cpm, cap=cap
    )


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_whole_conversions_cost_their_price_each(conversions: int, price: int) -> None:
    assert price_conversions(conversions * 1_000_000, price_amount=price) == conversions * price


@given(_AMOUNTS, _CODES)
def test_what_is_written_is_read_as_the_same_amount(amount: int, code: str) -> None:
    text = format_money(Money(amount, code)).lstrip("€£₪₹¥₩₱$").removeprefix(f"{code}\u00a0")
    assert parse_amount(text, code) == amount
    assert parse_amount(text.replace(",", ""), code) == amount
    assert str(Money(-amount - 1, code)).startswith("-")


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("", "EUR"),
        ("-1", "EUR"),
        ("1.234,50", "EUR"),
        ("12,34", "EUR"),
        ("1,23,456", "EUR"),
        ("1e3", "EUR"),
        (".5", "EUR"),
        ("1.", "EUR"),
        ("€5", "EUR"),
        ("١٢", "EUR"),
        ("1.001", "EUR"),
        ("1.5", "JPY"),
        ("0.0001", "KWD"),
        ("10,000,000,000,000.01", "EUR"),
        ("9" * 16, "JPY"),
    ],
)
def test_what_is_no_amount_is_refused(text: str, currency: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_amount(text, currency, path="/rows/3/amount")
    assert refused.value.path == "/rows/3/amount"


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(123450, "EUR"), "€1,234.50"),
        (Money(5, "USD"), "$0.05"),
        (Money(1234567, "JPY"), "¥1,234,567"),
        (Money(1, "KWD"), "KWD\u00a00.001"),
        (Money(-1999, "CHF"), "-CHF\u00a019.99"),
        (Money(0, "GBP"), "£0.00"),
    ],
)
def test_amounts_are_written_for_people(money: Money, text: str) -> None:
    assert format_money(money) == text


def test_what_a_run_adds_up_fits_whatever_its_conversions_are_worth() -> None:
    assert 9 * MAX_AMOUNT * MAX_CONVERSIONS < 2**63
    assert price_conversions(MAX_CONVERSIONS * 1_000_000, price_amount=MAX_AMOUNT) < 2**63
