"""Rounding: a whole number split by weights into whole numbers that add up to it, by the largest remainder.

Weights are whole numbers too, so that nothing here is a matter of floating point: a tie is a tie on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ("MAX_VALUE", "MILLION", "UNIT", "split", "split_rows")

UNIT: Final = 1 << 40
"""The weight one, for those that are parts of it: shares of a thousand touches are right to a thousand-millionth."""

MILLION: Final = 1_000_000
"""The credit of a conversion, in parts of a million."""

MAX_VALUE: Final = 10**15
"""The largest value of a conversion, in minor units, as the schema has it."""


def split(value: int, weights: Sequence[int]) -> list[int]:
    """Split a whole number by weights.

    Each part is its share rounded down; what is left goes, one each, to the largest remainders, and among equal ones to
    the earliest.

    Args:
        value: Not negative.
        weights: Not negative, at least one of them positive.

    Returns:
        A part for each weight. Their sum is *value*.

    Source:
        Hamilton's method of apportionment; ``docs/methodology/attribution.md``, "Rounding".

    >>> split(10_000, [1, 1, 1]), split(10_001, [2, 1, 1, 2])
    ([3334, 3333, 3333], [3334, 1667, 1667, 3333])
    """
    whole = sum(weights)
    parts = [value * weight // whole for weight in weights]
    remainders = [value * weight % whole for weight in weights]
    # Sorting is stable, so that the earliest of equal remainders stands first.
    largest = sorted(range(len(weights)), key=lambda place: -remainders[place])
    for place in largest[: value - sum(parts)]:
        parts[place] += 1
    return parts


def split_rows(values: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Split each value by the weights of its row, as :func:`split` does.

    Args:
        values: 0 to :data:`MAX_VALUE`.
        weights: A row for each value; not negative, the sum of a row 1 to 2 ** 52.

    >>> split_rows(np.array([10_000, 10_001]), np.array([[1, 1, 1], [2, 1, 0]])).tolist()
    [[3334, 3333, 3333], [6667, 3334, 0]]
    """
    whole = weights.sum(axis=1, keepdims=True)
    value = values[:, np.newaxis]
    # The product has more than 64 bits. Its quotient is guessed in floating point, off by two at most, and what is off
    # shows in the remainder: that is small, so that it is right although the product wrapped around.
    parts: NDArray[np.int64] = (value * (weights / whole)).astype(np.int64)
    remainders = value * weights - parts * whole
    off = np.floor_divide(remainders, whole)
    parts += off
    remainders -= off * whole
    left = values - parts.sum(axis=1)
    order = np.argsort(-remainders, axis=1, kind="stable")
    ranked = np.arange(weights.shape[1]) < left[:, np.newaxis]
    extra = np.empty_like(parts)
    np.put_along_axis(extra, order, ranked.astype(np.int64), axis=1)
    parts += extra
    return parts
