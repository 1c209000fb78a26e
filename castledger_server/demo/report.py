"""The report: what was counted beside what is true, for a terminal."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from castledger_server.demo.figures import Figures

__all__ = ("Ink", "bar", "choose_ink", "count_differences", "write_progress", "write_report")

_BAR_WIDTH: Final = 36
_TOP: Final = 8


class Ink(NamedTuple):
    """What bars are drawn with.

    Attributes:
        eighths: A cell filled by no, one, two, … and at last all of its parts.
        differs: Stands behind two numbers that are not equal.
    """

    eighths: str
    differs: str


_BLOCKS: Final = Ink(" ▏▎▍▌▋▊▉█", "≠")
_PLAIN: Final = Ink(" #", "!=")


def choose_ink(encoding: str | None) -> Ink:
    """Choose what a terminal of that encoding can show.

    >>> choose_ink("ascii").differs
    '!='
    """
    try:
        (_BLOCKS.eighths + _BLOCKS.differs).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _PLAIN
    return _BLOCKS


def bar(value: int, most: int, *, ink: Ink, width: int = _BAR_WIDTH) -> str:
    """Draw a bar, filled up with blanks; what is not 0 is seen.

    >>> [bar(value, 4, ink=Ink(" #", "!="), width=4) for value in (0, 1, 4)]
    ['    ', '#   ', '####']
    """
    parts = len(ink.eighths) - 1
    filled = math.ceil(value * width * parts / most) if most else 0
    whole, rest = divmod(filled, parts)
    return (ink.eighths[-1] * whole + (ink.eighths[rest] if rest else "")).ljust(width)


def write_progress(done: int, total: int, *, ink: Ink) -> str:
    """Write one line of progress.

    >>> write_progress(500, 1000, ink=Ink(" #", "!="))
    '[############            ] 500 of 1,000 requests'
    """
    return f"[{bar(done, total, ink=ink, width=24)}] {done:,} of {total:,} requests"


def _keys(one: Mapping[str, int], other: Mapping[str, int]) -> list[str]:
    return sorted(one.keys() | other.keys(), key=lambda key: (-max(one.get(key, 0), other.get(key, 0)), key))


def count_differences(counted: Figures, truth: Figures) -> int:
    """Count the figures that are not what they should be."""
    different = 0
    for one, other in (
        (counted.hits, truth.hits),
        (counted.downloads, truth.downloads),
        (counted.strict, truth.strict),
        (counted.explained, truth.explained),
    ):
        different += sum(one.get(day, 0) != other.get(day, 0) for day in one.keys() | other.keys())
    named = [(counted.verdicts, truth.verdicts), (counted.apps, truth.apps), (counted.episodes, truth.episodes)]
    if counted.countries is not None and truth.countries is not None:
        named.append((counted.countries, truth.countries))
    for counts, known in named:
        different += sum(counts.get(key, 0) != known.get(key, 0) for key in counts.keys() | known.keys())
    return different


def write_report(counted: Figures, truth: Figures, *, ink: Ink) -> Iterator[str]:
    """Write the report: downloads by day, hits by verdict, and downloads by app, country and episode."""
    days = sorted(truth.downloads)
    yield from _days(days, counted, truth, ink)
    yield ""
    yield from _table("hits by verdict", counted.verdicts, truth.verdicts, ink, top=len(truth.verdicts) + 20)
    for title, counts, known in (
        ("downloads by app", counted.apps, truth.apps),
        ("by country", counted.countries, truth.countries),
        ("by episode", counted.episodes, truth.episodes),
    ):
        if counts is not None and known is not None:
            yield ""
            yield from _table(title, counts, known, ink, top=_TOP)


def _days(days: Sequence[dt.date], counted: Figures, truth: Figures, ink: Ink) -> Iterator[str]:
    most = max(*counted.downloads.values(), *truth.downloads.values(), 1)
    yield f"{'downloads by day (UTC)':<{_BAR_WIDTH + 15}}{'counted':>9}{'true':>9}"
    for day in days:
        count, known = counted.downloads.get(day, 0), truth.downloads[day]
        is_same = (
            count == known == counted.explained.get(day)
            and counted.strict.get(day) == truth.strict[day]
            and counted.hits.get(day) == truth.hits[day]
        )
        drawn = bar(count, most, ink=ink)
        yield f"{day} {day:%a} {drawn}{count:>9,}{known:>9,}{'' if is_same else f'  {ink.differs}'}"
    for name, counts, knowns in (
        ("all", counted.downloads, truth.downloads),
        ("all, strictly (ptmg-2.3)", counted.strict, truth.strict),
        ("hits", counted.hits, truth.hits),
    ):
        yield _row(name, sum(counts.values()), sum(knowns.values()), ink)


def _table(title: str, counts: Mapping[str, int], known: Mapping[str, int], ink: Ink, *, top: int) -> Iterator[str]:
    yield f"{title:<{_BAR_WIDTH + 15}}{'counted':>9}{'true':>9}"
    keys = _keys(counts, known)
    for key in keys[:top]:
        yield _row(f"  {key or '(none)'}", counts.get(key, 0), known.get(key, 0), ink)
    rest = keys[top:]
    if rest:
        different = any(counts.get(key, 0) != known.get(key, 0) for key in rest)
        counted_rest, known_rest = sum(counts.get(key, 0) for key in rest), sum(known.get(key, 0) for key in rest)
        yield _row(f"  {len(rest)} more", counted_rest, known_rest, ink, differs=different)


def _row(name: str, count: int, known: int, ink: Ink, *, differs: bool | None = None) -> str:
    is_different = count != known if differs is None else differs
    return f"{name:<{_BAR_WIDTH + 15}}{count:>9,}{known:>9,}{f'  {ink.differs}' if is_different else ''}"
