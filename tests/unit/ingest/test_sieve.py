"""The sieve finds exactly the hits that are refused, with few attempts, and gives none up where nothing can pass."""

from __future__ import annotations

import asyncio
import math

import asyncpg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sieve import MOST_IN_A_ROW, Places, Sieve, Sifted, describe, is_refusal


class Bad(ValueError):
    """A hit is not what a rule takes it to be."""


class Sink:
    """Takes hits unless a bad one is among them."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.attempts = 0

    async def take(self, places: Places) -> list[int]:
        self.attempts += 1
        found = self.bad.intersection(places.tolist())
        if found:
            raise Bad(str(min(found)))
        return [int(place) for place in places]


def sift(sieve: Sieve, sink: Sink, count: int) -> Sifted[list[int]]:
    return asyncio.run(sieve.sift(count, sink.take, Sink(sink.bad).take, Bad("the whole")))


counts = st.integers(1, 3_000)


@given(counts, st.data())
def test_each_bad_hit_is_found_and_all_others_pass_once(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=min(count, 20)))
    sink = Sink(bad)
    passed, refused = sift(Sieve(), sink, count)
    assert sorted(place for part in passed for place in part) == sorted(set(range(count)) - bad)
    assert sorted(refusal.place for refusal in refused) == sorted(bad)
    assert all(str(refusal.error) == str(refusal.place) for refusal in refused)
    assert sink.attempts <= 2 * len(bad) * (math.ceil(math.log2(count)) + 1)


@pytest.mark.parametrize("count", [MOST_IN_A_ROW + 1, 100_000])
def test_where_nothing_passes_nothing_is_given_up(count: int) -> None:
    sink = Sink(set(range(count)))
    with pytest.raises(Bad, match="the whole"):
        sift(Sieve(), sink, count)
    assert sink.attempts == 0


def test_a_few_at_a_time_are_not_given_up_for_ever_either() -> None:
    sieve = Sieve()
    for _ in range(MOST_IN_A_ROW // 16):
        _, refused = sift(sieve, Sink(set(range(16))), 16)
        sieve.note(landed=0, refused=len(refused))
    with pytest.raises(Bad, match="the whole"):
        sift(sieve, Sink({0}), 1)
    assert sift(sieve, Sink({0}), 2).passed == [[1]]
    sieve.note(landed=1, refused=1)
    assert [refusal.place for refusal in sift(sieve, Sink({0}), 1).refused] == [0]


@given(counts, st.data())
def test_what_is_no_refusal_is_raised(count: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, count - 1))

    async def fail(places: Places) -> None:
        if at in places:
            raise asyncpg.DiskFullError("full")

    with pytest.raises(asyncpg.DiskFullError):
        asyncio.run(Sieve().sift(count, fail, Sink(set()).take, Bad("the whole")))


def test_only_what_rows_can_be_guilty_of_is_a_refusal() -> None:
    for error in (
        asyncpg.CheckViolationError("no partition of relation found for row"),
        asyncpg.NumericValueOutOfRangeError("out of range"),
        asyncpg.CharacterNotInRepertoireError("invalid byte sequence"),
        asyncpg.RaiseError("a trigger"),
        asyncpg.ProgramLimitExceededError("row is too big"),
        IndexError(),
        OverflowError(),
    ):
        assert is_refusal(error), error
    for other in (
        asyncpg.DeadlockDetectedError("again"),
        asyncpg.SerializationError("again"),
        asyncpg.InsufficientPrivilegeError("denied"),
        asyncpg.UndefinedTableError("no such table"),
        asyncpg.DiskFullError("full"),
        asyncpg.OutOfMemoryError("out of memory"),
        asyncpg.TooManyColumnsError("program limit of another kind"),
        asyncpg.AdminShutdownError("bye"),
        asyncpg.InterfaceError("closed"),
        asyncpg.ConnectionDoesNotExistError("gone"),
        MemoryError(),
        OSError(),
        KeyboardInterrupt(),
    ):
        assert not is_refusal(other), other


def test_a_reason_of_ours_does_not_quote_the_hit() -> None:
    with pytest.raises(IndexError) as raised:
        np.array([1])[int("5")]
    reason, message = describe(raised.value)
    assert reason == "IndexError"
    assert message.startswith("raised in test_a_reason_of_ours_does_not_quote_the_hit, line ")
