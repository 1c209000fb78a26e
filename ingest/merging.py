"""Downloads on their way into the ledger: those that are new by COPY, the others merged into what is stored."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
from typing import Final, NamedTuple

import numpy as np

from analytics_core.db.hits import (
    Downloads,
    HitColumns,
    HitRows,
    copy_downloads,
    encode_downloads,
    read_download_keys,
    upsert_downloads,
)
from analytics_core.db.pool import Connection
from ingest.written_keys import MOST_KEYS, WrittenKeys

__all__ = ("SortedDay", "learn_days", "merge_days", "sort_out")

_EPOCH: Final = dt.date(1970, 1, 1)


class SortedDay(NamedTuple):
    """The downloads of one day, sorted out.

    Attributes:
        day: Counted from 1970-01-01.
        downloads: All of them.
        new: Those that are not there yet, as far as this process knows, laid out to be copied; ``None`` when it does
            not know the day.
        known: The others.
    """

    day: int
    downloads: Downloads
    new: HitRows | None
    known: Downloads


def _by_day(downloads: Downloads) -> list[Downloads]:
    starts = np.flatnonzero(np.diff(downloads.day, prepend=-1))
    return [
        downloads.select(slice(start, end)) for start, end in itertools.pairwise([*starts.tolist(), len(downloads)])
    ]


async def learn_days(conn: Connection, downloads: Downloads, written: WrittenKeys) -> None:
    """Read the keys of those days of downloads that are worth it.

    Args:
        conn: In a transaction.
        downloads: Sorted by key.
        written: What this process knows to be there, which learns of them.
    """
    for of_day in _by_day(downloads):
        day = int(of_day.day[0])
        if written.of_day(day) is None and written.is_worth_reading(day, len(of_day)):
            keys = written.begin(day)
            await read_download_keys(conn, _EPOCH + dt.timedelta(days=day), limit=MOST_KEYS, take=keys.add)


def sort_out(downloads: Downloads, written: WrittenKeys) -> list[SortedDay]:
    """Tell the downloads that are new from the others, and remember them: to be done while PostgreSQL is busy.

    Args:
        downloads: Sorted by key.
        written: What this process knows to be there. What it learns here may never be written, which costs only time.
    """
    found = []
    for of_day in _by_day(downloads):
        day = int(of_day.day[0])
        keys = written.of_day(day)
        if keys is None:
            found.append(SortedDay(day, of_day, None, of_day))
            continue
        is_there = keys.holds(of_day.episode_no, of_day.listener_key)
        new = of_day.select(~is_there)
        keys.add(new.episode_no, new.listener_key)
        found.append(SortedDay(day, of_day, encode_downloads(new), of_day.select(is_there)))
    return found


async def merge_days(conn: Connection, days: list[SortedDay], written: WrittenKeys, partition: str | None) -> None:
    """Write downloads that were sorted out.

    Args:
        conn: In a transaction.
        days: Any.
        written: What they were sorted out by.
        partition: That of all of them, if they have one.
    """
    left = [HitColumns.empty()]
    for day in days:
        if day.new is None or await copy_downloads(conn, day.new, partition=partition):
            left.append(day.known)
        else:
            # Another process writes to this day.
            written.forget(day.day)
            left.append(day.downloads)
    await upsert_downloads(conn, functools.reduce(HitColumns.followed_by, left))
