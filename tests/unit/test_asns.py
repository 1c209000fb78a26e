"""Autonomous systems: a database is read whole, gaps belong to nobody, and what is no such database is refused."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import maxminddb
import numpy as np
import pytest

from analytics_core.addresses import pack_address
from analytics_core.asns import MAX_ASN, AsnLookup, DatabaseAsns, NoAsns, asn_database_version, open_asns
from analytics_core.errors import ConfigError
from analytics_core.network_tables import to_column
from tests.address_databases import write_database


def found(lookup: AsnLookup, *addresses: str) -> list[int]:
    column = lookup.asns(to_column(map(pack_address, addresses)))
    assert column.dtype == np.int64
    numbers: list[int] = column.tolist()
    return numbers


def record(number: int, width: int = 4) -> dict[str, object]:
    return {"autonomous_system_number": number.to_bytes(width)}


def test_each_half_of_ipv4_has_its_own(tmp_path: Path) -> None:
    lookup = DatabaseAsns(write_database(tmp_path / "asn.mmdb", record(64496), record(64511)))
    assert found(lookup, "0.0.0.0", "127.255.255.255", "128.0.0.0", "255.255.255.255") == [64496, 64496, 64511, 64511]
    # The database knows nothing of IPv6, in front of the mapped addresses and behind them.
    assert found(lookup, "::", "::1", "2001:db8::1", "::ffff:1.2.3.4") == [0, 0, 0, 64496]
    assert lookup.version == asn_database_version(tmp_path / "asn.mmdb") == "test-Country-2026-09-21"
    assert found(lookup) == []


@pytest.mark.parametrize(
    ("lower", "number"),
    [
        ({"asn": (64496).to_bytes(4)}, 64496),
        ({"asn": "AS64496"}, 64496),
        ({"asn": "64496"}, 64496),
        ({"asn": "of nobody"}, 0),
        ({"asn": "AS" + "9" * 20}, 0),
        # Private ones beyond what a column holds.
        (record(MAX_ASN), MAX_ASN),
        (record(MAX_ASN + 1), 0),
        ("no record", 0),
        ({}, 0),
    ],
)
def test_records_come_in_several_shapes(tmp_path: Path, lower: object, number: int) -> None:
    lookup = DatabaseAsns(write_database(tmp_path / "asn.mmdb", lower, record(64511)))
    assert found(lookup, "1.2.3.4", "200.2.3.4") == [number, 64511]


def test_a_real_database_answers_as_its_reader_does(data_dir: Path) -> None:
    path = data_dir / "geo" / "GeoLite2-ASN-Test.mmdb"
    lookup = open_asns(path)
    with maxminddb.open_database(path) as reader:
        probes = []
        for network, _ in reader:
            first, last = int(network.network_address), int(network.broadcast_address)
            kind = type(network.network_address)
            limit = 2**network.max_prefixlen
            probes += [str(kind(at)) for at in (first - 1, first, last, last + 1) if 0 <= at < limit]
        # The reader takes the first 96 zero bits of IPv6 for IPv4, which we do not.
        probes = [probe for probe in probes if ":" not in probe or int(ipaddress.ip_address(probe)) >= 2**96]
        asked = [reader.get(probe) for probe in probes]
    expected = [row["autonomous_system_number"] if isinstance(row, dict) else 0 for row in asked]
    assert len(probes) > 1000
    assert found(lookup, *probes) == expected
    assert lookup.version.startswith("GeoLite2-ASN-")


@pytest.mark.parametrize("content", [b"", b"not a database", b"\xab\xcd\xefMaxMind.com"])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "asn.mmdb"
    path.write_bytes(content)
    for use in (open_asns, asn_database_version):
        with pytest.raises(ConfigError, match=r"CASTLEDGER_ASN_DATABASE: .*asn\.mmdb is no readable"):
            use(path)


def test_a_cut_database_is_refused(data_dir: Path, tmp_path: Path) -> None:
    whole = (data_dir / "geo" / "GeoLite2-ASN-Test.mmdb").read_bytes()
    (tmp_path / "asn.mmdb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="CASTLEDGER_ASN_DATABASE"):
        open_asns(tmp_path / "asn.mmdb")


def test_a_database_of_something_else_is_refused(data_dir: Path) -> None:
    with pytest.raises(ConfigError, match="names no autonomous systems"):
        open_asns(data_dir / "geo" / "GeoLite2-Country-Test.mmdb")


def test_without_a_database_nobody_is_known() -> None:
    assert found(NoAsns(), "8.8.8.8") == [0]
    assert open_asns(None).version == "none"
