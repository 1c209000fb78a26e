"""Numbers, days and names as people read them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

from analytics_core.countries import country_names
from analytics_core.money import CURRENCIES, Money, format_money

__all__ = (
    "ago",
    "city_name",
    "compact",
    "country_name",
    "day",
    "day_range",
    "duration",
    "instant",
    "last_day",
    "money",
    "month",
    "number",
    "percent",
    "plain_amount",
    "region_name",
    "sentence",
    "short_day",
    "until",
    "weekday",
)

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_THIN: Final = "\N{NARROW NO-BREAK SPACE}"


def number(value: int) -> str:
    """Write a whole number with its thousands apart.

    >>> number(1234567)
    '1,234,567'
    """
    return f"{value:,}"


def compact(value: float) -> str:
    """Write a number of an axis as short as it can be.

    >>> compact(0), compact(950), compact(1500), compact(20_000), compact(3_000_000)
    ('0', '950', '1.5k', '20k', '3M')
    """
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:.10g}{unit}"
    return f"{value:.10g}"


def money(amount: int, currency: str) -> str:
    """Write a sum in minor units of a currency.

    >>> money(123450, "EUR")
    '€1,234.50'
    """
    return format_money(Money(amount, currency))


def plain_amount(amount: int, currency: str) -> str:
    """Write a sum as it is typed into a form: without a sign, and no marks between thousands.

    >>> plain_amount(123450, "EUR"), plain_amount(500, "JPY")
    ('1234.50', '500')
    """
    exponent = CURRENCIES[currency]
    whole, part = divmod(amount, 10**exponent)
    return f"{whole}.{part:0{exponent}d}" if exponent else str(whole)


def percent(share: float) -> str:
    """Write a share, small ones with a digit more.

    >>> percent(0.964), percent(0.034), percent(1.0), percent(0.0)
    ('96\u202f%', '3.4\u202f%', '100\u202f%', '0\u202f%')
    """
    value = share * 100
    digits = 1 if 0 < abs(value) < 9.95 else 0
    return f"{value:.{digits}f}{_THIN}%"


def day(value: dt.date) -> str:
    """Write a day in full.

    >>> day(dt.date(2026, 11, 3))
    '3 Nov 2026'
    """
    return f"{value.day} {_MONTHS[value.month - 1]} {value.year}"


def short_day(value: dt.date) -> str:
    """Write a day whose year goes without saying.

    >>> short_day(dt.date(2026, 11, 3))
    '3 Nov'
    """
    return f"{value.day} {_MONTHS[value.month - 1]}"


def month(value: dt.date) -> str:
    """Write the month of a day.

    >>> month(dt.date(2026, 11, 1))
    'Nov 2026'
    """
    return f"{_MONTHS[value.month - 1]} {value.year}"


def weekday(value: dt.date) -> str:
    """Name a day of the week.

    >>> weekday(dt.date(2026, 11, 24))
    'Tue'
    """
    return _WEEKDAYS[value.weekday()]


def day_range(first: dt.date, last: dt.date) -> str:
    """Write a stretch of days without repeating what they share.

    >>> day_range(dt.date(2026, 11, 3), dt.date(2026, 11, 3))
    '3 Nov 2026'
    >>> day_range(dt.date(2026, 11, 3), dt.date(2026, 11, 9))
    '3\u20139 Nov 2026'
    >>> day_range(dt.date(2026, 10, 26), dt.date(2026, 11, 24))
    '26 Oct \u2013 24 Nov 2026'
    >>> day_range(dt.date(2025, 12, 30), dt.date(2026, 1, 5))
    '30 Dec 2025 \u2013 5 Jan 2026'
    """
    if first == last:
        return day(last)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}\N{EN DASH}{day(last)}"
    if first.year == last.year:
        return f"{short_day(first)} \N{EN DASH} {day(last)}"
    return f"{day(first)} \N{EN DASH} {day(last)}"


def last_day(end: dt.datetime) -> dt.date:
    """Return the last day of UTC before an instant.

    >>> last_day(dt.datetime(2026, 12, 1, tzinfo=dt.UTC)), last_day(dt.datetime(2026, 12, 1, 6, tzinfo=dt.UTC))
    (datetime.date(2026, 11, 30), datetime.date(2026, 12, 1))
    """
    return (end.astimezone(dt.UTC) - dt.timedelta(microseconds=1)).date()


def until(first: dt.date, end: dt.date) -> str:
    """Write the days from one to before another.

    >>> until(dt.date(2026, 11, 1), dt.date(2026, 12, 1))
    '1\u201330 Nov 2026'
    """
    return day_range(first, end - dt.timedelta(days=1))


def instant(value: dt.datetime) -> str:
    """Write an instant in UTC, to the minute.

    >>> instant(dt.datetime(2026, 11, 3, 7, 5, tzinfo=dt.UTC))
    '3 Nov 2026, 07:05 UTC'
    """
    at = value.astimezone(dt.UTC)
    return f"{day(at.date())}, {at:%H:%M} UTC"


def ago(value: dt.datetime, now: dt.datetime) -> str:
    """Say roughly how long ago something was.

    >>> now = dt.datetime(2026, 11, 3, 12, tzinfo=dt.UTC)
    >>> [ago(now - dt.timedelta(seconds=s), now) for s in (-5, 30, 90, 7200, 86400, 400000)]
    ['just now', 'just now', '1 minute ago', '2 hours ago', '1 day ago', '4 days ago']
    """
    seconds = int((now - value).total_seconds())
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def duration(seconds: int) -> str:
    """Write how long an episode is.

    >>> duration(3723), duration(1800), duration(20)
    ('1 h 2 min', '30 min', '1 min')
    """
    minutes = max(1, round(seconds / 60))
    hours, rest = divmod(minutes, 60)
    parts: Sequence[str] = ([f"{hours} h"] if hours else []) + ([f"{rest} min"] if rest or not hours else [])
    return " ".join(parts)


def country_name(code: str) -> str:
    """Name a country by its code of two letters; an unknown code names itself, none is "unknown".

    >>> country_name("DE"), country_name("ZZ"), country_name("")
    ('Germany', 'ZZ', 'unknown')
    """
    return country_names().get(code, code or "unknown")


def region_name(key: str) -> str:
    """Name a region by its key, with its country's name behind it.

    >>> region_name("US-CA"), region_name("DE/Bavaria"), region_name("other"), region_name("")
    ('CA, United States', 'Bavaria, Germany', 'other', 'unknown')
    """
    country, region = key[:2], key[3:]
    return f"{region}, {country_name(country)}" if region and key[2] in "-/" else key or "unknown"


def city_name(key: str) -> str:
    """Name a city by its key, with region and country behind it: many a city has a namesake.

    >>> city_name("US-CA/San Francisco"), city_name("DE/Bavaria/Munich"), city_name("SG/Singapore"), city_name("other")
    ('San Francisco, CA, US', 'Munich, Bavaria, DE', 'Singapore, SG', 'other')
    """
    country, rest = key[:2], key[3:]
    if not rest or key[2] not in "-/":
        return key or "unknown"
    region, slash, city = rest.partition("/")
    return f"{city}, {region}, {country}" if slash else f"{region}, {country}"


def sentence(text: str) -> str:
    """Make a sentence of what an error says.

    >>> sentence("a tenant keeps an owner")
    'A tenant keeps an owner.'
    """
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."
