"""Patterns of user-agent tables: which are refused, and that skipping those that cannot match never loses a match."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.agent_patterns import MAX_PATTERN_CHARS, compile_pattern, pieces_of

WORDS = ["bot", "cast", "away", "iOS", "Android", "/1.0", " ", "ſ", "K", "ß", "播客"]


@pytest.mark.parametrize(
    ("pattern", "pieces"),
    [
        ("^Castaway/", {"sta"}),
        ("(?i)^(?:castaway|box)/", {"sta", "box"}),
        ("Bot|Spider", {"bot", "spi"}),
        ("x(?:quartz)?", None),
        ("(?:quartz)+x", {"qua"}),
        ("quart{0,3}z", {"qua"}),
        ("ab?cd*efg", {"efg"}),
        ("ab|quartz", None),
        ("[abc]{3}", None),
        (r"a\.b\.c", {"a.b"}),
        (r"\d\d\d", None),
        ("(?!quartz)zebra", {"zeb"}),
        ("(?<=quartz)zebra", {"zeb"}),
        ("[]q]zebra[^]q]", {"zeb"}),
        ("Éa播客b", {"a播客"}),
    ],
)
def test_what_a_match_needs_is_read_from_the_pattern(pattern: str, pieces: set[str] | None) -> None:
    assert compile_pattern(pattern).pieces == pieces


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "no regular expression"),
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


@given(st.booleans(), patterns, st.lists(st.sampled_from([*WORDS, "a", "b", "cd", "i", "s", "."]), max_size=6))
def test_a_match_always_has_one_of_the_pieces(ignores_case: bool, pattern: str, words: list[str]) -> None:
    text = "".join(words)
    written = "(?i)" * ignores_case + pattern
    try:
        compiled = compile_pattern(written)
    except ValueError:
        return
    plain = re.search(written, text)
    # These letters ignore case in a way of their own; a table tries every pattern on them.
    if plain is not None and compiled.pieces is not None and not re.search("[ſıİ]", text):
        assert compiled.pieces & pieces_of(text.lower())
    if not compiled.is_folded:
        assert (compiled.find(text) is None) == (plain is None)
