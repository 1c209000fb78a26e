"""Promo codes: those that may be, those that are made, what is entered, and when one counts."""

from __future__ import annotations

import datetime as dt
from importlib.resources import files
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.errors import InvalidInput
from analytics_core.promo_codes import (
    ALPHABET,
    FOLD_FROM,
    FOLD_TO,
    MAX_CODE,
    MAX_PREFIX,
    MAX_RANDOM,
    MIN_RANDOM,
    Validity,
    fold_code,
    is_blocked,
    new_codes,
    parse_code,
    parse_entered_code,
    parse_prefix,
    validity_at,
)

WORDS = [
    line
    for line in (files("analytics_core") / "blocked_words.txt").read_text("utf-8").splitlines()
    if line and line[0] != "#"
]
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
codes = st.text(CHARACTERS, min_size=3, max_size=MAX_CODE)
ignored = st.text(" \t\n\u00a0-\u2010\u2013\u2014\u200b\u00ad", max_size=3)
DAY = dt.timedelta(days=1)
BEGINS = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
instants = st.integers(-(10**12), 10**15).map(lambda at: BEGINS + at * dt.timedelta(microseconds=1))


def test_the_alphabet_holds_nothing_that_is_mistaken_for_something_else() -> None:
    assert ALPHABET == "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
    assert not set(ALPHABET) & set("01ILO")


@given(codes, st.data())
def test_a_code_is_known_again_however_it_is_written(code: str, data: st.DataObject) -> None:
    written = ""
    for letter in code:
        ways = [letter, letter.lower(), chr(ord(letter) + 0xFEE0), chr(ord(letter.lower()) + 0xFEE0)]
        written += data.draw(ignored) + data.draw(st.sampled_from(ways))
    written += data.draw(ignored)
    assert fold_code(written) == code
    assert parse_entered_code(written) == code
    if not is_blocked(code):
        assert parse_code(written) == code


@given(st.text())
def test_folding_twice_is_folding_once_and_makes_no_other_letter_a_code(text: str) -> None:
    once = fold_code(text)
    assert fold_code(once) == once
    known = set(CHARACTERS) | set(FOLD_FROM)
    assert [letter for letter in once if letter not in known] == [letter for letter in text if letter not in known]


def test_what_folds_is_told_as_one_to_one_then_ignored() -> None:
    assert len(set(FOLD_FROM)) == len(FOLD_FROM)
    assert set(FOLD_TO) == set(CHARACTERS)
    assert all(fold_code(letter) == FOLD_TO[place : place + 1] for place, letter in enumerate(FOLD_FROM))


@given(
    st.integers(1, 40),
    st.text(CHARACTERS, max_size=MAX_PREFIX).filter(lambda text: not is_blocked(text)),
    st.integers(MIN_RANDOM, MAX_RANDOM),
    st.integers(0, 2**32),
)
def test_made_codes_are_decent_each_another_and_in_the_alphabet(
    count: int, prefix: str, length: int, seed: int
) -> None:
    choose = Random(seed).choice
    before = new_codes(5, prefix=prefix, length=length, choose=choose)
    made = new_codes(count, prefix=prefix, length=length, taken=set(before), choose=choose)
    assert len(set(made)) == len(made) == count
    assert not set(made) & set(before)
    for code in made:
        assert code.startswith(prefix)
        assert len(code) == len(prefix) + length <= MAX_CODE
        assert set(code[len(prefix) :]) <= set(ALPHABET)
        assert parse_code(code) == code


def test_a_word_that_is_drawn_is_drawn_again_even_within_a_decent_one() -> None:
    drawn = iter("CLASSXXXXY")
    assert new_codes(1, length=5, choose=lambda _: next(drawn)) == ["XXXXY"]


@given(st.sampled_from(WORDS), st.text("BDFGHJQVXYZ", max_size=6), st.text("BDFGHJQVXYZ", max_size=6), st.data())
def test_a_blocked_word_is_found_also_with_digits_for_letters(
    word: str, before: str, behind: str, data: st.DataObject
) -> None:
    alone, word = word.startswith("="), word.removeprefix("=")
    spelt = "".join(data.draw(st.sampled_from([letter, dict(zip("OIEAST", "013457", strict=True)).get(letter, letter)]))
                    for letter in word)  # fmt: skip
    if alone:
        # Digits that are read as no letter part words.
        before, behind = "2" * bool(before), "89" * bool(behind)
    assert is_blocked(before + spelt + behind)


@pytest.mark.parametrize(
    "code", ["CLASS20", "DOCUMENT", "SATURDAY", "ESSEX10", "ANALYSIS", "COCKTAIL", "GRAPE", "SPICE5", "HELLO", "PASS",
             "COMPUTADORA", "MARSCHALL", "PEACOCK", "TITLE", "SHELL50", "SWANKY", "PAKISTAN", "SAVE20", "PUSSYCAT"],
)  # fmt: skip
def test_decent_words_are_not_lost_for_what_they_hold(code: str) -> None:
    assert parse_code(code) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("AB", "code_invalid"),
        ("", "code_invalid"),
        ("- -", "code_invalid"),
        ("A" * 33, "code_invalid"),
        ("SÄVE20", "code_invalid"),
        ("SAVE_20", "code_invalid"),
        ("SAVE20%", "code_invalid"),
        ("save\x0020", "code_invalid"),
        ("sh-1t 20", "code_blocked"),
        ("F U C K", "code_blocked"),
        ("4SS", "code_blocked"),
        ("sex20", "code_blocked"),
    ],
)
def test_what_is_no_code_or_no_decent_one_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_code(text, path="/code")
    assert (refused.value.path, refused.value.code) == ("/code", code)


def test_a_prefix_is_short_decent_and_may_be_empty() -> None:
    assert (parse_prefix(""), parse_prefix("pod-"), len(parse_prefix("A" * MAX_PREFIX))) == ("", "POD", MAX_PREFIX)
    for text, code in (("A" * 21, "code_invalid"), ("pod_", "code_invalid"), ("a55", "code_blocked")):
        with pytest.raises(InvalidInput) as refused:
            parse_prefix(text)
        assert refused.value.code == code


@given(instants, instants, st.none() | st.integers(0, 400), st.integers(0, 90))
def test_a_code_counts_from_its_beginning_to_its_end_then_late_then_not(
    at: dt.datetime, begins: dt.datetime, days: int | None, grace: int
) -> None:
    ends = None if days is None else begins + days * DAY
    found = validity_at(at, valid_from=begins, valid_until=ends, grace_days=grace)
    if at < begins or ends == begins:
        assert found is Validity.NONE
    elif ends is None or at < ends:
        assert found is Validity.VALID
    else:
        assert found is (Validity.LATE if at - ends < grace * DAY else Validity.NONE)


def test_the_bounds_of_a_code_are_half_open() -> None:
    begins, ends = BEGINS, BEGINS + 7 * DAY
    tick = dt.timedelta(microseconds=1)
    expected = [
        (begins - tick, Validity.NONE),
        (begins, Validity.VALID),
        (ends - tick, Validity.VALID),
        (ends, Validity.LATE),
        (ends + 7 * DAY - tick, Validity.LATE),
        (ends + 7 * DAY, Validity.NONE),
    ]
    for at, validity in expected:
        assert validity_at(at, valid_from=begins, valid_until=ends, grace_days=7) is validity
    assert validity_at(ends, valid_from=begins, valid_until=ends, grace_days=0) is Validity.NONE
