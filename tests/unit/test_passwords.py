"""Which passwords are refused, and that every other one is compared as a whole."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_core.errors import InvalidInput, Unavailable
from analytics_core.passwords import MAX_BYTES, MIN_CHARACTERS, PasswordHasher, check_password

_CONTEXT = ("maria.lopez@studio-nord.example", "María López")


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "123456789",
        "1234567890",
        "0987654321",
        "qwertyuiop",
        "poiuytrewq",
        "aaaaaaaaaaaa",
        "abababababab",
        "password2024",
        "P@ssw0rd!!!!",
        "!!Passwort123",
        "letmein-2026!",
        "Welcome12345",
        "iloveyou....",
        "castledger1",
        "Castledger-2026",
        "maria.lopez1",
        "LopezMaria99",
        "studio-nord-7",
        "maria.lopez@studio-nord.example",
        "x" * (MAX_BYTES + 1),
        "ü" * (MAX_BYTES // 2 + 1),
        "half a \ud800 character",
    ],
)
def test_what_keeps_nobody_out_is_refused_with_a_reason(password: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_password(password, context=_CONTEXT)
    assert (caught.value.path, caught.value.code) == ("/password", "weak_password")
    assert caught.value.reason


@pytest.mark.parametrize(
    "password",
    [
        "seven wise llamas",
        "O'Brien; DROP TABLE users--",
        "correct horse of maria.lopez",
        "pass phrase of nine",
        "contraseña larga 🏰",
        "8f41c20b77",
        "nul\x00in the middle",
        "x1y2z3" * 100,
    ],
)
def test_what_nobody_guesses_is_taken_whatever_is_in_it(password: str) -> None:
    check_password(password, context=_CONTEXT)


@given(st.text(max_size=MIN_CHARACTERS - 1))
def test_whatever_is_too_short_is_refused(password: str) -> None:
    with pytest.raises(InvalidInput):
        check_password(password)


async def _compare(hasher: PasswordHasher, password: str, other: str) -> tuple[bool, bool]:
    stored = await hasher.hash(password)
    return await hasher.verify(password, stored), await hasher.verify(other, stored)


@settings(max_examples=30)
@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_a_password_fits_its_hash_and_another_one_does_not(password: str, other: str) -> None:
    assert asyncio.run(_compare(PasswordHasher(4), password, password + other)) == (True, False)


@pytest.mark.parametrize("size", [71, 72, 73, 1024])
def test_what_stands_behind_72_bytes_or_a_nul_counts(size: int) -> None:
    text = "p" * size
    assert asyncio.run(_compare(PasswordHasher(4), text, text[:-1] + "q")) == (True, False)
    assert asyncio.run(_compare(PasswordHasher(4), f"a\x00{text}", f"a\x00{text}x")) == (True, False)


def test_the_same_letters_written_otherwise_are_the_same_password() -> None:
    assert asyncio.run(_compare(PasswordHasher(4), "Zoe\u0308 is at home", "Zoë is at home!")) == (True, False)

    async def composed() -> bool:
        hasher = PasswordHasher(4)
        return await hasher.verify("Zo\u00eb is at home", await hasher.hash("Zoe\u0308 is at home"))

    assert asyncio.run(composed())


def test_nobody_has_a_password() -> None:
    async def nobody() -> list[bool]:
        hasher = PasswordHasher(4)
        return [await hasher.verify(text, None) for text in ("", "of nobody", "seven wise llamas")]

    assert asyncio.run(nobody()) == [False, False, False]


def test_others_go_on_while_a_password_is_hashed_and_only_so_many_wait() -> None:
    async def crowd() -> tuple[int, list[bool]]:
        hasher = PasswordHasher(10, at_once=1, waiting=2)
        work = [asyncio.create_task(hasher.verify("a password", None)) for _ in range(5)]
        turns = 0
        while not all(task.done() for task in work):
            turns += 1
            await asyncio.sleep(0)
        return turns, [isinstance(task.exception(), Unavailable) for task in work]

    turns, refused = asyncio.run(crowd())
    assert refused == [False, False, False, True, True]
    assert turns > 10
