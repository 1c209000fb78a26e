"""What an archive's values have to be beside what their kind says: nobody else looks at it before it is used."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Final, cast

import msgspec

from analytics_core.archives.files import Chunk
from analytics_core.archives.tables import Table
from analytics_core.day_profiles import profile_from_stored
from analytics_core.errors import InvalidInput
from analytics_core.links import parse_slug, parse_target_url
from analytics_core.places import parse_place
from analytics_core.sponsors import (
    Contact,
    Targeting,
    parse_category,
    parse_contacts,
    parse_name,
    parse_targeting,
)
from analytics_core.verdicts import Verdict

__all__ = ("check_chunk",)

_HOST: Final = re.compile(r"[\x21-\x7e]{1,255}")


def _check_host(value: object) -> None:
    if not _HOST.fullmatch(str(value)):
        raise ValueError(f"{value!r} is no name of a host")


def _check_hosts(value: object) -> None:
    for host in cast(list[str], value):
        _check_host(host)


def _check_slug(value: object) -> None:
    if parse_slug(str(value)) != value:
        raise ValueError("has capital letters")


def _check_target(value: object) -> None:
    parse_target_url(str(value))


def _check_country(value: object) -> None:
    letters = divmod(cast(int, value), 256)
    if value and not all(ord("0") <= letter <= ord("Z") for letter in letters):
        raise ValueError(f"is no country of two letters, 256 times the first and the second: {value}")


def _check_place(value: object) -> None:
    if value:
        parse_place(str(value))


def _check_profile(value: object) -> None:
    try:
        profile = profile_from_stored(value)
    except msgspec.ValidationError as error:
        raise ValueError(f"is no profile: {error}") from error
    if profile.is_for_comparing or not profile.excluding & Verdict.UNKNOWN_EPISODE.bit:
        raise ValueError(f"is a profile that days cannot be judged by: {profile.name}")


def _check_name(value: object) -> None:
    if parse_name(str(value)) != value:
        raise ValueError("is not written as names are")


def _check_category(value: object) -> None:
    if value is not None and parse_category(str(value)) != value:
        raise ValueError("has capital letters")


def _check_contacts(value: object) -> None:
    parse_contacts(msgspec.convert(value, tuple[Contact, ...]))


def _check_targeting(value: object) -> None:
    parse_targeting(msgspec.convert(value, Targeting))


_CHECKS: Final[Mapping[tuple[str, str], Callable[[object], None]]] = {
    ("sponsors", "name"): _check_name,
    ("sponsors", "category"): _check_category,
    ("sponsors", "contacts"): _check_contacts,
    ("sponsors", "targeting"): _check_targeting,
    ("links", "slug"): _check_slug,
    ("links", "target"): _check_target,
    ("enclosures", "hosts"): _check_hosts,
    ("unknown_hosts", "host"): _check_host,
    **{(table, "place"): _check_place for table in ("hits", "pending_hits", "downloads")},
    ("days", "profile"): _check_profile,
    ("hits", "country"): _check_country,
    ("pending_hits", "country"): _check_country,
    ("downloads", "country"): _check_country,
}
"""What trackers are told, and what figures are made of, by table and column: the database does not look at it."""


def _day(value: object) -> dt.date:
    return value.date() if isinstance(value, dt.datetime) else cast(dt.date, value)


def check_chunk(table: Table, chunk: Chunk, day: dt.date | None) -> None:
    """Check what is more than a value's kind.

    Raises:
        InvalidInput: The first row that is wrong, with the reason.
    """
    for (name, column), check in _CHECKS.items():
        if name == table.name:
            for row, value in enumerate(chunk.columns[column]):
                try:
                    check(value)
                except ValueError as error:
                    raise InvalidInput(chunk.place(row), f"{column}: {error}") from error
    if table.day is not None:
        for row, value in enumerate(chunk.columns[table.day]):
            if _day(value) != day:
                raise InvalidInput(chunk.place(row), f"{table.day} is not of the day that the file is named after")
