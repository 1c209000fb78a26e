"""A shop's list of redemptions: a CSV file of orders, each line of which is a conversion, or wrong in ways it is told.

``docs/conversions.md`` is the contract. Lines are read one by one; a file is never held as rows.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from analytics_core.conversions import GivenConversion, judge_conversion
from analytics_core.errors import InvalidInput
from analytics_core.event_rules import EventFault
from analytics_core.money import CURRENCIES, parse_amount

__all__ = ("MAX_BYTES", "MAX_ROWS", "Listed", "RedemptionList", "open_redemptions")

MAX_BYTES: Final = 10 * 1024 * 1024
MAX_ROWS: Final = 100_000

_MAX_AGE: Final = dt.timedelta(days=731)
"""A list tells of the past: two years of it."""
_MAX_SHOWN: Final = 40

_COLUMNS: Final[Mapping[str, str]] = {
    "external_id": "external_id",
    "order": "external_id",
    "occurred_at": "occurred_at",
    "code": "promo_code",
    "value": "value",
    "value_amount": "value_amount",
    "currency": "currency",
    "customer_id": "customer_id",
    "new_customer": "new_customer",
    "referrer": "referrer",
}
"""What a column may be called, and what it says."""

_NEEDED: Final = ("external_id", "occurred_at", "promo_code")
_BLANKS: Final = re.compile(r"[\s-]+")
_DECIMAL_COMMA: Final = re.compile(r"(?:\d{1,3}(?:\.\d{3})+|\d+),\d+", re.ASCII)
_WHOLE: Final = re.compile(r"\d{1,16}", re.ASCII)
_WORDS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


_Blame: TypeAlias = Callable[[str, str, str], None]
"""Takes a column, a stable word for programs, and what is wrong."""


class Listed(NamedTuple):
    """One line of a list.

    Attributes:
        line: Where it begins, from 1.
        conversion: What it says; ``None`` when something is wrong with it.
        faults: All that is, each with its column as the file calls it.
    """

    line: int
    conversion: GivenConversion | None
    faults: Sequence[EventFault]


class RedemptionList:
    """A file whose header was read, made by :func:`open_redemptions`.

    Args:
        text: All of it.
        delimiter: Between its columns.
        columns: What each column says, in order; ``None`` for one that is not read.
        names: What the file calls each.
        action_id: Of the action that the orders are conversions of.
        currency: Of values without one of their own.
        tz: Where clocks without an offset hang; ``None`` when there has to be one.
    """

    def __init__(
        self,
        text: str,
        *,
        delimiter: str,
        columns: Sequence[str | None],
        names: Sequence[str],
        action_id: UUID,
        currency: str | None,
        tz: ZoneInfo | None,
    ) -> None:
        self._text = text
        self._delimiter = delimiter
        self._columns = columns
        self._names = dict(zip(columns, names, strict=True))
        self._action_id = str(action_id)
        self._currency = currency
        self._tz = tz
        self.ignored = [name for name, column in zip(names, columns, strict=True) if column is None]

    def rows(self, *, now: dt.datetime) -> Iterator[Listed]:
        """Read line by line; empty lines are passed over.

        Args:
            now: When the list came in.
        """
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self._delimiter, strict=True)
        next(reader)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                # Where quotes are not closed nothing behind them can be told apart any more.
                yield Listed(line, None, [EventFault(f"/{line}", "malformed_csv", f"cannot be read: {error}")])
                return
            if any(cell.strip() for cell in cells):
                yield self._read(line, cells, now)

    def _read(self, line: int, cells: Sequence[str], now: dt.datetime) -> Listed:
        if len(cells) != len(self._columns):
            message = f"has {len(cells)} columns, where the header has {len(self._columns)}"
            return Listed(line, None, [EventFault(f"/{line}", "columns", message)])
        said = {
            column: text
            for column, cell in zip(self._columns, cells, strict=True)
            if column is not None and (text := cell.strip())
        }
        faults: dict[str, EventFault] = {}

        def blame(column: str, code: str, message: str) -> None:
            faults.setdefault(column, EventFault(self._pointer(line, column), code, message))

        fields: dict[str, object] = {"action_id": self._action_id}
        fields |= {name: text for name, text in said.items() if name not in ("value", "value_amount", "new_customer")}
        if "occurred_at" in said:
            at = self._instant(said["occurred_at"])
            if at is None:
                rule = "has to be a time with its offset from UTC, such as 2026-11-30T05:59:58Z"
                blame("occurred_at", "invalid", rule if self._tz is None else f"{rule}, or without one in {self._tz}")
            else:
                fields["occurred_at"] = at
        if "new_customer" in said:
            word = _WORDS.get(said["new_customer"].lower())
            if word is None:
                blame("new_customer", "invalid", "has to be true or false")
            fields["new_customer"] = word
        self._read_value(said, fields, blame)
        judged = judge_conversion(fields, now=now, max_age=_MAX_AGE)
        if isinstance(judged, list):
            for fault in judged:
                blame(fault.pointer.removeprefix("/"), fault.code, fault.message)
        if faults or isinstance(judged, list):
            return Listed(line, None, list(faults.values()))
        return Listed(line, judged, ())

    def _read_value(self, said: Mapping[str, str], fields: dict[str, object], blame: _Blame) -> None:
        """Read what an order was worth, as whole minor units or as people write it."""
        fields.pop("currency", None)
        if "value" not in said and "value_amount" not in said:
            return
        currency = said.get("currency", self._currency)
        if currency is None:
            blame("currency", "missing", "a value needs a currency: a column of it, or `currency` in the address")
            return
        if currency not in CURRENCIES:
            blame("currency", "invalid", "has to be a currency of ISO 4217 in three capital letters, such as EUR")
            return
        fields["currency"] = currency
        amounts: dict[str, int] = {}
        if "value" in said:
            text = said["value"]
            if self._delimiter == ";" and _DECIMAL_COMMA.fullmatch(text):
                text = text.replace(".", "").replace(",", ".")
            try:
                amounts["value"] = parse_amount(text, currency)
            except InvalidInput as error:
                blame("value", error.code, error.reason)
        if "value_amount" in said:
            if _WHOLE.fullmatch(said["value_amount"]):
                amounts["value_amount"] = int(said["value_amount"])
            else:
                blame("value_amount", "invalid", "has to be a whole number of minor units, such as 4999 for 49.99")
        if len(set(amounts.values())) > 1:
            blame("value_amount", "contradictory", "is another amount than `value` is")
        fields["value_amount"] = next(iter(amounts.values()), 0)

    def _instant(self, text: str) -> str | None:
        try:
            at = dt.datetime.fromisoformat(text)
        except ValueError:
            return None
        if len(text) < len("2026-11-01T00"):
            return None
        if at.tzinfo is None:
            if self._tz is None:
                return None
            at = at.replace(tzinfo=self._tz)
        return at.isoformat()

    def _pointer(self, line: int, column: str) -> str:
        """Say where a fault is: the line, and the column as the file calls it."""
        name = self._names.get(column, column)
        return f"/{line}/{name[:_MAX_SHOWN].replace('~', '~0').replace('/', '~1')}"


def _split(header: str) -> tuple[str, list[str]]:
    """Tell what stands between the columns of a header: what makes the most of them."""
    found = {}
    for delimiter in (",", ";", "\t"):
        try:
            found[delimiter] = next(csv.reader([header], delimiter=delimiter, strict=True), [])
        except csv.Error:
            found[delimiter] = []
    best = max(found, key=lambda delimiter: len(found[delimiter]))
    return best, found[best]


def open_redemptions(data: bytes, *, action_id: UUID, currency: str | None, tz: ZoneInfo | None) -> RedemptionList:
    """Read the header of a list.

    Args:
        data: At most ``MAX_BYTES``.
        action_id: Of the action that the orders are conversions of.
        currency: Of values without one of their own.
        tz: Where clocks without an offset hang.

    Raises:
        InvalidInput: It is not UTF-8, has no header, or one with columns missing or twice.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("", f"the file is not UTF-8: byte {error.start}", code="not_utf8") from None
    if "\0" in text:
        where = text.index("\0")
        raise InvalidInput("", f"the file holds the character NUL: character {where}", code="malformed_csv")
    header = text.split("\n", 1)[0].rstrip("\r")
    delimiter, names = _split(header)
    names = [name.strip() for name in names]
    columns = [_COLUMNS.get(_BLANKS.sub("_", name.lower())) for name in names]
    known = [column for column in columns if column is not None]
    twice = {column for column in known if known.count(column) > 1}
    if twice:
        raise InvalidInput("/1", f"the header has {', '.join(sorted(twice))} more than once", code="repeated")
    missing = [column for column in _NEEDED if column not in known]
    if missing:
        named = ", ".join(name for name, column in _COLUMNS.items() if column in missing)
        raise InvalidInput("/1", f"the first line has to name the columns; there is none of {named}", code="missing")
    return RedemptionList(
        text, delimiter=delimiter, columns=columns, names=names, action_id=action_id, currency=currency, tz=tz
    )
