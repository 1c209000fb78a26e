"""Listener keys: what is told apart, what is not, and by which secrets."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.listeners import (
    SECRET_BYTES,
    early_key,
    listener_key,
    month_of,
    new_secret,
    truncate_address,
)

SECRET = bytes(range(SECRET_BYTES))
V4_MAPPED = bytes(10) + b"\xff\xff"

addresses = st.binary(min_size=16, max_size=16)
secrets = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)


@given(addresses.filter(lambda address: not address.startswith(V4_MAPPED)))
def test_ipv6_keeps_its_first_64_bits(address: bytes) -> None:
    network = ipaddress.ip_network((address, 64), strict=False)
    assert truncate_address(address) == network.network_address.packed


@given(st.ip_addresses(v=4))
def test_ipv4_is_kept_whole(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}").packed
    assert truncate_address(mapped) == mapped == V4_MAPPED + address.packed


@given(addresses)
def test_truncating_again_changes_nothing(address: bytes) -> None:
    assert truncate_address(truncate_address(address)) == truncate_address(address)


@given(addresses, st.binary(max_size=64), st.binary(min_size=8, max_size=8))
def test_devices_of_one_ipv6_household_with_one_agent_are_one_listener(
    address: bytes, agent: bytes, tail: bytes
) -> None:
    household = b"\x20\x01" + address[2:8]
    assert early_key(household + address[8:], agent, SECRET) == early_key(household + tail, agent, SECRET)


@given(addresses, addresses, st.binary(max_size=64), st.binary(max_size=64))
def test_other_addresses_or_agents_are_other_listeners(one: bytes, other: bytes, agent: bytes, another: bytes) -> None:
    same = truncate_address(one) == truncate_address(other) and agent == another
    assert (early_key(one, agent, SECRET) == early_key(other, another, SECRET)) is same


def test_six_agents_behind_one_address_are_six_listeners() -> None:
    address = V4_MAPPED + bytes([192, 0, 2, 1])
    assert len({early_key(address, b"Player/%d" % number, SECRET) for number in range(6)}) == 6


@given(addresses, st.binary(max_size=64), secrets, secrets)
def test_keys_are_keyed_blake2b_of_16_bytes(address: bytes, agent: bytes, ours: bytes, tenant: bytes) -> None:
    early = hashlib.blake2b(truncate_address(address) + agent, key=ours, digest_size=16).digest()
    assert early_key(address, agent, ours) == early
    assert listener_key(early, tenant) == hashlib.blake2b(early, key=tenant, digest_size=16).digest()


@given(addresses, secrets, secrets)
def test_other_secrets_make_other_keys(early: bytes, one: bytes, other: bytes) -> None:
    assert (listener_key(early, one) == listener_key(early, other)) is (one == other)
    assert (early_key(early, b"", one) == early_key(early, b"", other)) is (one == other)


@pytest.mark.parametrize("secret", [b"", b"short", bytes(SECRET_BYTES - 1), bytes(SECRET_BYTES + 1)])
def test_a_secret_of_the_wrong_length_is_refused(secret: bytes) -> None:
    with pytest.raises(ValueError, match="a secret is 32 bytes"):
        early_key(bytes(16), b"", secret)
    with pytest.raises(ValueError, match="a secret is 32 bytes"):
        listener_key(bytes(16), secret)


@pytest.mark.parametrize("wrong", [b"", bytes(4), bytes(15), bytes(17)])
def test_an_address_or_key_of_the_wrong_length_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="an address is 16 bytes"):
        truncate_address(wrong)
    with pytest.raises(ValueError, match="an early key is 16 bytes"):
        listener_key(wrong, SECRET)


def test_new_secrets_differ() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
    assert len(new_secret()) == SECRET_BYTES


@given(
    st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)),  # noqa: DTZ001 # strategies take naive bounds
)
def test_the_month_is_the_first_of_its_days_in_utc(naive: dt.datetime) -> None:
    at = naive.replace(tzinfo=dt.UTC)
    at_us = (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    assert month_of(at_us) == dt.date(at.year, at.month, 1)


@pytest.mark.parametrize("at_us", [2**63 - 1, -(2**63), 2**90])
def test_an_instant_beyond_the_calendar_has_no_month(at_us: int) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        month_of(at_us)
