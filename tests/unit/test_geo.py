"""Countries: packed and unpacked, from the registries, from databases of either shape, and from none."""

from __future__ import annotations

import contextlib
import string
from pathlib import Path
from typing import Any

import iptocc
import maxminddb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.addresses import V4_MAPPED, format_address, pack_address
from analytics_core.countries import pack_country, unpack_country
from analytics_core.errors import ConfigError
from analytics_core.geo import (
    CountryLookup,
    DatabaseCountries,
    NoCountries,
    Precision,
    RegistryCountries,
    open_countries,
)
from analytics_core.network_tables import to_column
from analytics_core.places import read_place
from tests.address_databases import write_database

codes = st.text(string.ascii_uppercase, min_size=2, max_size=2)
OCTETS = st.integers(0, 255)


def found(lookup: CountryLookup, *addresses: str) -> list[str | None]:
    column = lookup.countries(to_column(map(pack_address, addresses)))
    assert column.dtype == np.int16
    return [unpack_country(number) for number in column.tolist()]


@given(codes)
def test_unpacking_is_the_inverse_of_packing(code: str) -> None:
    packed = pack_country(code)
    assert packed == ord(code[0]) * 256 + ord(code[1])
    assert 0 < packed < 2**15
    assert unpack_country(packed) == code
    assert pack_country(code.lower()) == packed


@given(st.integers(-(2**15), 2**15 - 1))
def test_packing_is_the_inverse_of_unpacking(number: int) -> None:
    code = unpack_country(number)
    assert pack_country(code) == (number if code is not None else 0)


@pytest.mark.parametrize("code", [None, "", "U", "USA", "U1", "--", "ÄÖ", "ßß"])
def test_what_is_no_country_is_unknown(code: str | None) -> None:
    assert pack_country(code) == 0


def test_the_registries_know_both_families() -> None:
    lookup = RegistryCountries()
    assert found(lookup, "8.8.8.8", "::ffff:8.8.8.8", "2001:4860:4860::8888", "88.198.0.1") == ["US", "US", "US", "DE"]
    assert found(lookup, "10.0.0.1", "127.0.0.1", "::1", "fd00::1") == [None] * 4
    assert lookup.version.startswith("iptocc-")


NETWORKS = ["8.8.8.{}", "10.0.0.{}", "88.198.0.{}", "2001:4860:4860::{}", "2a00:1450:4001:{}::1", "::{}", "fd00::{}"]


@given(st.lists(st.tuples(st.sampled_from(NETWORKS), OCTETS)))
def test_registries_say_of_an_address_what_they_say_of_its_network(asked: list[tuple[str, int]]) -> None:
    addresses = [pack_address(text.format(number)) for text, number in asked]
    firsts = [
        (address[:15] if address.startswith(V4_MAPPED) else address[:6]).ljust(16, b"\0") for address in addresses
    ]
    codes = iptocc.country_code([format_address(first) for first in firsts])
    lookup = RegistryCountries()
    for _ in range(2):
        assert lookup.countries(to_column(addresses)).tolist() == [pack_country(code) for code in codes]


def test_no_addresses_have_no_countries() -> None:
    assert found(RegistryCountries()) == []
    assert found(NoCountries()) == []


def test_without_countries_all_are_unknown() -> None:
    assert found(NoCountries(), "8.8.8.8", "2001:4860:4860::8888") == [None, None]
    assert NoCountries().version == "none"


def test_a_region_is_no_country(tmp_path: Path) -> None:
    lookup = DatabaseCountries(write_database(tmp_path / "x.mmdb", {"country_code": "EU"}, {"country_code": "FR"}))
    assert found(lookup, "8.8.8.8", "200.1.1.1") == [None, "FR"]


@pytest.mark.parametrize(
    "record",
    [
        {"country": {"iso_code": "CA"}},
        {"country_code": "CA"},
        {"country": "CA"},
        {"country": "Canada", "country_code": "CA"},
    ],
)
def test_nested_and_flat_records_are_read(record: dict[str, object], tmp_path: Path) -> None:
    lookup = DatabaseCountries(write_database(tmp_path / "x.mmdb", record, {"registered_country": {"iso_code": "US"}}))
    assert found(lookup, "8.8.8.8", "200.1.1.1") == ["CA", None]
    assert lookup.version == "test-Country-2026-09-21"
    lookup.close()


def test_a_database_of_ipv4_alone_knows_no_ipv6(tmp_path: Path) -> None:
    lookup = DatabaseCountries(write_database(tmp_path / "x.mmdb", {"country_code": "CA"}, {"country_code": "FR"}))
    assert found(lookup, "2001:4860:4860::8888", "::ffff:8.8.8.8") == [None, "CA"]


def test_a_database_of_ipv6_is_asked_for_ipv4_as_ipv4(tmp_path: Path) -> None:
    path = write_database(tmp_path / "x.mmdb", {"country_code": "CA"}, {"country_code": "FR"}, ip_version=6)
    assert found(DatabaseCountries(path), "200.1.1.1", "8000::1", "::1") == ["CA", "FR", "CA"]


def test_the_real_databases_are_read(data_dir: Path) -> None:
    for name in ("GeoLite2-Country-Test", "GeoLite2-City-Test"):
        lookup = open_countries(data_dir / "geo" / f"{name}.mmdb")
        assert found(lookup, "81.2.69.142", "::ffff:81.2.69.142", "2001:480:10::1", "1.2.3.4") == [
            "GB",
            "GB",
            "US",
            None,
        ]
        assert lookup.version.startswith(name.removesuffix("-Test"))


@pytest.mark.parametrize("name", ["GeoLite2-ASN-Test", "GeoIP2-Anonymous-IP-Test"])
def test_a_database_without_countries_is_refused(data_dir: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="names no countries"):
        open_countries(data_dir / "geo" / f"{name}.mmdb")


@pytest.mark.parametrize("content", [b"", b"junk" * 1000])
def test_a_file_that_is_no_database_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.mmdb"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="CASTLEDGER_GEO_DATABASE: "):
        open_countries(path)


def test_a_database_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no readable \.mmdb database"):
        open_countries(tmp_path / "absent.mmdb")


def test_a_damaged_database_never_raises_once_it_is_open(tmp_path: Path) -> None:
    path = write_database(tmp_path / "x.mmdb", {"country_code": "CA"}, {"country_code": "FR"})
    content = bytearray(path.read_bytes())
    # The second record's map claims more fields than the file has.
    content[content.rindex(b"\xe1\x4ccountry_code")] = 0xFC
    path.write_bytes(content)
    lookup = open_countries(path)
    assert found(lookup, "8.8.8.8", "200.1.1.1") == ["CA", None]


def test_without_a_database_the_registries_answer() -> None:
    assert found(open_countries(None), "8.8.8.8") == ["US"]


def test_regions_are_told_and_cities_only_when_they_are_asked_for(data_dir: Path) -> None:
    path = data_dir / "geo" / "GeoLite2-City-Test.mmdb"
    addresses = to_column(map(pack_address, ("81.2.69.142", "216.160.83.56", "10.0.0.1", "81.2.69.143")))
    for cities, names in ((False, ["GB/ENG/", "US/WA/"]), (True, ["GB/ENG/London", "US/WA/Milton"])):
        lookup = open_countries(path, cities=cities)
        assert lookup.precision is (Precision.CITIES if cities else Precision.REGIONS)
        located = lookup.locate(addresses)
        assert [str(place) for place in located.names[1:]] == names
        assert located.names[0] is None
        assert located.places.tolist() == [1, 2, 0, 1]
        assert located.countries.tolist() == lookup.countries(addresses).tolist()


def test_flat_records_name_places_too(tmp_path: Path) -> None:
    record = {"country_code": "CA", "state1": "Quebec", "city": "Montreal"}
    path = write_database(tmp_path / "x.mmdb", record, {"country_code": "EU", "state1": "Somewhere"})
    located = open_countries(path, cities=True).locate(to_column(map(pack_address, ("8.8.8.8", "200.1.1.1"))))
    # A region without a country is none.
    assert [None if place is None else place.city_key for place in located.names] == [None, "CA/Quebec/Montreal"]
    assert located.places.tolist() == [1, 0]


def test_without_places_only_countries_are_told(data_dir: Path) -> None:
    addresses = to_column([pack_address("81.2.69.142")])
    countries = open_countries(data_dir / "geo" / "GeoLite2-Country-Test.mmdb", cities=True)
    for lookup in (countries, RegistryCountries(), NoCountries()):
        assert lookup.precision is Precision.NONE
        located = lookup.locate(addresses)
        assert (located.names, located.places.tolist()) == ([None], [0])
        assert located.countries.tolist() == lookup.countries(addresses).tolist()


@given(st.lists(st.tuples(st.sampled_from(["81.2.69.{}", "216.160.83.{}", "2.125.160.{}", "2001:480:10::{}"]), OCTETS)))
def test_what_is_remembered_of_networks_is_what_the_database_says(data_dir: Path, asked: list[tuple[str, int]]) -> None:
    texts = list(dict.fromkeys(text.format(number) for text, number in asked))
    path = data_dir / "geo" / "GeoLite2-City-Test.mmdb"
    with contextlib.closing(DatabaseCountries(path, cities=True)) as lookup, maxminddb.open_database(path) as reader:
        for _ in range(2):
            located = lookup.locate(to_column(map(pack_address, texts)))
            places = [located.names[place] for place in located.places]
            for text, country, place in zip(texts, located.countries.tolist(), places, strict=True):
                record: Any = reader.get(text)
                code = record["country"]["iso_code"] if record and "country" in record else None
                assert country == pack_country(code)
                wanted = read_place(record, code) if code else None
                assert place == (wanted if wanted is not None and (wanted.region or wanted.city) else None)


def test_a_network_is_asked_for_once_and_none_of_another_kind_is_taken_for_it(tmp_path: Path) -> None:
    record = {"country_code": "CA", "state1": "Quebec"}
    path = write_database(tmp_path / "x.mmdb", record, {"country_code": "FR"}, ip_version=6)
    lookup = DatabaseCountries(path)
    addresses = ["8.8.8.8", "8.8.8.9", "8000::1", "8000::2", "::1", "200.1.1.1"]
    assert found(lookup, *addresses) == found(lookup, *addresses) == ["CA", "CA", "FR", "FR", "CA", "CA"]
    assert len(lookup._blocks) == 4
