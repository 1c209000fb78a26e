"""Network lists: a table equals brute force, relays are excepted, and a bad line is named."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.addresses import V4_MAPPED, format_address, pack_address
from analytics_core.errors import InvalidInput
from analytics_core.network_tables import NetworkTable, to_column
from analytics_core.networks import NetworkClass, NetworkLists, load_network_lists

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(packed: bytes, length: int) -> Network:
    return ipaddress.ip_network((format_address(packed), length), strict=False)


# A few leading bytes make overlaps, neighbours and nestings likely.
v4_addresses = st.tuples(st.sampled_from([b"\x01\x02", b"\x01\x03", b"\xff\xff"]), st.binary(min_size=2, max_size=2))
v6_addresses = st.tuples(
    st.sampled_from([bytes(8), b"\x20\x01\x0d\xb8" + bytes(4), b"\xff" * 8]), st.binary(min_size=8, max_size=8)
)
packed_v4 = v4_addresses.map(lambda parts: V4_MAPPED + parts[0] + parts[1])
packed_v6 = v6_addresses.map(b"".join).filter(lambda packed: not packed.startswith(V4_MAPPED))
networks = st.builds(network, packed_v4, st.integers(1, 32)) | st.builds(network, packed_v6, st.integers(1, 128))


def probes(around: Sequence[Network], others: Sequence[bytes]) -> list[bytes]:
    """Make addresses at and just beyond the edges of *around*, where tables go wrong."""
    found = list(others)
    for one in around:
        for edge in (one.network_address, one.broadcast_address):
            number = int.from_bytes(pack_address(edge))
            found += [near.to_bytes(16) for near in (number - 1, number, number + 1) if 0 <= near < 2**128]
    return found


def brute_force(around: Sequence[Network], address: bytes) -> bool:
    plain = ipaddress.ip_address(format_address(address))
    return any(plain in one for one in around)


def lookup(table: NetworkTable, *addresses: str) -> list[bool]:
    found: list[bool] = table.lookup(to_column(map(pack_address, addresses))).tolist()
    return found


@given(st.lists(networks, max_size=6), st.lists(packed_v4 | packed_v6, max_size=6))
def test_a_table_equals_brute_force(around: list[Network], others: list[bytes]) -> None:
    table = NetworkTable.from_lines(map(str, around))
    addresses = probes(around, others)
    assert table.lookup(to_column(addresses)).tolist() == [brute_force(around, address) for address in addresses]


@given(st.lists(networks, max_size=5), st.lists(networks, max_size=5), st.lists(packed_v4 | packed_v6, max_size=4))
def test_taking_out_and_uniting_equal_brute_force(
    kept: list[Network], removed: list[Network], others: list[bytes]
) -> None:
    one, other = NetworkTable.from_lines(map(str, kept)), NetworkTable.from_lines(map(str, removed))
    addresses = probes([*kept, *removed], others)
    column = to_column(addresses)
    in_one = [brute_force(kept, address) for address in addresses]
    in_other = [brute_force(removed, address) for address in addresses]
    pairs = list(zip(in_one, in_other, strict=True))
    assert one.without(other).lookup(column).tolist() == [a and not b for a, b in pairs]
    assert one.union(other).lookup(column).tolist() == [a or b for a, b in pairs]


@given(st.lists(networks, max_size=6))
def test_intervals_are_sorted_disjoint_and_make_the_same_table(around: list[Network]) -> None:
    table = NetworkTable.from_lines(map(str, around))
    intervals = table.intervals()
    assert len(table) == len(intervals)
    assert all(first <= last for first, last in intervals)
    assert all(before[1] + 1 < behind[0] for before, behind in itertools.pairwise(intervals))
    assert NetworkTable(intervals).digest() == NetworkTable(reversed(intervals)).digest() == table.digest()


def test_an_empty_table_holds_nothing() -> None:
    assert lookup(NetworkTable(), "8.8.8.8", "::1") == [False, False]
    assert NetworkTable.from_lines(["1.0.0.0/8"]).lookup(np.zeros((0, 16), np.uint8)).tolist() == []


def test_the_last_address_of_all_can_be_inside() -> None:
    table = NetworkTable.from_lines(["ffff::/16", "255.255.255.255"])
    assert lookup(table, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "255.255.255.255", "fffe::") == [True, True, False]


def test_addresses_that_end_in_zeros_are_not_cut() -> None:
    table = NetworkTable.from_lines(["2001:db8::/128", "1.2.3.0/32"])
    assert lookup(table, "2001:db8::", "2001:db8::1", "1.2.3.0", "1.2.3.1") == [True, False, True, False]


def test_a_column_that_is_not_contiguous_is_looked_up_all_the_same() -> None:
    column = to_column(map(pack_address, ("1.2.3.4", "8.8.8.8", "1.2.3.4")))
    assert NetworkTable.from_lines(["1.2.3.4"]).lookup(column[::2]).tolist() == [True, True]


def test_lists_are_read_as_people_write_them() -> None:
    table = NetworkTable.from_lines(
        [
            "\ufeff# a comment\n",
            "\n",
            "  1.2.3.4/24  # bits behind the length\r\n",
            "; another",
            "2001:db8::1",
            "9.9.9.9;x",
        ]
    )
    assert lookup(table, "1.2.3.99", "2001:db8::1", "2001:db8::2", "9.9.9.9") == [True, True, False, True]


def test_a_wide_ipv6_network_holds_no_ipv4() -> None:
    assert lookup(NetworkTable.from_lines(["::/1"]), "1.2.3.4", "::1", "2001:db8::1", "8000::") == [
        False,
        True,
        True,
        False,
    ]
    assert lookup(NetworkTable.from_lines(["::ffff:0:0/95"]), "1.2.3.4", "::fffe:0:1") == [False, True]


def test_a_mapped_network_is_ipv4() -> None:
    assert lookup(NetworkTable.from_lines(["::ffff:1.2.3.0/120"]), "1.2.3.9", "1.2.4.9") == [True, False]


@pytest.mark.parametrize(
    "line",
    ["AS45090 # Tencent", "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/", "1.2.3.4/٨", "0.0.0.0/0", "::/0", "::/129", "1.2.3",
     "::ffff:0:0/96", "fe80::1%eth0/64", "1.2.3.0-1.2.3.9", "1.2.3.4/24/8", "1.2.3.4 5.6.7.8", "junk\x00"],
)  # fmt: skip
def test_a_line_that_is_no_network_is_named(line: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        NetworkTable.from_lines(["# first", "192.0.2.0/24", line], name="vpn.txt")
    assert caught.value.path == "vpn.txt:3"


def test_a_long_line_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidInput) as caught:
        NetworkTable.from_lines(["x" * 100_000])
    assert len(str(caught.value)) < 300


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    (tmp_path / "datacenter-a.txt").write_text("192.0.2.0/24\n172.224.0.0/12\n")
    (tmp_path / "datacenter-b.txt").write_text("2001:db8::/32\n")
    (tmp_path / "vpn.txt").write_text("198.51.100.0/24\n172.224.226.0/24\n")
    (tmp_path / "relay.txt").write_text("172.224.226.0/27\n")
    (tmp_path / "blocked.txt").write_text("203.0.113.9\n172.224.226.1\n")
    (tmp_path / "notes.txt").write_text("not a list")
    return tmp_path


def classes(found: NetworkLists, *addresses: str) -> list[int]:
    bits: list[int] = found.classes(to_column(map(pack_address, addresses))).tolist()
    return bits


def test_relays_are_taken_out_of_the_lists_of_machines(lists: Path) -> None:
    found = load_network_lists(lists)
    assert classes(found, "192.0.2.1", "2001:db8::1", "198.51.100.1", "8.8.8.8") == [
        NetworkClass.DATACENTER,
        NetworkClass.DATACENTER,
        NetworkClass.VPN,
        NetworkClass.NONE,
    ]
    assert classes(found, "172.224.226.2", "172.224.226.99") == [
        NetworkClass.RELAY,
        NetworkClass.DATACENTER | NetworkClass.VPN,
    ]


def test_what_the_operator_blocks_stays_blocked_behind_a_relay(lists: Path) -> None:
    assert classes(load_network_lists(lists), "203.0.113.9", "172.224.226.1") == [
        NetworkClass.BLOCKED,
        NetworkClass.BLOCKED | NetworkClass.RELAY,
    ]


def test_without_lists_nothing_is_known_and_the_version_says_so(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        found = load_network_lists(folder)
        assert found.version == "none"
        assert classes(found, "192.0.2.1") == [NetworkClass.NONE]
    (tmp_path / "vpn.txt").write_text("# nothing yet\n")
    assert load_network_lists(tmp_path).version == "none"


def test_the_version_follows_what_the_lists_say_and_not_how(lists: Path) -> None:
    before = load_network_lists(lists).version
    (lists / "vpn.txt").write_text("# reordered\n172.224.226.0/24\n198.51.100.0/25\n198.51.100.128/25\n")
    assert load_network_lists(lists).version == before
    (lists / "vpn.txt").write_text("198.51.100.0/24\n")
    assert load_network_lists(lists).version not in (before, "none")
    assert len(before) == 12


def test_the_same_networks_in_another_list_are_another_version(tmp_path: Path) -> None:
    (tmp_path / "vpn.txt").write_text("192.0.2.0/24\n")
    before = load_network_lists(tmp_path).version
    (tmp_path / "vpn.txt").rename(tmp_path / "blocked.txt")
    assert load_network_lists(tmp_path).version != before


def test_a_bad_line_names_its_file(lists: Path) -> None:
    (lists / "vpn-mine.txt").write_text("AS1\n192.0.2.0/24 AS1\n")
    with pytest.raises(InvalidInput) as caught:
        load_network_lists(lists)
    assert caught.value.path == "vpn-mine.txt:2"


def by_system(found: NetworkLists, *pairs: tuple[str, int]) -> list[int]:
    addresses = to_column(pack_address(address) for address, _ in pairs)
    bits: list[int] = found.classes(addresses, np.array([asn for _, asn in pairs], np.int64)).tolist()
    return bits


def test_lists_name_autonomous_systems_too(lists: Path) -> None:
    (lists / "datacenter-asn.txt").write_text("AS64496 # a hoster\nas64497; another\n\n192.0.2.0/28\n")
    (lists / "vpn-asn.csv").write_text('\ufeffASN,Entity\n64498,"VPN, Inc."\nAS64499,x\n\n')
    found = load_network_lists(lists)
    assert (found.datacenter_asns, found.vpn_asns) == (frozenset({64496, 64497}), frozenset({64498, 64499}))
    pairs = [("8.8.8.8", 64496), ("8.8.8.8", 64499), ("8.8.8.8", 64500), ("8.8.8.8", 0), ("198.51.100.1", 64497)]
    assert by_system(found, *pairs) == [
        NetworkClass.DATACENTER,
        NetworkClass.VPN,
        NetworkClass.NONE,
        NetworkClass.NONE,
        NetworkClass.DATACENTER | NetworkClass.VPN,
    ]
    # A relay's address is its users', whose network it is in; what is blocked stays so.
    assert by_system(found, ("172.224.226.2", 64496), ("203.0.113.9", 64496)) == [
        NetworkClass.RELAY,
        NetworkClass.BLOCKED | NetworkClass.DATACENTER,
    ]
    assert classes(found, "8.8.8.8") == [NetworkClass.NONE]


def test_the_version_follows_the_autonomous_systems(tmp_path: Path) -> None:
    (tmp_path / "vpn.txt").write_text("AS64496\nAS64497\n")
    before = load_network_lists(tmp_path).version
    assert before != "none"
    (tmp_path / "vpn.txt").write_text("AS64497\nAS64496 # the same\n")
    assert load_network_lists(tmp_path).version == before
    (tmp_path / "vpn.txt").rename(tmp_path / "datacenter.txt")
    assert load_network_lists(tmp_path).version != before


@pytest.mark.parametrize(
    ("name", "text", "path"),
    [
        ("datacenter.csv", "64496,x\n", "datacenter.csv:1"),
        ("datacenter.csv", "", "datacenter.csv:1"),
        ("vpn.csv", "ASN,Entity\n64496,x\n0,nobody\n", "vpn.csv:3"),
        ("vpn.csv", "ASN,Entity\nhoster\n", "vpn.csv:2"),
        ("vpn.txt", "AS9999999999\n", "vpn.txt:1"),
        ("relay.txt", "AS64496\n", "relay"),
        ("blocked.csv", "ASN\n64496\n", "blocked"),
    ],
)
def test_a_bad_list_of_autonomous_systems_is_named(tmp_path: Path, name: str, text: str, path: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_network_lists(tmp_path)
    assert caught.value.path == path


def test_a_list_that_is_no_text_is_named(lists: Path) -> None:
    (lists / "vpn.txt").write_bytes(b"\xff\xfe\x00junk")
    with pytest.raises(InvalidInput, match=r"vpn\.txt: a list is UTF-8 text"):
        load_network_lists(lists)


def test_the_real_lists_load_and_spare_private_relay(data_dir: Path, tmp_path: Path) -> None:
    names = {
        "x4b_datacenter_ipv4.txt": "datacenter-v4.txt",
        "x4b_datacenter_ipv6.txt": "datacenter-v6.txt",
        "x4b_vpn_ipv4.txt": "vpn-v4.txt",
        "x4b_vpn_ipv6.txt": "vpn-v6.txt",
        "x4b_apple_private_relay.txt": "relay.txt",
    }
    for name, ours in names.items():
        (tmp_path / ours).write_bytes((data_dir / "networks" / name).read_bytes())
    found = load_network_lists(tmp_path)
    # In the public lists 172.224.226.1 is a data centre's and a VPN's; it is Apple's relay.
    assert classes(found, "172.224.226.1") == [NetworkClass.RELAY]
    machines, _, relays = (
        [line.split("/")[0] for line in (data_dir / "networks" / name).read_text().split()]
        for name in ("x4b_datacenter_ipv4.txt", "x4b_vpn_ipv4.txt", "x4b_apple_private_relay.txt")
    )
    assert set(classes(found, *relays)) == {NetworkClass.RELAY}
    assert sum(bits & NetworkClass.DATACENTER for bits in classes(found, *machines)) > 0.9 * len(machines)
    assert classes(found, "127.0.0.1", "192.168.0.1", "10.0.0.1") == [0, 0, 0]


def test_the_real_lists_of_autonomous_systems_load(data_dir: Path, tmp_path: Path) -> None:
    for name, ours in (
        ("x4b_datacenter_ASN.txt", "datacenter.txt"),
        ("bad-asn-list.csv", "datacenter.csv"),
        ("x4b_vpn_ASN.txt", "vpn.txt"),
    ):
        (tmp_path / ours).write_bytes((data_dir / "networks" / name).read_bytes())
    found = load_network_lists(tmp_path)
    assert len(found.datacenter_asns) > 500
    # A hoster that both lists name, and a VPN.
    assert by_system(found, ("8.8.8.8", 3223), ("8.8.8.8", 9009)) == [
        NetworkClass.DATACENTER,
        found.classes(to_column([pack_address("8.8.8.8")]), np.array([9009]))[0],
    ]
    assert 9009 in found.vpn_asns
