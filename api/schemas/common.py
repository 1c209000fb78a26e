"""Forms that every noun shares."""

from __future__ import annotations

import types
import typing
from typing import Any, Generic, TypeVar

import msgspec

__all__ = ("HealthAnswer", "Page", "alternatives")

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list; `next_cursor` is null on the last one."""

    data: list[T]
    next_cursor: str | None


class HealthAnswer(msgspec.Struct, frozen=True):
    """Up; when it is not, the answer is a problem with status 503."""

    status: str = "up"


def alternatives(kind: Any) -> tuple[Any, ...]:
    """List the forms that a body or an answer has, of which most have one."""
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
