"""What targets came to, remembered in arrays: half a million in what some ten thousand objects would take.

A large catalogue's targets are nearly all asked for seldom, so that what is remembered has to be much to be of use.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analytics_core.db.catalogue import OWNER_DTYPE
from analytics_core.db.copying import Keys

__all__ = ("MOST_TARGETS", "KnownTargets")

MOST_TARGETS: Final = 1 << 19
"""Of 54 bytes each."""

_PLACES: Final = 8
"""Of a set. A key has its place in one set alone, so that it is found by one look, and pushes out one of eight."""

_LEAST_BITS: Final = 9

_MOVED: Final = 8192
"""At once, when there come to be more sets: all together would need as much again as is remembered."""


class KnownTargets:
    """Owners of enclosures by the 128-bit keys of what was asked for; the longest unused ones go first.

    Args:
        most: Targets that are remembered at most, a power of two from 16 on.

    >>> known, keys = KnownTargets(), np.array([[1 << 60, 7]], np.uint64)
    >>> known.put(keys, np.ones(1, OWNER_DTYPE))
    >>> rows, found = known.get(np.array([[1 << 60, 7], [1 << 60, 8]], np.uint64))
    >>> found.tolist(), rows["episode_no"].tolist()
    ([True, False], [1, 0])
    """

    def __init__(self, *, most: int = MOST_TARGETS) -> None:
        self._most_bits = (most // _PLACES).bit_length() - 1
        self._clock = 0
        self._make(min(_LEAST_BITS, self._most_bits))

    def _make(self, bits: int) -> None:
        sets = 1 << bits
        self._bits = bits
        self._keys: Keys = np.zeros((sets, _PLACES, 2), np.uint64)
        # When each was used last, in calls; 0 is a free place.
        self._used = np.zeros((sets, _PLACES), np.uint32)
        self._rows: npt.NDArray[Any] = np.zeros((sets, _PLACES), OWNER_DTYPE)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._used))

    def get(self, keys: Keys) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Look keys up.

        Returns:
            A row of ``OWNER_DTYPE`` for each, all zero where it is not known, and which are known.
        """
        self._clock += 1
        sets = self._sets(keys)
        same = (self._keys[sets] == keys[:, None, :]).all(axis=2) & (self._used[sets] > 0)
        found = same.any(axis=1)
        at, place = sets[found], same.argmax(axis=1)[found]
        self._used[at, place] = self._clock
        rows: npt.NDArray[Any] = np.zeros(len(keys), OWNER_DTYPE)
        rows[found] = self._rows[at, place]
        return rows, found

    def put(self, keys: Keys, rows: npt.NDArray[Any]) -> None:
        """Remember keys that are distinct and not known; of more than a set holds some are not remembered."""
        self._clock += 1
        while self._bits < self._most_bits and (len(self) + len(keys)) * 2 > self._used.size:
            self._grow()
        self._enter(keys, rows, np.full(len(keys), self._clock, np.uint32))

    def _sets(self, keys: Keys) -> npt.NDArray[np.int64]:
        return (keys[:, 0] >> np.uint64(64 - self._bits)).astype(np.int64)

    def _grow(self) -> None:
        kept = self._used > 0
        keys, rows, used = self._keys[kept], self._rows[kept], self._used[kept]
        self._make(self._bits + 1)
        for at in range(0, len(keys), _MOVED):
            moved = slice(at, at + _MOVED)
            self._enter(keys[moved], rows[moved], used[moved])

    def _enter(self, keys: Keys, rows: npt.NDArray[Any], used: npt.NDArray[np.uint32]) -> None:
        sets = self._sets(keys)
        order = np.argsort(sets, kind="stable")
        ordered = sets[order]
        # The how many-th of those that come into its set each of them is takes the so many-th oldest place.
        rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
        fits = rank < _PLACES
        order, ordered, rank = order[fits], ordered[fits], rank[fits]
        place = np.argsort(self._used[ordered], axis=1, kind="stable")[np.arange(len(ordered)), rank]
        self._keys[ordered, place] = keys[order]
        self._rows[ordered, place] = rows[order]
        self._used[ordered, place] = used[order]
