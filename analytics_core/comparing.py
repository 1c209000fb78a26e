"""Comparison: an episode's stored hits counted under several profiles at once, and why the counts differ.

Hits come in the order of time, a day is closed when the next one begins, and what is held is what a day's listeners
take: nothing of earlier days but where a rolling window is still open.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from analytics_core.profiles import Profile
from analytics_core.rejudging import Judge, StoredFacts
from analytics_core.verdicts import Verdict
from analytics_core.windows import DAY_US, Window, touch, utc_day

__all__ = ("MAX_SAMPLES", "Comparison", "Reason", "StoredHit")

MAX_SAMPLES: Final = 20
"""No more hits are named for one reason."""

_OPENS: Final = ""
_REPEAT: Final = "repeat"
_TINY: Final = Verdict.TINY_RANGE.label
_OUTCOMES: Final = {verdict: _OPENS if verdict is Verdict.ELIGIBLE else verdict.label for verdict in Verdict}


class StoredHit(NamedTuple):
    """A hit of the episode.

    Attributes:
        at_us: Microseconds since 1970-01-01 UTC.
        segment_no: The number of its segment.
        ordinal: Its place therein.
        listener: Its listener's key.
        facts: What it is judged by.
    """

    at_us: int
    segment_no: int
    ordinal: int
    listener: object
    facts: StoredFacts


class Reason:
    """Downloads that one profile of a pair counts and the other does not, for one reason.

    Attributes:
        downloads: How many.
        hits: The first of the hits that make them, as pairs of segment and ordinal.
    """

    def __init__(self) -> None:
        self.downloads = 0
        self.hits: list[tuple[int, int]] = []


class _Odd(NamedTuple):
    """A hit that opens a download under some profiles and not under others: what it is under each of them."""

    hit: tuple[int, int]
    outcomes: tuple[str, ...]


class Comparison:
    """Counts under several profiles.

    Args:
        profiles: At least one.
        length_bytes: The enclosure's length as the feed says now; ``None`` when unknown.
        duration_s: The same of the episode's duration, in seconds.
        start: First UTC day whose downloads count; hits of the day before it only open windows.
        days: How many days count.

    Attributes:
        downloads: By profile, by day.
        reasons: By the places of two profiles, the first of which counts a download, and the reason why the second
            one does not: a verdict's label, ``probe``, ``playlist``, ``window`` or ``referrer``. What either counts
            more often than the other in a listener's day is there, so that for each pair the reasons one way less
            those the other way are the difference of their downloads.
    """

    def __init__(
        self,
        profiles: Sequence[Profile],
        *,
        length_bytes: int | None,
        duration_s: int | None,
        start: dt.date,
        days: int,
    ) -> None:
        self._profiles = tuple(profiles)
        self._judges = [Judge(profile, length_bytes=length_bytes, duration_s=duration_s) for profile in profiles]
        self._start = start
        self._days = days
        self._marks: list[dict[object, int]] = [{} for _ in profiles]
        self._odd: defaultdict[object, list[_Odd]] = defaultdict(list)
        self._day: dt.date | None = None
        self.downloads = [[0] * days for _ in profiles]
        self.reasons: defaultdict[tuple[int, int], defaultdict[str, Reason]] = defaultdict(lambda: defaultdict(Reason))

    def add(self, hits: Iterable[StoredHit]) -> None:
        """Take hits, in the order of time, none earlier than those taken before."""
        for hit in hits:
            day = utc_day(hit.at_us)
            if day != self._day:
                self._close_day(hit.at_us)
                self._day = day
            self._take(hit, (day - self._start).days)

    def finish(self) -> None:
        """Close the last day; figures are complete then."""
        self._close_day(None)

    def _take(self, hit: StoredHit, day: int) -> None:
        found = []
        for profile, judge, marks in zip(self._profiles, self._judges, self._marks, strict=True):
            outcome = _OUTCOMES[judge.verdict(hit.facts)]
            if outcome == _OPENS:
                key = (hit.listener, hit.facts.referrer) if profile.by_referrer else hit.listener
                opens, marks[key] = touch(profile.window, hit.at_us, marks.get(key))
                outcome = _OPENS if opens else _REPEAT
            found.append(outcome)
        if not 0 <= day < self._days or _OPENS not in found:
            return
        for counts, outcome in zip(self.downloads, found, strict=True):
            counts[day] += outcome == _OPENS
        if any(found):
            too_little = _TINY if not hit.facts.is_probe else "playlist" if hit.facts.is_playlist else "probe"
            outcomes = tuple(too_little if one == _TINY else one for one in found)
            self._odd[hit.listener].append(_Odd((hit.segment_no, hit.ordinal), outcomes))

    def _close_day(self, at_us: int | None) -> None:
        """Settle the differences of a day, and forget what no later hit can fall into."""
        for one, other in combinations(range(len(self._profiles)), 2):
            for odd in self._odd.values():
                self._settle(one, other, odd)
        self._odd.clear()
        for profile, marks in zip(self._profiles, self._marks, strict=True):
            if profile.window is Window.CALENDAR_DAY:
                marks.clear()
            elif at_us is not None:
                for key in [key for key, mark in marks.items() if at_us - mark >= DAY_US]:
                    del marks[key]

    def _settle(self, one: int, other: int, odd: Sequence[_Odd]) -> None:
        """Note what a listener's day has more of under one of two profiles.

        A download that only opens with another hit under the other profile is no difference.
        """
        ours = [hit for hit in odd if hit.outcomes[one] == _OPENS != hit.outcomes[other]]
        theirs = [hit for hit in odd if hit.outcomes[other] == _OPENS != hit.outcomes[one]]
        if len(ours) == len(theirs):
            return
        more, fewer, pair = (ours, theirs, (one, other)) if len(ours) > len(theirs) else (theirs, ours, (other, one))
        # What a rule leaves out says more than what falls into a window that such a hit would have opened.
        more.sort(key=lambda hit: hit.outcomes[pair[1]] == _REPEAT)
        for hit in more[: len(more) - len(fewer)]:
            reason = self.reasons[pair][self._name(hit.outcomes[pair[1]], *pair)]
            reason.downloads += 1
            if len(reason.hits) < MAX_SAMPLES:
                reason.hits.append(hit.hit)

    def _name(self, outcome: str, one: int, other: int) -> str:
        if outcome != _REPEAT:
            return outcome
        ours, theirs = self._profiles[one], self._profiles[other]
        return "referrer" if ours.by_referrer and not theirs.by_referrer and ours.window is theirs.window else "window"
