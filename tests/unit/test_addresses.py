"""Addresses: packing, whom a request came from when it lies, and what is public."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.addresses import (
    UNSPECIFIED,
    V4_MAPPED,
    TrustedNetworks,
    client_address,
    format_address,
    is_private,
    is_public,
    network_of,
    pack_address,
    write_addresses,
)
from analytics_core.errors import InvalidInput

PROXIES = TrustedNetworks(map(ipaddress.ip_network, ("10.0.0.0/8", "fd00::/8", "192.0.2.1/32")))
NOBODY = TrustedNetworks([])

packed_addresses = st.binary(min_size=16, max_size=16) | st.binary(min_size=4, max_size=4).map(V4_MAPPED.__add__)


@given(st.ip_addresses())
def test_packing_and_formatting_are_inverses(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    packed = pack_address(address)
    assert pack_address(str(address)) == packed
    assert pack_address(format_address(packed)) == packed
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped is None:
        assert format_address(packed) == str(address)


@given(packed_addresses)
def test_sixteen_bytes_survive_their_text(address: bytes) -> None:
    assert pack_address(format_address(address)) == address


@given(st.lists(packed_addresses, max_size=20))
def test_many_addresses_are_written_in_their_order(addresses: list[bytes]) -> None:
    texts = write_addresses(addresses)
    assert [pack_address(text) for text in texts] == addresses
    for address, text in zip(addresses, texts, strict=True):
        if address.startswith(V4_MAPPED):
            assert text == format_address(address)


def test_mapped_ipv6_is_ipv4() -> None:
    assert pack_address("::ffff:192.0.2.7") == pack_address("192.0.2.7") == pack_address("::FFFF:c000:207")
    assert format_address(pack_address("::ffff:192.0.2.7")) == "192.0.2.7"


def test_a_zone_is_dropped() -> None:
    assert pack_address("fe80::1%eth0") == pack_address("fe80::1")


@pytest.mark.parametrize(
    "junk",
    ["", "localhost", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "::g", "fe80::1%", "1.2.3.4\x00", "１.2.3.4"],
)
def test_junk_is_no_address(junk: str) -> None:
    with pytest.raises(InvalidInput, match="an address looks like"):
        pack_address(junk)


def test_only_sixteen_bytes_are_formatted() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        format_address(b"\x01\x02\x03\x04")


@st.composite
def near_networks(draw: st.DrawFn) -> tuple[bytes, list[ipaddress.IPv4Network | ipaddress.IPv6Network]]:
    """Draw an address and networks around it or around others, so that both answers are likely."""
    address = draw(packed_addresses)
    networks = []
    for other in draw(st.lists(st.just(address) | packed_addresses, max_size=4)):
        plain = ipaddress.ip_address(format_address(other))
        networks.append(ipaddress.ip_network((plain, draw(st.integers(0, plain.max_prefixlen))), strict=False))
    return address, networks


@given(near_networks())
def test_trusted_networks_agree_with_the_standard_library(
    drawn: tuple[bytes, list[ipaddress.IPv4Network | ipaddress.IPv6Network]],
) -> None:
    address, networks = drawn
    plain = ipaddress.ip_address(format_address(address))
    assert (address in TrustedNetworks(networks)) is any(plain in network for network in networks)


def test_a_mapped_network_is_trusted_for_ipv4() -> None:
    trusted = TrustedNetworks([ipaddress.ip_network("::ffff:10.0.0.0/104")])
    assert pack_address("10.1.2.3") in trusted
    assert pack_address("11.1.2.3") not in trusted


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # A peer that is no proxy cannot say who it is.
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["6.6.6.6"], "203.0.113.5"),
        ("::ffff:203.0.113.5", ["6.6.6.6"], "203.0.113.5"),
        # A proxy is believed for what it appended, not for what was there before.
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, 10.0.0.8", "198.51.100.7, 10.0.0.9"], "198.51.100.7"),
        ("10.0.0.1", ["127.0.0.1, 198.51.100.7,10.0.0.9"], "198.51.100.7"),
        ("192.0.2.1", ["198.51.100.7"], "198.51.100.7"),
        ("192.0.2.2", ["198.51.100.7"], "192.0.2.2"),
        ("fd00::1%eth0", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["10.0.0.7, 10.0.0.9"], "10.0.0.7"),
        # The forms that proxies write.
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::7]"], "2001:db8::7"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", ['"[2001:db8::7]:4711"'], "2001:db8::7"),
        ("10.0.0.1", ["\t198.51.100.7 "], "198.51.100.7"),
        ("10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", ["6.6.6.6, ::ffff:10.0.0.9"], "6.6.6.6"),
        # Junk ends the search at the last good one, and never lets an older entry through.
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, unknown, 10.0.0.9"], "10.0.0.9"),
        ("10.0.0.1", ["6.6.6.6,, 10.0.0.9"], "10.0.0.9"),
        ("10.0.0.1", ["6.6.6.6,"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6", ""], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7:port"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7:"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, [198.51.100.7]"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, [2001:db8::7"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, [2001:db8::7]x"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, 010.0.0.9"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, 10.0.0.9%eth0"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, \u0661.2.3.4"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, 10.0.0.9\x00"], "10.0.0.1"),
        ("10.0.0.1", ['6.6.6.6, "'], "10.0.0.1"),
        # A socket without an address is nobody.
        ("", ["6.6.6.6"], "::"),
        ("junk", ["6.6.6.6"], "::"),
    ],
)
def test_the_client_is_the_right_most_entry_that_is_not_trusted(peer: str, forwarded: list[str], client: str) -> None:
    assert format_address(client_address(peer, forwarded, PROXIES)) == client
    # Bytes, as a tracker reads them, mean the same.
    values = [value.encode() for value in forwarded]
    assert format_address(client_address(peer, values, PROXIES)) == client


def test_a_packed_peer_is_taken_as_it_is() -> None:
    assert client_address(pack_address("10.0.0.1"), ["198.51.100.7"], PROXIES) == pack_address("198.51.100.7")
    assert client_address(b"too short", ["198.51.100.7"], PROXIES) == UNSPECIFIED


@given(st.text(max_size=30) | st.binary(max_size=20), st.lists(st.text(max_size=80) | st.binary(max_size=80)))
def test_no_header_and_no_peer_raises(peer: str | bytes, forwarded: list[str | bytes]) -> None:
    assert len(client_address(peer, forwarded, PROXIES)) == 16


@given(st.lists(st.text(max_size=60)), st.ip_addresses())
def test_nothing_that_a_client_sends_changes_its_address(
    forged: list[str], client: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    packed = pack_address(client)
    appended = f"{client}, 10.0.0.9"
    if packed not in PROXIES:
        assert client_address("10.0.0.1", [*forged, appended], PROXIES) == packed
        assert client_address("10.0.0.1", [",".join([*forged, appended])], PROXIES) == packed
    assert client_address(str(client), forged, NOBODY) == packed


@given(packed_addresses, packed_addresses)
def test_floods_are_counted_by_24_or_64_bits(one: bytes, other: bytes) -> None:
    def network(packed: bytes) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        plain = ipaddress.ip_address(format_address(packed))
        return ipaddress.ip_network((plain, 24 if plain.version == 4 else 64), strict=False)

    assert (network_of(one) == network_of(other)) is (network(one) == network(other))
    neighbour = one[:15] + bytes([one[15] ^ 1])
    assert network_of(neighbour) == network_of(one)


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "::ffff:8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.1", "2606:4700::1111",
     "2a00::1", "2002:808:808::1", "64:ff9b::808:808", "2001:200::1"],
)  # fmt: skip
def test_global_unicast_is_public(text: str) -> None:
    assert is_public(pack_address(text))
    assert not is_private(pack_address(text))


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.255",
     "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1",
     "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.2.3", "240.0.0.1",
     "255.255.255.255", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::", "::1", "::127.0.0.1", "::8.8.8.8",
     "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "2002:a9fe:a9fe::", "2002:a00:1::", "3fff::1",
     "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "4000::1", "5f00::1", "fc00::1", "fd12::1", "fe80::1",
     "fec0::1", "ff02::1", "ffff:ffff::1"],
)  # fmt: skip
def test_what_may_answer_inside_our_own_network_is_not_public(text: str) -> None:
    assert not is_public(pack_address(text))


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("127.0.0.1", True),
        ("10.0.0.1", True),
        ("172.16.0.1", True),
        ("192.168.0.1", True),
        ("169.254.1.1", True),
        ("100.64.0.1", True),
        ("::1", True),
        ("fd00::1", True),
        ("fe80::1", True),
        # Documentation and benchmarks are not public, but nobody's private network either.
        ("203.0.113.1", False),
        ("198.18.0.1", False),
        ("2001:db8::1", False),
        ("8.8.8.8", False),
    ],
)
def test_private_is_loopback_link_local_private_and_shared(text: str, private: bool) -> None:
    assert is_private(pack_address(text)) is private


@given(packed_addresses)
def test_nothing_is_public_that_the_standard_library_calls_private(address: bytes) -> None:
    plain = ipaddress.ip_address(format_address(address))
    if is_public(address):
        assert plain.is_global or address.startswith((b"\x20\x02", b"\x00\x64\xff\x9b"))
        assert not plain.is_multicast
        assert not is_private(address)
