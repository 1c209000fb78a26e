"""Counting: what conversions are worth by the last word that was said of them, and which of them count."""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Iterable
from typing import NamedTuple
from uuid import UUID

__all__ = ("Adjustment", "Occurrence", "Standing", "count_one", "last_word")


class Adjustment(NamedTuple):
    """What was said of a conversion later.

    Attributes:
        adjusted_at: As of when it holds.
        adjustment_id: Which it is; of two that hold as of the same instant the later id, which came later, decides.
        value_amount: What the conversion is worth, in minor units; ``None`` for one that was none after all.
    """

    adjusted_at: dt.datetime
    adjustment_id: UUID
    value_amount: int | None


class Standing(NamedTuple):
    """What holds of a conversion.

    Attributes:
        is_retracted: Whether it was none after all; it counts nothing.
        value_amount: What it is worth, in minor units; ``None`` where it has no value or is retracted.
    """

    is_retracted: bool
    value_amount: int | None


def last_word(value_amount: int | None, adjustments: Iterable[Adjustment]) -> Standing:
    """Say what holds of a conversion.

    The last adjustment counts, whatever was said before it: one that is restated after it was retracted counts again.

    Args:
        value_amount: As it was reported first; ``None`` without a value.
        adjustments: All that are known, in any order, with any repetition.

    Source:
        Google Ads' retractions and restatements; ``docs/methodology/attribution.md``, "Counting".

    >>> noon = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
    >>> gone, less = Adjustment(noon, UUID(int=1), None), Adjustment(noon, UUID(int=2), 700)
    >>> last_word(900, []), last_word(900, [gone]), last_word(900, [less, gone])
    (Standing(is_retracted=False, value_amount=900), Standing(is_retracted=True, value_amount=None), \
Standing(is_retracted=False, value_amount=700))
    """
    last = max(adjustments, key=lambda said: (said.adjusted_at, said.adjustment_id), default=None)
    if last is None:
        return Standing(False, value_amount)
    return Standing(last.value_amount is None, last.value_amount)


class Occurrence(NamedTuple):
    """A conversion that counts once a customer.

    Attributes:
        occurred_at: When it was.
        conversion_id: Which it is; of two at the same instant the lower id is the first.
        customer: Whose it is, and of which action; ``None`` where the customer is not known.
    """

    occurred_at: dt.datetime
    conversion_id: UUID
    customer: Hashable | None


def count_one(occurrences: Iterable[Occurrence], window: dt.timedelta) -> set[UUID]:
    """Choose the conversions that count of an action that counts once a customer and window.

    A customer's first conversion counts and opens a window; those before the window's end do not, and the first at or
    after it does and opens the next. Where the customer is not known each counts.

    Args:
        occurrences: In any order, with any repetition; all from these customers' first one on, as what counts depends
            on what came before. Retracted ones are not among them: they count nothing, and keep nothing from counting.
        window: More than nothing.

    Returns:
        The ids of those that count.

    Source:
        Google Ads' counting "one"; ``docs/methodology/attribution.md``, "Counting".

    >>> noon = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
    >>> days = [Occurrence(noon + dt.timedelta(days=day), UUID(int=day), "somebody") for day in (40, 29, 0, 30)]
    >>> sorted(found.int for found in count_one(days, dt.timedelta(days=30)))
    [0, 30]
    """
    counted: set[UUID] = set()
    open_until: dict[Hashable, dt.datetime] = {}
    for at, conversion_id, customer in sorted(set(occurrences), key=lambda one: (one.occurred_at, one.conversion_id)):
        if customer is not None:
            if customer in open_until and at < open_until[customer]:
                continue
            open_until[customer] = at + window
        counted.add(conversion_id)
    return counted
