"""Lists in pages: a cursor says behind which row the next page begins, and means nothing to anyone else."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from analytics_core.db.explain import HitPlace
from analytics_core.reports import EARLIEST, LATEST
from api.queries import Parameter, Refusal, whole_number
from api.schemas.common import Page

__all__ = ("HIT_CURSOR", "LIMIT", "Place", "id_cursor", "page_of", "write_cursor", "write_hit_cursor")

Row = TypeVar("Row")
Shown = TypeVar("Shown")

Place: TypeAlias = tuple[dt.datetime, UUID]
"""Where a row stands in a list that is ordered by a time and an id."""

_Small = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_HITS: Final = "hits"
_MAX_CHARS: Final = 300
_DESCRIPTION: Final = "Where the page begins: `next_cursor` of the page before."

LIMIT: Final = Parameter(
    "limit",
    whole_number(1, 200),
    50,
    "How many at most, from 1 to 200.",
    {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
)


def _write(*parts: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def _decode(text: str) -> bytes:
    if len(text) > _MAX_CHARS:
        raise ValueError("too long")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _check(name: str, expected: str, at: dt.datetime) -> None:
    if name != expected or at.tzinfo is None or not EARLIEST < at.date() < LATEST:
        raise ValueError("another list's")


def _refusal() -> Refusal:
    return Refusal("bad_cursor", "is no cursor of this list; take `next_cursor` as it was given, or leave it out")


def write_cursor(list_name: str, at: dt.datetime, row_id: UUID) -> str:
    """Write the cursor behind a row of a list that is ordered by a time and an id."""
    return _write(list_name, at, row_id)


def id_cursor(list_name: str) -> Parameter[Place | None]:
    """Declare the cursor of a list that is ordered by a time and an id."""

    def parse(text: str) -> Place | None:
        try:
            name, at, row_id = msgspec.json.decode(_decode(text), type=tuple[str, dt.datetime, UUID])
            _check(name, list_name, at)
        except (binascii.Error, msgspec.MsgspecError, ValueError):
            raise _refusal() from None
        return at, row_id

    return Parameter("cursor", parse, None, _DESCRIPTION, {"type": "string"})


def page_of(
    rows: Sequence[Row], limit: int, show: Callable[[Row], Shown], list_name: str, place: Callable[[Row], Place]
) -> Page[Shown]:
    """Make a page of rows of which one more than its limit was read, if there are so many.

    Args:
        rows: In the list's order.
        limit: How many of them the page has at most.
        show: Makes of a row what is answered.
        list_name: As :func:`id_cursor` has it.
        place: Tells where a row stands.
    """
    cursor = write_cursor(list_name, *place(rows[limit - 1])) if len(rows) > limit else None
    return Page([show(row) for row in rows[:limit]], cursor)


def write_hit_cursor(place: HitPlace) -> str:
    """Write the cursor behind a hit."""
    return _write(_HITS, place.occurred_at, place.segment_no, place.ordinal)


def _parse_hit_cursor(text: str) -> HitPlace | None:
    try:
        name, at, segment_no, ordinal = msgspec.json.decode(_decode(text), type=tuple[str, dt.datetime, _Small, _Small])
        _check(name, _HITS, at)
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        raise _refusal() from None
    return HitPlace(at, segment_no, ordinal)


HIT_CURSOR: Final[Parameter[HitPlace | None]] = Parameter(
    "cursor", _parse_hit_cursor, None, _DESCRIPTION, {"type": "string"}
)
