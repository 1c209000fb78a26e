"""A shop's list of redemptions: whatever a program writes as CSV is read, and what is wrong is told where it is."""

from __future__ import annotations

import csv
import datetime as dt
import io
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.conversions import GivenConversion
from analytics_core.errors import InvalidInput
from analytics_core.redemptions import Listed, open_redemptions

NOW = dt.datetime(2026, 11, 30, 6, tzinfo=dt.UTC)
ACTION = UUID(int=7)


def read(text: str | bytes, *, currency: str | None = None, tz: str | None = None) -> list[Listed]:
    data = text if isinstance(text, bytes) else text.encode()
    listed = open_redemptions(data, action_id=ACTION, currency=currency, tz=None if tz is None else ZoneInfo(tz))
    return list(listed.rows(now=NOW))


def faults(text: str, **given: Any) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for row in read(text, **given) for fault in row.faults]


HEAD = "external_id,occurred_at,code,value,currency"
TIME = "2026-11-01T10:00:00Z"

_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    lambda text: text == text.strip()
)
_orders = st.fixed_dictionaries(
    {
        "external_id": _texts,
        "occurred_at": st.integers(0, 700 * 86_400).map(lambda back: NOW - dt.timedelta(seconds=back)),
        "promo_code": _texts,
        "value_amount": st.integers(0, 10**12),
        "customer_id": st.none() | _texts,
        "new_customer": st.none() | st.booleans(),
    }
)


@given(
    orders=st.lists(_orders, min_size=1, max_size=8),
    order=st.permutations([*HEAD.split(","), "customer_id", "new_customer", "x"]),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    mark=st.booleans(),
)
def test_what_a_program_writes_is_read(
    orders: list[dict[str, Any]], order: list[str], delimiter: str, end: str, quoting: Any, mark: bool
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(order)
    for one in orders:
        cells = {
            "external_id": one["external_id"],
            "occurred_at": one["occurred_at"].isoformat(),
            "code": one["promo_code"],
            "value": f"{one['value_amount'] // 100}.{one['value_amount'] % 100:02}",
            "currency": "EUR",
            "customer_id": one["customer_id"] or "",
            "new_customer": "" if one["new_customer"] is None else str(one["new_customer"]),
            "x": "=1+1",
        }
        writer.writerow([cells[name] for name in order])
    data = (b"\xef\xbb\xbf" if mark else b"") + out.getvalue().encode()
    listed = open_redemptions(data, action_id=ACTION, currency=None, tz=None)
    assert listed.ignored == ["x"]
    rows = list(listed.rows(now=NOW))
    assert [row.faults for row in rows] == [()] * len(orders)
    assert [row.line for row in rows] == list(range(2, len(orders) + 2))
    assert [row.conversion for row in rows] == [
        GivenConversion(action_id=ACTION, currency="EUR", **one) for one in orders
    ]


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"{HEAD}\n{text}".encode()))
def test_nothing_that_is_sent_raises_but_what_is_told(data: bytes) -> None:
    try:
        rows = read(data)
    except InvalidInput:
        return
    assert all((row.conversion is None) is bool(row.faults) for row in rows)


def test_columns_may_be_called_as_shops_call_them() -> None:
    (row,) = read(f"Order;CODE;Occurred at;Value;Currency;New-Customer\n1;SAVE;{TIME};4.5;EUR;Yes\n")
    assert row.conversion is not None
    assert (row.conversion.value_amount, row.conversion.new_customer) == (450, True)


def test_values_have_the_decimals_of_their_currency() -> None:
    def amounts(*values: tuple[str, str], end: str = ",") -> list[int | None]:
        lines = [f"o{place},{TIME},X,{value},{currency}" for place, (value, currency) in enumerate(values)]
        return [
            None if row.conversion is None else row.conversion.value_amount for row in read("\n".join([HEAD, *lines]))
        ]

    assert amounts(("49.99", "EUR"), ("49", "EUR"), ("49", "JPY"), ("1.234", "KWD")) == [4999, 4900, 49, 1234]
    assert amounts(("49.999", "EUR"), ("49.5", "JPY"), ("-1", "EUR"), ("1e9", "EUR"), ("4", "XXX")) == [None] * 5
    # Where semicolons stand between columns, a comma stands before decimals.
    head = HEAD.replace(",", ";")
    lines = [f"{value};{TIME};X;{value};EUR" for value in ("1.234,50", "7,5", "1,234")]
    values = [row.conversion for row in read("\n".join([head, *lines]))]
    assert [one and one.value_amount for one in values] == [123450, 750, None]
    # A value in two forms says one thing.
    both = "external_id,occurred_at,code,value,value_amount"
    assert faults(f"{both}\n1,{TIME},X,4.5,450\n2,{TIME},X,4.5,451\n3,{TIME},X,,4.5\n", currency="EUR") == [
        ("/3/value_amount", "contradictory"),
        ("/4/value_amount", "invalid"),
    ]


def test_a_value_without_a_currency_is_refused_unless_one_is_said_for_all() -> None:
    text = f"external_id,occurred_at,code,value\n1,{TIME},X,5\n2,{TIME},X,\n"
    assert faults(text) == [("/2/currency", "missing")]
    first, second = (row.conversion for row in read(text, currency="EUR"))
    assert first is not None
    assert second is not None
    assert (first.value_amount, first.currency, second.currency) == (500, "EUR", None)


def test_a_time_without_an_offset_is_of_the_zone_that_is_said() -> None:
    text = "external_id,occurred_at,code\n1,2026-07-01 10:00,X\n2,2026-11-01T10:00:00+00:00,X\n"
    assert faults(text) == [("/2/occurred_at", "invalid")]
    times = [row.conversion and row.conversion.occurred_at for row in read(text, tz="Europe/Berlin")]
    assert times == [dt.datetime(2026, 7, 1, 8, tzinfo=dt.UTC), dt.datetime(2026, 11, 1, 10, tzinfo=dt.UTC)]
    # A day alone is no time: which code was valid then nobody could say.
    assert faults("external_id,occurred_at,code\n1,2026-07-01,X\n", tz="Europe/Berlin") == [
        ("/2/occurred_at", "invalid")
    ]
    assert faults("external_id,occurred_at,code\n1,2024-07-01T00:00Z,X\n") == [("/2/occurred_at", "too_old")]
    assert faults("external_id,occurred_at,code\n1,2026-12-02T00:00Z,X\n") == [("/2/occurred_at", "too_new")]


def test_all_that_is_wrong_is_told_by_line_and_column() -> None:
    text = f"{HEAD},New customer\n\n,bad,X,x,EUR,maybe\n1,{TIME}\n2,{TIME},X,1,EUR,\n"
    assert faults(text) == [
        ("/3/occurred_at", "invalid"),
        ("/3/New customer", "invalid"),
        ("/3/value", "invalid"),
        ("/3/external_id", "missing"),
        ("/4", "columns"),
    ]


def test_a_line_is_where_it_begins() -> None:
    text = f'{HEAD}\n1,{TIME},"X\nY",1,EUR\n2,{TIME},X,-1,EUR\n"3,{TIME}'
    assert faults(text) == [("/2/code", "invalid"), ("/4/value", "invalid"), ("/5", "malformed_csv")]


@pytest.mark.parametrize(
    ("data", "path", "code"),
    [
        (b"external_id,\xff", "", "not_utf8"),
        (b"external_id,occurred_at,code\n\0", "", "malformed_csv"),
        (b"", "/1", "missing"),
        (b"external_id,code\n", "/1", "missing"),
        (b"external_id,order,occurred_at,code\n", "/1", "repeated"),
    ],
)
def test_a_file_that_is_no_list_is_refused(data: bytes, path: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(data)
    assert (refused.value.path, refused.value.code) == (path, code)
