"""Places: what databases say of an address becomes a key, whatever stands in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.places import MAX_NAME_CHARS, Place, parse_place, read_place

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=120),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["iso_code", "names", "en", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
RECORDS = st.fixed_dictionaries({}, optional={"subdivisions": ANYTHING, "state1": ANYTHING, "city": ANYTHING})


@pytest.mark.parametrize(
    ("record", "region", "city"),
    [
        (
            {"subdivisions": [{"iso_code": "CA"}], "city": {"names": {"en": "San Francisco"}}},
            "US-CA",
            "US-CA/San Francisco",
        ),
        ({"subdivisions": [{"names": {"en": "Jilin Sheng"}}]}, "US/Jilin Sheng", ""),
        ({"state1": "California", "city": "San Francisco"}, "US/California", "US/California/San Francisco"),
        ({"city": {"names": {"en": "Singapore"}}}, "", "US/Singapore"),
        ({"city": {"names": {"de": "Wien"}}}, "", ""),
        ({"state1": "Here/There", "city": "A/B"}, "US/Here-There", "US/Here-There/A/B"),
        ({"state1": " \u202eNew\n York\x00 "}, "US/New York", ""),
        ({"subdivisions": [], "state1": "Utah"}, "US/Utah", ""),
        ({"subdivisions": "x", "city": 3}, "", ""),
        ({}, "", ""),
    ],
)
def test_nested_and_flat_records_become_keys(record: dict[str, Any], region: str, city: str) -> None:
    place = read_place(record, "US")
    assert (place.region_key, place.city_key) == (region, city)


@given(RECORDS)
def test_what_a_record_says_is_read_back_as_it_was_written_and_bounded(record: dict[str, Any]) -> None:
    place = read_place(record, "DE")
    assert max(len(place.region), len(place.city)) <= MAX_NAME_CHARS
    assert str(place).isprintable()
    if place.region or place.city:
        assert parse_place(str(place)) == place
        assert place.city_key.startswith(place.region_key) or not place.city
    else:
        with pytest.raises(ValueError, match="is no place"):
            parse_place(str(place))


@given(st.lists(RECORDS, min_size=2, max_size=2))
def test_different_places_are_written_differently(records: list[dict[str, Any]]) -> None:
    one, other = (read_place(record, "DE") for record in records)
    assert (one == other) is (str(one) == str(other))


@pytest.mark.parametrize(
    "text", ["", "US", "US//", "us/CA/", "USA/CA/", "US/CA", "US/ CA/", "US/CA/a\nb", "US/CA/" + "x" * 81, "//Paris"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no place such as US/CA/San Francisco"):
        parse_place(text)


def test_a_place_without_a_region_is_behind_its_country() -> None:
    assert Place("SG", "", "Singapore").city_key == "SG/Singapore"
