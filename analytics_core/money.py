"""Money: whole minor units of one currency, their rounding, and how people write it.

Source: ISO 4217 (SIX, list one), whose minor units are the number of decimals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from analytics_core.errors import CastledgerError, InvalidInput

__all__ = (
    "CURRENCIES",
    "MAX_AMOUNT",
    "CurrencyMismatch",
    "Money",
    "divide_half_up",
    "format_money",
    "parse_amount",
    "parse_currency",
    "price_conversions",
    "price_impressions",
    "sum_money",
)

MAX_AMOUNT: Final = 10**12
"""The largest amount of anything that is priced or worth something, in minor units.

The million conversions of an attribution run add up to a ninth of what 64 bits hold, each of them worth as much, or
paid for with as much."""

_WITHOUT_DECIMALS: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE_DECIMALS: Final = "BHD IQD JOD KWD LYD OMR TND"
# Those withdrawn in the years just past are among them, as sums of then are still told. Metals, units of account
# and codes for tests are not: nobody is paid in them.
_TWO_DECIMALS: Final = """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC
    CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IRR JMD
    KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
    NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB
    TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG ZWL"""

CURRENCIES: Final = {
    code: exponent
    for exponent, codes in ((0, _WITHOUT_DECIMALS), (2, _TWO_DECIMALS), (3, _THREE_DECIMALS))
    for code in codes.split()
}
"""How many decimals the amounts of a currency have, by its code."""

# A bare $ is read as the one of the United States, a bare ¥ as that of Japan; others have their code.
_SIGNS: Final = {"EUR": "€", "GBP": "£", "ILS": "₪", "INR": "₹", "JPY": "¥", "KRW": "₩", "PHP": "₱", "USD": "$"}
_NO_BREAK: Final = "\u00a0"
_DECIMAL: Final = re.compile(r"(?P<whole>\d{1,16}|\d{1,3}(?:,\d{3}){1,5})(?:\.(?P<part>\d{1,9}))?", re.ASCII)
_A_THOUSAND: Final = 1_000
_A_MILLION: Final = 1_000_000


class CurrencyMismatch(CastledgerError, ValueError):
    """Amounts of two currencies were to be added or compared; nothing here converts them."""

    code = "currency_mismatch"

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other} are two currencies, whose amounts are not added")


class Money(msgspec.Struct, frozen=True):
    """An amount of one currency.

    Attributes:
        amount: Minor units, such as cents; below nothing for what is owed back.
        currency: Three capital letters of ISO 4217.

    >>> Money(1999, "EUR") + Money(1, "EUR")
    Money(amount=2000, currency='EUR')
    >>> Money(1999, "EUR") + Money(1, "USD")
    Traceback (most recent call last):
    analytics_core.money.CurrencyMismatch: EUR and USD are two currencies, whose amounts are not added
    """

    amount: int
    currency: str

    def __add__(self, other: Money) -> Money:
        """Add an amount of the same currency."""
        return Money(self.amount + self._of_same(other).amount, self.currency)

    def __sub__(self, other: Money) -> Money:
        """Take an amount of the same currency away."""
        return Money(self.amount - self._of_same(other).amount, self.currency)

    def __str__(self) -> str:
        """Write it for people."""
        return format_money(self)

    def _of_same(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise CurrencyMismatch(self.currency, other.currency)
        return other


def sum_money(parts: Iterable[Money], currency: str) -> Money:
    """Add amounts up; nothing of the currency where there are none.

    Raises:
        CurrencyMismatch: One is of another currency.
    """
    return sum(parts, start=Money(0, currency))


def divide_half_up(dividend: int, divisor: int) -> int:
    """Divide, rounded to the nearest whole number, halves up.

    >>> divide_half_up(25, 10), divide_half_up(24, 10)
    (3, 2)

    Args:
        dividend: 0 or more.
        divisor: 1 or more.

    Raises:
        ValueError: One is less than that.
    """
    if dividend < 0 or divisor < 1:
        raise ValueError("only what is not negative is divided, by 1 or more")
    return (2 * dividend + divisor) // (2 * divisor)


def price_impressions(delivered: int, *, cpm_amount: int, cap: int | None) -> int:
    """Price impressions by the thousand, up to what was booked.

    >>> price_impressions(1_250, cpm_amount=2_500, cap=1_000)
    2500

    Args:
        delivered: How many there were.
        cpm_amount: The price of a thousand, in minor units.
        cap: How many are paid for at most; ``None`` for all.

    Returns:
        Minor units, rounded half up once.
    """
    paid = delivered if cap is None else min(delivered, cap)
    return divide_half_up(paid * cpm_amount, _A_THOUSAND)


def price_conversions(conversions_ppm: int, *, price_amount: int) -> int:
    """Price conversions, which are counted in millionths as several flights may share one.

    >>> price_conversions(1_500_000, price_amount=999)
    1499

    Returns:
        Minor units, rounded half up once.
    """
    return divide_half_up(conversions_ppm * price_amount, _A_MILLION)


def parse_currency(text: str, *, path: str = "/currency") -> str:
    """Read the code of a currency.

    Raises:
        InvalidInput: ``unknown_currency``.

    >>> parse_currency("EUR")
    'EUR'
    """
    if text not in CURRENCIES:
        raise InvalidInput(
            path, "has to be a currency of ISO 4217 in three capital letters, such as EUR", code="unknown_currency"
        )
    return text


def parse_amount(text: str, currency: str, *, path: str = "/amount") -> int:
    """Read an amount as people write it: a point before the decimals, commas between thousands or none.

    >>> parse_amount("1,234.5", "EUR"), parse_amount("1234", "JPY")
    (123450, 1234)

    Args:
        text: Without a sign and without a currency.
        currency: A known one, which says how many decimals there may be.
        path: Where it stands, for the error.

    Returns:
        Minor units.

    Raises:
        InvalidInput: It is no such amount, has more decimals than the currency, or is more than :data:`MAX_AMOUNT`.
    """
    exponent = CURRENCIES[currency]
    found = _DECIMAL.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(path, "has to be an amount such as 1234.50 or 1,234.50")
    part = found["part"] or ""
    if len(part) > exponent:
        raise InvalidInput(path, f"has {len(part)} decimals, where {currency} has {exponent}")
    amount = int(found["whole"].replace(",", "") + part.ljust(exponent, "0"))
    if amount > MAX_AMOUNT:
        raise InvalidInput(path, f"is more than {format_money(Money(MAX_AMOUNT, currency))}")
    return amount


def format_money(money: Money) -> str:
    """Write an amount for people, with its currency's sign where that can be no other's, else with its code.

    >>> format_money(Money(123450, "EUR")), format_money(Money(-5, "KWD")).replace(chr(160), " ")
    ('€1,234.50', '-KWD 0.005')
    """
    exponent = CURRENCIES.get(money.currency, 2)
    whole, part = divmod(abs(money.amount), 10**exponent)
    decimals = f".{part:0{exponent}d}" if exponent else ""
    sign = _SIGNS.get(money.currency, f"{money.currency}{_NO_BREAK}")
    return f"{'-' if money.amount < 0 else ''}{sign}{whole:,}{decimals}"
