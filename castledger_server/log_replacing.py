"""Days that a log is to count instead of trackers: which of them it covers, what would change, and the change."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from analytics_core.clock import Clock
from analytics_core.db.hits import HitSource
from analytics_core.db.log_imports import LiveDay
from analytics_core.db.pool import Connection
from analytics_core.db.restating import NotRestated
from castledger_server.restate_cli import HEAD, write_day
from ingest.log_import import LogSummary
from ingest.replacing import change_sources

__all__ = ("by_day", "is_covered", "replace_days", "tell_comparison", "tell_uncovered")

_EDGE: Final = dt.timedelta(minutes=10)
"""A log's first line may come so much later than the first download that trackers counted, and its last one earlier:
who was redirected need not have gone on, and a media host logs when it has given all."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Write = Callable[[str], object]


def _span(looks: Iterable[LogSummary]) -> tuple[dt.datetime, dt.datetime] | None:
    found = [(look.first_us, look.last_us) for look in looks if look.first_us is not None and look.last_us is not None]
    if not found:
        return None
    first_us, last_us = min(first for first, _ in found), max(last for _, last in found)
    return _EPOCH + dt.timedelta(microseconds=first_us), _EPOCH + dt.timedelta(microseconds=last_us)


def is_covered(live: LiveDay, looks: Sequence[LogSummary]) -> bool:
    """Tell whether all that trackers counted of a day lies between a log's first line and its last one.

    A log that begins in the middle of a day, as rotated ones do, would otherwise take the day's other half away.
    """
    span = _span(looks)
    if span is None or live.first_at is None or live.last_at is None:
        return False
    return span[0] <= live.first_at + _EDGE and live.last_at - _EDGE <= span[1]


def by_day(days: Iterable[LiveDay]) -> dict[dt.date, list[int]]:
    """List the numbers of podcasts by day."""
    found: dict[dt.date, list[int]] = {}
    for live in days:
        found.setdefault(live.day, []).append(live.podcast_no)
    return found


def tell_comparison(
    live: Sequence[LiveDay], looks: Sequence[LogSummary], weighed: Mapping[tuple[int, dt.date], int], write: Write
) -> None:
    """Write what trackers have counted of each day beside what the log would count."""
    if not live:
        write("trackers have counted none of these days\n")
        return
    write(f"{'day':<12}{'trackers':>10}{'log':>10}  podcast\n")
    for one in live:
        note = "" if is_covered(one, looks) else " (not all of the day is in the log: trackers go on counting)"
        log = weighed.get((one.podcast_no, one.day), 0)
        write(f"{one.day!s:<12}{one.downloads:>10,}{log:>10,}  {one.title}{note}\n")


def tell_uncovered(live: Sequence[LiveDay], looks: Sequence[LogSummary], write: Write) -> None:
    """Write why trackers go on counting on some days."""
    span = _span(looks)
    for one in live:
        if one.first_at is None or one.last_at is None or span is None:
            why = "the downloads that trackers counted are not kept one by one any more"
        else:
            why = (
                f"trackers counted from {_minute(one.first_at)} to {_minute(one.last_at)}, "
                f"the log goes from {_minute(span[0])} to {_minute(span[1])}; give the files before or behind as well"
            )
        write(f"trackers go on counting {one.title} on {one.day}: {why}\n")


def _minute(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%dT%H:%MZ}"


async def replace_days(
    conn: Connection,
    tenant_no: int,
    slug: str,
    live: Sequence[LiveDay],
    *,
    reason: str,
    clock: Clock,
    write: Write,
) -> bool:
    """Have the log count on these days instead of trackers, a day at a time; return whether all could be changed."""
    write(HEAD)
    outcomes = await change_sources(
        conn,
        tenant_no,
        by_day(live),
        source=HitSource.LOG,
        reason=reason,
        origin="command",
        clock=clock,
        tell=partial(write_day, slug),
    )
    refused = {one.day for one in outcomes if isinstance(one.outcome, NotRestated)}
    replaced = [one for one in live if one.day not in refused]
    write(
        f"the log counts instead of trackers on {_number(len({one.day for one in replaced}), 'day')}; "
        "`castledger replaced undo` takes that back\n"
    )
    return not refused


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
