"""Sponsors' names, vocabularies and contacts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from analytics_core.countries import country_names
from analytics_core.errors import InvalidInput
from analytics_core.sponsors import (
    CATEGORIES,
    Contact,
    Targeting,
    name_key,
    parse_category,
    parse_contacts,
    parse_name,
    parse_targeting,
)

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
_CODES = st.sampled_from(sorted(country_names()))
_WORDS = st.sampled_from(CATEGORIES)


def parsed(text: str) -> str:
    """Read a name, and skip the example where it is none."""
    try:
        return parse_name(text)
    except InvalidInput:
        assume(False)
        raise


@given(_TEXTS)
def test_a_name_that_was_read_is_read_as_itself(text: str) -> None:
    name = parsed(text)
    assert parse_name(name) == name
    assert unicodedata.is_normalized("NFC", name)
    assert not any(unicodedata.category(letter) == "Cc" for letter in name)


@given(_TEXTS, st.sampled_from(["NFC", "NFD", "NFKC"]))
def test_case_form_and_what_is_unseen_make_no_other_name(text: str, form: str) -> None:
    name = parsed(text)
    key = name_key(name)
    assert name_key(unicodedata.normalize(form, name)) == key  # type: ignore[arg-type]  # is one of them
    assert name_key(name.casefold()) == key
    assert name_key(f"{name[0]}\u200b{name[1:]}") == key
    assert name_key(f"  {name} ") == key
    assert name_key(f"{name}x") != key


@pytest.mark.parametrize(
    "text",
    [
        "O'Brien; DROP TABLE app.links",
        "<script>alert(1)</script>",
        "' OR 1=1 --",
        "Ĳsselmeer & Søn",
        "株式会社",
        "👩‍🌾",
    ],
)
def test_whatever_can_be_seen_is_a_name(text: str) -> None:
    assert parse_name(text) == text


@pytest.mark.parametrize(
    "text",
    ["", " ", "a\nb", "a\x00b", "a\x85b", "a\u2028b", "\u202egnp.exe", "a\u2066b", "\u200b", "x" * 201, "\ud800"],
)
def test_what_cannot_be_shown_in_a_line_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_name(text)
    assert refused.value.path == "/name"


def test_what_is_one_sponsor_to_people_is_one_name() -> None:
    same = {name_key(name) for name in ("Straße", "STRASSE", "stra\u00adsse", "ＳＴＲＡＳＳＥ")}
    assert len(same) == 1
    assert name_key("Acme") != name_key("Acme Inc")


@given(st.lists(_CODES, max_size=9), st.lists(_WORDS, max_size=9), st.lists(_WORDS, max_size=9))
def test_targeting_is_ordered_sets_and_wants_nothing_that_it_excludes(
    codes: list[str], wanted: list[str], excluded: list[str]
) -> None:
    given_ = Targeting(
        countries=tuple(code.lower() for code in codes), categories=tuple(wanted), exclusions=tuple(excluded)
    )
    if set(wanted) & set(excluded):
        with pytest.raises(InvalidInput, match="contradictory"):
            parse_targeting(given_)
        return
    found = parse_targeting(given_)
    assert found.countries == tuple(sorted(set(codes)))
    assert found.categories == tuple(sorted(set(wanted)))
    assert found.exclusions == tuple(sorted(set(excluded)))
    assert parse_targeting(found) == found


@pytest.mark.parametrize(
    ("given_", "path", "code", "named"),
    [
        (
            Targeting(countries=("DE", "XX")),
            "/targeting/countries/1",
            "unknown_country",
            "'XX' (ISO 3166); there are AD",
        ),
        (Targeting(categories=("golf",)), "/targeting/categories/0", "unknown_category", "travel"),
        (Targeting(exclusions=("golf",)), "/targeting/exclusions/0", "unknown_category", "adult, alcohol"),
    ],
)
def test_what_is_unknown_is_named_beside_what_is_known(given_: Targeting, path: str, code: str, named: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_targeting(given_)
    assert (refused.value.path, refused.value.code) == (path, code)
    assert named in refused.value.reason


def test_categories_are_few_plain_words_in_order() -> None:
    assert list(CATEGORIES) == sorted(set(CATEGORIES))
    assert all(word.isalpha() and word.islower() for word in CATEGORIES)
    assert all(parse_category(word.upper()) == word for word in CATEGORIES)


@pytest.mark.parametrize(
    ("contact", "path"),
    [
        (Contact(name="a\nb"), "/contacts/1/name"),
        (Contact(name="Ana", email="nobody"), "/contacts/1/email"),
        (Contact(name="Ana", email="a@b.example\nBcc: x"), "/contacts/1/email"),
        (Contact(name="Ana", phone="\x07"), "/contacts/1/phone"),
        (Contact(name="Ana", role="\u202e"), "/contacts/1/role"),
    ],
)
def test_a_contact_that_is_none_is_named_by_its_place(contact: Contact, path: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_contacts([Contact(name="Bo"), contact])
    assert refused.value.path == path
