"""Kinds of arguments, as ``argparse`` takes them: numbers, and what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ("CATEGORIES", "COUNTINGS", "MODELS", "POSITIONS", "whole_number")

# Written out, as every command would wait for the rules to be loaded that have them; a test compares.
CATEGORIES: Final = ("lead", "signup", "trial", "purchase", "install", "custom")
COUNTINGS: Final = ("every", "one")
MODELS: Final = ("first", "last", "linear", "position", "time_decay", "shapley", "markov")
POSITIONS: Final = ("pre", "mid", "post")


def whole_number(low: int, high: int, *, name: str | None = None) -> Callable[[str], int]:
    """Take whole numbers of a range.

    Args:
        low: The least.
        high: The most.
        name: What one is called where another number was given; by default the range.

    >>> whole_number(1, 32)("8"), whole_number(1, 1_000).__name__
    (8, 'number from 1 to 1,000')
    """

    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    parse.__name__ = name or f"number from {low:,} to {high:,}"
    return parse
