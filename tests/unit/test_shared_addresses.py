"""Shared addresses: what an entry is, until when it acts, and that it spares people and nobody who is blocked."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.addresses import pack_address, pack_network
from analytics_core.errors import InvalidInput
from analytics_core.judging import HitFacts, judge, verdict_of
from analytics_core.network_classes import NetworkClass
from analytics_core.network_tables import DayTable, to_column
from analytics_core.networks import load_network_lists
from analytics_core.profiles import CASTLEDGER_1, DEFAULT_PROFILE, ODL, OP3, PTMG_2_3
from analytics_core.shared_addresses import (
    MAX_NOTE,
    VALID_DAYS,
    WARN_DAYS,
    SharedEntry,
    describe_due,
    parse_entry,
    parse_shared,
    parse_shared_network,
)
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Verdict
from ingest.steps.places import PlaceColumns

TODAY = dt.date(2026, 11, 29)
EPOCH = dt.date(1970, 1, 1)

# Few first bytes, so that networks overlap and nest.
networks = st.builds(
    lambda address, length: ipaddress.ip_network((address, length), strict=False),
    st.tuples(st.sampled_from(["203.0.113", "203.0.112", "198.51.100"]), st.integers(0, 255)).map(
        lambda parts: f"{parts[0]}.{parts[1]}"
    ),
    st.integers(16, 32),
) | st.builds(
    lambda tail, length: ipaddress.ip_network((f"2001:db8::{tail:x}", length), strict=False),
    st.integers(0, 0xFFFF),
    st.integers(32, 128),
)
days = st.dates(dt.date(2026, 1, 1), TODAY)
entries = st.builds(SharedEntry, networks, days, st.just("Office"))
entry_lists = st.lists(entries, max_size=8, unique_by=lambda entry: entry.network)


def table_of(found: list[SharedEntry]) -> DayTable:
    return DayTable((pack_network(entry.network), (entry.last_day - EPOCH).days) for entry in found)


def edges(found: list[SharedEntry]) -> list[bytes]:
    """Addresses at and beside the ends of networks, where tables go wrong."""
    numbers = {int.from_bytes(pack_address("8.8.8.8"))}
    for entry in found:
        first, last = pack_network(entry.network)
        numbers |= {first - 1, first, first + 1, last - 1, last, last + 1}
    return [number.to_bytes(16) for number in sorted(numbers)]


def brute_force(found: list[SharedEntry], address: bytes) -> int:
    number = int.from_bytes(address)
    inside = [entry for entry in found if (ends := pack_network(entry.network))[0] <= number <= ends[1]]
    return max(((entry.last_day - EPOCH).days for entry in inside), default=-1)


@given(entry_lists)
def test_an_address_is_shared_until_the_latest_day_of_what_holds_it(found: list[SharedEntry]) -> None:
    addresses = edges(found)
    told = table_of(found).lookup(to_column(addresses)).tolist()
    assert told == [brute_force(found, address) for address in addresses]


@given(entry_lists.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_lines_makes_no_difference(both: tuple[list[SharedEntry], list[SharedEntry]]) -> None:
    one, other = (table_of(found) for found in both)
    assert one.digest() == other.digest()
    addresses = to_column(edges(both[0]))
    assert np.array_equal(one.lookup(addresses), other.lookup(addresses))


@given(entry_lists.filter(bool), st.integers(0, 400), st.data())
def test_validating_again_never_ends_what_acted(found: list[SharedEntry], later: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(found) - 1))
    renewed = [*found]
    renewed[at] = found[at]._replace(validated=found[at].validated + dt.timedelta(days=later))
    addresses = to_column(edges(found))
    before, after = table_of(found).lookup(addresses), table_of(renewed).lookup(addresses)
    assert (after >= before).all()


@given(entries, st.integers(-400, 400))
def test_an_entry_acts_up_to_90_days_behind_its_validation_and_never_again(entry: SharedEntry, days: int) -> None:
    day = (entry.validated - EPOCH).days + days
    until = int(table_of([entry]).lookup(to_column([pack_network(entry.network)[0].to_bytes(16)]))[0])
    assert (day <= until) == (days <= VALID_DAYS)


@pytest.mark.parametrize("kind", AgentKind)
def test_shared_addresses_are_spared_and_blocked_ones_are_not(kind: AgentKind) -> None:
    everything = NetworkClass.DATACENTER | NetworkClass.VPN | NetworkClass.RELAY
    for profile in (CASTLEDGER_1, PTMG_2_3):
        assert profile.networks.verdict_bits(everything | NetworkClass.SHARED, kind) == 0
    # Neither has such a list.
    assert ODL.networks.verdict_bits(everything | NetworkClass.SHARED, kind) == Verdict.DATACENTER.bit
    assert OP3.networks.verdict_bits(everything | NetworkClass.SHARED, kind) == OP3.networks.verdict_bits(
        everything, kind
    )
    assert verdict_of(judge(HitFacts(blocked=True, datacenter=False, vpn=False))) is Verdict.BLOCKED


def test_columns_say_the_same_of_every_class_as_the_policy_does_of_one() -> None:
    classes = np.arange(sum(NetworkClass) + 1)
    places = PlaceColumns(country=classes * 0, place=classes * 0, names=[None], asn=classes * 0, networks=classes)
    columns = zip(
        places.is_machine(NetworkClass.DATACENTER).tolist(), places.is_machine(NetworkClass.VPN).tolist(), strict=True
    )
    for bits, (datacenter, vpn) in enumerate(columns):
        expected = DEFAULT_PROFILE.networks.verdict_bits(bits, AgentKind.APP)
        assert judge(HitFacts(datacenter=datacenter, vpn=vpn)) == expected
        # Blocked is blocked, whatever else an address is.
        assert bool(places.is_in(NetworkClass.BLOCKED)[bits]) == bool(bits & NetworkClass.BLOCKED)


def test_the_list_is_read_with_the_others_and_changes_their_version(tmp_path: Path) -> None:
    (tmp_path / "datacenter.txt").write_text("203.0.113.0/24\n")
    before = load_network_lists(tmp_path).version
    shared = tmp_path / "shared.txt"
    shared.write_text("# ours\n\n203.0.113.0/25  2026-11-20  Dormitory # 3\n::ffff:198.51.100.7  2026-10-01  Office\n")
    found = load_network_lists(tmp_path, today=TODAY)
    assert [str(entry.network) for entry in found.shared_entries] == ["203.0.113.0/25", "198.51.100.7/32"]
    assert found.shared_entries[0].note == "Dormitory # 3"
    addresses = to_column(map(pack_address, ("203.0.113.1", "203.0.113.200", "198.51.100.7")))
    last = [(dt.date(2026, 11, 20) - EPOCH).days + VALID_DAYS, -1, (dt.date(2026, 10, 1) - EPOCH).days + VALID_DAYS]
    assert found.shared.lookup(addresses).tolist() == last
    # What other lists say of them stays known.
    assert found.classes(addresses).tolist() == [NetworkClass.DATACENTER, NetworkClass.DATACENTER, 0]
    assert found.version not in (before, "none")
    (tmp_path / "datacenter.txt").rename(tmp_path / "datacenter.off")
    assert load_network_lists(tmp_path).version == "none"
    (tmp_path / "datacenter.off").rename(tmp_path / "datacenter.txt")
    shared.write_text("198.51.100.7 2026-10-01 Another note\n203.0.113.0/25 2026-11-20 Dormitory\n")
    assert load_network_lists(tmp_path).version == found.version
    shared.write_text("198.51.100.7 2026-10-02 Office\n203.0.113.0/25 2026-11-20 Dormitory\n")
    assert load_network_lists(tmp_path).version != found.version


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("192.0.2.0/24 2026-11-20", "is not such as"),
        ("192.0.2.0/24", "is not such as"),
        ("dormitory 2026-11-20 x", "is no network"),
        ("192.0.2.0/255.255.255.0 2026-11-20 x", "is no network"),
        ("192.0.2.0/33 2026-11-20 x", "is no network"),
        ("fe80::1%eth0 2026-11-20 x", "is no network"),
        ("192.0.2.0/24 20.11.2026 x", "is no day such as"),
        ("192.0.2.0/24 2026-02-30 x", "is no day such as"),
        ("192.0.2.0/24 20261120 x", "is no day such as"),
        ("192.0.2.0/24 2026-12-01 x", "has not come yet"),
        ("192.0.2.0/24 9999-12-31 x", "has not come yet"),
        ("192.0.2.0/24 0001-01-01 x", "cannot be when"),
        ("203.0.0.0/15 2026-11-20 x", "wider than /16"),
        ("::/0 2026-11-20 x", "wider than /32"),
        ("2001:db8::/31 2026-11-20 x", "wider than /32"),
        ("::ffff:203.0.0.0/111 2026-11-20 x", "wider than /16"),
        ("10.1.0.0/16 2026-11-20 x", "is private"),
        ("100.64.0.1 2026-11-20 x", "is private"),
        ("127.0.0.1 2026-11-20 x", "is private"),
        ("fd00::/48 2026-11-20 x", "is private"),
        ("224.0.0.1 2026-11-20 x", "nobody's address"),
        ("0.0.0.0 2026-11-20 x", "nobody's address"),
        ("192.0.2.0/24 2026-11-20 " + "x" * (MAX_NOTE + 1), "at most 200 characters"),
        ("192.0.2.0/24 2026-11-20 a\x07b", "can be printed"),
        ("192.0.2.77/24 2026-11-20 the same again", "is on line 2 too"),
    ],
)
def test_a_bad_line_is_named_with_its_reason(line: str, reason: str) -> None:
    lines = ["# first", "192.0.2.0/24  2026-11-20  Office", ""]
    if "same" not in line:
        lines[1] = ""
    with pytest.raises(InvalidInput) as caught:
        parse_shared([*lines, line], today=TODAY)
    assert caught.value.path == "shared.txt:4"
    assert reason in caught.value.reason


@given(st.text(max_size=60))
def test_whatever_a_line_says_it_is_an_entry_or_refused(line: str) -> None:
    try:
        entry = parse_entry(line, today=TODAY)
    except InvalidInput:
        return
    assert entry is None or entry.network == parse_shared_network(str(entry.network))


def test_entries_are_named_from_75_days_on_the_oldest_first() -> None:
    def validated(days: int, network: str) -> SharedEntry:
        return SharedEntry(parse_shared_network(network), TODAY - dt.timedelta(days=days), "Office")

    fresh = validated(WARN_DAYS - 1, "192.0.2.1")
    assert describe_due([fresh], TODAY) is None
    due = [validated(WARN_DAYS, "192.0.2.2"), fresh, validated(90, "192.0.2.4"), validated(91, "192.0.2.3")]
    told = describe_due(due, TODAY)
    assert told == (
        "192.0.2.3/32 (Office): validated 91 days ago, acts no longer; "
        "192.0.2.4/32 (Office): validated 90 days ago, acts until today; "
        "192.0.2.2/32 (Office): validated 75 days ago, acts for 15 days more"
    )
    many = [validated(80, f"192.0.2.{host}") for host in range(9)]
    assert str(describe_due(many, TODAY)).endswith("; and 4 more")
