"""Patterns of user-agent tables: which are refused, and that skipping those that cannot match never loses a match."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.agent_patterns import MAX_PATTERN_CHARS, PatternIndex, compile_pattern, pieces_of

WORDS = ["bot", "cast", "away", "iOS", "Android", "/1.0", " ", "ſ", "K", "ß", "播客"]


@pytest.mark.parametrize(
    ("pattern", "needs"),
    [
        ("^Castaway/", [{"castaway/"}]),
        ("(?i)^(?:castaway|box)/", [{"castaway", "box"}]),
        ("Bot|^Spider", [{"bot"}, {"spider"}]),
        ("x(?:quartz)?", [{"x"}]),
        ("(?:quartz)+x", [{"quartz"}]),
        ("quart{0,3}z", [{"quar"}]),
        ("ab?cd*efg", [{"efg"}]),
        ("ab|quartz", [{"ab"}, {"quartz"}]),
        (r"\d\d|quartz|^\d|[xy]", [{"quartz"}, None, None]),
        ("(?P<app>ab|quartz)|zebra", [{"ab", "quartz", "zebra"}]),
        (r"(?P<app>quartz)|\d", [None]),
        ("(?:a|b|cd|quartz)", [{"a", "b", "cd", "quartz"}]),
        ("(?:a|b|cd|e|quartz)", [None]),
        ("[abc]{3}", [None]),
        (r"a\.b\.c", [{"a.b.c"}]),
        (r"\d\d\d", [None]),
        ("(?!quartz)zebra", [{"zebra"}]),
        ("(?<=quartz)zebra", [{"zebra"}]),
        ("[]q|]zebra[^]q]", [{"zebra"}]),
        ("Éa播客b", [{"a播客b"}]),
    ],
)
def test_what_a_match_needs_is_read_from_the_pattern(pattern: str, needs: list[set[str] | None]) -> None:
    assert [alternative.needs for alternative in compile_pattern(pattern).alternatives] == needs


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "no regular expression"),
        ("a)b", "no regular expression"),
        ("a|(?P<app>b)|(?P<app>c)", "no regular expression"),
        ("a|b*|c", "matches everything"),
        ("[", "no regular expression"),
        ("x" * (MAX_PATTERN_CHARS + 1), "characters"),
        ("x*", "matches everything"),
        ("(x+)+y", "inside of a repetition"),
        ("(x*)*y", "inside of a repetition"),
        ("(?:a|aa)+y", "inside of a repetition"),
        ("(?:ab?){2,}y", "inside of a repetition"),
        ("((a{1,50}){1,50}){1,50}y", "inside of a repetition"),
        ("a.*b.*c.*d.*e.*f", "too many repetitions"),
        ("(?=a.*b.*c.*d.*e.*f)a", "too many repetitions"),
        (r"(a)\1", "references"),
        ("(?P<name>a)(?P=name)", "groups are"),
        ("a(?i:b)", "groups are"),
        (r"a\x41", "by their numbers"),
        ("(" * 21 + "a" + ")" * 21, "nested"),
        ("(" * 2000 + "a" + ")" * 2000, "nested|no regular expression"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compile_pattern(pattern)


atoms = st.sampled_from(
    ["a", "B", "cd", "bot", "i", "s", ".", r"\d", r"\b", "^", "[ab]", "[^b]", r"\.", "é", "播", "$"]
)


def joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(parts, min_size=1, max_size=4).map("".join)


patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        joined(inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        inner.map(lambda part: f"(?:{part})?"),
        inner.map(lambda part: f"(?:{part})+"),
        inner.map(lambda part: f"(?:{part}){{2}}"),
        inner.map(lambda part: f"(?!{part})"),
    ),
    max_leaves=8,
)


written_patterns = st.builds(
    lambda ignores_case, alternatives: "(?i)" * ignores_case + "|".join(alternatives),
    st.booleans(),
    st.lists(patterns, min_size=1, max_size=3),
)
texts = st.lists(st.sampled_from([*WORDS, "a", "b", "cd", "i", "s", "."]), max_size=6).map("".join)


@given(written_patterns, texts)
def test_a_match_always_has_one_of_the_words_of_an_alternative(written: str, text: str) -> None:
    try:
        compiled = compile_pattern(written)
    except ValueError:
        return
    searched = text.lower() if compiled.is_folded else text
    for alternative in compiled.alternatives:
        # These letters ignore case in a way of their own; all is tried on them.
        if alternative.needs is not None and alternative.find(searched) and not re.search("[ſıİ]", text):
            assert any(word in text.lower() for word in alternative.needs)
    if not compiled.is_folded:
        assert (compiled.find(text) is None) == (re.search(written, text) is None)


@given(st.lists(written_patterns, min_size=1, max_size=6), texts, st.integers(0, 6))
def test_the_first_of_many_patterns_is_found_as_if_they_were_tried_in_turn(
    written: list[str], text: str, below: int
) -> None:
    index, plain = PatternIndex(), []
    for number, pattern in enumerate(written):
        try:
            compiled = compile_pattern(pattern)
        except ValueError:
            continue
        index.add(number, compiled)
        searched = text.lower() if compiled.is_folded else text
        if compiled.find(searched) is not None:
            plain.append(number)
    found = index.find(text, text.lower(), pieces_of(text.lower()), below=below)
    assert (found[0] if found else None) == next((number for number in plain if number < below), None)
