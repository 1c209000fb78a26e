"""What columns a type has: fields, with those of fields beside them; frames and CSV go by the same."""

from __future__ import annotations

import datetime as dt
import types
import typing
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from castledger._models.common import Instant

__all__ = ("Column", "columns_of", "kind_of", "strip_optional")

_TEXTS: Final = (str, UUID)


class Column(NamedTuple):
    """A column.

    Attributes:
        path: Fields to follow from a row to the value.
        kind: ``int``, ``float``, ``bool``, ``text``, ``day``, ``instant``, ``list``, or ``json`` for
            names and values that nobody knows before.
        optional: Whether values may be missing.
        inner: What a value is that is there.
    """

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
    if annotation is Instant:
        return Instant, False
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        args = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
        return args[0], len(args) < len(typing.get_args(annotation))
    return annotation, False


def kind_of(annotation: Any) -> str:
    """Tell what values of a type are: as a column's ``kind``."""
    if annotation is Instant:
        return "instant"
    for name, of in (("bool", bool), ("int", int), ("float", float), ("day", dt.date)):
        if annotation is of:
            return name
    if typing.get_origin(annotation) is dict:
        return "json"
    return "text" if annotation in _TEXTS else "list"


def columns_of(kind: type[msgspec.Struct], path: tuple[str, ...] = (), *, is_optional: bool = False) -> list[Column]:
    """List a type's columns, in the order of its fields.

    Args:
        kind: What a row is.
        path: Fields that lead to it.
        is_optional: Whether it may be missing itself.
    """
    found: list[Column] = []
    for name, annotation in typing.get_type_hints(kind, include_extras=True).items():
        inner, may_miss = strip_optional(annotation)
        may_miss = may_miss or is_optional
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found += columns_of(inner, (*path, name), is_optional=may_miss)
        else:
            found.append(Column((*path, name), kind_of(inner), may_miss, inner))
    return found
