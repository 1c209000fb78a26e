"""Reports and lists as frames of Polars and pandas: a row a row, nested fields beside their parents.

Each library is imported when it is needed and comes with an extra: ``pip install 'castledger[polars]'``. What a column
is called and holds depends on the type of the rows alone, so that an empty report has all of them. Instants are aware,
in the report's time zone, UTC for lists; ids are text, and so are properties, as JSON.
"""

from __future__ import annotations

import datetime as dt
import importlib
import types
import typing
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import msgspec

from castledger._errors import MissingExtra
from castledger._models import Curve, CurvePoint, Instant, Table, Tabular

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ("to_pandas", "to_polars")

_TEXTS: Final = (str, UUID)
# pandas tells a column with holes from one without.
_PANDAS: Final = {
    "int": ("int64", "Int64"),
    "float": ("float64", "Float64"),
    "bool": ("bool", "boolean"),
    "text": ("string", "string"),
    "json": ("string", "string"),
}


class Column(NamedTuple):
    """A column: the *path* of fields from a row to the value, and its kind; unknown names make it ``json``."""

    path: tuple[str, ...]
    kind: str
    optional: bool
    inner: Any

    @property
    def name(self) -> str:
        """What it is called."""
        return "_".join(self.path)


def strip_optional(annotation: Any) -> tuple[Any, bool]:
    """Take ``None`` off a type; tell whether it was there."""
    # Equal, and not the same: typing gives one that is equal back where it has it already.
    if annotation == Instant:
        return Instant, False
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        args = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
        return args[0], len(args) < len(typing.get_args(annotation))
    return annotation, False


def kind_of(annotation: Any) -> str:
    """Tell what values of a type are: as a column's ``kind``."""
    if annotation == Instant:
        return "instant"
    for name, of in (("bool", bool), ("int", int), ("float", float), ("day", dt.date)):
        if annotation is of:
            return name
    if typing.get_origin(annotation) is dict:
        return "json"
    return "text" if annotation in _TEXTS else "list"


def columns_of(kind: type[msgspec.Struct], path: tuple[str, ...] = (), *, is_optional: bool = False) -> list[Column]:
    """List a type's columns, in the order of its fields."""
    found: list[Column] = []
    for name, annotation in typing.get_type_hints(kind, include_extras=True).items():
        inner, may_miss = strip_optional(annotation)
        may_miss = may_miss or is_optional
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found += columns_of(inner, (*path, name), is_optional=may_miss)
        else:
            found.append(Column((*path, name), kind_of(inner), may_miss, inner))
    return found


class _FlatPoint(CurvePoint, frozen=True, kw_only=True):
    """A point with its episode: what a row of curves is."""

    episode_id: UUID
    title: str
    published_at: Instant | None = None


def _flatten_curves(curves: Sequence[Any]) -> Table:
    rows = [
        _FlatPoint(
            **msgspec.structs.asdict(point),
            episode_id=curve.episode_id,
            title=curve.title,
            published_at=curve.published_at,
        )
        for curve in curves
        for point in curve.points
    ]
    return Table(_FlatPoint, rows)


def _read(source: Tabular | Iterable[Any], kind: type[Any] | None) -> Table:
    if isinstance(source, Tabular):
        return source.as_table()
    # A list of the client says what it is of.
    kind = getattr(source, "kind", kind)
    rows = list(source)
    kind = kind or (type(rows[0]) if rows else None)
    if kind is None:
        raise ValueError("kind: say what an empty list is of, such as kind=castledger.Podcast")
    if not issubclass(kind, msgspec.Struct) or not all(isinstance(row, kind) for row in rows):
        raise TypeError("a frame is made of a report, or of a list of one kind of what the API answers")
    return _flatten_curves(rows) if kind is Curve else Table(kind, rows)


def _follow(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if row is None:
            return None
        row = getattr(row, name)
    return row


def _values(column: Column, rows: Sequence[Any]) -> Any:
    values = [_follow(row, column.path) for row in rows]
    match column.kind:
        case "text":
            return [None if value is None else str(value) for value in values]
        case "instant":
            return [None if value is None else value.astimezone(dt.UTC) for value in values]
        case "json":
            return [None if value is None else msgspec.json.encode(value).decode() for value in values]
        case "list":
            return msgspec.to_builtins(values, builtin_types=(dt.datetime,))
        case _:
            return values


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtra(name) from error


def to_polars(source: Tabular | Iterable[Any], *, kind: type[Any] | None = None) -> pl.DataFrame:
    """Make a Polars frame.

    Args:
        source: A report, or what the API listed. Of curves, a row is a point.
        kind: What a list of your own is of; needed where it may be empty.

    Raises:
        MissingExtra: Polars is not installed.
        TypeError: *source* is something else, or of mixed kinds.
        ValueError: The list is empty and no *kind* is given.
    """
    polars = _import("polars")
    table = _read(source, kind)
    plain = {"int": polars.Int64, "float": polars.Float64, "bool": polars.Boolean, "text": polars.String}
    plain["json"] = polars.String

    def dtype(annotation: Any) -> Any:
        inner, _ = strip_optional(annotation)
        named = kind_of(inner)
        if named == "instant":
            return polars.Datetime("us", "UTC")
        if named == "day":
            return polars.Date
        if named != "list":
            return plain[named]
        if isinstance(inner, type):
            hints = typing.get_type_hints(inner, include_extras=True)
            return polars.Struct({name: dtype(hint) for name, hint in hints.items()})
        return polars.List(dtype(typing.get_args(inner)[0]))

    columns = []
    for column in columns_of(table.kind):
        series = polars.Series(column.name, _values(column, table.rows), dtype=dtype(column.inner))
        if column.kind == "instant":
            series = series.dt.convert_time_zone(table.tz)
        columns.append(series)
    frame: pl.DataFrame = polars.DataFrame(columns)
    return frame


def to_pandas(source: Tabular | Iterable[Any], *, kind: type[Any] | None = None) -> pd.DataFrame:
    """Make a pandas frame; arguments and errors are those of :func:`to_polars`.

    Days become ``datetime64`` without a time zone, lists stay lists.
    """
    pandas = _import("pandas")
    table = _read(source, kind)
    columns = {}
    for column in columns_of(table.kind):
        values = _values(column, table.rows)
        match column.kind:
            case "instant":
                series = pandas.Series(pandas.to_datetime(values, utc=True)).astype("datetime64[us, UTC]")
                series = series.dt.tz_convert(table.tz)
            case "day":
                series = pandas.Series(values, dtype="datetime64[s]")
            case "list":
                series = pandas.Series(values, dtype="object")
            case named:
                series = pandas.Series(values, dtype=_PANDAS[named][column.optional])
        columns[column.name] = series
    frame: pd.DataFrame = pandas.DataFrame(columns)
    return frame
