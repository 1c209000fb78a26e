"""Values of an archive's columns: what each kind is, and how one is checked when it is read back."""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Callable, Hashable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

__all__ = ("BadValue", "Column", "Kind", "column_decoder", "decoder", "plain")


class Kind(enum.StrEnum):
    """What a column holds, under the name that the manifest gives it.

    In NDJSON an instant is RFC 3339 in UTC, a date ISO 8601, bytes are hexadecimal digits, ``json`` is an object. In
    Parquet they are a timestamp in microseconds, a date, a string, and a string of JSON; an id is a string in both.
    """

    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    TEXT = "text"
    UUID = "uuid"
    DATE = "date"
    INSTANT = "timestamp"
    BYTES = "bytes"
    JSON = "json"
    INT16_LIST = "list<int16>"
    INT32_LIST = "list<int32>"
    TEXT_LIST = "list<text>"
    JSON_LIST = "list<json>"


class BadValue(ValueError):
    """A value that is none of its column's, by its place among those that were read."""

    def __init__(self, place: int, reason: str) -> None:
        self.place = place
        super().__init__(reason)


class Column(NamedTuple):
    """A column.

    Attributes:
        low: Least number that has a meaning, where not every one of the kind has.
        high: The same for the greatest.
        is_stored: Whether the table that it is of has it too; else it only names what a number of that table means.
    """

    name: str
    kind: Kind
    nullable: bool = False
    low: int | None = None
    high: int | None = None
    is_stored: bool = True


_BITS: Final = {Kind.INT16: 16, Kind.INT32: 32, Kind.INT64: 64}
_ITEMS: Final = {
    Kind.INT16_LIST: Kind.INT16,
    Kind.INT32_LIST: Kind.INT32,
    Kind.TEXT_LIST: Kind.TEXT,
    Kind.JSON_LIST: Kind.JSON,
}
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_INSTANT: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?Z")


def plain(kind: Kind, values: Sequence[object]) -> Sequence[object]:
    """Turn a column's values as the database gives them into those that both formats can write.

    >>> plain(Kind.BYTES, [b"\\x01\\xff", None]), plain(Kind.UUID, [UUID(int=1)])
    (['01ff', None], ['00000000-0000-0000-0000-000000000001'])
    """
    if kind is Kind.UUID:
        return [None if value is None else str(value) for value in values]
    if kind is Kind.BYTES:
        return [value.hex() if isinstance(value, bytes) else value for value in values]
    return values


def _integer(low: int, high: int) -> Callable[[object], object]:
    def decode(value: object) -> object:
        if type(value) is not int:
            raise ValueError(f"is no whole number: {_shown(value)}")
        if not low <= value <= high:
            raise ValueError(f"is not from {low} to {high}: {value}")
        return value

    return decode


def _bool(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError(f"is neither true nor false: {_shown(value)}")
    return value


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"is no text: {_shown(value)}")
    if "\x00" in value:
        raise ValueError("has a NUL character, which cannot be stored")
    return value


def _uuid(value: object) -> object:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError(f"is no id such as 019abc00-0000-7000-8000-000000000000: {_shown(value)}")
    return UUID(value)


def _date(value: object) -> object:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if isinstance(value, str) and _DATE.fullmatch(value):
        return dt.date.fromisoformat(value)
    raise ValueError(f"is no date: {_shown(value)}")


def _instant(value: object) -> object:
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC)
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return dt.datetime.fromisoformat(value)
    raise ValueError(f"is no instant in UTC such as 2026-11-01T12:00:00Z: {_shown(value)}")


def _bytes(value: object) -> object:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ValueError(f"is no bytes in hexadecimal digits: {_shown(value)}")
    return bytes.fromhex(value)


def _json(value: object) -> object:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ValueError(f"is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"is no object: {_shown(value)}")
    if _has_nul(value):
        raise ValueError("has a NUL character, which cannot be stored")
    return value


def _has_nul(value: object) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_has_nul(part) for pair in value.items() for part in pair)
        case list():
            return any(_has_nul(part) for part in value)
        case _:
            return False


_PLAIN: Final[dict[Kind, Callable[[object], object]]] = {
    Kind.BOOL: _bool,
    Kind.TEXT: _text,
    Kind.UUID: _uuid,
    Kind.DATE: _date,
    Kind.INSTANT: _instant,
    Kind.BYTES: _bytes,
    Kind.JSON: _json,
}


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


def _list(item: Callable[[object], object]) -> Callable[[object], object]:
    def decode(value: object) -> object:
        if not isinstance(value, list):
            raise ValueError(f"is no list: {_shown(value)}")
        return [item(one) for one in value]

    return decode


def decoder(column: Column) -> Callable[[object], object]:
    """Make the function that reads a value of a column, as it stands in a file of either format.

    Returns:
        A function that returns the value as the database takes it, and raises ``ValueError`` with the reason, worded to
        follow the column's name, when it is none of the column's.

    >>> decoder(Column("n", Kind.INT16))(7)
    7
    >>> decoder(Column("n", Kind.INT16, high=12))(13)
    Traceback (most recent call last):
    ValueError: is not from -32768 to 12: 13
    """
    kind = _ITEMS.get(column.kind, column.kind)
    if kind in _BITS:
        bound = 1 << (_BITS[kind] - 1)
        decode = _integer(
            -bound if column.low is None else column.low, bound - 1 if column.high is None else column.high
        )
    else:
        decode = _PLAIN[kind]
    if column.kind in _ITEMS:
        decode = _list(decode)

    def checked(value: object) -> object:
        if value is not None:
            return decode(value)
        if not column.nullable:
            raise ValueError("is missing")
        return None

    return checked


def column_decoder(column: Column) -> Callable[[Sequence[object]], list[object]]:
    """Make the function that reads many values of a column; it raises :class:`BadValue` at the first that is none."""
    decode = decoder(column)

    def read(values: Sequence[object]) -> list[object]:
        known: dict[tuple[type, object], object] = {}
        found = []
        for place, value in enumerate(values):
            # What repeats, as most of it does, is read once; a list or an object cannot be looked up.
            key = (type(value), value)
            try:
                found.append(known[key])
                continue
            except (KeyError, TypeError):
                pass
            try:
                one = decode(value)
            except ValueError as error:
                raise BadValue(place, str(error)) from error
            found.append(one)
            if isinstance(value, Hashable):
                known[key] = one
        return found

    return read
