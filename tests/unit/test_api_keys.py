"""The form of keys."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.api_keys import KeyKind, is_well_formed, key_hint, new_key

SIGNS = string.digits + string.ascii_letters


@pytest.mark.parametrize(("kind", "prefix"), [(KeyKind.SECRET, "cl_live_"), (KeyKind.PUBLISHABLE, "cl_pub_")])
def test_a_key_says_what_kind_it_is_and_its_hint_tells_four_more_characters(kind: KeyKind, prefix: str) -> None:
    key = new_key(kind)
    assert key.startswith(prefix)
    assert len(key) == len(prefix) + 38
    assert is_well_formed(key)
    assert key_hint(key) == key[: len(prefix) + 4] + "…"


@given(st.sampled_from(KeyKind), st.data())
def test_another_character_anywhere_breaks_the_checksum(kind: KeyKind, data: st.DataObject) -> None:
    key = new_key(kind)
    place = data.draw(st.integers(len(key) - 38, len(key) - 1))
    other = data.draw(st.sampled_from(SIGNS).filter(lambda sign: sign != key[place]))
    assert not is_well_formed(key[:place] + other + key[place + 1 :])


@given(st.text(max_size=60))
def test_what_is_made_up_is_no_key(text: str) -> None:
    assert not is_well_formed(text)


def test_a_secret_key_cannot_be_passed_off_as_a_publishable_one() -> None:
    assert not is_well_formed(new_key(KeyKind.SECRET).replace("cl_live_", "cl_pub_"))
