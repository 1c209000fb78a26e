"""What a report is asked for by: which fields each kind has, and the range of days that it is about."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from analytics_core.reports import EARLIEST, LATEST, find_time_zone

__all__ = ("MAX_DAYS", "FieldFault", "ReportKind", "ReportParams", "find_faults")

MAX_DAYS: Final = 400
"""Days of a report at most: a year and the month that it is compared with."""


class ReportKind(enum.StrEnum):
    """What reports there are."""

    SPONSOR = "sponsor"
    PODCAST = "podcast"
    DELIVERY = "delivery"


class ReportParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a report is about; together with its cutoff it decides every byte of the file.

    Attributes:
        start: The first day.
        end: The day behind the last.
        tz: Whose days they are: of a podcast's report any time zone, of all others UTC.
        podcast_id: Of which podcast.
        sponsor_id: Of which sponsor.
        campaign_id: Of one campaign alone.
        run_id: The attribution run that tells of conversions; ``None`` when there is none for exactly these days.
        received_before: Conversions that were received before are counted by code.
    """

    start: dt.date = msgspec.field(name="from")
    end: dt.date = msgspec.field(name="to")
    tz: str = "UTC"
    podcast_id: UUID | None = None
    sponsor_id: UUID | None = None
    campaign_id: UUID | None = None
    run_id: UUID | None = None
    received_before: dt.datetime | None = None


class FieldFault(NamedTuple):
    """What is wrong with a field."""

    name: str
    code: str
    message: str


_REQUIRED: Final[Mapping[ReportKind, tuple[str, ...]]] = {
    ReportKind.SPONSOR: ("sponsor_id",),
    ReportKind.PODCAST: ("podcast_id",),
    ReportKind.DELIVERY: (),
}
_ALLOWED: Final[Mapping[ReportKind, tuple[str, ...]]] = {
    ReportKind.SPONSOR: ("sponsor_id", "campaign_id", "run_id", "received_before"),
    ReportKind.PODCAST: ("podcast_id", "tz"),
    ReportKind.DELIVERY: ("sponsor_id", "campaign_id"),
}
_FIELDS: Final = ("tz", "podcast_id", "sponsor_id", "campaign_id", "run_id", "received_before")


def find_faults(kind: ReportKind, params: ReportParams) -> Iterator[FieldFault]:
    """Find what is wrong with what a report is asked for by.

    >>> days = {"start": dt.date(2026, 1, 1), "end": dt.date(2026, 2, 1)}
    >>> [*find_faults(ReportKind.PODCAST, ReportParams(**days))]
    [FieldFault(name='podcast_id', code='missing', message='is required of a podcast report')]
    """
    given = {name for name in _FIELDS if getattr(params, name) not in (None, "UTC")}
    for name in _REQUIRED[kind]:
        if name not in given:
            yield FieldFault(name, "missing", f"is required of a {kind} report")
    for name in _FIELDS:
        if name in given and name not in _ALLOWED[kind]:
            yield FieldFault(name, "unexpected", f"is no field of a {kind} report")
    if params.received_before is not None and params.received_before.tzinfo is None:
        yield FieldFault("received_before", "naive_time", "has no offset; write 2026-12-01T12:00:00Z or …+01:00")
    elif params.received_before is not None and not EARLIEST < params.received_before.date() < LATEST:
        yield FieldFault("received_before", "out_of_range", f"has to be later than {EARLIEST} and before {LATEST}")
    if find_time_zone(params.tz) is None:
        yield FieldFault("tz", "unknown_time_zone", "is no known time zone; use a name such as Europe/Berlin")
    for name, day in (("from", params.start), ("to", params.end)):
        if not EARLIEST < day < LATEST:
            yield FieldFault(name, "out_of_range", f"has to be later than {EARLIEST} and before {LATEST}")
            return
    if params.end <= params.start:
        yield FieldFault("to", "empty_range", "has to lie behind `from`: it is the day after the last one")
    elif (params.end - params.start).days > MAX_DAYS:
        yield FieldFault("to", "range_too_long", f"lies more than {MAX_DAYS} days behind `from`")
