"""The flood rule: who asks too often is told, in bounded memory."""

from __future__ import annotations

import pytest

from analytics_core.addresses import pack_address
from prefix_redirect.flood import FloodGuard, source_of

SECOND = 1_000_000_000


def test_ten_seconds_worth_may_come_at_once_and_no_more() -> None:
    guard = FloodGuard(100)
    assert [guard.exceeds(b"a", 0) for _ in range(1000)] == [False] * 1000
    assert guard.exceeds(b"a", 0)
    assert not guard.exceeds(b"b", 0)


def test_a_steady_rate_is_no_flood_and_twice_the_rate_is_recorded_by_half() -> None:
    steady, doubled = FloodGuard(100), FloodGuard(100)
    assert not any(steady.exceeds(b"a", number * SECOND // 100) for number in range(5000))
    flooded = [doubled.exceeds(b"a", number * SECOND // 200) for number in range(20_000)]
    assert not any(flooded[:1000])
    assert sum(flooded[10_000:]) == pytest.approx(5000, abs=2)


def test_a_source_that_rests_is_forgiven() -> None:
    guard = FloodGuard(100)
    for _ in range(2000):
        guard.exceeds(b"a", 0)
    assert not any(guard.exceeds(b"a", 11 * SECOND) for _ in range(1000))


def test_zero_switches_the_rule_off() -> None:
    assert not FloodGuard(0).is_on
    assert FloodGuard(1).is_on


def test_memory_is_bounded_and_floods_are_not_forgotten_for_newcomers() -> None:
    guard = FloodGuard(100, capacity=64)
    for _ in range(1000):
        guard.exceeds(b"flood", 0)
    for number in range(10_000):
        guard.exceeds(b"%d" % number, number)
        assert len(guard) <= 65
    assert guard.exceeds(b"flood", 10_000)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("8.8.8.8", "8.8.8.255", True),
        ("8.8.8.8", "8.8.9.8", False),
        ("2606:4700::1", "2606:4700::ffff:1", True),
        ("2606:4700::1", "2606:4700:0:1::1", False),
    ],
)
def test_a_source_is_a_24_or_a_64(one: str, other: str, same: bool) -> None:
    assert (source_of(pack_address(one)) == source_of(pack_address(other))) is same


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "::1", "fd00::1", "fe80::1"])
def test_loopback_and_private_networks_are_exempt(address: str) -> None:
    assert source_of(pack_address(address)) is None
