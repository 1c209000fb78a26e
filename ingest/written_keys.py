"""Which downloads are written already, as far as this process knows: a hint that saves work and decides nothing.

A download that is not there yet goes by COPY straight into the table, which takes less than half of what an upsert
takes; but COPY fails when one of its rows is there. So keys are remembered by day in a Bloom filter: a few bytes of
memory for each, and wrong in one direction only. Who is taken for written by mistake takes the slower way, and when a
row is there that nobody here knew of, the primary key says so and the whole day's part takes it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from analytics_core.db.copying import Keys
from analytics_core.db.hits import Integers

__all__ = ("MOST_KEYS", "DayKeys", "WrittenKeys")

MOST_KEYS: Final = 16_000_000
"""A day with more downloads than a filter can tell apart takes the slower way."""

_FILTER_BITS: Final = 26
"""Of the number of bits: 8 MiB a day. 8 million keys, 1 in 40 is then taken for another."""

_PROBES: Final = 4
_MOST_DAYS: Final = 3
"""Hits come in for today, around midnight for yesterday too, and now and then a backlog for a third."""

# Odd numbers without a pattern: an episode's number, multiplied, spreads over all 64 bits.
_SPREAD: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


class DayKeys:
    """The keys of one day's downloads.

    >>> keys, written = np.array([[1 << 60, 7]], np.uint64), DayKeys()
    >>> written.holds(np.array([5]), keys).tolist()
    [False]
    >>> written.add(np.array([5]), keys)
    >>> written.holds(np.array([5]), keys).tolist()
    [True]
    """

    def __init__(self) -> None:
        self._bits = np.zeros(1 << (_FILTER_BITS - 3), np.uint8)
        self.count = 0
        """Pairs that were added."""

    def add(self, episode_no: Integers, listener_key: Keys) -> None:
        """Remember pairs of episode and listener; one too many, and all are taken for remembered."""
        self.count += len(episode_no)
        if self.count >= MOST_KEYS:
            self._bits[:] = 0xFF
            return
        for place in self._places(episode_no, listener_key):
            byte, mask = place >> np.uint64(3), self._masks(place)
            # Of several bits in one byte a round sets one; ``bitwise_or.at`` sets all and takes four times as long.
            while len(byte):
                self._bits[byte] |= mask
                left = self._bits[byte] & mask == 0
                byte, mask = byte[left], mask[left]

    def holds(self, episode_no: Integers, listener_key: Keys) -> npt.NDArray[np.bool_]:
        """Say of pairs whether they are remembered: of all that are, and by mistake of a few others."""
        found = np.ones(len(episode_no), np.bool_)
        for place in self._places(episode_no, listener_key):
            found &= self._bits[place >> np.uint64(3)] & self._masks(place) != 0
        return found

    @staticmethod
    def _masks(place: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        return np.left_shift(np.uint8(1), (place & np.uint64(7)).astype(np.uint8), dtype=np.uint8)

    @staticmethod
    def _places(episode_no: Integers, listener_key: Keys) -> list[npt.NDArray[np.uint64]]:
        # Keys are hashes already: two independent numbers of 64 bits, of which further ones are made.
        number = episode_no.astype(np.uint64)
        first = listener_key[:, 0] ^ (number * _SPREAD[0])
        step = listener_key[:, 1] ^ (number * _SPREAD[1])
        return [(first + np.uint64(probe) * step) >> np.uint64(64 - _FILTER_BITS) for probe in range(_PROBES)]


class WrittenKeys:
    """The keys of the days that hits come in for.

    Nothing has to be forgotten when a transaction is rolled back, or when rows are taken away: what is remembered too
    much only costs time.

    Args:
        few: Downloads of a day that come in before its keys are read.
    """

    def __init__(self, *, few: int = 2_000) -> None:
        self._few = few
        self._days: dict[int, DayKeys] = {}
        self._merged: dict[int, int] = {}
        self._worth: dict[int, int] = {}

    def of_day(self, day: int) -> DayKeys | None:
        """Return what is remembered of a day, counted from 1970-01-01; ``None`` when that is not all of it."""
        return self._days.get(day)

    def is_worth_reading(self, day: int, downloads: int) -> bool:
        """Say whether a day's keys should be read, now that some more downloads come in for it.

        Once as many came as it has keys to be read: then the reading costs a part of what was spent already.
        """
        merged = self._merged.get(day, 0) + downloads
        self._merged[day] = merged
        return merged >= self._worth.get(day, self._few)

    def begin(self, day: int) -> DayKeys:
        """Begin to remember a day: the caller adds what is written of it already. The oldest of too many days goes."""
        keys = self._days[day] = DayKeys()
        if len(self._days) > _MOST_DAYS:
            self.forget(min(self._days))
        return keys

    def forget(self, day: int) -> None:
        """Drop a day: somebody else writes to it."""
        keys = self._days.pop(day)
        self._merged = {other: merged for other, merged in self._merged.items() if other in self._days}
        self._worth = {other: worth for other, worth in self._worth.items() if other in self._days}
        self._worth[day] = max(keys.count, self._few)
